"""How many calls the CRM gets for contacts that have to be looked at: read, decide, write fields.

Over real HTTP, with the real adapter, to the sandbox. No tasks and no referrals, since both are
further records of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.people import TODAY
from bench.stand import Stand, standing
from plugin import clock
from plugin.app import Parts, open_parts
from plugin.pipeline.worker import Worker
from plugin.registry import adapters
from plugin.sandbox.worker import Unhurried
from plugin.settings import load_settings
from plugin.storage import changes, hints
from plugin.storage.accounts import milliseconds
from plugin.storage.hints import HintKind

SIZES = (1, 100, 1_000)
RATING = "spiral_rating"
WRITES = ("update", "create", "archive")


@dataclass(frozen=True, kw_only=True, slots=True)
class Calls:
    """What one pass over so many dirty contacts cost."""

    contacts: int
    what: str
    reads: int
    writes: int

    @property
    def total(self) -> int:
        return self.reads + self.writes


def measure(folder: Path) -> list[Calls]:
    """Each size in each situation."""
    return [calls for size in SIZES for calls in _measure(folder / f"calls{size}", size)]


def _measure(folder: Path, size: int) -> list[Calls]:
    with standing(folder, size) as stand:
        parts = open_parts(load_settings(stand.environ))
        try:
            _work(parts)  # the directory and the users
            found = [_pass(stand, parts, "first seen")]
            found.append(_pass(stand, parts, "seen before, unchanged"))
            _rate_all(stand, parts)
            found.append(_pass(stand, parts, "seen before, a new rating"))
        finally:
            parts.database.close()
    return found


def _rate_all(stand: Stand, parts: Parts) -> None:
    """Everybody is delighted, and the events have told so."""
    for contact in stand.contacts:
        stand.rate(contact, "delighted")
    told = [
        {
            "contact_id": contact.id,
            "field": RATING,
            "at": milliseconds(said.at),
            "value": said.value,
        }
        for contact in stand.contacts
        for said in contact.history[RATING][:1]
    ]
    with parts.database.write() as connection:
        changes.add(connection, 1, told)


def _pass(stand: Stand, parts: Parts, what: str) -> Calls:
    before = stand.crm.calls.copy()
    with parts.database.write() as connection:
        ids = [contact.id for contact in stand.contacts]
        hints.mark(connection, 1, HintKind.CONTACT, ids, due_at=clock.now_ms())
    _work(parts)
    made = stand.crm.calls - before
    writes = sum(n for call, n in made.items() if call.endswith(WRITES))
    return Calls(contacts=len(ids), what=what, reads=sum(made.values()) - writes, writes=writes)


def _work(parts: Parts) -> None:
    Worker(
        parts.settings,
        {name: Unhurried(adapter) for name, adapter in adapters().items()},
        parts.database,
        parts.vault,
        now_ms=clock.now_ms,
        utc_now=lambda: TODAY,
    ).run(until_idle=True)
