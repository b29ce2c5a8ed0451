"""The same deliveries shuffled, doubled and split differently end in the same fields and tasks.

One story is played in a CRM whose webhooks are kept back. When it is over they are delivered in
some order, and the worker may run at any time in between. The story is played anew for every
order, in a CRM of its own and with the same clock, so ids and instants are always the same.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from wsgiref.util import shift_path_info

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from plugin.app import open_parts
from plugin.referral.model import ASK_KINDS
from plugin.sandbox.portal import CONTACTS, Portal
from plugin.sandbox.records import Sandbox
from plugin.sandbox.server import create_sandbox
from plugin.settings import load_settings
from plugin.storage.tables import delivery
from plugin.storage.tasks import key_in
from tests.databases import Databases
from tests.e2e.plant import Plant
from tests.listening import listening

Event = dict[str, Any]
Task = tuple[str, tuple[str, ...], str]
"""Kind, contacts it stands on, key."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Fields and links by contact, and the tasks in the CRM."""

    contacts: dict[str, dict[str, Any]]
    open: list[Task]
    done: list[Task]
    withdrawn: list[Task]


LAST_DAY = datetime(2026, 10, 5, 9, tzinfo=UTC)  # a Monday: when the deliveries arrive


def on(plant: Plant, month: int, day: int, hour: int = 10) -> None:
    plant.set_clock(datetime(2026, month, day, hour, tzinfo=UTC))


# ------------------------------------------------------------------------------- the story


