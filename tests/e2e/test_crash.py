"""``kill -9`` of any process at any moment: what was acknowledged is worked off, and no task
exists twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from plugin.pipeline.worker import Worker
from plugin.registry import adapters
from plugin.sandbox.portal import CONTACTS
from plugin.sandbox.server import create_sandbox
from plugin.sandbox.webhooks import sign
from plugin.storage.database import Database
from plugin.storage.tasks import key_in
from tests.databases import Databases
from tests.e2e.plant import ROOT, Plant, running
from tests.listening import free_port, listening

PATIENCE = 60.0  # seconds
TAKEN_OVER = 15.0  # seconds after which somebody else must have gone on

Picture = dict[str, Any]

# ------------------------------------------------------------------------------- the story


@dataclass(frozen=True, kw_only=True)
class Cast:
    """Who is in the story."""

    anna: str
    carla: str
    bernd: str
    deal: str


def opening(plant: Plant) -> Cast:
    anna = plant.contact("Anna", "Sommer", email="anna.sommer@example.com")
    carla = plant.contact("Carla", "Winter", email="carla.winter@example.com")
    bernd = plant.contact("Bernd", "Keller")
    deal = plant.deal(bernd)
    plant.settle()
    return Cast(anna=anna, carla=carla, bernd=bernd, deal=deal)


def name_a_referrer(plant: Plant, cast: Cast) -> None:
    """Fields are written, a link is made, tasks are created."""
    plant.change(
        cast.bernd,
        spiral_origin="recommendation",
        spiral_referrer_name="anna.sommer@example.com",
    )
    plant.win(cast.deal)


def correct_the_referrer(plant: Plant, cast: Cast) -> None:
    """The link moves, tasks are withdrawn and others created, one that is done is read back."""
    plant.complete("mind_expectation", cast.bernd)
    plant.change(
        cast.bernd,
        spiral_referrer_name="carla.winter@example.com",
        spiral_recommended_words="die hören zu",
    )


def take_it_back(plant: Plant, cast: Cast) -> None:
    """The first link again: tasks that were withdrawn are reopened."""
    plant.change(
        cast.bernd, spiral_referrer_name="anna.sommer@example.com", spiral_recommended_words=""
    )


def forget_the_referrer(plant: Plant, cast: Cast) -> None:
    """A privacy deletion: fields are emptied, tasks deleted, our own books redacted."""
    plant.erase(cast.anna)


STORY: tuple[Callable[[Plant, Cast], None], ...] = (
    name_a_referrer,
    correct_the_referrer,
    take_it_back,
    forget_the_referrer,
)


def picture(plant: Plant) -> Picture:
    """All that the plugin has made of it: fields, links and tasks in the CRM, and its books."""
    with plant.crm.lock:
        contacts = {
            record.id: {
                **{k: v for k, v in sorted(record.values.items()) if k.startswith("spiral_")},
                "referrer": [
                    end.id
                    for end, kinds in plant.crm.linked(record, CONTACTS)
                    if any(kind.label == "Empfehlungsgeber" for kind in kinds)
                ],
            }
            for record in plant.crm.all(CONTACTS)
        }
        ever = plant.crm._records["tasks"].values()  # the deleted ones, too
        keys = [key_in(record.value("hs_task_body") or "") for record in ever]
        tasks = sorted(
            (
                [end.id for end, _ in plant.crm.linked(record, CONTACTS)],
                record.value("hs_task_status"),
                record.value("hs_task_subject"),
                record.value("hs_task_body"),
            )
            for record in plant.task_records().values()
        )
    assert len(set(keys)) == len(keys), "a task was made twice"
    return {
        "contacts": contacts,
        "tasks": tasks,
        "books": sorted(plant.rows("SELECT kind, cause, state FROM task")),
        "referrals": sorted(plant.rows("SELECT referred_id, text, outcome FROM referral")),
        "named": sum(b"anna.sommer" in body for (body,) in plant.rows("SELECT body FROM delivery")),
        "unfinished": plant.count("SELECT count(*) FROM delivery WHERE state != 'done'")
        + plant.count("SELECT count(*) FROM hint WHERE kind = 'contact'"),
    }


def go_on(plant: Plant) -> None:
    """A new worker takes over, once the lease of the dead one has ended."""
    plant.wait(minutes=1)
    plant.settle()


def played(plant: Plant, at: int, die: Callable[[], None]) -> list[Picture]:
    """What each step of the story comes to, with a death in one of them."""
    cast = opening(plant)
    pictures = []
    for number, step in enumerate(STORY):
        step(plant, cast)
        plant.deliver()
        if number == at:
            die()
            go_on(plant)
        else:
            plant.settle()
        pictures.append(picture(plant))
    return pictures


@pytest.fixture(scope="module")
def undisturbed(databases: Databases) -> list[Picture]:
    """The story without any death."""
    with connected(databases) as plant:
        pictures = played(plant, -1, lambda: None)
    books = [[(kind, state) for kind, _, state in one["books"]] for one in pictures]
    assert books == [
        [
            ("ask_referral_details", "open"),
            ("mind_expectation", "open"),
            ("tell_outcome", "open"),
            ("thank_referrer", "open"),
        ],
        [
            ("ask_referral_details", "withdrawn"),
            ("mind_expectation", "done"),
            ("tell_outcome", "withdrawn"),
            ("tell_outcome", "open"),
            ("thank_referrer", "withdrawn"),
            ("thank_referrer", "open"),
        ],
        [
            ("ask_referral_details", "open"),
            ("mind_expectation", "done"),
            ("tell_outcome", "open"),
            ("tell_outcome", "withdrawn"),
            ("thank_referrer", "open"),
            ("thank_referrer", "withdrawn"),
        ],
        [
            ("ask_referral_details", "open"),
            ("mind_expectation", "done"),
            ("tell_outcome", "withdrawn"),
            ("thank_referrer", "withdrawn"),
        ],
    ]
    assert [one["unfinished"] for one in pictures] == [0] * 4
    assert [one["named"] > 0 for one in pictures] == [True, True, True, False]
    return pictures


@contextmanager
def connected(databases: Databases) -> Iterator[Plant]:
    with running(databases) as plant:
        plant.connect("--fallback-owner", "64492917")
        yield plant


# ----------------------------------------------------- a real worker, killed at a real call


class Tripwire:
    """The CRM's API behind a wire: at one of its calls the caller is killed, just before the
    call is carried out or just after."""

    def __init__(self, plant: Plant) -> None:
        self._api = create_sandbox(plant.crm)
        self.calls: list[str] = []
        self.first_call_at = 0.0
        self._trips: Callable[[str], bool] | None = None
        self._after = False
        self._victim: Future[subprocess.Popen[str]] = Future()

    def arm(self, trips: Callable[[str], bool], *, after: bool) -> None:
        self._trips, self._after = trips, after

    def aim(self, victim: subprocess.Popen[str]) -> None:
        self._victim.set_result(victim)

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"].partition("2026-09/")[2]
        self.calls.append(path)
        self.first_call_at = self.first_call_at or time.monotonic()
        trips = self._trips is not None and self._trips(path)
        if trips and not self._after:
            self._kill()
            start_response("503 Nobody Listens", [])
            return []
        answer = self._api(environ, start_response)
        if trips:
            self._kill()
        return answer

    def _kill(self) -> None:
        victim = self._victim.result(PATIENCE)
        victim.send_signal(signal.SIGKILL)
        victim.wait(PATIENCE)


@contextmanager
def tripwire(plant: Plant) -> Iterator[tuple[Tripwire, str]]:
    wire = Tripwire(plant)
    with listening(wire) as url:
        yield wire, url


def start_worker(plant: Plant, api_url: str) -> subprocess.Popen[str]:
    """``python -m plugin worker --until-idle``, for real."""
    return subprocess.Popen(
        [sys.executable, "-m", "plugin", "worker", "--until-idle"],
        cwd=ROOT,
        env={**os.environ, **plant.environ, "HUBSPOT_API_URL": api_url},
        stderr=subprocess.PIPE,
        text=True,
    )


def killed_worker(
    plant: Plant, trips: Callable[[Tripwire, str], bool], *, after: bool
) -> tuple[int, list[str]]:
    """Exit code of a worker and the calls it made until it died."""
    with tripwire(plant) as (wire, url):
        wire.arm(lambda path: trips(wire, path), after=after)
        worker = start_worker(plant, url)
        wire.aim(worker)
        worker.communicate(timeout=PATIENCE)
        return worker.returncode, wire.calls


MOMENTS = [
    (0, "contacts/batch/update", True),
    (0, "tasks/batch/create", False),
    (0, "tasks/batch/create", True),
    (1, "contacts/contacts/batch/labels/archive", True),
    (1, "tasks/batch/update", True),
    (2, "tasks/batch/update", True),
    (3, "tasks/batch/archive", True),
]


@pytest.mark.parametrize(
    ("step", "path", "after"),
    MOMENTS,
    ids=[f"{STORY[step].__name__}, {'after' if a else 'before'} {p}" for step, p, a in MOMENTS],
)
def test_a_worker_killed_at_a_write_leaves_nothing_undone(
    databases: Databases, undisturbed: list[Picture], step: int, path: str, *, after: bool
) -> None:
    """Killed before a call or between the call and its answer: the next worker comes to the
    same fields, links and tasks."""
    with connected(databases) as plant:

        def die() -> None:
            code, _ = killed_worker(plant, lambda _, called: called == path, after=after)
            assert code == -signal.SIGKILL

        assert played(plant, step, die) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("step", range(len(STORY)), ids=[one.__name__ for one in STORY])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_worker_killed_at_any_call_leaves_nothing_undone(
    databases: Databases, undisturbed: list[Picture], step: int, *, after: bool
) -> None:
    """The same for every single call of the story."""
    number = 0
    alive = False
    while not alive:
        number += 1
        codes: list[int] = []
        with connected(databases) as plant:

            def die(plant: Plant = plant, codes: list[int] = codes, number: int = number) -> None:
                code, _ = killed_worker(
                    plant, lambda wire, _: len(wire.calls) == number, after=after
                )
                codes.append(code)

            assert played(plant, step, die) == undisturbed, f"killed at call {number}"
        alive = codes == [0]
    assert number > 8


@pytest.mark.slow
def test_another_worker_takes_over_within_fifteen_seconds(
    databases: Databases, undisturbed: list[Picture]
) -> None:
    """A worker that waits goes on by itself where the dead one's lease ends, in real time."""
    with connected(databases) as plant:

        def die() -> None:
            code, _ = killed_worker(plant, lambda _, path: path == "tasks/batch/create", after=True)
            died_at = time.monotonic()
            assert code == -signal.SIGKILL
            with tripwire(plant) as (wire, url):
                successor = start_worker(plant, url)
                _, said = successor.communicate(timeout=PATIENCE)
            assert successor.returncode == 0, said
            assert wire.first_call_at - died_at <= TAKEN_OVER
            assert "tasks/batch/create" not in wire.calls

        assert played(plant, 0, die) == undisturbed


