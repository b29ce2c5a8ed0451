"""One run: everything is started, the plan played, all faults ended, and the invariants checked."""

from __future__ import annotations

import heapq
import itertools
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from plugin.sandbox.portal import Portal
from plugin.sandbox.records import Sandbox
from plugin.sandbox.server import create_sandbox
from plugin.sandbox.webhooks import Outbox
from plugin.storage.database import Database
from plugin.storage.tables import lane
from tests.e2e.installation import run_command
from tests.faults import invariants, processes
from tests.faults.ground import Ground
from tests.faults.plan import CRM, KINDS, Fault, Plan
from tests.faults.post import Post
from tests.faults.processes import Process
from tests.faults.town import Town, forgery
from tests.faults.weather import Weather, serving, wait_until
from tests.listening import free_port

DEADLINE = 90.0  # seconds until everything must have settled
LINGERS = 3.0  # seconds that bad weather waits for more calls
QUIET = 3  # looks in a row that must find nothing to do
NO_LIMIT = -1
AWAY = 1  # exit code where the database is away at the start; a service manager starts it again


class RunFailed(AssertionError):
    """Something did not hold; the text has the plan."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a run has seen, for a line of the summary."""

    deliveries: int
    dropped: int
    contacts: int
    tasks: int
    met: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.deliveries} deliveries ({self.dropped} dropped), {self.contacts} contacts, "
            f"{self.tasks} tasks, {self.met} faulty answers, {self.seconds:.1f} s"
        )


