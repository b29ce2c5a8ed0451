"""HubSpot at the other end of the line: it answers what a test says and keeps what it was asked.

Every call and every answer is also held against HubSpot's official files where they are at hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
import responses

from adapters.client import Client
from adapters.hubspot.api import Api
from adapters.hubspot.dialect import DIALECT, budgets
from adapters.hubspot.session import HubSpotSession
from plugin.manifest import manifest
from plugin.ports import AccountLink
from plugin.reach import Reach
from tests import openapi

BASE = "https://crm.example.com"
TOKEN = "pat-eu1-not-a-real-token"
NOW = "2026-09-14T08:00:00.000Z"

Body = Any
Answer = Any
Respond = Callable[[Body], "Answer | Reply"]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request as it left."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Body
    headers: Mapping[str, str]
    options: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What to answer, once or (``always``) whenever it is asked."""

    respond: Respond | Answer
    status: int
    headers: Mapping[str, str]
    always: bool
    official: bool


@dataclass(frozen=True)
class Reply:
    """An answer whose status depends on what was asked."""

    status: int
    body: Answer


@dataclass
class Wire:
    """Answers are used up in the order they were planned, per method and path."""

    calls: list[Call] = field(default_factory=list)
    planned: dict[tuple[str, str], list[Planned]] = field(default_factory=dict)

    def answers(
        self,
        operation: str,
        answer: Respond | Answer = None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        always: bool = False,
        official: bool = True,
    ) -> None:
        """Plan an answer to ``"POST /path"``: a value, an exception, raw bytes, or a function of
        the body. ``official`` False where HubSpot's files do not know such an answer."""
        method, path = operation.split(" ")
        self.planned.setdefault((method, path), []).append(
            Planned(
                respond=answer,
                status=status,
                headers=headers or {},
                always=always,
                official=official,
            )
        )

    @property
    def sent(self) -> list[str]:
        return [f"{call.method} {call.path}" for call in self.calls]

    def bodies(self, operation: str) -> list[Body]:
        return [c.body for c in self.calls if f"{c.method} {c.path}" == operation]

    def receive(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], bytes]:
        url = urlsplit(request.url or "")
        body = json.loads(request.body) if request.body else None
        method = request.method or ""
        self.calls.append(
            Call(
                method=method,
                path=url.path,
                query=dict(parse_qsl(url.query)),
                body=body,
                headers=dict(request.headers),
                options=request.req_kwargs,  # type: ignore[attr-defined]
            )
        )
        waiting = self.planned.get((method, url.path))
        assert waiting, f"nobody planned {method} {url.path}"
        planned = waiting[0] if waiting[0].always else waiting.pop(0)
        answer = planned.respond(body) if callable(planned.respond) else planned.respond
        if isinstance(answer, Exception):
            raise answer
        status = planned.status
        if isinstance(answer, Reply):
            status, answer = answer.status, answer.body
        if openapi.AVAILABLE and planned.official:
            openapi.check_request(method, request.url or "", body)
            openapi.check_response(method, request.url or "", status, answer)
        content = answer if isinstance(answer, bytes) else _dumped(answer)
        return status, dict(planned.headers), content


def _dumped(answer: Answer) -> bytes:
    return b"" if answer is None else json.dumps(answer).encode()


@pytest.fixture
def wire() -> Iterator[Wire]:
    """The line. Nothing else can be reached."""
    line = Wire()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            mock.add_callback(method, re.compile(".*"), callback=line.receive)
        yield line


@dataclass
class Time:
    """A clock that only moves by sleeping."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def client(wire: Wire, time: Time) -> Client:
    return Client(
        base_url=BASE,
        token=TOKEN,
        dialect=DIALECT,
        reach=Reach(),
        clock=time.clock,
        sleep=time.sleep,
        chance=lambda: 0.5,
    )


Connect = Callable[..., HubSpotSession]


@pytest.fixture
def connect(client: Client) -> Connect:
    """A session; by default with all fields installed."""

    def connected(**link: Any) -> HubSpotSession:
        settings = {
            "crm_id": "247187887",
            "base_url": BASE,
            "token": TOKEN,
            "fields": frozenset(f.key for f in manifest().fields),
        }
        return HubSpotSession(Api(client, budgets()), AccountLink(**{**settings, **link}))

    return connected


# ------------------------------------------------------------------- HubSpot's answers


def record(crm_id: str, properties: Mapping[str, str | None] | None = None, **more: Any) -> Answer:
    return {
        "id": crm_id,
        "properties": dict(properties or {}),
        "createdAt": "2025-01-05T09:30:00.000Z",
        "updatedAt": NOW,
        "archived": False,
        **more,
    }


def batch(results: Sequence[Answer], errors: Sequence[Answer] = ()) -> Answer:
    answer: dict[str, Any] = {
        "status": "COMPLETE",
        "results": list(results),
        "startedAt": NOW,
        "completedAt": NOW,
    }
    if errors:
        answer |= {"numErrors": len(errors), "errors": list(errors)}
    return answer


def part_error(category: str, context: Mapping[str, list[str]], **more: Any) -> Answer:
    """One error of a 207."""
    return {
        "status": "error",
        "category": category,
        "message": "Something about erika@example.com is wrong",
        "context": dict(context),
        "errors": [],
        "links": {},
        **more,
    }


def problem(category: str, message: str = "", **more: Any) -> Answer:
    """The body of a 4xx or 5xx."""
    return {
        "status": "error",
        "category": category,
        "message": message or "erika@example.com is not welcome",
        "correlationId": "7b1c6f0e-0000-4000-8000-000000000000",
        **more,
    }


def refused_value(name: str, code: str = "INVALID_OPTION") -> Answer:
    details = json.dumps([{"isValid": False, "error": code, "name": name, "message": "Erika"}])
    return problem("VALIDATION_ERROR", f"Property values were not valid: {details}")


def associated(pairs: Mapping[str, Sequence[str]], type_id: int = 4) -> Answer:
    return batch(
        [
            {
                "from": {"id": source},
                "to": [
                    {
                        "toObjectId": target,
                        "associationTypes": [
                            {"category": "HUBSPOT_DEFINED", "typeId": type_id, "label": None}
                        ],
                    }
                    for target in targets
                ],
            }
            for source, targets in pairs.items()
        ]
    )
