"""What an API call passes before any work is done: token, scopes, rate limit, planned faults."""

from __future__ import annotations

import socket
import time
import uuid
from collections import deque
from collections.abc import Mapping
from typing import Any, NoReturn

from flask import Request

from plugin.sandbox.portal import DEALS, object_type
from plugin.sandbox.records import Fault, Sandbox
from plugin.sandbox.refusals import Refused

WINDOW = 10.0
"""Seconds the burst limit is counted over."""
SEARCHES = 5
"""Searches a second."""
DAILY = 250_000

Answer = tuple[int, Any, Mapping[str, str]]
"""Status, JSON body (None: no body), headers."""


def authenticate(sandbox: Sandbox, request: Request) -> None:
    """Raises ``Refused`` (401) without the account's token."""
    if request.headers.get("Authorization") != f"Bearer {sandbox.portal.token}":
        raise Refused(
            401,
            "INVALID_AUTHENTICATION",
            "Authentication credentials not found. This API supports OAuth 2.0 authentication.",
        )


def authorize(sandbox: Sandbox, need: str, types: Mapping[str, str]) -> None:
    """Raises ``Refused`` (403) unless one of the scopes a call needs was granted.

    ``need``: ``objects.read``, ``schemas.write`` …, a whole scope, or "" for none.
    ``types``: the object types in the call's path; one granted is enough.
    """
    accepted = _accepted(need, [object_type(name).plural for name in types.values()])
    if accepted and not accepted & sandbox.portal.scopes:
        raise Refused(
            403,
            "MISSING_SCOPES",
            "This app hasn't been granted all required scopes to make this call.",
            errors=[
                {
                    "message": "One or more of the following scopes are required.",
                    "context": {"requiredGranularScopes": sorted(accepted)},
                }
            ],
        )


def _accepted(need: str, types: list[str]) -> set[str]:
    if not need or need.startswith("crm."):
        return {need} - {""}
    room, verb = need.split(".")
    # tasks have no scopes of their own: those of contacts serve
    homes = {name if name == DEALS.plural else "contacts" for name in types} or {"contacts"}
    rooms = {room} | ({"objects"} if need == "schemas.read" else set())
    return {f"crm.{one}.{home}.{verb}" for one in rooms for home in homes}


class Meter:
    """HubSpot's burst limit, told in headers and, where asked for, enforced.

    Searches have a limit of their own and tell nothing; associations batches are exempt.
    """

    def __init__(self, limit: int, *, enforce: bool) -> None:
        self._limit = limit
        self._enforce = enforce
        self._calls: deque[float] = deque()
        self._searches: deque[float] = deque()
        self._today = 0

    def count(self, path: str) -> tuple[dict[str, str], Answer | None]:
        """(headers of the answer, the 429 to give instead of it)."""
        now = time.monotonic()
        self._today += 1
        if path.endswith("/search"):
            over = self._over(self._searches, SEARCHES, 1.0, now)
            return {}, _too_many("SECONDLY") if over else None
        if path.startswith("/crm/associations/"):
            return {}, None
        over = self._over(self._calls, self._limit, WINDOW, now)
        headers = {
            "X-HubSpot-RateLimit-Max": str(self._limit),
            "X-HubSpot-RateLimit-Remaining": str(max(0, self._limit - len(self._calls))),
            "X-HubSpot-RateLimit-Interval-Milliseconds": str(int(WINDOW * 1000)),
            "X-HubSpot-RateLimit-Daily": str(DAILY),
            "X-HubSpot-RateLimit-Daily-Remaining": str(max(0, DAILY - self._today)),
        }
        return headers, _too_many("TEN_SECONDLY_ROLLING") if over else None

    def _over(self, calls: deque[float], limit: int, window: float, now: float) -> bool:
        while calls and calls[0] <= now - window:
            calls.popleft()
        if self._enforce and len(calls) >= limit:
            return True
        calls.append(now)
        return False


def _too_many(policy: str) -> Answer:
    body = {
        "status": "error",
        "message": f"You have reached your {policy.lower()} limit.",
        "errorType": "RATE_LIMIT",
        "correlationId": str(uuid.uuid4()),
        "policyName": policy,
    }
    return 429, body, {}


def take_fault(sandbox: Sandbox, method: str, path: str) -> Fault | None:
    """The first planned fault that meets this call; it happens once."""
    for fault in sandbox.faults:
        if fault.meets(method, path):
            sandbox.faults.remove(fault)
            return fault
    return None


def faulty(fault: Fault) -> Answer:
    """The answer a fault gives in place of the work."""
    status = fault.status or 500
    if fault.body is not None:
        return status, dict(fault.body), fault.headers
    if status == 429:
        too_many = _too_many("TEN_SECONDLY_ROLLING")
        return 429, too_many[1], fault.headers
    refused = Refused(status, "UNAVAILABLE" if status >= 500 else "CONFLICT", "A planned fault")
    return status, refused.as_body(), fault.headers


def cut(request: Request) -> NoReturn:
    """End the connection without an answer, as when a line breaks after the work was done."""
    connection = request.environ.get("werkzeug.socket")
    if isinstance(connection, socket.socket):
        connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError("cut by a planned fault")
