"""The inbox: what was put is on disk when ``put`` returns, whoever put how much at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
import sqlalchemy as sa

from plugin.storage import inbox as module
from plugin.storage.database import Database
from plugin.storage.inbox import COUNT_EVERY, MAX_GROUP, Inbox
from plugin.storage.tables import counter, delivery
from tests.databases import busy, full_disk

NOW = 1_800_000_000_000  # milliseconds
PATIENCE = 10.0  # seconds


class Clock:
    def __init__(self) -> None:
        self.ms = NOW

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inbox(database: Database, clock: Clock) -> Iterator[Inbox]:
    with closing(Inbox(database, clock)) as inbox:
        yield inbox


@pytest.fixture
def commits(database: Database) -> list[int]:
    """Grows by one with every write transaction that is carried out."""
    seen: list[int] = []

    @sa.event.listens_for(database.engine, "after_cursor_execute")
    def wrote(connection: sa.Connection, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(("INSERT", "UPDATE", "DELETE")):
            connection.info["wrote"] = True

    @sa.event.listens_for(database.engine, "commit")
    def note(connection: sa.Connection) -> None:
        if connection.info.pop("wrote", False):
            seen.append(1)

    return seen


def put(inbox: Inbox, body: bytes) -> None:
    inbox.put(crm="hubspot", endpoint="", body=body)


def stored(database: Database) -> list[bytes]:
    with database.read() as connection:
        return sorted(connection.execute(sa.select(delivery.c.body)).scalars())


def counts(database: Database) -> dict[tuple[str, str], int]:
    with database.read() as connection:
        rows = connection.execute(sa.select(counter))
        return {(row.name, row.subject): row.n for row in rows}


class Crowd:
    """Many threads that put one delivery each, and what became of them."""

    def __init__(self, inbox: Inbox, bodies: list[bytes]) -> None:
        self.failures: list[Exception] = []
        self.done: list[bytes] = []
        self._inbox = inbox
        self._threads = [threading.Thread(target=self._put, args=(body,)) for body in bodies]

    def _put(self, body: bytes) -> None:
        try:
            put(self._inbox, body)
        except (sa.exc.SQLAlchemyError, TimeoutError) as error:
            self.failures.append(error)
        else:
            self.done.append(body)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)


@pytest.fixture
def gather(
    inbox: Inbox, database: Database, monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[bytes]], Crowd]:
    """Has these deliveries arrive while ``[first]`` is being committed."""
    write = database.write
    reached, opened = threading.Event(), threading.Event()

    @contextmanager
    def gated() -> Iterator[sa.Connection]:
        with write() as connection:
            try:
                yield connection
            finally:
                if threading.current_thread().name == "inbox":
                    reached.set()
                    opened.wait(PATIENCE)

    def gathered(bodies: list[bytes]) -> Crowd:
        monkeypatch.setattr(database, "write", gated)
        first, crowd = Crowd(inbox, [b"[first]"]), Crowd(inbox, bodies)
        first.start()
        assert reached.wait(PATIENCE)
        crowd.start()
        eventually(lambda: len(inbox._parcels) == len(bodies))
        opened.set()
        first.join()
        crowd.join()
        return crowd

    return gathered


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_many_put_at_once_is_all_stored(inbox: Inbox, database: Database) -> None:
    """Each delivery is stored once, byte for byte."""
    bodies = [b"[%d]" % n for n in range(40)]
    crowd = Crowd(inbox, bodies)
    crowd.start()
    crowd.join()

    assert (stored(database), crowd.failures) == (sorted(bodies), [])


def test_what_waited_while_the_disk_was_busy_is_committed_together(
    gather: Callable[[list[bytes]], Crowd], database: Database, commits: list[int]
) -> None:
    """A delivery that arrives during a commit shares the next one with all the others."""
    crowd = gather([b"[%d]" % n for n in range(30)])

    assert (len(crowd.done), len(stored(database)), len(commits)) == (30, 31, 2)


def test_one_commit_holds_no_more_than_a_group(
    gather: Callable[[list[bytes]], Crowd],
    database: Database,
    commits: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A flood is cut into transactions that stay short."""
    assert MAX_GROUP == 200
    monkeypatch.setattr(module, "MAX_GROUP", 10)
    gather([b"[%d]" % n for n in range(31)])

    assert (len(stored(database)), len(commits)) == (32, 1 + 4)


def test_put_returns_only_after_the_commit(inbox: Inbox, database: Database) -> None:
    """While the delivery is not on disk, the CRM gets no answer."""
    seen_at_return: list[list[bytes]] = []

    def deliver() -> None:
        put(inbox, b"[1]")
        seen_at_return.append(stored(database))

    waiting = threading.Thread(target=deliver)
    with busy(database):
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
    waiting.join(PATIENCE)

    assert seen_at_return == [[b"[1]"]]


