"""Leases: one holder per lane, and one who lost it writes nothing any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from plugin.app import create_worker, open_parts
from plugin.errors import LeaseLost
from plugin.pipeline import lanes as module
from plugin.pipeline.lanes import DIGEST, LEASE, RENEW_EVERY, Lanes, is_held, wake
from plugin.pipeline.schedule import nothing_due
from plugin.settings import load_settings
from plugin.storage.accounts import LONGEST_WAIT
from plugin.storage.database import Database, upsert
from plugin.storage.tables import account, counter, lane

NAME = "account:1"
PATIENCE = 10.0  # seconds
START = 1_800_000_000_000  # milliseconds


class Clock:
    """Time that stands still unless told otherwise, in milliseconds."""

    def __init__(self) -> None:
        self.ms = START

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextmanager
def process(database: Database, clock: Callable[[], int] | None) -> Iterator[Lanes]:
    """The leases of one more worker process."""
    lanes = Lanes(database, clock)
    try:
        yield lanes
    finally:
        lanes.close()


class Renewal:
    """Makes the renewing threads wait just before they write."""

    def __init__(self, database: Database) -> None:
        self._write = database.write
        self._open = threading.Event()
        self._open.set()
        self._waiting = threading.Semaphore(0)
        self._passed = threading.Semaphore(0)

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        if threading.current_thread().name != "lanes":
            with self._write() as connection:
                yield connection
            return
        if not self._open.is_set():
            self._waiting.release()
            self._open.wait(PATIENCE)
        with self._write() as connection:
            yield connection
        self._passed.release()

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Inside, a renewal has begun and gets no further; afterwards it is through."""
        self._open.clear()
        assert self._waiting.acquire(timeout=PATIENCE)
        yield
        while self._passed.acquire(blocking=False):
            pass
        self._open.set()
        assert self._passed.acquire(timeout=PATIENCE)


@pytest.fixture
def renewal(database: Database, monkeypatch: pytest.MonkeyPatch) -> Renewal:
    """Leases are renewed all the time, unless held back."""
    monkeypatch.setattr(module, "RENEW_EVERY", 0.01)
    renewal = Renewal(database)
    monkeypatch.setattr(database, "write", renewal.write)
    return renewal


@pytest.fixture
def one(database: Database, clock: Clock) -> Iterator[Lanes]:
    with process(database, clock) as lanes:
        yield lanes


@pytest.fixture
def other(database: Database, clock: Clock) -> Iterator[Lanes]:
    with process(database, clock) as lanes:
        yield lanes


def milliseconds_now() -> int:
    return time.time_ns() // 1_000_000


def until(database: Database) -> int:
    with database.read() as connection:
        found: int = connection.scalar(sa.select(lane.c.until).where(lane.c.name == NAME)) or 0
        return found


def counted(database: Database) -> int:
    """How often ``count_once`` got through."""
    with database.read() as connection:
        return connection.scalar(sa.select(counter.c.n)) or 0


def count_once(connection: sa.Connection) -> None:
    row = {"name": "work", "subject": "done", "n": 1, "last_at": 0}
    upsert(connection, counter, [row], n=counter.c.n + 1)


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# ------------------------------------------------------------------------- taking turns


def test_a_lane_has_one_holder_and_is_free_the_moment_it_is_given_back(
    one: Lanes, other: Lanes
) -> None:
    """Nobody else gets a held lane, not even a thread of the same process."""
    held = one.take(NAME)
    assert held is not None
    assert other.take(NAME) is None
    assert one.take(NAME) is None

    one.release(held)

    assert other.take(NAME) is not None


def test_lanes_do_not_stand_in_each_others_way(one: Lanes, other: Lanes) -> None:
    """Two accounts are worked on at the same time."""
    assert one.take("account:1") is not None
    assert other.take("account:2") is not None


