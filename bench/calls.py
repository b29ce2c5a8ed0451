"""How many calls the CRM gets for contacts that have to be looked at: read, decide, write fields.

Over real HTTP, with the real adapter, to the sandbox. No tasks and no referrals, since both are
further records of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from bench.databases import SQLITE
from bench.parts import Part, Row, Sheet, Site
from bench.people import TODAY
from bench.stand import Stand, standing
from plugin import clock
from plugin.app import Parts, open_parts
from plugin.pipeline.lanes import wake
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


def measure(site: Site) -> list[Row]:
    """Each size in each situation."""
    return [asdict(calls) for size in SIZES for calls in _measure(site, size)]


def _measure(site: Site, size: int) -> Iterator[Calls]:
    with (
        site.databases.fresh(SQLITE) as url,
        standing(site.folder / str(size), size, database=url) as stand,
    ):
        parts = open_parts(load_settings(stand.environ))
        try:
            work(parts)  # the directory and the users
            yield _pass(stand, parts, "first seen")
            yield _pass(stand, parts, "seen before, unchanged")
            rate_all(stand, parts)
            yield _pass(stand, parts, "seen before, a new rating")
        finally:
            parts.database.close()


def rate_all(stand: Stand, parts: Parts) -> None:
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


def mark_all(stand: Stand, parts: Parts) -> None:
    """Every contact is dirty."""
    with parts.database.write() as connection:
        ids = [contact.id for contact in stand.contacts]
        wake(connection, [1], at=clock.now_ms())
        hints.mark(connection, 1, HintKind.CONTACT, ids, due_at=clock.now_ms())


def _pass(stand: Stand, parts: Parts, what: str) -> Calls:
    before = stand.crm.calls.copy()
    mark_all(stand, parts)
    work(parts)
    made = stand.crm.calls - before
    writes = sum(n for call, n in made.items() if call.endswith(WRITES))
    reads = sum(made.values()) - writes
    if not reads:
        raise RuntimeError(f"the worker did nothing: {what}")
    return Calls(contacts=len(stand.contacts), what=what, reads=reads, writes=writes)


def work(parts: Parts) -> None:
    """``worker --until-idle`` without a call limit, in this process."""
    Worker(
        parts.settings,
        {name: Unhurried(adapter) for name, adapter in adapters().items()},
        parts.database,
        parts.vault,
        now_ms=clock.now_ms,
        utc_now=lambda: TODAY,
    ).run(until_idle=True)


def sheet(rows: Sequence[Row]) -> Sheet:
    return Sheet(
        columns=("", "contacts", "reads", "writes", "calls a contact"),
        rows=[
            (
                one["what"],
                f"{one['contacts']:,}",
                str(one["reads"]),
                str(one["writes"]),
                f"{(one['reads'] + one['writes']) / one['contacts']:.3f}",
            )
            for one in rows
        ],
    )


PART = Part(
    name="calls",
    title="Calls to HubSpot for dirty contacts",
    about=(
        "Read, decide, write fields, for so many contacts at once: the real adapter over real HTTP "
        "to the sandbox, which counts. Without tasks and referrals, which are records of their own."
    ),
    measure=measure,
    sheet=sheet,
)
