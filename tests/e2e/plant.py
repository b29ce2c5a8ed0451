"""A whole installation on the loopback: sandbox CRM, the plugin's web server, its worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from plugin.app import Parts, create_app, open_parts
from plugin.sandbox.portal import CONTACTS, TASKS, Portal
from plugin.sandbox.records import Fault, Record, Sandbox
from plugin.sandbox.refusals import Refused
from plugin.sandbox.server import serving
from plugin.sandbox.webhooks import Outbox, Source, sign
from plugin.settings import load_settings
from plugin.storage import accounts
from plugin.storage.accounts import Account
from plugin.storage.tasks import key_in
from tests.databases import Databases
from tests.e2e import installation
from tests.e2e.installation import let_leases_run, run_command, work_until_idle
from tests.listening import free_port

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0  # seconds


class Plant:
    """What a test does with an installation. People's doings go over HTTP, like the webhooks."""

    def __init__(self, crm: Sandbox, crm_url: str, parts: Parts, environ: dict[str, str]) -> None:
        self.crm = crm
        self.crm_url = crm_url
        self.parts = parts
        self.environ = environ
        self._ahead = 0  # milliseconds

    # ------------------------------------------------------------------ people at the CRM

    def ui(self, method: str, path: str, **body: Any) -> Any:
        answer = requests.request(
            method, f"{self.crm_url}/sandbox/ui/{path}", json=body, timeout=10
        )
        assert answer.ok, answer.text
        return answer.json()

    def contact(self, first: str, last: str, **properties: str) -> str:
        values = {"firstname": first, "lastname": last, **properties}
        made: str = self.ui("POST", "contacts", properties=values)["id"]
        return made

    def change(self, contact_id: str, **properties: str) -> None:
        self.ui("PATCH", f"contacts/{contact_id}", properties=properties)

    def deal(self, *contact_ids: str, name: str = "Küche", later: bool = False, **more: str) -> str:
        values = {"dealname": name, "dealstage": "appointmentscheduled", "amount": "1000", **more}
        made: str = self.ui(
            "POST", "deals", properties=values, contacts=list(contact_ids), attach_later=later
        )["id"]
        return made

    def win(self, deal_id: str) -> None:
        self.ui("PATCH", f"deals/{deal_id}", properties={"dealstage": "closedwon"})

    def lose(self, deal_id: str) -> None:
        self.ui("PATCH", f"deals/{deal_id}", properties={"dealstage": "closedlost"})

    def bought(self, contact_id: str, name: str = "Küche", **more: str) -> str:
        deal_id = self.deal(contact_id, name=name, **more)
        self.win(deal_id)
        return deal_id

    def rate(self, contact_id: str, value: str) -> None:
        self.change(contact_id, spiral_rating=value)

    def part(self, deal_id: str, *contact_ids: str) -> None:
        self.ui("DELETE", f"deals/{deal_id}/contacts", contacts=list(contact_ids))

    def join(self, deal_id: str, *contact_ids: str) -> None:
        self.ui("POST", f"deals/{deal_id}/contacts", contacts=list(contact_ids))

    def delete(self, record_id: str, of: str = "contacts") -> None:
        self.ui("DELETE", f"{of}/{record_id}")

    def restore(self, record_id: str, of: str = "contacts") -> None:
        self.ui("POST", f"{of}/{record_id}/restore")

    def merge(self, primary_id: str, other_id: str) -> str:
        """The new contact that results."""
        made: str = self.ui("POST", f"contacts/{primary_id}/merge", other=other_id)["id"]
        return made

    def erase(self, contact_id: str) -> None:
        self.ui("POST", f"contacts/{contact_id}/gdpr")

    def steer(self, path: str, body: Any = None) -> Any:
        answer = requests.post(f"{self.crm_url}/sandbox/{path}", json=body or {}, timeout=10)
        assert answer.ok, answer.text
        return answer.json()

    def unheard(self, *, on: bool = True) -> None:
        """From now on webhooks are lost; or no longer."""
        self.steer("webhooks/lose", {"events": 1_000_000 if on else 0})

    def tell(self, *events: Mapping[str, Any]) -> None:
        """Deliver events that the sandbox itself does not send."""
        common = {
            "portalId": self.crm.portal.portal_id,
            "appId": self.crm.portal.app_id,
            "occurredAt": int(self.present().timestamp() * 1000),
        }
        assert self.post(json.dumps([{**common, **one} for one in events]).encode()) == 204

    def post(self, body: bytes, path: str = "/webhooks/hubspot", secret: str = "") -> int:
        """A signed delivery; returns the status of the answer."""
        url = self.environ["PUBLIC_URL"] + path
        at = str(int(time.time() * 1000))
        signature = sign(secret or self.crm.portal.secret, "POST", url, body, at)
        headers = {"X-HubSpot-Request-Timestamp": at, "X-HubSpot-Signature-v3": signature}
        return requests.post(url, data=body, headers=headers, timeout=10).status_code

    def fault(self, **fault: Any) -> None:
        with self.crm.lock:
            self.crm.faults.append(Fault(**fault))

    # ------------------------------------------------------------------------------ time

    def travel(self, *, days: int) -> None:
        with self.crm.lock:
            self.crm.clock.set(self.crm.clock.now() + timedelta(days=days))

    def set_clock(self, at: datetime) -> None:
        self.crm.clock.set(at)

    def present(self) -> datetime:
        return self.crm.clock.now()

    def wait(self, *, minutes: float = 0, hours: float = 0) -> None:
        """Let time pass for leases, retries and sweeps; the calendar is ``travel``'s."""
        passed = round((hours * 60 + minutes) * 60_000)
        self._ahead += passed
        let_leases_run(self.parts.database, passed)

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self._ahead

    # ---------------------------------------------------------------------------- working

    def deliver(self) -> None:
        """Wait until the CRM has delivered all it had to say."""
        deadline = time.monotonic() + PATIENCE
        while not self.crm.outbox.status()["idle"]:
            assert time.monotonic() < deadline, self.crm.outbox.status()
            time.sleep(0.01)

    def work(self) -> None:
        """``worker --until-idle``, in this process."""
        work_until_idle(self.parts, now_ms=self.now_ms, utc_now=self.present)

    def settle(self) -> None:
        """Deliver and work until nothing moves any more."""
        for _ in range(5):
            self.deliver()
            self.work()
            idle = self.crm.outbox.status()["idle"]
            # What came while the worker was ending is idle for the CRM and not for us.
            if idle and not self.count("SELECT count(*) FROM delivery WHERE state = 'new'"):
                return

    def command(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """``python -m plugin …`` in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "plugin", *words],
            cwd=ROOT,
            env={**os.environ, **self.environ, **environ},
            input="",
            capture_output=True,
            text=True,
            timeout=120,
        )

    def call(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """The same within this process."""
        return run_command(words, environ={**self.environ, **environ}, now_ms=self.now_ms)

    def connect(self, *options: str) -> None:
        for words in (("connect", "hubspot", *options), ("install", "hubspot")):
            done = self.call(*words)
            assert done.returncode == 0, done.stderr

    # ----------------------------------------------------------------------------- seeing

    def record(self, contact_id: str) -> Record:
        return self.crm.get(CONTACTS, contact_id)

    def fields(self, contact_id: str, *names: str) -> dict[str, str | None]:
        """Fields as the CRM holds them now, without our prefix."""
        record = self.record(contact_id)
        with self.crm.lock:
            return {name: record.value(f"spiral_{name}") for name in names}

    def stage(self, contact_id: str) -> str | None:
        return self.fields(contact_id, "stage")["stage"]

    def tasks(self, contact_id: str | None = None) -> list[tuple[str, str]]:
        """(kind, open|done) of our tasks in the CRM, of one contact or of all."""
        return sorted((kind, state) for kind, state, _ in self._tasks(contact_id))

    def open_tasks(self, contact_id: str | None = None) -> list[str]:
        return [kind for kind, state in self.tasks(contact_id) if state == "open"]

    def keys(self) -> list[str]:
        """The key of every task in the CRM, open or done."""
        return sorted(key for _, _, key in self._tasks(None))

    def task_records(self) -> Mapping[str, Record]:
        with self.crm.lock:
            return {r.id: r for r in self.crm._records["tasks"].values() if not r.archived_at}

    def _tasks(self, contact_id: str | None) -> Iterator[tuple[str, str, str]]:
        with self.crm.lock:
            for record in self.task_records().values():
                body = record.value("hs_task_body") or ""
                key = key_in(body)
                assert key, f"a task without marker: {body}"
                on = self._on(record)
                if contact_id is not None and contact_id not in on:
                    continue
                state = "done" if record.value("hs_task_status") == "COMPLETED" else "open"
                yield body.rsplit("[spiral:", 1)[1].split(":")[0], state, key

    def _on(self, record: Record) -> list[str]:
        """The contacts a task stands on."""
        return [one for one, _ in self.crm.associations.of(record.ref, CONTACTS.plural)]

    def complete(self, kind: str, contact_id: str) -> None:
        """A rep completes the open task of this kind on this contact."""
        with self.crm.lock:
            for record in self.task_records().values():
                body = record.value("hs_task_body") or ""
                on = self._on(record)
                if (
                    f"[spiral:{kind}:" in body
                    and contact_id in on
                    and record.value("hs_task_status") != "COMPLETED"
                ):
                    task_id = record.id
                    break
            else:
                raise AssertionError(f"no open {kind} on {contact_id}")
        self.ui("POST", f"{TASKS.plural}/{task_id}/complete")

    def account(self) -> Account:
        with self.parts.database.read() as connection:
            return accounts.all_accounts(connection)[0]

    def count(self, query: str, **values: Any) -> int:
        """One number out of the plugin's database."""
        with self.parts.database.read() as connection:
            found: int = connection.execute(sa.text(query), values).scalar_one()
            return found

    def rows(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        with self.parts.database.read() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query), values)]


