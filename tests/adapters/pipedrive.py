"""A Pipedrive company at the other end of the line, without a server.

Every call and every answer is also held against Pipedrive's official files where they are at
hand; a test may put another answer in place of the company's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
import responses

from adapters.pipedrive import PipedriveAdapter
from plugin.ports import Delivery, Parsed, Received, Session
from tests.payloads.pipedrive import spec
from tests.payloads.pipedrive.stand_in import Crm

BASE = "https://acme-sandbox.pipedrive.com"
TARGET = "https://spiral.example.com/webhooks/pipedrive/an-unguessable-token"
SECRET = "a-random-secret-of-ours"
NOON = datetime(2026, 9, 14, 12, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request as it left."""

    operation: str
    query: Mapping[str, str]
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer in place of the company's own, once, to a call that this matches."""

    on: str
    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Company:
    """``crm`` is the company, ``now`` its time and ours, ``calls`` what it was asked."""

    def __init__(self) -> None:
        self.now = NOON
        self.crm = Crm()
        self.crm.clock = lambda: self.now
        self.crm.url = BASE
        self.crm.tells_budget = False
        self.adapter = PipedriveAdapter(lambda: self.now)
        self.calls: list[Call] = []
        self.replies: list[Reply | Exception] = []
        self.facts: dict[str, str] = {}
        self.fields: frozenset[str] | None = None
        self._sessions = 0

    # ------------------------------------------------------------------------ connected

    def session(self, **more: Any) -> Session:
        """Connected anew."""
        link = {"fields": self.fields, "facts": self.facts, **more}
        return self.adapter.connect(self.crm.link(**link))

    def install(self, **more: Any) -> Session:
        """Our fields are there; a session that knows them."""
        session = self.session(**more)
        self.facts = dict(session.install(session.plan_install()))
        self.fields = session.installed_fields()
        self.listen()
        self.calls.clear()
        return self.session(**more)

    def listen(self) -> None:
        self.session().subscribe(TARGET, [SECRET])
        self.crm.deliveries.clear()

    def code(self, key: str) -> str:
        return self.facts[f"field:{key}"]

    def later(self, **time: float) -> None:
        self.now += timedelta(**time)

    # -------------------------------------------------------------------------- webhooks

    def deliver(self, *, received_after: float = 0) -> list[Parsed]:
        """What is waiting is taken, some seconds later, and parsed."""
        waiting, self.crm.deliveries[:] = list(self.crm.deliveries), []
        found = []
        for one in waiting:
            headers = {name.lower(): value for name, value in one.headers.items()}
            delivery = Delivery(method="POST", url=one.url, headers=headers, body=one.body)
            self.adapter.verify(delivery, secrets=[SECRET], now=self.now)
            found.append(self.parse(one.body, received_after=received_after))
        return found

    def parse(self, body: bytes, *, received_after: float = 0) -> Parsed:
        received = Received(
            body=body,
            received_at=self.now + timedelta(seconds=received_after),
            account_crm_id=self.crm.account_crm_id,
            facts=self.facts,
        )
        return self.adapter.parse(received)

    # -------------------------------------------------------------------------- the line

    @property
    def asked(self) -> list[str]:
        """``METHOD /path``, and the ids asked for in a list, since the last look."""
        found = [
            f"{call.operation} {call.query['ids']}" if "ids" in call.query else call.operation
            for call in self.calls
        ]
        self.calls.clear()
        return found

    @property
    def cost(self) -> int:
        """What the calls since the last look cost."""
        cost = sum(self.crm.cost(*call.operation.split(" ", 1), call.query) for call in self.calls)
        self.calls.clear()
        return cost

    def bodies(self, operation: str) -> list[Any]:
        return [call.body for call in self.calls if re.search(operation, call.operation)]

    def receive(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], bytes]:
        url, method = urlsplit(request.url or ""), request.method or ""
        body = json.loads(request.body) if request.body else None
        query = dict(parse_qsl(url.query))
        headers = {name.lower(): value for name, value in request.headers.items()}
        operation = f"{method} {url.path}"
        self.calls.append(Call(operation=operation, query=query, body=body, headers=headers))
        place = f"{url.path}?{url.query}" if url.query else url.path
        if spec.AVAILABLE:
            spec.check_request(method, place, body)
        if reply := self._reply(operation):
            content = reply.body if isinstance(reply.body, bytes) else _dumped(reply.body)
            return reply.status, dict(reply.headers), content
        status, answer, more = self.crm.answer(method, url.path, query, body, headers)
        if spec.AVAILABLE:
            spec.check_answer(method, place, status, answer)
        return status, dict(more), _dumped(answer)

    def _reply(self, operation: str) -> Reply | None:
        for reply in self.replies:
            if isinstance(reply, Exception):
                self.replies.remove(reply)
                raise reply
            if re.search(reply.on, operation):
                self.replies.remove(reply)
                return reply
        return None


def _dumped(answer: Any) -> bytes:
    return b"" if answer is None else json.dumps(answer).encode()


@contextmanager
def company() -> Iterator[Company]:
    """A company on the line. Nothing else can be reached."""
    opened = Company()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            mock.add_callback(method, re.compile(".*"), callback=opened.receive)
        yield opened
