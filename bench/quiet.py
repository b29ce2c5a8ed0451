"""A CRM without HTTP and without delay, so that only the plugin's own work is measured.

It makes up its contacts anew whenever they are asked for and keeps what was written in a file, so
that it takes no memory; its own processor time is counted, to be taken off.
"""

# ruff: noqa: ARG002 (it has the ports' methods, whether or not it needs what they are told)

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.people import OWNERS, Somebody, somebody
from plugin.manifest import manifest
from plugin.ports import (
    AccountLink,
    Allowance,
    ContactCard,
    ContactSnapshot,
    CreatedTasks,
    CrmTask,
    DealSnapshot,
    Declaration,
    Failure,
    FieldUpdate,
    LinkUpdate,
    Loaded,
    Page,
    Parsed,
    Received,
    TaskDraft,
    TaskUpdate,
    User,
)
from plugin.referral.model import FieldChange

RATED = timedelta(days=60)
PAGE = 100
REFERRER = "referrer"  # beside the fields: whom the link leads to


class _Kept:
    """Objects by kind and id, in a file."""

    def __init__(self, file: Path) -> None:
        self._file = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._file.execute("PRAGMA journal_mode=OFF")
        self._file.execute("PRAGMA synchronous=OFF")
        self._file.execute("CREATE TABLE kept (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")

    def get(self, kind: str, one: str) -> dict[str, Any]:
        query = "SELECT value FROM kept WHERE key = ?"
        row = self._file.execute(query, (f"{kind}:{one}",)).fetchone()
        return json.loads(row[0]) if row else {}

    def put(self, kind: str, one: str, **values: Any) -> None:
        row = (f"{kind}:{one}", json.dumps({**self.get(kind, one), **values}))
        self._file.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", row)

    def close(self) -> None:
        self._file.close()