def merge_of(primary: str, other: str, into: str) -> dict[str, Any]:
    """HubSpot's event of two contacts that became one, by ids."""
    return {
        "subscriptionType": "contact.merge",
        "objectId": int(primary),
        "primaryObjectId": int(primary),
        "mergedObjectIds": [int(other)],
        "newObjectId": int(into),
    }


def lock(monkeypatch: pytest.MonkeyPatch, contact_id: str) -> None:
    """The CRM lets nobody but people change this record; of a batch it takes the others (207)."""
    whole = Sandbox.update

    def update(self: Sandbox, record: Record, raw: Mapping[str, object], by: Source) -> Record:
        if record.id == contact_id and by.type == "INTEGRATION":
            raise Refused(400, "VALIDATION_ERROR", "This record is locked")
        return whole(self, record, raw, by)

    monkeypatch.setattr(Sandbox, "update", update)


@contextmanager
def running(databases: Databases, portal: Portal | None = None, **environ: str) -> Iterator[Plant]:
    """An installation with a fresh database; nothing is connected yet."""
    portal = portal or Portal(rate_limit=100_000)  # a test has no time to be modest
    port = free_port()
    public_url = f"http://127.0.0.1:{port}"
    outbox = Outbox(
        portal,
        target=f"{public_url}/webhooks/hubspot",
        public_url=f"{public_url}/webhooks/hubspot",
        retry_unit=0.05,
    )
    crm = Sandbox(portal, outbox=outbox)
    with ExitStack() as stack:
        crm_url = stack.enter_context(serving(crm))
        settings = {
            "DATABASE_URL": stack.enter_context(databases.fresh()),
            "SECRET_KEY": "a-test-key-of-32-characters-long",
            "PUBLIC_URL": public_url,
            "HUBSPOT_CLIENT_SECRET": portal.secret,
            "HUBSPOT_APP_ID": str(portal.app_id),
            "CRM_NETWORKS": "127.0.0.0/8",
            "HUBSPOT_API_URL": crm_url,
            "HUBSPOT_TOKEN": portal.token,
            **environ,
        }
        parts = open_parts(load_settings(settings))
        try:
            with installation.serving(create_app(parts.settings), port):
                yield Plant(crm, crm_url, parts, settings)
        finally:
            parts.database.close()
