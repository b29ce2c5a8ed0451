"""The same deliveries shuffled, doubled and split differently end in the same fields and tasks.

One story is played in a CRM whose webhooks are kept back. When it is over they are delivered in
some order, and the worker may run at any time in between. The story is played anew for every
order, in a CRM of its own and with the same clock, so ids and instants are always the same.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from wsgiref.util import shift_path_info

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from werkzeug.serving import WSGIRequestHandler, make_server

from plugin.app import open_parts
from plugin.sandbox.portal import CONTACTS, Portal
from plugin.sandbox.records import Sandbox
from plugin.sandbox.server import create_sandbox
from plugin.settings import load_settings
from plugin.storage.database import Database
from plugin.storage.tables import delivery
from plugin.storage.tasks import key_in
from tests.e2e.plant import Plant

Event = dict[str, Any]
Story = Callable[[Plant], None]
Picture = dict[str, Any]

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

    def deal(self, *names: str, **more: str) -> str:
        return self.plant.deal(*(self.ids[name] for name in names), **more)

    def buy(self, *names: str, **more: str) -> str:
        deal_id = self.deal(*names, **more)
        self.plant.win(deal_id)
        return deal_id

    def second_act(self) -> None:
        """Once more, with doubles, deletions and returns."""
        plant, ids = self.plant, self.ids
        on(plant, 7, 10)
        self.meet("Uwe", "Horn")
        self.set("Uwe", referrer_name="Ida Voss", origin="recommendation")
        self.meet("Vera", "Jung")
        self.set("Vera", referrer_name="Rosa Blum")
        self.set("Paul", referrer_name="Rosa Blum")
        self.buy("Vera", "Paul", name="Turm")
        self.set("Theo", rating="")
        on(plant, 7, 20)
        plant.delete(ids["Ida"])
        ids["Rosa2"] = plant.contact("Rosa", "Blum", company="Blumen Blum")
        self.set("Rosa2", referrer_name="Theo Frank", rating="delighted")
        self.set("Theo", rating="satisfied")
        self.meet("Xaver", "Adler")
        self.set("Xaver", referrer_name="Rosa Blum", rated_on="2026-07-18", rating="delighted")
        on(plant, 8, 1)
        self.buy("Rosa2", name="Markt")
        self.set("Rosa2", rating="satisfied")
        self.set("Rosa", rating="satisfied")
        self.set("Uwe", referrer_name="")
        self.set("Uwe", referrer_name="Ida Voss")
        plant.delete(ids["Theo"])
        on(plant, 8, 15)
        ids["Rosen"] = plant.merge(ids["Rosa"], ids["Rosa2"])
        plant.restore(ids["Theo"])
        self.set("Theo", rating="angry")
        self.meet("Yvonne", "Zorn")
        self.buy("Yvonne", "Xaver", "Theo", name="Zelt")
        on(plant, 8, 20)
        plant.delete(ids["Yvonne"])
        plant.change(ids["Vera"], lastname="Adler", email="vera@example.com")
        self.set("Moritz", referrer_name="Nora Quast; vera@example.com; Uwe Horn")
        on(plant, 9, 1)
        self.set("Theo", rating="delighted")
        self.set("Xaver", rating="dissatisfied")
        self.set("Xaver", rating="")
        plant.change(ids["Xaver"], hubspot_owner_id="64492918")
        self.set("Paul", do_not_ask="true", rating="dissatisfied")


def before(plant: Plant) -> Town:
    """What the plugin has seen and worked off before the deliveries stop."""
    town = Town(plant)
    on(plant, 3, 2)
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
    return town


def meanwhile(town: Town) -> None:
    """What is told late."""
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
    town.second_act()
    plant.set_clock(LAST_DAY)


# ------------------------------------------------------------------------------ the stage


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


class Theatre:
    """One server for the CRMs of all performances, each under a path of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._apps: dict[str, Any] = {}
        self._empty = folder / "empty.db"
        with closing(Database(f"sqlite:///{self._empty}")) as database:
            database.upgrade()
        self.url = ""

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        answer: Iterable[bytes] = self._apps[shift_path_info(environ) or ""](
            environ, start_response
        )
        return answer

    @contextmanager
    def open(self) -> Iterator[Theatre]:
        server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=_Quiet)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    @contextmanager
    def performance(self) -> Iterator[Plant]:
        """A fresh CRM with the plugin connected to it."""
        number = str(len(self._apps))
        crm = Sandbox(Portal(rate_limit=1_000_000))
        self._apps[number] = create_sandbox(crm)
        path = self._folder / f"{number}.db"
        shutil.copy(self._empty, path)
        environ = {
            "DATABASE_URL": f"sqlite:///{path}",
            "SECRET_KEY": "a-test-key-of-32-characters-long",
            "HUBSPOT_CLIENT_SECRET": crm.portal.secret,
            "HUBSPOT_APP_ID": str(crm.portal.app_id),
            "HUBSPOT_API_URL": f"{self.url}/{number}",
            "HUBSPOT_TOKEN": crm.portal.token,
        }
        parts = open_parts(load_settings(environ))
        try:
            plant = Plant(crm, environ["HUBSPOT_API_URL"], parts, environ)
            plant.connect("--fallback-owner", "64492917")
            yield plant
        finally:
            parts.database.close()


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with Theatre(tmp_path_factory.mktemp("order")).open() as theatre:
        yield theatre


def untold(plant: Plant) -> list[Event]:
    """What the CRM has to say, taken out of its hands."""
    outbox = plant.crm.outbox
    with outbox._condition:
        events, outbox._fresh = outbox._fresh, []
    return [dict(event) for event in events]


def deliver(plant: Plant, batches: Iterable[Sequence[Event]]) -> None:
    """Each batch is one delivery, received and stored."""
    rows = [
        {
            "crm": "hubspot",
            "endpoint": "",
            "received_at": plant.now_ms(),
            "body": json.dumps(batch).encode(),
            "state": "new",
        }
        for batch in batches
        if batch
    ]
    if rows:
        with plant.parts.database.write() as connection:
            connection.execute(sa.insert(delivery), rows)


def picture(plant: Plant, names: dict[str, str]) -> Picture:
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
        tasks: dict[str, list[tuple[Any, ...]]] = {"open": [], "done": [], "withdrawn": []}
        for record in plant.task_records().values():
            body = record.value("hs_task_body") or ""
            done = record.value("hs_task_status") == "COMPLETED"
            state = "open" if not done else "withdrawn" if "Zurückgezogen" in body else "done"
            kind = body.rsplit("[spiral:", 1)[1].split(":")[0]
            on = [who.get(end.id, "?") for end, _ in plant.crm.linked(record, CONTACTS)]
            tasks[state].append((kind, on, key_in(body)))
    return {"contacts": contacts, **{state: sorted(found) for state, found in tasks.items()}}
