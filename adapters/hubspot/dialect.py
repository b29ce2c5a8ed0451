"""How HubSpot says no, and how it tells its limits.

https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines
https://developers.hubspot.com/docs/api-reference/error-handling
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError

from adapters.answers import word
from adapters.client import Dialect, Rate, RateBudget, Refusal
from schemas.hubspot import ErrorPayload, ErrorSchema

WAITS = {"SECONDLY": 1.0, "TEN_SECONDLY_ROLLING": 10.0, "DAILY": 3600.0}
"""policyName of a 429 → seconds to wait. The daily limit ends at midnight in the account's own
zone; asking once an hour finds that out without knowing the zone."""

_ERROR = ErrorSchema()


def refusal(payload: object) -> Refusal:
    """What an error body says, without the values it quotes."""
    try:
        error: ErrorPayload = _ERROR.load(payload)  # type: ignore[arg-type]
    except ValidationError:
        return Refusal()
    return Refusal(
        code=code_of(error),
        field_errors=_field_errors(error),
        retry_after=WAITS.get(word(error["policy"])),
    )


def code_of(error: ErrorPayload) -> str:
    """HubSpot's own words for what is wrong, such as ``OBJECT_NOT_FOUND``."""
    words = (error["category"] or error["error_type"], error["sub_category"], error["policy"])
    return " ".join(filter(None, map(word, words)))


def described(error: ErrorPayload) -> str:
    """One line for a log or an admin."""
    fields = ", ".join(f"{name} {code}" for name, code in sorted(_field_errors(error).items()))
    return ": ".join(filter(None, (code_of(error), fields))) or "refused without a reason"


def _field_errors(error: ErrorPayload) -> dict[str, str]:
    """Property → code. HubSpot tells them in ``errors``, or as JSON inside the message."""
    told = [
        (name, detail.get("code")) for detail in _dicts(error["errors"]) for name in _in(detail)
    ]
    told += [(detail.get("name"), detail.get("error")) for detail in _quoted(error["message"])]
    return {word(name): word(code) or "refused" for name, code in told if word(name)}


def _in(detail: Mapping[str, Any]) -> list[Any]:
    """The properties that one detail is about."""
    context = detail.get("context")
    names = context.get("propertyName") if isinstance(context, dict) else None
    return names if isinstance(names, list) else [detail.get("in")]


def _quoted(message: object) -> list[dict[str, Any]]:
    """Details in a message such as ``Property values were not valid: [{…}]``."""
    _, _, quoted = message.partition(": ") if isinstance(message, str) else ("", "", "")
    try:
        return _dicts(json.loads(quoted)) if quoted.startswith("[") else []
    except (ValueError, RecursionError):
        return []


def _dicts(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def rate(headers: Mapping[str, str]) -> Rate | None:
    """https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines"""
    limit = headers.get("X-HubSpot-RateLimit-Max", "")
    interval = headers.get("X-HubSpot-RateLimit-Interval-Milliseconds", "")
    remaining = headers.get("X-HubSpot-RateLimit-Remaining", "")
    if not (_is_count(limit) and _is_count(interval) and int(limit) and int(interval)):
        return None
    return Rate(
        limit=int(limit),
        seconds=int(interval) / 1000,
        remaining=int(remaining) if _is_count(remaining) else None,
    )


def _is_count(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,7}", text) is not None


DIALECT = Dialect(crm="hubspot", title="HubSpot", refusal=refusal, rate=rate)


@dataclass(frozen=True, kw_only=True, slots=True)
class Budgets:
    """The three limits of one account. HubSpot counts search and batch associations apart from
    the rest, and tells only the rest in its headers."""

    general: RateBudget
    search: RateBudget
    associations: RateBudget

    def use_share(self, share: float) -> None:
        for budget in (self.general, self.search, self.associations):
            budget.use_share(share)


def budgets() -> Budgets:
    """The limits of the smallest account, until HubSpot tells a larger one."""
    return Budgets(
        general=RateBudget(100, 10.0),
        search=RateBudget(5, 1.0),
        associations=RateBudget(100, 10.0),
    )