def test_threads_that_want_the_same_lane_get_it_one_after_the_other(
    one: Lanes, other: Lanes
) -> None:
    """However many compete, two are never in the lane at once, and all get their turn."""
    inside = threading.Semaphore(1)
    overlaps: list[str] = []
    turns: list[str] = []

    def compete(lanes: Lanes, name: str) -> None:
        while (held := lanes.take(NAME)) is None:
            time.sleep(0.001)
        if not inside.acquire(blocking=False):
            overlaps.append(name)
        with held.write() as connection:
            count_once(connection)
        turns.append(name)
        inside.release()
        lanes.release(held)

    threads = [
        threading.Thread(target=compete, args=(lanes, f"{n}"))
        for n, lanes in enumerate([one, other] * 4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert (overlaps, sorted(turns)) == ([], [str(n) for n in range(8)])
    assert counted(one.database) == 8


# -------------------------------------------------------------------------------- expiry


def test_a_dead_holders_lane_is_free_within_fifteen_seconds(
    one: Lanes, other: Lanes, clock: Clock
) -> None:
    """A lease that nobody renews ends by itself, and not a moment early."""
    assert one.take(NAME) is not None

    clock.ms += LEASE
    assert other.take(NAME) is None
    clock.ms += 1
    assert other.take(NAME) is not None

    assert LEASE + 1 <= 15_000


def test_a_living_holder_keeps_its_lane(
    database: Database, clock: Clock, other: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is renewed from a thread of its own, several times before it would end."""
    assert RENEW_EVERY * 1000 * 3 <= LEASE
    monkeypatch.setattr(module, "RENEW_EVERY", 0.01)
    with process(database, clock) as one:
        held = one.take(NAME)
        assert held is not None

        for _ in range(3):
            clock.ms += LEASE - 1
            eventually(lambda: until(database) == clock.ms + LEASE)
            assert other.take(NAME) is None
        held.check()


def test_renewing_outlives_a_database_that_fails_for_a_while(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost connection costs one renewal, not all that would follow."""
    monkeypatch.setattr(module, "RENEW_EVERY", 0.01)
    write = database.write
    failures = iter([sa.exc.InterfaceError("renew", {}, Exception("connection is closed"))] * 3)

    @contextmanager
    def failing() -> Iterator[sa.Connection]:
        if threading.current_thread().name == "lanes" and (error := next(failures, None)):
            raise error
        with write() as connection:
            yield connection

    monkeypatch.setattr(database, "write", failing)
    with process(database, clock) as one:
        assert one.take(NAME) is not None
        clock.ms += LEASE - 1
        eventually(lambda: until(database) == clock.ms + LEASE)


def test_a_lane_given_back_is_not_renewed(renewal: Renewal, one: Lanes, other: Lanes) -> None:
    """A renewal that was on its way when the lane was given back does not take it again."""
    held = one.take(NAME)
    assert held is not None
    with renewal.held_back():
        one.release(held)

    assert other.take(NAME) is not None


# ------------------------------------------------------------------------------- fencing


def test_who_lost_the_lane_writes_nothing(one: Lanes, other: Lanes, clock: Clock) -> None:
    """One who slept through its lease can neither write here nor call the CRM."""
    late = one.take(NAME)
    assert late is not None
    clock.ms += LEASE + 1
    successor = other.take(NAME)
    assert successor is not None

    with pytest.raises(LeaseLost, match=NAME), late.write() as connection:
        count_once(connection)
    with pytest.raises(LeaseLost, match=NAME):
        late.check()

    assert counted(one.database) == 0
    with successor.write() as connection:
        count_once(connection)
    assert counted(one.database) == 1


def test_a_lease_that_ran_out_goes_on_where_nobody_took_it(
    one: Lanes, other: Lanes, clock: Clock
) -> None:
    """A long transaction keeps renewals away. To write is safe, as the row is locked meanwhile;
    to call the CRM is not, until the lease has been renewed by it."""
    late = one.take(NAME)
    assert late is not None
    clock.ms += LEASE + 1

    with pytest.raises(LeaseLost, match="ran out"):
        late.check()
    with late.write() as connection:
        count_once(connection)
    late.check()
    assert counted(one.database) == 1
    assert other.take(NAME) is None


def test_the_lane_cannot_be_taken_in_the_middle_of_a_write(
    database: Database, one: Lanes, other: Lanes, clock: Clock
) -> None:
    """A write that began in time ends before anybody else is let in."""
    held = one.take(NAME)
    assert held is not None
    counts: list[int] = []

    def steal() -> None:
        while not other.take(NAME):
            time.sleep(0.005)
        counts.append(counted(database))

    with held.write() as connection:
        clock.ms += LEASE + 1
        thief = threading.Thread(target=steal)
        thief.start()
        thief.join(0.1)
        assert thief.is_alive()
        count_once(connection)
    thief.join(PATIENCE)

    assert counts == [1]


def test_who_lost_the_lane_neither_frees_nor_renews_it(
    renewal: Renewal, one: Lanes, other: Lanes, clock: Clock
) -> None:
    """What a late holder still does with its lease is void."""
    late = one.take(NAME)
    assert late is not None
    with renewal.held_back():
        clock.ms += LEASE + 1
        successor = other.take(NAME)
        assert successor is not None
        other.release(successor)
    assert until(one.database) == 0

    assert other.take(NAME) is not None
    one.release(late)
    assert until(one.database) > 0


def test_a_failed_write_leaves_nothing_and_keeps_the_lane(database: Database, one: Lanes) -> None:
    """All or nothing; and the lane is still there for the next try."""
    held = one.take(NAME)
    assert held is not None

    def stumble() -> None:
        with held.write() as connection:
            count_once(connection)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stumble()

    assert counted(database) == 0
    held.check()


# -------------------------------------------------------------------------- being idle


def test_somebody_else_at_work_is_no_idleness(database: Database) -> None:
    """While a lane is held, what its holder will leave behind is not known yet."""
    now, present = milliseconds_now(), datetime.now(UTC)
    assert nothing_due(database, now=now, present=present)

    with process(database, None) as one:
        held = one.take(DIGEST)
        assert held is not None
        assert not nothing_due(database, now=now, present=present)

        one.release(held)
        assert nothing_due(database, now=now, present=present)
        with database.read() as connection:
            assert not is_held(connection, DIGEST, now=database.present())


def test_a_worker_that_ends_when_idle_waits_for_lanes_that_others_hold(database: Database) -> None:
    """``worker --until-idle`` ends only when nobody is at work."""
    url = database.url.render_as_string(hide_password=False)
    settings = {"DATABASE_URL": url, "SECRET_KEY": "a-test-key-of-32-characters-long"}
    parts = open_parts(load_settings(settings))
    with process(parts.database, None) as busy:
        held = busy.take(DIGEST)
        assert held is not None
        worker = threading.Thread(target=create_worker(parts).run, kwargs={"until_idle": True})
        worker.start()
        worker.join(0.5)
        assert worker.is_alive()

        busy.release(held)
        worker.join(PATIENCE)
        assert not worker.is_alive()
    parts.database.close()


def test_of_two_workers_that_are_the_first_only_one_gets_a_new_lane(
    one: Lanes, other: Lanes
) -> None:
    """A lane nobody ever held is held by one, and the next holder has a higher token."""
    held = one.take("account:1")
    assert held is not None
    assert other.take("account:1") is None

    one.release(held)
    again = other.take("account:1")
    assert again is not None
    assert again.token > held.token


# --------------------------------------------------------------------- lanes that are due


def connected(database: Database, *ids: int, failures: int = 0) -> None:
    """Accounts, as ``connect`` leaves them: woken."""
    with database.write() as connection:
        for one in ids:
            connection.execute(
                sa.insert(account).values(
                    id=one, crm="hubspot", crm_id=str(one), token="", connected_at=0,
                    failures=failures,
                )
            )  # fmt: skip
        wake(connection, ids, at=START)


def test_the_lane_that_has_been_due_for_longest_comes_first(database: Database, one: Lanes) -> None:
    """Nobody is overtaken for ever; what is not due yet is not given."""
    connected(database, 1, 2, 3)
    with database.write() as connection:
        wake(connection, [2], at=START - 1_000)
        wake(connection, [1], at=START + 1_000)  # later than it is due: changes nothing

    def claimed() -> list[int]:
        found = []
        while job := one.claim(now=START, steady=False):
            found.append(job.account_id)
        return found

    assert one.claim(now=START - 1_001, steady=False) is None
    assert claimed() == [2, 1, 3]
    assert claimed() == []


def test_a_lane_given_back_is_due_when_its_holder_says(database: Database, one: Lanes) -> None:
    """Asked in the same transaction; ``None`` means not before somebody wakes it."""
    connected(database, 1)
    for again in (START + 60_000, None):
        job = one.claim(now=START + 60_000, steady=False)
        assert job is not None
        one.release(job.lane, due_at=lambda *_, again=again: again)
        assert one.claim(now=START + 59_999, steady=False) is None
    assert one.claim(now=START + 60_000, steady=False) is None

    with database.write() as connection:
        wake(connection, [1], at=START)
    assert one.claim(now=START, steady=False) is not None


def test_who_is_woken_while_held_is_looked_at_again(database: Database, one: Lanes) -> None:
    """A mark that comes while somebody works in the lane is seen by whoever gives it back."""
    connected(database, 1)
    job = one.claim(now=START, steady=False)
    assert job is not None
    with database.write() as connection:
        wake(connection, [1], at=START)

    told: list[int | None] = []

    def due(_connection: sa.Connection, said: int | None) -> int | None:
        told.append(said)
        return said

    one.release(job.lane, due_at=due)
    assert told == [START]
    assert job.due_at == START + LEASE
    assert one.claim(now=START, steady=False) is not None


def test_a_lane_whose_holder_died_is_due_when_its_lease_has_ended(
    database: Database, clock: Clock, one: Lanes, other: Lanes
) -> None:
    """What was claimed and not given back is looked at by somebody else."""
    connected(database, 1)
    assert one.claim(now=START, steady=False) is not None
    clock.ms += LEASE + 1
    assert other.claim(now=START + LEASE - 1, steady=False) is None
    assert other.claim(now=START + LEASE, steady=False) is not None


def test_what_is_due_in_a_far_future_is_due_now(database: Database, one: Lanes) -> None:
    """Nobody puts off for more than a day: the clock was ahead, and was set back."""
    connected(database, 1)
    with database.write() as connection:
        connection.execute(sa.update(lane).values(due_at=START + LONGEST_WAIT))
    assert one.claim(now=START - 1, steady=False) is not None
    with database.write() as connection:
        connection.execute(sa.update(lane).values(until=0, due_at=START + LONGEST_WAIT))
    assert one.claim(now=START, steady=False) is None


def test_accounts_in_trouble_can_be_left_out(database: Database, one: Lanes) -> None:
    """So that they do not keep all threads of a worker."""
    connected(database, 1, failures=3)
    connected(database, 2)

    steady = one.claim(now=START, steady=True)
    assert steady is not None
    assert (steady.account_id, steady.failures) == (2, 0)
    assert one.claim(now=START, steady=True) is None
    connected(database, 3)
    assert one.claim(now=START, steady=True, besides={3}) is None
    unsteady = one.claim(now=START, steady=False)
    assert unsteady is not None
    assert (unsteady.account_id, unsteady.failures) == (1, 3)


def test_two_processes_never_claim_the_same_lane(
    database: Database, one: Lanes, other: Lanes
) -> None:
    """However many lanes are due and whoever asks: each is given once."""
    connected(database, *range(1, 41))
    claimed: list[int] = []

    def claim_all(lanes: Lanes) -> None:
        while job := lanes.claim(now=START, steady=False):
            claimed.append(job.account_id)

    threads = [threading.Thread(target=claim_all, args=(lanes,)) for lanes in (one, other) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    # On PostgreSQL a lane that another one is just claiming is passed over, so ask once more.
    claim_all(one)
    assert sorted(claimed) == list(range(1, 41))


def test_a_clock_that_is_set_back_leaves_no_lane_stuck(
    one: Lanes, other: Lanes, clock: Clock
) -> None:
    """A lease that ends further ahead than any lease can is void: its holder died before the
    clock was set back, or is fenced off."""
    late = one.take(NAME)
    assert late is not None
    clock.ms -= 3_600_000

    assert other.take(NAME) is not None
    with pytest.raises(LeaseLost):
        late.check()


def test_a_process_that_ends_lets_nobody_begin_another_call(one: Lanes) -> None:
    """Holders are stopped at their next call to the CRM, but can still write what they did."""
    held = one.take(NAME)
    assert held is not None
    one.end_in(0.0)
    with pytest.raises(LeaseLost, match="the process ends"):
        held.check()
    with held.write() as connection:
        count_once(connection)
    assert counted(one.database) == 1


def test_closing_gives_back_what_is_held(database: Database, clock: Clock, other: Lanes) -> None:
    """Nobody has to wait for the lease of a process that ended."""
    with process(database, clock) as one:
        assert one.take(NAME) is not None
    assert other.take(NAME) is not None
