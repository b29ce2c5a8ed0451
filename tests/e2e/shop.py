"""The plugin beside any CRM: its web server and worker, and the CRM's stand-in.

What ``plant.py`` is for the sandbox with all its doings, this is for every CRM with those that all
of them have in common.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from unittest.mock import patch

import sqlalchemy as sa

from plugin import clock
from plugin.app import Parts, create_app, open_parts
from plugin.ports import Adapter, Webhooks
from plugin.registry import adapters
from plugin.settings import load_settings
from plugin.storage import accounts
from plugin.storage.accounts import Account
from plugin.storage.tasks import key_in
from tests.databases import Databases
from tests.e2e.installation import let_leases_run, run_command, serving, work_until_idle
from tests.listening import free_port
from tests.stand_in import Seen, StandIn

SHARED_SECRET = "a-secret-that-accounts-share"


class Shop:
    """What a test does with an installation beside one CRM."""

    def __init__(self, crm: StandIn, adapter: Adapter, parts: Parts, env: dict[str, str]) -> None:
        self.crm = crm
        self.adapter = adapter
        self.parts = parts
        self.environ = env
        self._ahead = timedelta()
        crm.clock = self.present

    # ------------------------------------------------------------------------------ time

    def present(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + round(self._ahead.total_seconds() * 1000)

    def wait(self, **time: float) -> None:
        """Let time pass: for the CRM, for the model, for leases and sweeps."""
        passed = timedelta(**time)
        self._ahead += passed
        let_leases_run(self.parts.database, round(passed.total_seconds() * 1000))

    # -------------------------------------------------------------------------- commands

    def command(self, *words: str, typed: str = "", code: int = 0) -> str:
        """``python -m plugin …``, in this process; what it printed, or said where it is to end
        with another code."""
        ran = run_command(words, environ=self.environ, now_ms=self.now_ms, stdin=io.StringIO(typed))
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran.stderr if code else ran.stdout

    def connect(self, *options: str) -> None:
        """Connect, see to the webhooks, and install, as the CRM's page tells an admin to."""
        name = self.crm.name
        told = self.command("connect", name, *options, typed=f"{self.crm.token}\n")
        target = told.partition("Webhooks go to ")[2].split()[0]
        match self.adapter.declaration.webhooks:
            case Webhooks.PROJECT:
                self.crm.subscribe_by_hand(target)
            case Webhooks.BY_HAND:
                secret = self.crm.subscribe_by_hand(target)
                self.command("secret", name, typed=f"{secret}\n")
        self.command("install", name)

    # --------------------------------------------------------------------------- working

    def work(self) -> None:
        """``worker --until-idle``, in this process."""
        work_until_idle(self.parts, now_ms=self.now_ms, utc_now=self.present)

    def settle(self) -> None:
        """Deliver and work until nothing moves any more."""
        for _ in range(6):
            answers = self.crm.flush()
            assert set(answers) <= {204}, answers
            self.work()
            if not self.crm.deliveries:
                return
        raise AssertionError("the CRM and the plugin never come to rest")

    # ---------------------------------------------------------------------------- seeing

    def account(self) -> Account:
        with self.parts.database.read() as connection:
            return accounts.all_accounts(connection)[0]

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with self.parts.database.read() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query))]

    def stage(self, contact_id: str) -> str:
        return self.crm.value(contact_id, "spiral_stage")

    def tasks(self, contact_id: str | None = None) -> list[tuple[str, str]]:
        """(kind, open|done) of our tasks in the CRM, of one contact or of all."""
        found = [one for one in self.crm.tasks() if contact_id in (None, *one.contact_ids)]
        return sorted((kind_of(one), "done" if one.done else "open") for one in found)

    def keys(self) -> list[str]:
        """The key of every task of ours in the CRM."""
        return sorted(key_in(one.body) or "" for one in self.crm.tasks())


def kind_of(task: Seen) -> str:
    """Which of our kinds a task is, by its marker."""
    assert "[spiral:" in task.body, f"a task without marker: {task.subject}"
    return task.body.rsplit("[spiral:", 1)[1].split(":")[0]


def stand_in(name: str) -> StandIn:
    """The stand-in of a CRM of the registry."""
    crm: StandIn = import_module(f"tests.payloads.{name}.stand_in").Crm()
    return crm


@contextmanager
def opened(databases: Databases, name: str) -> Iterator[Shop]:
    """A stand-in of this CRM, and the plugin with a fresh database; nothing is connected yet."""
    crm, adapter, port = stand_in(name), adapters()[name], free_port()
    declared = adapter.declaration
    with ExitStack() as stack:
        url = stack.enter_context(crm.serving())
        environ = {
            "DATABASE_URL": stack.enter_context(databases.fresh()),
            "SECRET_KEY": "a-test-key-of-32-characters-long",
            "PUBLIC_URL": f"http://127.0.0.1:{port}",
            "HUBSPOT_CLIENT_SECRET": SHARED_SECRET,
            "CRM_NETWORKS": "127.0.0.0/8",
            declared.url_setting: url,
            **({declared.secret_setting: crm.shared_secret} if declared.secret_setting else {}),
            **({declared.app_id_setting: crm.link().app_id} if declared.app_id_setting else {}),
            **({declared.admin_setting: crm.admin} if declared.admin_setting else {}),
        }
        parts = open_parts(load_settings(environ))
        stack.callback(parts.database.close)
        shop = Shop(crm, adapter, parts, environ)
        with patch.object(clock, "now_ms", shop.now_ms):
            app = create_app(parts.settings)
        stack.enter_context(serving(app, port))
        yield shop