class Town:
    """People of the story and what happens to them. Names stand for ids."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self.ids: dict[str, str] = {}

    def meet(self, first: str, last: str, **properties: str) -> str:
        email = f"{first}.{last}@example.com".lower()
        self.ids[first] = self.plant.contact(first, last, email=email, **properties)
        return self.ids[first]

    def set(self, first: str, **properties: str) -> None:
        self.plant.change(
            self.ids[first], **{f"spiral_{name}": value for name, value in properties.items()}
        )

    def deal(self, *names: str, name: str = "Küche", amount: str = "1000") -> str:
        return self.plant.deal(*(self.ids[one] for one in names), name=name, amount=amount)

    def buy(self, *names: str, name: str = "Küche", amount: str = "1000") -> str:
        deal_id = self.deal(*names, name=name, amount=amount)
        self.plant.win(deal_id)
        return deal_id


def before(town: Town) -> None:
    """People who know each other."""
    on(town.plant, 3, 2)
    for first, last in (
        ("Anna", "Sommer"),
        ("Berta", "Winter"),
        ("Dora", "Berg"),
        ("Emil", "Lang"),
        ("Emilio", "Lang"),
        ("Gustav", "Roth"),
        ("Hans", "Vogt"),
        ("Ida", "Voss"),
        ("Moritz", "Kern"),
        ("Paul", "Stein"),
        ("Rosa", "Blum"),
        ("Theo", "Frank"),
    ):
        town.meet(first, last)
    town.buy("Anna", name="Küche")
    town.set("Anna", origin="web_search", rating="satisfied")
    town.set("Hans", referrer_name="Gustav Roth", origin="recommendation")
    town.set("Moritz", referrer_name="Nora Quast")
    town.set("Emilio", referrer_name="Anna Sommer")
    town.buy("Emil", name="Bad")
    town.set("Paul", referrer_name="Berta Winter")
    town.set("Theo", rating="satisfied", referrer_name="Rosa Blum; Paul Stein")
    town.buy("Paul", "Rosa", name="Saal")


def meanwhile(town: Town) -> None:
    """Referrers corrected, a circle, merges, deletions, deals won and reopened, ratings about
    other days, contacts who must not be asked."""
    plant, ids = town.plant, town.ids
    on(plant, 3, 20)
    town.meet("Carl", "Busch")
    town.set("Carl", referrer_name="Anna Sommer", origin="recommendation")
    town.set("Emil", referrer_name="Anna Sommer", rating="satisfied")
    plant.complete("thank_referrer", ids["Gustav"])
    on(plant, 4, 1)
    shared = town.buy("Hans", "Dora", name="Praxis")
    town.set("Dora", referrer_name="anna.sommer@example.com", do_not_ask="true")
    reopened = town.buy("Hans", name="Halle")
    town.set("Anna", rating="delighted", rated_on="2026-03-28")
    on(plant, 4, 5)
    town.set("Berta", referrer_name="anna.sommer@example.com")
    town.set("Emilio", rating="satisfied")
    town.set("Dora", do_not_ask="")
    plant.lose(town.deal("Anna", name="Garten"))
    on(plant, 4, 20)
    town.set("Anna", referrer_name="Berta Winter")  # bites its own tail
    plant.ui("PATCH", f"deals/{reopened}", properties={"dealstage": "contractsent"})
    town.set("Anna", rated_on="2026-04-18")
    town.set("Carl", referrer_name="Berta Winter", recommended_words="hält Wort")
    carls = town.buy("Carl", name="Laden")
    on(plant, 5, 1)
    ids["Lang"] = plant.merge(ids["Emil"], ids["Emilio"])
    town.set("Lang", rating="dissatisfied")
    town.meet("Nora", "Quast")
    town.meet("Kurt", "Kurz")
    town.set("Kurt", referrer_name="Anna Sommer")
    town.set("Hans", referrer_name="Gustav Roth; Ida Voss")
    on(plant, 5, 10)
    town.meet("Emile", "Lang", phone="0160 5550123")
    town.set("Emile", rating="delighted", referrer_name="Nora Quast")
    plant.delete(ids["Gustav"])
    plant.delete(ids["Kurt"])
    town.set("Dora", rating="angry")
    on(plant, 6, 1)
    ids["Lang"] = plant.merge(ids["Lang"], ids["Emile"])
    town.set("Lang", rating="satisfied")
    town.set("Berta", rating="delighted")
    town.set("Berta", rating="satisfied")
    plant.part(shared, ids["Dora"])
    town.set("Dora", do_not_ask="true")
    plant.win(town.deal("Berta", "Nora", name="Dach"))
    on(plant, 7, 1)
    plant.delete(carls, "deals")
    town.buy("Carl", name="Laden neu", amount="2500")
    town.set("Carl", rating="dissatisfied", rated_on="2026-07-01")
    second_act(town)


def second_act(town: Town) -> None:
    """Once more, with doubles, deletions and returns."""
    plant, ids = town.plant, town.ids
    on(plant, 7, 10)
    town.meet("Uwe", "Horn")
    town.set("Uwe", referrer_name="Ida Voss", origin="recommendation")
    town.meet("Vera", "Jung")
    town.set("Vera", referrer_name="Rosa Blum")
    town.set("Paul", referrer_name="Rosa Blum")
    town.buy("Vera", "Paul", name="Turm")
    town.set("Theo", rating="")
    on(plant, 7, 20)
    plant.delete(ids["Ida"])
    ids["Rosa2"] = plant.contact("Rosa", "Blum", company="Blumen Blum")
    town.set("Rosa2", referrer_name="Theo Frank", rating="delighted")
    town.set("Theo", rating="satisfied")
    town.meet("Xaver", "Adler")
    town.set("Xaver", referrer_name="Rosa Blum", rated_on="2026-07-18", rating="delighted")
    on(plant, 8, 1)
    town.buy("Rosa2", name="Markt")
    town.set("Rosa2", rating="satisfied")
    town.set("Rosa", rating="satisfied")
    town.set("Uwe", referrer_name="")
    town.set("Uwe", referrer_name="Ida Voss")
    plant.delete(ids["Theo"])
    on(plant, 8, 15)
    ids["Rosen"] = plant.merge(ids["Rosa"], ids["Rosa2"])
    plant.restore(ids["Theo"])
    town.set("Theo", rating="angry")
    town.meet("Yvonne", "Zorn")
    town.buy("Yvonne", "Xaver", "Theo", name="Zelt")
    on(plant, 8, 20)
    plant.delete(ids["Yvonne"])
    plant.change(ids["Vera"], lastname="Adler", email="vera@example.com")
    town.set("Moritz", referrer_name="Nora Quast; vera@example.com; Uwe Horn")
    on(plant, 9, 1)
    town.set("Theo", rating="delighted")
    town.set("Xaver", rating="dissatisfied")
    town.set("Xaver", rating="")
    plant.change(ids["Xaver"], hubspot_owner_id="64492918")
    town.set("Paul", do_not_ask="true", rating="dissatisfied")


# ------------------------------------------------------------------------------ the stage


class Theatre:
    """One server for the CRMs of all performances, each under a path of its own."""

    def __init__(self, databases: Databases, folder: Path) -> None:
        self._databases = databases
        self._folder = folder
        self._apps: dict[str, Any] = {}
        self.url = ""

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        answer: Iterable[bytes] = self._apps[shift_path_info(environ) or ""](
            environ, start_response
        )
        return answer

    @contextmanager
    def open(self) -> Iterator[Theatre]:
        with listening(self) as self.url:
            yield self

    @contextmanager
    def performance(self, policy: str) -> Iterator[Plant]:
        """A fresh CRM with the plugin connected to it."""
        number = str(len(self._apps))
        crm = Sandbox(Portal(rate_limit=1_000_000))
        self._apps[number] = create_sandbox(crm)
        with self._databases.fresh() as url:
            environ = {
                "DATABASE_URL": url,
                "SECRET_KEY": "a-test-key-of-32-characters-long",
                "HUBSPOT_CLIENT_SECRET": crm.portal.secret,
                "HUBSPOT_APP_ID": str(crm.portal.app_id),
                "CRM_NETWORKS": "127.0.0.0/8",
                "HUBSPOT_API_URL": f"{self.url}/{number}",
                "HUBSPOT_TOKEN": crm.portal.token,
            }
            parts = open_parts(load_settings(environ))
            with closing(parts.database):
                plant = Plant(crm, environ["HUBSPOT_API_URL"], parts, environ)
                rules = self._folder / f"{number}.toml"
                rules.write_text(policy)
                plant.connect("--fallback-owner", "64492917", "--policy", str(rules))
                yield plant


@pytest.fixture(scope="module")
def theatre(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with Theatre(databases, tmp_path_factory.mktemp("order")).open() as theatre:
        yield theatre


def untold(plant: Plant) -> list[Event]:
    """What the CRM has to say, taken out of its hands."""
    outbox = plant.crm.outbox
    with outbox._condition:
        events, outbox._fresh = outbox._fresh, []
    return [dict(event) for event in events]


def deliver(plant: Plant, batch: Sequence[Event]) -> None:
    """One delivery, received and stored."""
    row = {
        "crm": "hubspot",
        "endpoint": "",
        "received_at": plant.now_ms(),
        "body": json.dumps(batch).encode(),
        "state": "new",
    }
    with plant.parts.database.write() as connection:
        connection.execute(sa.insert(delivery), row)


def picture(plant: Plant, names: Mapping[str, str]) -> Picture:
    """What the plugin has made of it all: fields, links and tasks in the CRM."""
    who = {record_id: name for name, record_id in names.items()}
    with plant.crm.lock:
        contacts = {
            who[record.id]: {
                **{k: v for k, v in sorted(record.values.items()) if k.startswith("spiral_")},
                "link": [
                    who[end.id]
                    for end, kinds in plant.crm.linked(record, CONTACTS)
                    if any(kind.label == "Empfehlungsgeber" for kind in kinds)
                ],
            }
            for record in plant.crm.all(CONTACTS)
        }
        found: dict[str, list[Task]] = {"open": [], "done": [], "withdrawn": []}
        for record in plant.task_records().values():
            body = record.value("hs_task_body") or ""
            done = record.value("hs_task_status") == "COMPLETED"
            state = "open" if not done else "withdrawn" if "Zurückgezogen" in body else "done"
            kind = body.rsplit("[spiral:", 1)[1].split(":")[0]
            on = tuple(who.get(end.id, "?") for end, _ in plant.crm.linked(record, CONTACTS))
            found[state].append((kind, on, key_in(body) or ""))
    return Picture(
        contacts=contacts,
        open=sorted(found["open"]),
        done=sorted(found["done"]),
        withdrawn=sorted(found["withdrawn"]),
    )


# ------------------------------------------------------------------------------ the orders


@dataclass(frozen=True, kw_only=True)
class Order:
    """How the events arrive. ``by_record``: all about one record together, else all mixed;
    ``twice``: how many come once more; ``deliveries``: in how many pieces; ``runs``: how often the
    worker works off what has come so far, before the end."""

    seed: int
    by_record: bool
    twice: int
    deliveries: int
    runs: int

    def arrange(self, events: Sequence[Event]) -> Iterator[tuple[Sequence[Event], bool]]:
        """The deliveries, and after which of them the worker runs."""
        dice = Random(self.seed)
        mixed = [*events, *dice.sample(events, self.twice)]
        dice.shuffle(mixed)
        if self.by_record:
            place = {about(event): dice.random() for event in mixed}
            mixed.sort(key=lambda event: place[about(event)])
        cuts = [0, *sorted(dice.sample(range(1, len(mixed)), self.deliveries - 1)), len(mixed)]
        runs = set(dice.sample(range(self.deliveries), min(self.runs, self.deliveries)))
        for number, (start, end) in enumerate(pairwise(cuts)):
            yield mixed[start:end], number in runs


def about(event: Event) -> Any:
    return event.get("objectId") or event.get("fromObjectId")


def orders(*, runs: int) -> st.SearchStrategy[Order]:
    return st.builds(
        Order,
        seed=st.integers(0, 2**16),
        by_record=st.booleans(),
        twice=st.integers(0, 40),
        deliveries=st.integers(1, 60),
        runs=st.integers(1, runs) if runs else st.just(0),
    )


def performed(theatre: Theatre, story: Story, order: Order | None) -> Picture:
    """What comes of the story where its events arrive in this order (None: as they happened)."""
    with theatre.performance(story.policy) as plant:
        town = Town(plant)
        story.before(town)
        deliver(plant, untold(plant))
        plant.work()
        story.meanwhile(town)
        plant.set_clock(LAST_DAY)
        events = untold(plant)
        for batch, works in order.arrange(events) if order else [(events, False)]:
            deliver(plant, batch)
            if works:
                plant.work()
        plant.work()
        return picture(plant, town.ids)


@dataclass(frozen=True, kw_only=True)
class Story:
    before: Callable[[Town], None]
    """What the plugin has seen and worked off before the deliveries stop."""
    meanwhile: Callable[[Town], None]
    """What is told late."""
    policy: str = ""


SAGA = Story(before=before, meanwhile=meanwhile)


@pytest.fixture(scope="module")
def reference(theatre: Theatre) -> Picture:
    """The story told at once and in the order of events."""
    return performed(theatre, SAGA, None)


def examples(number: int) -> settings:
    return settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),  # to shrink one would take hours
        suppress_health_check=[HealthCheck.too_slow],
    )


def kinds(tasks: Iterable[Task]) -> list[tuple[str, tuple[str, ...]]]:
    """Without keys: a task that was intended before a merge was heard of keeps the key it got."""
    return sorted((kind, on) for kind, on, _ in tasks)


def same_in_the_end(theatre: Theatre, reference: Picture, order: Order) -> None:
    """Fields, links and tasks are those of the reference. Where the worker ran in between, there
    may besides be tasks that it has withdrawn again, having heard the rest."""
    found = performed(theatre, SAGA, order)
    assert found.contacts == reference.contacts
    assert kinds(found.open) == kinds(reference.open)
    assert found.done == reference.done
    assert Counter(kinds(reference.withdrawn)) <= Counter(kinds(found.withdrawn))
    keys = [key for _, _, key in (*found.open, *found.done, *found.withdrawn)]
    assert len(set(keys)) == len(keys)


@examples(3)
@given(order=orders(runs=0))
def test_the_order_of_deliveries_does_not_matter(
    theatre: Theatre, reference: Picture, order: Order
) -> None:
    """Shuffled, doubled and split differently, all delivered before the worker runs: the very
    same fields and tasks."""
    assert performed(theatre, SAGA, order) == reference


@examples(3)
@given(order=orders(runs=6))
def test_it_does_not_matter_when_the_worker_runs(
    theatre: Theatre, reference: Picture, order: Order
) -> None:
    """The same, and the worker runs in between on what has come so far."""
    same_in_the_end(theatre, reference, order)


@pytest.mark.slow
@examples(25)
@given(order=orders(runs=0))
def test_the_order_of_deliveries_never_matters(
    theatre: Theatre, reference: Picture, order: Order
) -> None:
    """Many more orders."""
    assert performed(theatre, SAGA, order) == reference


@pytest.mark.slow
@examples(50)
@given(order=orders(runs=12))
def test_it_never_matters_when_the_worker_runs(
    theatre: Theatre, reference: Picture, order: Order
) -> None:
    """Many more orders, with the worker running in between."""
    same_in_the_end(theatre, reference, order)


# ------------------------------------------------------------- where not all can be asked now


def crowd(town: Town) -> None:
    """Nine customers, all worth an ask, some more than others."""
    on(town.plant, 3, 2)
    for number, first in enumerate(("Ada", "Bea", "Cleo", "Dea", "Eva", "Fee", "Gro", "Ina", "Jo")):
        town.meet(first, "Linde")
        if number % 2:
            town.set(first, origin="recommendation")
        town.buy(first)


def grown_fond(town: Town) -> None:
    """Each in their own time."""
    for number, first in enumerate(("Jo", "Fee", "Ada", "Eva", "Ina", "Bea", "Gro", "Dea", "Cleo")):
        on(town.plant, 4, 1 + number % 4)
        town.set(first, rating="delighted" if number % 3 else "satisfied")
        town.plant.lose(town.deal(first, name="Anbau"))
        if number % 3 == 1:
            on(town.plant, 5, 1 + number)
            town.set(first, rated_on=f"2026-04-{20 + number}")


FEW_ASKS = Story(before=crowd, meanwhile=grown_fond, policy="[asks]\nper_owner_and_week = 2\n")


@pytest.fixture(scope="module")
def few_asks(theatre: Theatre) -> Picture:
    """Two asks a week."""
    found = performed(theatre, FEW_ASKS, None)
    assert sum(kind in ASK_KINDS for kind, _, _ in found.open) == 2
    return found


@examples(2)
@given(order=orders(runs=0))
def test_who_is_asked_this_week_does_not_depend_on_the_order(
    theatre: Theatre, few_asks: Picture, order: Order
) -> None:
    """Where the weekly budget of asks binds, the same contacts are asked, once all is delivered."""
    assert performed(theatre, FEW_ASKS, order) == few_asks
