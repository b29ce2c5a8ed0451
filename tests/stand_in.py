"""What a stand-in CRM must be able to do, and what all of them have in common.

``tests/payloads/<crm>/stand_in.py`` has a class ``Crm`` that speaks one CRM's wire over real HTTP
on the loopback, from its memory. The conformance suite, the end-to-end tests and the benchmark
drive it by the methods here: people's doings, what can be seen, bad weather, webhooks.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests
from flask import Flask, Response, request
from werkzeug.serving import WSGIRequestHandler

from plugin.ports import AccountLink
from plugin.reach import read_networks
from tests.listening import listening

NEARBY = read_networks("127.0.0.0/8")
"""Where stand-ins are: ``CRM_NETWORKS`` of the tests."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request as it came, and how it was answered. ``path`` has no query; ``cost`` is in the
    unit of the CRM's daily budget, where it has one."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    status: int
    cost: int = 0


@dataclass(kw_only=True)
class Fault:
    """Bad weather for the next ``times`` requests whose ``METHOD /path`` matches ``on`` (a regular
    expression, searched), after the first ``spared`` of them went well.

    Answers with ``status``, ``headers`` and ``body`` instead of carrying the request out; with
    ``lost`` the request is carried out and the connection cut instead of an answer, with ``odd``
    it is carried out and no id in the answer is one.
    """

    on: str = ""
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    lost: bool = False
    odd: bool = False
    times: int = 1
    spared: int = 0


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """One delivery as the CRM makes it: exact bytes, and the headers that make it authentic.
    ``url`` is where it was asked to be sent to."""

    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A task as somebody sees it in the CRM; ``body`` as plain text."""

    crm_id: str
    subject: str
    body: str
    contact_ids: tuple[str, ...]
    owner_id: str | None
    due_on: str
    """ISO day."""
    done: bool


class Unsupported(Exception):
    """This CRM has no such thing; its declaration says so, too."""


class StandIn(ABC):
    """A CRM in memory. Everything is guarded by ``lock``; ``clock`` tells its time (UTC)."""

    name: str
    """As in the registry."""
    account_crm_id: str
    """What the adapter is to make of this account's id, once it is served."""
    token: str
    """A good API token."""
    admin: str = ""
    """``user:password`` of an administrator, where the CRM needs one for fields."""
    shared_secret: str = ""
    """What signs deliveries where accounts share an address (``Webhooks.PROJECT``)."""
    wrong_token_answers: tuple[int, ...] = (401,)
    """What it answers a bad token with."""
    tells_completion: bool = True
    """Whether a task tells when it was completed, whatever became of it since."""
    owner_id: str
    """An active user's id, as owner fields hold it; there is a second one, ``other_owner_id``."""
    other_owner_id: str

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.deliveries: list[Outgoing] = []
        self.url = ""

    # ------------------------------------------------------------------- people's doings

    @abstractmethod
    def contact(self, first: str, last: str, *, email: str = "", phone: str = "",
                company: str = "", city: str = "", owner: str | None = None) -> str:  # fmt: skip
        """A rep makes a contact; its id."""

    @abstractmethod
    def change(self, contact_id: str, **values: str) -> None:
        """A rep fills fields: our fields by manifest key with values in the manifest's form, and
        ``first``, ``last``, ``email``, ``phone``, ``company``, ``city``, ``owner``."""

    @abstractmethod
    def deal(self, *contact_ids: str, name: str = "Küche", amount: str = "1000",
             currency: str = "EUR") -> str:  # fmt: skip
        """A rep opens a deal; the first contact is its primary one where the CRM has such. EUR is
        the account's own currency, CHF another that it knows."""

    @abstractmethod
    def win(self, deal_id: str) -> None: ...

    @abstractmethod
    def lose(self, deal_id: str) -> None: ...

    @abstractmethod
    def delete(self, contact_id: str) -> None: ...

    @abstractmethod
    def delete_deal(self, deal_id: str) -> None: ...

    def archive(self, deal_id: str) -> None:
        """A rep puts a deal aside, which is not deleted."""
        raise Unsupported

    def merge(self, keep: str, drop: str) -> str:
        """A rep merges two contacts; the id of the one that is left."""
        raise Unsupported

    def erase(self, contact_id: str) -> None:
        """A privacy deletion."""
        raise Unsupported

    @abstractmethod
    def complete(self, task_id: str) -> None:
        """A rep completes a task."""

    @abstractmethod
    def deactivate(self, owner_id: str) -> None:
        """An admin switches a user off, who has left the company."""

    @abstractmethod
    def take_field_away(self, key: str) -> None:
        """An admin deletes one of our fields."""

    @abstractmethod
    def make_foreign_field(self, key: str) -> None:
        """An admin had made a field of this name (or label, where that is how fields are found)
        before the plugin came, of another type."""

    # ------------------------------------------------------------------------ seeing

    @abstractmethod
    def value(self, contact_id: str, key: str) -> str:
        """One of our fields in the manifest's own form; "" where empty."""

    @abstractmethod
    def referrer(self, contact_id: str) -> str | None:
        """The contact that the referrer link leads to; None where there is none, or no links."""

    @abstractmethod
    def foreign(self, contact_id: str) -> Mapping[str, object]:
        """All that the contact holds and that is not ours: names, owner, others' fields (not the
        times the CRM itself keeps)."""

    @abstractmethod
    def tasks(self) -> list[Seen]:
        """All tasks there are, the oldest first."""

    @abstractmethod
    def schema(self) -> Mapping[str, object]:
        """Every custom field of contacts, by the CRM's own name, comparable."""

    @abstractmethod
    def subscriptions(self) -> list[str]:
        """The addresses webhooks go to now, sorted."""

    @abstractmethod
    def drop_subscriptions(self) -> None:
        """The CRM gives our webhooks up by itself, as some do."""

    def damages(self) -> Mapping[str, Callable[[], None]]:
        """Whatever else can go wrong with webhooks that the plugin made, in words → does it to all
        of them. None where people make them by hand."""
        return {}

    def spend_budget(self, until: datetime) -> None:
        """Others use up the rest of the day's budget; the CRM's next day begins at ``until``."""
        raise Unsupported

    # ----------------------------------------------------------------------- webhooks

    def subscribe_by_hand(self, target: str) -> str:
        """An admin makes the webhook in the CRM; the secret it shows."""
        raise Unsupported

    def flush(self) -> list[int]:
        """Send what is waiting, in order; the statuses of the answers. For tests that want to
        meddle, ``deliveries`` is what is waiting."""
        with self.lock:
            waiting, self.deliveries[:] = list(self.deliveries), []
        return [
            requests.post(one.url, data=one.body, headers=dict(one.headers), timeout=10).status_code
            for one in waiting
        ]

    # ------------------------------------------------------------------------ the wire

    def link(self, **more: Any) -> AccountLink:
        """How an adapter reaches this account with all rights."""
        return AccountLink(
            **{
                "crm_id": self.account_crm_id, "base_url": self.url, "token": self.token,
                "admin": self.admin, "rate_share": 1000.0, "language": "en",
                "networks": NEARBY, **more,
            }
        )  # fmt: skip

    @abstractmethod
    def answer(self, method: str, path: str, query: Mapping[str, str], body: Any,
               headers: Mapping[str, str]) -> tuple[int, Any, Mapping[str, str]]:  # fmt: skip
        """Carry a request out: status, what is sent as JSON (bytes are sent as they are, None
        sends nothing), headers. ``path`` is without the base URL. Called under ``lock``."""

    def cost(self, method: str, path: str, query: Mapping[str, str]) -> int:
        """In the unit of the CRM's daily budget."""
        return 0

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve until the block ends; the base URL."""
        with listening(self._app(), handler=_Connection) as self.url:
            self.served()
            yield self.url

    def served(self) -> None:  # noqa: B027 (most have nothing to do)
        """``url`` is known now."""

    def _app(self) -> Flask:
        app = Flask("stand_in", static_folder=None)
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]

        @app.route("/", defaults={"path": ""}, methods=methods)
        @app.route("/<path:path>", methods=methods)
        def take(path: str) -> Response:
            return self._take()

        return app

    def _take(self) -> Response:
        raw = request.get_data()
        body = json.loads(raw) if raw else None
        query = request.args.to_dict()
        headers = {name.lower(): value for name, value in request.headers}
        with self.lock:
            fault = self._fault(f"{request.method} {request.path}")
            if fault and not (fault.lost or fault.odd):
                response = Response(fault.body, fault.status, dict(fault.headers))
            else:
                status, content, more = self.answer(
                    request.method, request.path, query, body, headers
                )
                response = _response(status, _without_ids(content) if fault else content, more)
            self.calls.append(
                Call(
                    method=request.method, path=request.path, query=query, headers=headers,
                    body=body, status=response.status_code,
                    cost=self.cost(request.method, request.path, query),
                )
            )  # fmt: skip
        if fault and fault.lost:
            _cut()
        return response

    def _fault(self, operation: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and re.search(fault.on, operation):
                if fault.spared:
                    fault.spared -= 1
                    continue
                fault.times -= 1
                return fault
        return None


def _without_ids(content: Any) -> Any:
    if isinstance(content, bytes):
        return json.dumps(_without_ids(json.loads(content))).encode()
    if isinstance(content, dict):
        return {key: None if key == "id" else _without_ids(value) for key, value in content.items()}
    return [*map(_without_ids, content)] if isinstance(content, list) else content


def _response(status: int, content: Any, headers: Mapping[str, str]) -> Response:
    if content is None:
        raw = b""
    elif isinstance(content, bytes):
        raw = content
    else:
        raw = json.dumps(content).encode()
    return Response(raw, status, {"Content-Type": "application/json", **headers})


def _cut() -> None:
    """Reset the connection of the request in hand: no answer comes."""
    connection: socket.socket = request.environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RDWR)


class _Connection(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass

    def log_error(self, format: str, *args: Any) -> None:  # noqa: A002 (its name there)
        pass
