"""Processor time per contact reconciled, with a CRM that costs none."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import sqlalchemy as sa

from bench.people import TODAY
from bench.quiet import QuietAdapter, QuietSession
from plugin import clock
from plugin.app import open_parts
from plugin.manifest import manifest
from plugin.pipeline.worker import Worker
from plugin.ports import Adapter
from plugin.registry import adapters
from plugin.settings import load_settings
from plugin.storage import hints
from plugin.storage.database import Database
from plugin.storage.hints import HintKind
from plugin.storage.tables import account

SIZES = (1_000, 10_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What one pass over all contacts cost. ``cpu`` and ``wall`` are in ms per contact."""

    contacts: int
    what: str
    cpu: float
    wall: float
    written: int


class Office:
    """A worker, a fresh database and a CRM in memory."""

    def __init__(self, folder: Path, count: int) -> None:
        name, real = next(iter(adapters().items()))
        self.session = QuietSession(count)
        quiet = cast(Adapter, QuietAdapter(real.declaration, self.session))
        settings = load_settings(
            {
                "SECRET_KEY": "only-for-measuring-anything",
                "DATABASE_URL": f"sqlite:///{folder / f'{count}.db'}",
            }
        )
        parts = open_parts(settings)
        self.database: Database = parts.database
        self._work: Callable[[], None] = lambda: Worker(
            settings,
            {name: quiet},
            parts.database,
            parts.vault,
            now_ms=clock.now_ms,
            utc_now=lambda: TODAY,
        ).run(until_idle=True)
        with self.database.write() as connection:
            connection.execute(
                sa.insert(account).values(
                    crm=name,
                    crm_id="1",
                    token=parts.vault.encrypt("none"),
                    connected_at=clock.now_ms(),
                    swept_at=clock.now_ms(),
                    tasks_read_at=clock.now_ms(),
                    ids_checked_at=clock.now_ms(),
                    fields=[field.key for field in manifest().fields],
                )
            )

    def work(self) -> None:
        self._work()

    def mark_all(self) -> None:
        with self.database.write() as connection:
            hints.mark(
                connection, 1, HintKind.CONTACT, self.session.contacts, due_at=clock.now_ms()
            )


def measure(folder: Path, count: int) -> list[Cost]:
    """One pass for each situation a contact may be in."""
    office = Office(folder, count)
    try:
        costs = [_pass(office, "read into the directory", mark=False)]
        costs.append(_pass(office, "first seen"))
        costs.append(_pass(office, "seen before, unchanged"))
        office.session.delight()
        costs.append(_pass(office, "seen before, a new rating"))
    finally:
        office.database.close()
    return costs


def _pass(office: Office, what: str, *, mark: bool = True) -> Cost:
    if mark:
        office.mark_all()
    written = office.session.written
    wall, cpu = time.perf_counter(), time.process_time()
    office.work()
    count = len(office.session.contacts)
    return Cost(
        contacts=count,
        what=what,
        cpu=(time.process_time() - cpu) * 1000 / count,
        wall=(time.perf_counter() - wall) * 1000 / count,
        written=office.session.written - written,
    )
