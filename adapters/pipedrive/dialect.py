"""How Pipedrive takes its token, says no, and tells its limits.

https://pipedrive.readme.io/docs/core-api-concepts-authentication
https://pipedrive.readme.io/docs/core-api-concepts-http-status-codes
https://pipedrive.readme.io/docs/core-api-concepts-rate-limiting
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime

from marshmallow import ValidationError

from adapters.answers import word
from adapters.client import Answer, Dialect, Rate, RateBudget, Refusal
from adapters.pipedrive.tokens import TokenDay
from plugin.errors import CrmError, CrmRateLimited, CrmUnauthorized
from plugin.ports import AccountLink
from schemas.pipedrive import ErrorPayload, ErrorSchema

CRM = "pipedrive"
TITLE = "Pipedrive"

BURST = 20
BURST_SECONDS = 2.0
"""Calls in a window that slides, per token, on the smallest plan."""
BANNED = 300.0
"""Seconds to keep still after Cloudflare has stepped in."""

NOT_PAID = 402
FORBIDDEN = 403
TOO_MANY = 429

_FAULTY = re.compile(r"Validation failed: ([A-Za-z0-9_.]{1,100}):")
_ERROR = ErrorSchema()


def api_token(token: str) -> Mapping[str, str]:
    return {"x-api-token": token}


def refusal(payload: object) -> Refusal:
    """What an error body says, without the values it quotes."""
    try:
        error: ErrorPayload = _ERROR.load(payload)  # type: ignore[arg-type]
    except ValidationError:
        return Refusal()
    return Refusal(code=word(error["code"]), field_errors=_field_errors(error))


def _field_errors(error: ErrorPayload) -> dict[str, str]:
    """Key → "invalid". v2 names the key in its sentence, v1 of webhooks in ``errors``."""
    told = error["errors"]
    names = [name for name in told if isinstance(name, str)] if isinstance(told, dict) else []
    if isinstance(error["error"], str) and (found := _FAULTY.match(error["error"])):
        names.append(found.group(1))
    return {name: "invalid" for name in names if word(name)}


class Limits:
    """The two limits of one account: calls in two seconds, tokens in a day."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.burst = RateBudget(BURST, BURST_SECONDS)
        self.day = TokenDay(clock)
        self.dialect = Dialect(
            crm=CRM,
            title=TITLE,
            refusal=refusal,
            rate=self._rate,
            auth=api_token,
            error=self._error,
        )

    def follow(self, link: AccountLink) -> None:
        self.burst.use_share(link.rate_share)
        self.day.follow(link)

    def _rate(self, headers: Mapping[str, str]) -> Rate | None:
        self.day.told(headers)
        limit = headers.get("x-ratelimit-limit", "")
        remaining = headers.get("x-ratelimit-remaining", "")
        if not re.fullmatch(r"[1-9][0-9]{0,5}", limit):
            return None
        return Rate(
            limit=int(limit),
            seconds=BURST_SECONDS,
            remaining=int(remaining) if re.fullmatch(r"[0-9]{1,6}", remaining) else None,
        )

    def _error(self, answer: Answer) -> CrmError | None:
        operation = answer.operation
        if answer.status == TOO_MANY and self.day.is_spent(answer.headers):
            return CrmRateLimited(
                f"{TITLE} answered 429 to {operation}: the company has no tokens left today",
                retry_after=self.day.end(_seconds(answer.headers.get("retry-after"))),
                crm=CRM,
                operation=operation,
            )
        if answer.status == FORBIDDEN and not _is_pipedrives(answer.payload):
            # Cloudflare's page for whoever goes on after a 429.
            return CrmRateLimited(
                f"Cloudflare answered 403 to {operation}: too many calls",
                retry_after=_seconds(answer.headers.get("retry-after")) or BANNED,
                crm=CRM,
                operation=operation,
                status=FORBIDDEN,
            )
        if answer.status == NOT_PAID:
            return CrmUnauthorized(
                f"{TITLE} answered 402 to {operation}: the company's account is not open",
                crm=CRM,
                operation=operation,
                status=NOT_PAID,
            )
        return None


def _is_pipedrives(payload: object) -> bool:
    """All its error bodies, of either version, say that there was no success."""
    return isinstance(payload, dict) and payload.get("success") is False


def _seconds(header: str | None) -> float | None:
    return float(header) if header and re.fullmatch(r"[0-9]{1,6}", header.strip()) else None