class QuietSession:
    """``plugin.ports.Session`` for ``count`` invented contacts.

    ``loads``: for every load, the processor time of this process without the session's own when it
    began, and how many contacts it was for. What is not here is not asked for when measuring.
    """

    allowance = None

    def __init__(self, count: int, file: Path) -> None:
        self.calls = 0
        self.written = 0
        self.count = count
        self.loads: list[tuple[float, int]] = []
        self._own = 0.0
        self._kept = _Kept(file)
        self._tasks = 0
        self._guard: Callable[[], None] = lambda: None

    def spent(self) -> float:
        """Seconds of processor time of this process, without the session's own."""
        return time.process_time() - self._own

    def rate(self, number: int, value: str) -> None:
        """A rep fills the rating."""
        self._kept.put("fields", str(number), spiral_rating=value)

    def close(self) -> None:
        self._kept.close()

    @contextmanager
    def _call(self) -> Iterator[None]:
        """One call: the plugin makes sure that it may, and the answer costs it nothing."""
        self.calls += 1
        self._guard()
        begun = time.thread_time()
        try:
            yield
        finally:
            self._own += time.thread_time() - begun

    # -- what the plugin asks

    def follow(
        self, allowance: Allowance | None, *, guard: Callable[[], None] = lambda: None
    ) -> None:
        self._guard = guard

    def users(self) -> tuple[User, ...]:
        with self._call():
            return tuple(User(crm_id=one, name="", email="") for one in OWNERS)

    def list_contacts(self, cursor: str | None) -> Page[ContactCard]:
        with self._call():
            start = int(cursor or 0)
            end = min(start + PAGE, self.count)
            cards = tuple(_card(somebody(n, self.count)) for n in range(start, end))
            return Page(items=cards, cursor=str(end) if end < self.count else None)

    def contacts_changed_since(self, since: datetime, cursor: str | None) -> Page[ContactCard]:
        return Page(items=(), cursor=None)

    def deals_changed_since(self, since: datetime, cursor: str | None) -> Page[str]:
        return Page(items=(), cursor=None)

    def existing(self, contact_ids: Sequence[str]) -> frozenset[str]:
        return frozenset(contact_ids)

    def load(
        self,
        contact_ids: Sequence[str],
        *,
        history: bool,
        known_deals: Mapping[str, Sequence[str]],
    ) -> Loaded:
        self.loads.append((self.spent(), len(contact_ids)))
        with self._call():
            return Loaded(
                contacts=tuple(self._snapshot(int(one), history=history) for one in contact_ids)
            )

    def _snapshot(self, number: int, *, history: bool) -> ContactSnapshot:
        one = somebody(number, self.count)
        kept = self._kept.get("fields", str(number))
        referrer = kept.pop(REFERRER, None)
        values = dict.fromkeys((field.key for field in manifest().fields), "")
        values |= {"spiral_rating": one.rating, "spiral_referrer_name": one.referrer, **kept}
        told = [
            ("spiral_rating", one.rating, RATED),
            ("spiral_referrer_name", one.referrer, timedelta()),
        ]
        return ContactSnapshot(
            card=_card(one),
            values=values,
            deals=(_deal(one),) if one.bought else (),
            changes=tuple(
                FieldChange(field=field, value=value, at=one.since + after)
                for field, value, after in told
                if history and value
            ),
            referrer_ids=(referrer,) if referrer else (),
        )

    def write_fields(self, updates: Sequence[FieldUpdate]) -> tuple[Failure, ...]:
        with self._call():
            self.written += len(updates)
            for one in updates:
                self._kept.put("fields", one.contact_id, **one.values)
            return ()

    def link_referrers(self, updates: Sequence[LinkUpdate]) -> tuple[Failure, ...]:
        with self._call():
            for one in updates:
                self._kept.put("fields", one.contact_id, **{REFERRER: one.referrer_id})
            return ()

    def create_tasks(self, drafts: Sequence[TaskDraft]) -> CreatedTasks:
        with self._call():
            ids: dict[str, str] = {}
            for one in drafts:
                self._tasks += 1
                crm_id = ids[one.key] = f"t{self._tasks}"
                task = CrmTask(crm_id=crm_id, subject=one.subject, body=one.body, done=False)
                self._kept.put("task", crm_id, **asdict(task))
            return CreatedTasks(crm_ids=ids)

    def update_tasks(self, updates: Sequence[TaskUpdate]) -> tuple[Failure, ...]:
        with self._call():
            for one in updates:
                self._kept.put("task", one.crm_id, done=bool(one.done))
            return ()

    def read_tasks(self, task_ids: Sequence[str]) -> Mapping[str, CrmTask]:
        with self._call():
            return {one: CrmTask(**self._kept.get("task", one)) for one in task_ids}

    def find_tasks(self, contact_ids: Sequence[str]) -> tuple[CrmTask, ...]:
        return ()


class QuietAdapter:
    """An adapter whose every account is this one session; deliveries are read as the real one
    reads them."""

    def __init__(
        self,
        declaration: Declaration,
        session: QuietSession,
        *,
        parse: Callable[[Received], Parsed],
    ) -> None:
        self.declaration = declaration
        self.session = session
        self.parse = parse

    def connect(self, link: AccountLink) -> QuietSession:
        return self.session


def _card(one: Somebody) -> ContactCard:
    return ContactCard(
        crm_id=str(one.number),
        first_name=one.first_name,
        last_name=one.last_name,
        email=one.email,
        company=one.company,
        city=one.city,
        owner_id=one.owner_id,
        created_at=one.since,
    )


def _deal(one: Somebody) -> DealSnapshot:
    won_at = one.since + timedelta(days=30)
    return DealSnapshot(
        crm_id=f"d{one.number}",
        name=f"Auftrag {one.number}",
        created_at=one.since,
        won=True,
        lost=False,
        closed_at=won_at,
        won_at=won_at,
        pipeline="default",
        amount=Decimal(1000 + one.number % 900),
        currency="EUR",
        home_amount=Decimal(1000 + one.number % 900),
        owner_id=one.owner_id,
        contact_ids=(str(one.number),),
    )