# -------------------------------------------------- a worker that dies at one of its commits


class Killed(BaseException):
    """The process is no more. No ``except Exception`` sees it."""


class Mortal(Database):
    """A database whose process dies in one of its write transactions: just before it would be
    committed, or just after. Afterwards nothing of the process works any more."""

    def __init__(self, url: str, *, at: int, after: bool) -> None:
        super().__init__(url)
        self.writes = 0
        self.dead = False
        self._at = at
        self._after = after

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        self._breathe()
        with super().read() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        self._breathe()
        self.writes += 1
        last = self.writes == self._at
        with super().write() as connection:
            yield connection
            self.dead |= last and not self._after
            self._breathe()
        self.dead |= last
        self._breathe()

    def _breathe(self) -> None:
        if self.dead:
            raise Killed


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread may end by being killed."""
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if args.exc_type is not Killed:
            before(args)

    monkeypatch.setattr(threading, "excepthook", hook)


def dies_at_commit(plant: Plant, number: int, *, after: bool) -> bool:
    """Work until the given commit; False where there were not so many."""
    database = Mortal(plant.environ["DATABASE_URL"], at=number, after=after)
    worker = Worker(
        plant.parts.settings,
        adapters(),
        database,
        plant.parts.vault,
        now_ms=plant.now_ms,
        utc_now=plant.present,
    )
    with suppress(Killed):
        worker.run(until_idle=True)
    database.close()
    return database.dead


def test_a_worker_that_dies_at_a_commit_leaves_nothing_undone(
    databases: Databases, undisturbed: list[Picture], deadly: None
) -> None:
    """Between two calls, too, nothing is lost: a few of its transactions."""
    for number in (5, 12):
        for after in (False, True):
            with connected(databases) as plant:

                def die(plant: Plant = plant, number: int = number, *, after: bool = after) -> None:
                    assert dies_at_commit(plant, number, after=after)

                assert played(plant, 1, die) == undisturbed, (number, after)


@pytest.mark.slow
@pytest.mark.parametrize("step", range(len(STORY)), ids=[one.__name__ for one in STORY])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_worker_that_dies_at_any_commit_leaves_nothing_undone(
    databases: Databases, undisturbed: list[Picture], deadly: None, step: int, *, after: bool
) -> None:
    """The same for every single transaction of the story."""
    number = 0
    died = True
    while died:
        number += 1
        deaths: list[bool] = []
        with connected(databases) as plant:

            def die(plant: Plant = plant, deaths: list[bool] = deaths, n: int = number) -> None:
                deaths.append(dies_at_commit(plant, n, after=after))

            assert played(plant, step, die) == undisturbed, f"died at commit {number}"
        (died,) = deaths
    assert number > 12


# ---------------------------------------------------------------- gunicorn, killed under load


class Load:
    """Clients that post deliveries as fast as they are answered."""

    def __init__(self, plant: Plant, port: int) -> None:
        self.kept: set[bytes] = set()
        self.refused = 0
        self._address = f"http://127.0.0.1:{port}/webhooks/hubspot"
        self._signed_for = plant.environ["PUBLIC_URL"] + "/webhooks/hubspot"
        self._secret = plant.crm.portal.secret
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._post, args=(n,)) for n in range(8)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def last(self, deliveries: int) -> None:
        """Go on until so many more were taken."""
        goal = len(self.kept) + deliveries
        wait_for(lambda: len(self.kept) >= goal)

    def _post(self, client: int) -> None:
        number = 0
        with requests.Session() as session:
            while not self._stop.is_set():
                number += 1
                body = json.dumps([{"client": client, "number": number}]).encode()
                at = str(time.time_ns() // 1_000_000)
                headers = {
                    "X-HubSpot-Request-Timestamp": at,
                    "X-HubSpot-Signature-v3": sign(
                        self._secret, "POST", self._signed_for, body, at
                    ),
                }
                try:
                    answer = session.post(self._address, data=body, headers=headers, timeout=5)
                except requests.RequestException:
                    self.refused += 1
                    time.sleep(0.01)
                    continue
                if answer.status_code == 204:
                    self.kept.add(body)


@contextmanager
def gunicorn(plant: Plant, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The web server for real, with two workers, in a process group of its own."""
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "gunicorn", "wsgi:app", "--workers", "2"),
            *("--bind", f"127.0.0.1:{port}", "--log-level", "critical"),
        ],
        cwd=ROOT,
        env={**os.environ, **plant.environ, "LOG_LEVEL": "CRITICAL"},
        start_new_session=True,
    )
    try:
        wait_for(lambda: answers(port))
        yield server
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait(PATIENCE)


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/health", timeout=1).ok
    except requests.RequestException:
        return False


def workers_of(server: subprocess.Popen[bytes]) -> list[int]:
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    if not children.exists():
        pytest.skip("needs Linux with /proc/<pid>/task/<tid>/children")
    return [int(pid) for pid in children.read_text().split()]


@pytest.mark.slow
def test_every_delivery_acknowledged_under_load_is_kept(plant: Plant) -> None:
    """``kill -9`` of gunicorn's workers, then of all of gunicorn, in the middle of a storm: what
    was answered with 204 is in the database."""
    port = free_port()
    with Load(plant, port) as load:
        for whole in (False, True, False, True):
            with gunicorn(plant, port) as server:
                load.last(100)
                if whole:
                    os.killpg(server.pid, signal.SIGKILL)
                    server.wait(PATIENCE)
                    continue
                for pid in workers_of(server):
                    os.kill(pid, signal.SIGKILL)
                load.last(100)

    with plant.parts.database.read() as connection:
        stored = connection.execute(sa.text("SELECT body FROM delivery")).scalars().all()
    assert load.refused > 0
    assert load.kept - set(stored) == set()


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
