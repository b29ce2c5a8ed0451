"""Several accounts on one installation, each with a CRM of its own; real processes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import sqlalchemy as sa

from plugin import clock
from plugin.sandbox.portal import CONTACTS, Portal
from plugin.sandbox.records import Sandbox
from plugin.sandbox.server import create_sandbox
from plugin.sandbox.webhooks import sign
from plugin.storage.database import Database
from plugin.storage.tables import delivery, hint
from tests.e2e.installation import run_command
from tests.faults.processes import Process, wait_for_web
from tests.faults.weather import Environ, Start, Weather, serving, wait_until
from tests.listening import free_port

PATIENCE = 60.0  # seconds until something that has to happen has happened
FIRST_PORTAL = 4_711_001


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """One account: its CRM, the weather there, and its row."""

    crm: Sandbox
    weather: Weather
    id: int

    def contacts(self, number: int) -> list[str]:
        """So many people who have just bought; nobody tells the plugin."""
        person = self.crm.person()
        with self.crm.lock:
            made = []
            for n in range(number):
                values = {"firstname": "Anna", "lastname": f"Sommer {n}", "spiral_rating": "angry"}
                made.append(self.crm.create(CONTACTS, values, person).id)
            return made

    def decided(self, contact_ids: Iterable[str]) -> list[str]:
        """Those whose stage has been written."""
        with self.crm.lock:
            return [one for one in contact_ids if self.crm.get(CONTACTS, one).value("spiral_stage")]

    def events(self, contact_ids: Iterable[str]) -> bytes:
        """A delivery that tells of new contacts."""
        portal = self.crm.portal
        common = {
            "portalId": portal.portal_id, "appId": portal.app_id, "attemptNumber": 0,
            "subscriptionId": 1, "occurredAt": int(time.time() * 1000),
            "subscriptionType": "contact.creation",
        }  # fmt: skip
        return json.dumps(
            [{**common, "eventId": n, "objectId": int(one)} for n, one in enumerate(contact_ids)]
        ).encode()


class Street:
    """The installation."""

    def __init__(self, environ: dict[str, str], folder: Path, port: int) -> None:
        self.environ = environ
        self.database = Database(environ["DATABASE_URL"])
        self._folder = folder
        self._port = port
        self._running: list[Process] = []
        self._secret = ""

    def connect(
        self, stack: ExitStack, number: int, around: Callable[[Any], Any] = lambda api: api
    ) -> Neighbour:
        """One more account; ``around`` may stand between the plugin and its CRM."""
        portal = Portal(portal_id=FIRST_PORTAL + number, rate_limit=100_000)
        self._secret = portal.secret
        crm = Sandbox(portal)
        weather = Weather(around(create_sandbox(crm)))
        stack.callback(weather.clear)
        url = stack.enter_context(serving(weather))
        environ = {**self.environ, "HUBSPOT_TOKEN": portal.token}
        for words in (
            ("connect", "hubspot", "--url", url, "--fallback-owner", "64492917"),
            ("install", "hubspot", "--account", str(portal.portal_id)),
        ):
            ran = run_command(words, environ=environ, now_ms=clock.now_ms)
            assert ran.returncode == 0, ran.stderr
        with self.database.read() as connection:
            row = connection.execute(
                sa.text("SELECT id FROM account WHERE crm_id = :one"),
                {"one": str(portal.portal_id)},
            )
            return Neighbour(crm=crm, weather=weather, id=row.scalar_one())

    def web(self) -> None:
        command = ("gunicorn", "wsgi:app", "--bind", f"127.0.0.1:{self._port}")
        self._start("web", command)
        wait_for_web(self._port)

    def worker(self) -> Process:
        """``python -m plugin worker``, as it is."""
        return self._start(f"worker{len(self._running)}", ("plugin", "worker"))

    def _start(self, name: str, command: tuple[str, ...]) -> Process:
        process = Process(name, command, self.environ, self._folder)
        self._running.append(process)
        process.start()
        return process

    def post(self, body: bytes) -> None:
        """A delivery of the app, signed."""
        url = f"{self.environ['PUBLIC_URL']}/webhooks/hubspot"
        at = str(int(time.time() * 1000))
        headers = {
            "X-HubSpot-Request-Timestamp": at,
            "X-HubSpot-Signature-v3": sign(self._secret, "POST", url, body, at),
        }
        answer = requests.post(url, data=body, headers=headers, timeout=30)
        assert answer.status_code == 204, answer.text

    def post_all(self, bodies: Iterable[bytes]) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self.post, bodies))

    def waiting(self, account: Neighbour) -> dict[str, str | None]:
        """The contacts of this account that have to be looked at, and why they are parked."""
        with self.database.read() as connection:
            rows = connection.execute(
                sa.select(hint.c.record_id, hint.c.parked).where(hint.c.account_id == account.id)
            )
            return {row.record_id: row.parked for row in rows}

    def undigested(self) -> int:
        with self.database.read() as connection:
            count = sa.select(sa.func.count()).where(delivery.c.state == "new")
            return connection.scalar(count) or 0

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.database.read() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query))]

    def close(self) -> None:
        for one in self._running:
            one.kill()
        self.database.close()


@contextmanager
def street(url: str, folder: Path) -> Iterator[tuple[Street, ExitStack]]:
    """An installation without accounts; the stack ends what is around them."""
    port = free_port()
    environ = {
        "DATABASE_URL": url,
        "SECRET_KEY": "a-test-key-of-32-characters-long",
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "CRM_NETWORKS": "127.0.0.0/8",
        "HUBSPOT_CLIENT_SECRET": Portal().secret,
        "HUBSPOT_APP_ID": str(Portal().app_id),
    }
    with ExitStack() as stack:
        installed = Street(environ, folder, port)
        # First the weather clears, so that nobody hangs; then the processes end.
        with ExitStack() as around:
            stack.callback(installed.close)
            yield installed, around


def soon(holds: Callable[[], bool]) -> None:
    """It becomes true."""
    assert wait_until(holds, seconds=PATIENCE), "it does not happen"


def refusing(contact_id: str, fields: str = "contacts/batch/update") -> Callable[[Any], Any]:
    """Around a CRM that refuses every change of this contact, and whatever comes with it."""

    def around(api: Any) -> Any:
        def app(environ: Environ, start: Start) -> Iterable[bytes]:
            body = environ["wsgi.input"].getvalue()
            if environ["PATH_INFO"].endswith(fields) and contact_id.encode() in body:
                start("400 BAD REQUEST", [("Content-Type", "application/json")])
                return [b'{"category": "VALIDATION_ERROR", "message": "no"}']
            answer: Iterable[bytes] = api(environ, start)
            return answer

        return app

    return around