def test_a_failing_database_is_told_to_everybody_who_waits(
    gather: Callable[[list[bytes]], Crowd], inbox: Inbox, database: Database
) -> None:
    """Nobody of a group that was not stored gets a 2xx; and the next delivery is taken again."""
    with database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE delivery RENAME TO away")
    crowd = gather([b"[%d]" % n for n in range(20)])

    assert crowd.done == []
    assert [isinstance(one, sa.exc.DatabaseError) for one in crowd.failures] == [True] * 20

    with database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO delivery")
    put(inbox, b"[20]")
    assert stored(database) == [b"[20]"]


def test_a_group_is_stored_as_a_whole_or_not_at_all(
    gather: Callable[[list[bytes]], Crowd], database: Database
) -> None:
    """What cannot be stored takes its group with it: nothing is stored that was not answered."""
    with database.write() as connection:
        connection.exec_driver_sql("CREATE UNIQUE INDEX no_twins ON delivery (body)")
    crowd = gather([b"[1]", b"[first]", b"[2]"])

    assert (crowd.done, stored(database)) == ([], [b"[first]"])


def test_a_disk_that_is_stuck_is_an_error_in_time(
    inbox: Inbox, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CRM is told to come again before it gives up by itself."""
    assert module.PUT_TIMEOUT < 5.0
    monkeypatch.setattr(module, "PUT_TIMEOUT", 0.05)

    with busy(database), pytest.raises(TimeoutError):
        put(inbox, b"[1]")


def test_what_a_stuck_disk_kept_waiting_is_not_kept_in_memory(
    inbox: Inbox, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was told to come again is forgotten: nothing piles up, and nothing is stored twice."""
    monkeypatch.setattr(module, "PUT_TIMEOUT", 0.05)
    with busy(database):
        for _ in range(5):
            crowd = Crowd(inbox, [b"[%d]" % n for n in range(16)])
            crowd.start()
            crowd.join()
            assert [type(one) for one in crowd.failures] == [TimeoutError] * 16
            assert len(inbox._parcels) == 0

    monkeypatch.undo()
    put(inbox, b"[now]")
    assert len(stored(database)) <= 1 + 16  # on PostgreSQL a group may be waiting inside


def test_a_probe_tells_whether_a_delivery_could_be_stored(
    inbox: Inbox, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes the way of a delivery and leaves nothing behind."""
    inbox.probe()
    assert stored(database) == []

    monkeypatch.setattr(module, "PUT_TIMEOUT", 0.05)
    if database.is_sqlite:  # elsewhere writers do not wait for each other
        with busy(database), pytest.raises(TimeoutError):
            inbox.probe()


@pytest.mark.sqlite("a disk")
def test_a_probe_sees_a_full_disk(inbox: Inbox, database: Database) -> None:
    """A load balancer asks elsewhere; when there is room again, all is well."""
    put(inbox, b"[1]")
    with full_disk(), pytest.raises(sa.exc.OperationalError):
        inbox.probe()
    inbox.probe()
    assert stored(database) == [b"[1]"]


def test_the_writing_thread_begins_with_the_first_delivery(inbox: Inbox) -> None:
    """One made before gunicorn forks would be missing in its workers."""

    def writers() -> int:
        return sum(thread.name == "inbox" for thread in threading.enumerate())

    before = writers()
    put(inbox, b"[1]")
    put(inbox, b"[2]")

    assert writers() == before + 1


def test_counting_costs_one_write_in_two_seconds(
    inbox: Inbox, database: Database, clock: Clock, commits: list[int]
) -> None:
    """A flood of forged deliveries writes next to nothing, and none of them is forgotten."""
    inbox.count("refused", "hubspot")
    eventually(lambda: counts(database) == {("refused", "hubspot"): 1})
    for _ in range(99):
        inbox.count("refused", "hubspot")
    assert (counts(database), len(commits)) == ({("refused", "hubspot"): 1}, 1)

    clock.ms += COUNT_EVERY
    inbox.count("refused", "hubspot/4711")
    eventually(
        lambda: counts(database) == {("refused", "hubspot"): 100, ("refused", "hubspot/4711"): 1}
    )
    assert len(commits) == 2


def test_counting_does_not_wait_for_the_disk(inbox: Inbox, database: Database) -> None:
    """A refusal is answered at once, whatever the database is doing."""
    with busy(database):
        inbox.count("refused", "hubspot")
        assert counts(database) == {}

    eventually(lambda: counts(database) == {("refused", "hubspot"): 1})
