"""A worker, a fresh database and a CRM that costs nothing, in this process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa

from bench.people import TODAY
from bench.quiet import QuietAdapter, QuietSession
from plugin import clock
from plugin.app import open_parts
from plugin.manifest import manifest
from plugin.pipeline.lanes import wake
from plugin.pipeline.worker import Worker
from plugin.ports import Adapter
from plugin.referral.workdays import week_of
from plugin.registry import adapters
from plugin.settings import load_settings
from plugin.storage import hints
from plugin.storage.accounts import milliseconds
from plugin.storage.hints import HintKind
from plugin.storage.tables import account

MARKED = 1000  # contacts marked at once: their rows take memory
CRM = "hubspot"


class Office:
    """``ready``: the fields are installed, so that contacts are worked on."""

    def __init__(
        self,
        folder: Path,
        url: str,
        *,
        contacts: int = 0,
        crm_id: str = "1",
        ready: bool = True,
        environ: dict[str, str] | None = None,
    ) -> None:
        real = adapters()[CRM]
        self.session = QuietSession(contacts, folder / f"quiet-{id(self)}.db")
        self._adapter = cast(
            Adapter, QuietAdapter(real.declaration, self.session, parse=real.parse)
        )
        self._parts = open_parts(
            load_settings(
                {
                    "SECRET_KEY": "only-for-measuring-anything",
                    "DATABASE_URL": url,
                    **(environ or {}),
                }
            )
        )
        self.database = self._parts.database
        fields = [field.key for field in manifest().fields] if ready else None
        with self.database.write() as connection:
            token = self._parts.vault.encrypt("none")
            add_accounts(connection, [{"crm_id": crm_id, "token": token, "fields": fields}])

    def work(self, *, ahead_ms: int = 0) -> None:
        """``worker --until-idle``; ``ahead_ms``: in so much later a time."""
        Worker(
            self._parts.settings,
            {CRM: self._adapter},
            self.database,
            self._parts.vault,
            now_ms=lambda: clock.now_ms() + ahead_ms,
            utc_now=lambda: TODAY,
        ).run(until_idle=True)

    def mark(self, ids: Iterable[str]) -> None:
        """These contacts are dirty."""
        chosen = list(ids)
        for start in range(0, len(chosen), MARKED):
            with self.database.write() as connection:
                hints.mark(
                    connection,
                    1,
                    HintKind.CONTACT,
                    chosen[start : start + MARKED],
                    due_at=clock.now_ms(),
                )

    def waiting(self) -> int:
        """Contacts that are still dirty."""
        with self.database.read() as connection:
            return int(connection.execute(sa.text("SELECT count(*) FROM hint")).scalar_one())

    def close(self) -> None:
        self.database.close()
        self.session.close()


def add_accounts(
    connection: sa.Connection, several: Sequence[Mapping[str, Any]], *, due_at: int = 0
) -> None:
    """Connected accounts that need no upkeep within the hour; their directories are not read.

    ``due_at``: when they are to be looked at, in UTC milliseconds; 0 for now.
    """
    now = clock.now_ms()
    done = dict.fromkeys(("connected_at", "swept_at", "tasks_read_at", "ids_checked_at"), now)
    last = connection.scalar(sa.select(sa.func.max(account.c.id))) or 0
    connection.execute(sa.insert(account), [{"crm": CRM, **done, **one} for one in several])
    added = connection.execute(sa.select(account.c.id).where(account.c.id > last)).scalars()
    wake(connection, added.all(), at=due_at or now)


def this_week(present: datetime) -> int:
    """What an account keeps whose asks are planned for this week."""
    return week_of(present.date()).toordinal()


def told(contact_id: str, value: str, at: datetime) -> dict[str, object]:
    """A rating as an event tells it."""
    return {
        "contact_id": contact_id,
        "field": "spiral_rating",
        "at": milliseconds(at),
        "value": value,
    }
