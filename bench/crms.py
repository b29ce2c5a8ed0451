"""How many calls each CRM gets for contacts that have to be looked at, and what they cost.

Over real HTTP, with the real adapters, to the stand-ins of the tests; every contact has one won
deal. No tasks and no referrals, since both are further records of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from bench.databases import SQLITE
from bench.parts import Part, Row, Sheet, Site
from bench.stand import NO_TASKS
from plugin import clock
from plugin.registry import adapters
from plugin.storage import hints
from plugin.storage.hints import HintKind
from tests.e2e.shop import Shop, opened

SIZES = (1, 100)


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What one pass over so many dirty contacts cost. ``cost``: in the unit of the CRM's daily
    budget, None where it has none."""

    crm: str
    contacts: int
    what: str
    calls: int
    cost: int | None
    unit: str


def measure(site: Site) -> list[Row]:
    """Every CRM and size in each situation."""
    return [
        asdict(spent)
        for name in adapters()
        for size in SIZES
        for spent in _measure(site, name, size)
    ]


def _measure(site: Site, name: str, size: int) -> Iterator[Spent]:
    folder = site.folder / f"{name}{size}"
    folder.mkdir()
    with opened(site.databases.of(SQLITE), name) as shop:
        contacts = [_customer(shop, number) for number in range(size)]
        policy = folder / "policy.toml"
        policy.write_text(NO_TASKS, "utf-8")
        shop.connect("--policy", str(policy))
        shop.crm.deliveries.clear()
        shop.work()  # the directory and the users
        yield _pass(shop, contacts, "first seen")
        shop.crm.deliveries.clear()  # the echo is not what is measured
        yield _pass(shop, contacts, "seen before, unchanged")
        for contact in contacts:
            shop.crm.change(contact, spiral_rating="delighted")
        yield _pass(shop, (), "a new rating, told by webhook", told=size)


def _customer(shop: Shop, number: int) -> str:
    contact = shop.crm.contact(f"Vorname{number}", f"Nachname{number}")
    shop.crm.win(shop.crm.deal(contact))
    return contact


def _pass(shop: Shop, contacts: list[str] | tuple[()], what: str, *, told: int = 0) -> Spent:
    before = len(shop.crm.calls)
    if contacts:
        with shop.parts.database.write() as connection:
            hints.mark(connection, 1, HintKind.CONTACT, contacts, due_at=clock.now_ms())
    shop.crm.flush()
    shop.work()
    made = shop.crm.calls[before:]
    allowance = shop.account().allowance
    return Spent(
        crm=shop.adapter.declaration.title,
        contacts=len(contacts) or told,
        what=what,
        calls=len(made),
        cost=sum(one.cost for one in made) if allowance else None,
        unit=allowance.unit if allowance else "",
    )


def sheet(rows: Sequence[Row]) -> Sheet:
    return Sheet(
        texts=2,
        columns=("CRM", "", "contacts", "calls", "calls a contact", "budget a contact"),
        rows=[
            (
                one["crm"],
                one["what"],
                str(one["contacts"]),
                str(one["calls"]),
                f"{one['calls'] / one['contacts']:.2f}",
                "–"
                if one["cost"] is None
                else f"{one['cost'] / one['contacts']:.2f} {one['unit']}",
            )
            for one in rows
        ],
    )


PART = Part(
    name="crms",
    title="Calls to each CRM",
    about=(
        "The same for every CRM, one contact and a hundred at once, each with one won deal, to the "
        "stand-ins of the tests. Where the CRM sells a daily budget, what a contact costs of it."
    ),
    measure=measure,
    sheet=sheet,
)