def run(plan: Plan, ground: Ground) -> Outcome:
    """Play a plan. Raises ``RunFailed`` with what does not hold, and the plan."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    with ExitStack() as stack:
        try:
            site = stack.enter_context(_site(plan, ground, folder))
            broken = site.play()
        except AssertionError as odd:
            broken = [str(odd)]
        if broken:
            kept = f"(logs and database: {folder})"
            raise RunFailed("\n".join([*broken, kept, str(plan)]))
        outcome = Outcome(
            deliveries=sum(site.post.acknowledged.values()),
            dropped=site.post.dropped,
            contacts=len(site.town.contacts),
            tasks=len(invariants.tasks_in(site.crm)),
            met=len(site.weather.met),
            seconds=time.monotonic() - began,
        )
    shutil.rmtree(folder)
    return outcome


@contextmanager
def _site(plan: Plan, ground: Ground, folder: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        port, post_port = free_port(), free_port()
        public_url = f"http://127.0.0.1:{port}"
        portal = Portal(rate_limit=100_000)
        post = Post(f"{public_url}/webhooks/hubspot")
        post_url = stack.enter_context(serving(post, post_port))
        outbox = Outbox(
            portal, target=post_url, public_url=f"{public_url}/webhooks/hubspot", retry_unit=0.05
        )
        crm = Sandbox(portal, outbox=outbox)
        weather = Weather(create_sandbox(crm))
        environ = {
            "DATABASE_URL": stack.enter_context(ground.fresh(folder)),
            "SECRET_KEY": "a-test-key-of-32-characters-long",
            "PUBLIC_URL": public_url,
            "HUBSPOT_CLIENT_SECRET": portal.secret,
            "HUBSPOT_APP_ID": str(portal.app_id),
            "CRM_NETWORKS": "127.0.0.0/8",
            "HUBSPOT_API_URL": stack.enter_context(serving(weather)),
            "HUBSPOT_TOKEN": portal.token,
        }
        invariants.connect(environ, folder)
        outbox.start()
        stack.callback(outbox.stop)
        site = Site(plan, ground, folder, crm, post, weather, environ, port)
        stack.callback(site.end)
        site.start()
        yield site


class Site:
    """The installation of one run."""

    def __init__(
        self, plan: Plan, ground: Ground, folder: Path, crm: Sandbox, post: Post,
        weather: Weather, environ: dict[str, str], port: int,
    ) -> None:  # fmt: skip
        self.plan = plan
        self.crm = crm
        self.post = post
        self.weather = weather
        self.environ = environ
        self.town = Town(crm)
        self._ground = ground
        self._folder = folder
        self._port = port
        self._web = processes.web(environ, folder, port=port, processes=plan.web_processes)
        self._command = processes.Command(environ, folder)
        self._workers = [
            processes.worker(environ, folder, number) for number in range(plan.workers)
        ]
        # What was put off while a clock was ahead is due when that time has come.
        self._later = max((one.amount for one in plan.faults if one.what == "clock"), default=0.0)
        self._threads: list[threading.Thread] = []
        self._odd: list[str] = []
        weather.freeze = self._freeze_holder

    def _now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + round(max(self._later, 0.0) * 1000)

    @property
    def _all(self) -> list[Process]:
        return [self._web, *self._workers]

    def start(self) -> None:
        for one in self._all:
            one.start()
        processes.wait_for_web(self._port)

    def end(self) -> None:
        """Nothing of this run goes on."""
        for one in self._all:
            one.kill()
        self.weather.clear()
        for thread in self._threads:
            thread.join()

    # ----------------------------------------------------------------------------- playing

    def play(self) -> list[str]:
        """What does not hold in the end."""
        self._live()
        self._calm()
        deadline = time.monotonic() + DEADLINE
        stuck = self._settle(deadline)
        if stuck:
            return stuck
        stopped = self._stop()
        return [
            *self._odd,
            *stopped,
            *invariants.check(
                plan=self.plan, crm=self.crm, town=self.town, post=self.post,
                environ=self.environ, now_ms=self._now_ms, folder=self._folder,
                logs=[one.log for one in self._all],
            ),
        ]  # fmt: skip

    def _live(self) -> None:
        """Deeds and faults at their instants, and what ends a fault some time after it."""
        numbers = itertools.count()
        agenda: list[tuple[float, int, Callable[[], None]]] = []

        def note(at: float, do: Callable[[], None]) -> None:
            heapq.heappush(agenda, (at, next(numbers), do))

        for deed in self.plan.deeds:
            note(deed.at, lambda deed=deed: self.town.do(deed))
        for fault in self.plan.faults:
            note(fault.at, lambda fault=fault: self._strike(fault, note))
        began = time.monotonic()
        while agenda:
            at, _, do = heapq.heappop(agenda)
            time.sleep(max(0.0, began + at - time.monotonic()))
            do()

    def _strike(self, fault: Fault, note: Callable[[float, Callable[[], None]], None]) -> None:
        def then(do: Callable[[], None]) -> None:
            note(fault.at + fault.lasts, do)

        worker = self._workers[fault.number % len(self._workers)]
        match fault.what:
            case what if what in CRM or what == "freeze holder":
                self.weather.brew(fault)
            case "forged":
                url = self.environ["PUBLIC_URL"] + "/webhooks/hubspot"
                body, headers = forgery(self.crm.portal, url, fault.number)
                self._aside(lambda: self.post.forge(fault, body, headers))
            case what if what in KINDS["post"]:
                self.post.brew(fault)
            case "kill worker":
                worker.kill()
                then(worker.start)
            case "kill web":
                self._web.kill()
                then(self._web.start)
            case "kill web process":
                self._web.kill_child(fault.number)
            case "freeze worker" | "freeze web":
                frozen = self._web if fault.what == "freeze web" else worker
                frozen.signal(signal.SIGSTOP)
                then(lambda: frozen.signal(signal.SIGCONT))
            case "clock":
                self._set_clocks(fault, fault.amount)
                then(lambda: self._set_clocks(fault, 0.0))
            case "lock":
                self._aside(lambda: self._ground.lock(fault.on, fault.lasts))
            case "restart":
                self._aside(lambda: self._ground.restart(fault.on))
            case "full disk":
                for one in self._all:
                    one.limit_files(0)
                then(self._make_room)

    def _set_clocks(self, fault: Fault, seconds: float) -> None:
        """One machine has one clock; with PostgreSQL each process may be on a machine of its
        own."""
        chosen = self._all
        if self.plan.database == "postgresql":
            chosen = [chosen[fault.number % len(chosen)]]
        for one in chosen:
            one.put_clock(seconds)

    def _freeze_holder(self, fault: Fault) -> None:
        """Whoever holds the account's lane, past the end of its lease."""
        with (
            closing(Database(self.environ["DATABASE_URL"])) as database,
            database.read() as connection,
        ):
            holder = connection.scalar(
                sa.select(lane.c.holder).where(lane.c.account_id.is_not(None))
            )
        pids = {str(one.pid): one for one in self._workers}
        if frozen := pids.get((holder or "::").split(":")[1]):
            frozen.signal(signal.SIGSTOP)
            self._aside(lambda: self._wake(frozen, fault.lasts))

    def _wake(self, frozen: Process, after: float) -> None:
        time.sleep(after)
        frozen.signal(signal.SIGCONT)

    def _make_room(self) -> None:
        for one in self._all:
            one.limit_files(NO_LIMIT)

    def _aside(self, do: Callable[[], None]) -> None:
        def done() -> None:
            try:
                do()
            except Exception as error:  # noqa: BLE001 - a fault that did not happen is told of
                self._odd.append(f"the harness stumbled: {error!r}")

        thread = threading.Thread(target=done)
        thread.start()
        self._threads.append(thread)

    # ---------------------------------------------------------------------------- settling

    def _calm(self) -> None:
        """No fault goes on, and whoever was killed is there again."""
        wait_until(lambda: self.weather.is_over, seconds=LINGERS)
        for one in self._all:
            code = one.ended_by_itself()
            if code is None:
                continue
            if not (code == AWAY and self._restarts()):
                self._odd.append(f"{one.name} ended by itself with {code}")
            one.kill()
        for thread in self._threads:
            thread.join()
        self.post.clear()
        self.weather.clear()
        self._make_room()
        for one in self._all:
            one.put_clock(0.0)
            one.signal(signal.SIGCONT)
            one.start()
        processes.wait_for_web(self._port)
        for one in self._workers:
            ready = wait_until(one.is_ready_to_stop, seconds=processes.PATIENCE)
            assert ready, f"{one.name} does not start"

    def _restarts(self) -> bool:
        return any(fault.what == "restart" for fault in self.plan.faults)

    def _settle(self, deadline: float) -> list[str]:
        """Deliver, repair what was lost as the product promises, and work off; what did not come
        to an end."""
        if not wait_until(self._delivered, seconds=deadline - time.monotonic()):
            return [f"the CRM could not deliver: {self.crm.outbox.status()}"]
        for one in (*self._workers, self._command):
            one.put_clock(max(self._later, 0.0))
        database = Database(self.environ["DATABASE_URL"])
        try:
            # Before the sweep: it would give whatever was parked without need another chance.
            stuck = self._rest(database, deadline) or list(invariants.nothing_left(database))
            if stuck or not (self.plan.swept or self.crm.outbox.status()["given_up"]):
                return stuck
            told = self._command.run("sweep", "hubspot")
            if told.returncode:
                return [f"sweep failed: {told.stderr}"]
            return self._rest(database, deadline)
        finally:
            database.close()

    def _rest(self, database: Database, deadline: float) -> list[str]:
        looks = itertools.count()

        def quiet() -> bool:
            nonlocal looks
            if not (self._delivered() and invariants.settled(database, now=self._now_ms())):
                looks = itertools.count()
            return next(looks) >= QUIET

        if wait_until(quiet, seconds=deadline - time.monotonic()):
            return []
        left = invariants.nothing_left(database)
        return ["it does not settle", *left, self._status()]

    def _delivered(self) -> bool:
        return bool(self.crm.outbox.status()["idle"])

    def _status(self) -> str:
        return run_command(("status",), environ=self.environ, now_ms=self._now_ms).stdout

    def _stop(self) -> list[str]:
        """SIGTERM to all; each ends well."""
        for one in self._all:
            one.terminate()
        codes = {one.name: one.ended() for one in self._all}
        with closing(Database(self.environ["DATABASE_URL"])) as database:
            held = invariants.given_back(database, now=self._now_ms())
        return [*held, *(f"{name} ended with {code}" for name, code in codes.items() if code)]
