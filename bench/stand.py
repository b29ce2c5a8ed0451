"""The sandbox CRM with many contacts in it, and the plugin connected to it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.people import TODAY, Somebody, people
from bench.server import ROOT
from plugin.referral.model import TaskKind
from plugin.sandbox.portal import CONTACTS, DEALS, Portal
from plugin.sandbox.records import Record, Sandbox
from plugin.sandbox.server import serving
from plugin.sandbox.webhooks import Outbox

NO_TASKS = f"[tasks]\noff = [{', '.join(repr(str(kind)) for kind in TaskKind)}]\n"
"""A policy under which only fields are written."""
LOOPBACK = {"CRM_NETWORKS": "127.0.0.0/8"}
"""The CRM is on this machine, which has to be allowed."""
ENDLESS = 10**6
"""Calls in ten seconds: the CRM's limit must not be what is measured."""


class Stand:
    """``contacts`` are the sandbox's own records, in the order of ``people``."""

    def __init__(self, folder: Path, count: int, *, database: str, port: int = 0) -> None:
        portal = Portal(rate_limit=ENDLESS)
        url = f"http://127.0.0.1:{port}"
        target = f"{url}/webhooks/hubspot" if port else None
        self.crm = Sandbox(portal, outbox=Outbox(portal, target=target, public_url=target))
        self.folder = folder
        self.environ = {
            "SECRET_KEY": "only-for-measuring-anything",
            "PUBLIC_URL": url,
            "DATABASE_URL": database,
            "HUBSPOT_CLIENT_SECRET": portal.secret,
            "HUBSPOT_APP_ID": str(portal.app_id),
            "HUBSPOT_TOKEN": portal.token,
            "LOG_LEVEL": "ERROR",
            **LOOPBACK,
        }
        self.contacts = [self._create(one) for one in people(count)]
        self.crm.clock.set(TODAY)

    def _create(self, one: Somebody) -> Record:
        person = self.crm.person(one.owner_id)
        self.crm.clock.set(one.since)
        values = {
            "firstname": one.first_name,
            "lastname": one.last_name,
            "email": one.email,
            "company": one.company,
            "city": one.city,
            "hubspot_owner_id": one.owner_id,
        }
        record = self.crm.create(CONTACTS, values, person)
        if one.bought:
            deal = {"dealname": f"Auftrag {one.number}", "dealstage": "closedwon", "amount": "1000"}
            self.crm.create(DEALS, deal, person, links=[(CONTACTS, record.id, ())])
        return record

    def rate(self, contact: Record, value: str) -> None:
        """A rep fills the rating."""
        self.crm.update(contact, {"spiral_rating": value}, self.crm.person())

    def connect(self) -> None:
        """Connect the account and install its fields; no tasks."""
        policy = self.folder / "policy.toml"
        policy.write_text(NO_TASKS, "utf-8")
        self.command("connect", "hubspot", "--policy", str(policy))
        self.command("install", "hubspot")

    def command(self, *words: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "plugin", *words],
            cwd=ROOT,
            env={**os.environ, **self.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
        )


@contextmanager
def standing(folder: Path, count: int, *, database: str, port: int = 0) -> Iterator[Stand]:
    """The sandbox is served, and the plugin connected. ``port``: where webhooks go, if anywhere."""
    folder.mkdir()
    stand = Stand(folder, count, database=database, port=port)
    with serving(stand.crm) as url:
        stand.environ["HUBSPOT_API_URL"] = url
        stand.connect()
        yield stand


@contextmanager
def working(environ: Mapping[str, str], *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """The worker, as a process of its own."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "plugin", "worker", *options],
        cwd=ROOT,
        env={**os.environ, **environ},
    )
    try:
        yield worker
    finally:
        worker.terminate()
        worker.wait()
