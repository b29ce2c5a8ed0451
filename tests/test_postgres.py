"""What is PostgreSQL's own: a schema that is migrated when told, hosts that do so together, a
server that restarts, connections that break. All else is tested by running the suite on it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from plugin.storage.database import DATABASE_AWAY, MIGRATIONS, Database
from plugin.storage.inbox import Inbox
from plugin.storage.tables import account, counter, metadata
from tests.databases import Databases, Server
from tests.e2e.plant import ROOT, Plant, running

pytestmark = pytest.mark.postgresql

PATIENCE = 30.0  # seconds
NOW = 1_800_000_000_000  # milliseconds
OLD = [one.revision for one in ScriptDirectory(str(MIGRATIONS)).walk_revisions()][1:]


@pytest.fixture
def server(databases: Databases) -> Server:
    assert isinstance(databases, Server)
    return databases


@pytest.fixture
def empty(server: Server) -> Iterator[str]:
    """The address of a database without tables."""
    with server.fresh(migrated=False) as url:
        yield url


def start(url: str, *words: str) -> subprocess.Popen[str]:
    """``python -m plugin …`` on this database."""
    return subprocess.Popen(
        [sys.executable, "-m", "plugin", *words],
        cwd=ROOT,
        env={"DATABASE_URL": url, "SECRET_KEY": "a-test-key-of-32-characters-long"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, output, errors."""
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -------------------------------------------------------------------------------- schema


def test_a_server_is_migrated_only_when_told(empty: str) -> None:
    """A start on an empty schema exits 2 and says what to do; then it works."""
    told = "The database schema is not up to date: run `python -m plugin db upgrade` first.\n"
    for words in (("status",), ("worker", "--until-idle"), ("pause", "hubspot")):
        assert ended(start(empty, *words)) == (2, "", told)
    for _ in range(2):  # a second time has nothing left to do
        upgraded = ended(start(empty, "db", "upgrade"))
        assert upgraded == (0, "The database schema is up to date.\n", "")
    assert ended(start(empty, "worker", "--until-idle")) == (0, "", "")


@pytest.mark.parametrize("revision", OLD)
def test_every_older_schema_is_brought_up_to_date(empty: str, revision: str) -> None:
    """Afterwards it does not differ from ``tables.py``; before, nothing starts on it."""
    with closing(Database(empty)) as database:
        with database.write() as connection:
            command.upgrade(database._alembic(connection), revision)
        assert not database.is_current()
        database.upgrade()
        assert database.is_current()
        with database.read() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []


def test_several_upgrades_at_once_do_not_disturb_each_other(empty: str) -> None:
    """Several hosts may be deployed together: each upgrade ends well."""
    upgrades = [start(empty, "db", "upgrade") for _ in range(3)]
    assert [ended(one) for one in upgrades] == [(0, "The database schema is up to date.\n", "")] * 3


# ------------------------------------------------------------------------- interruptions


@contextmanager
def working(plant: Plant) -> Iterator[subprocess.Popen[str]]:
    """A real worker beside the installation."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "plugin", "worker"],
        cwd=ROOT,
        env=plant.environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield worker
    finally:
        worker.terminate()
        worker.communicate(timeout=PATIENCE)


def test_web_and_worker_outlive_a_restart_of_the_server(server: Server) -> None:
    """Every connection breaks, in the middle of work; what was delivered meanwhile is worked off
    by the same processes, and nothing is done twice."""
    with running(server) as plant:
        plant.connect("--fallback-owner", "64492917")
        with working(plant) as worker:
            for n in range(3):
                names = [f"Erika{n}{letter}" for letter in "abcde"]
                found = [plant.contact(one, "Beispiel") for one in names]
                for one in found:
                    plant.bought(one)
                if n == 0:  # at work by then
                    eventually(lambda found=found: plant.stage(found[0]) is not None)
                server.restart()
            eventually(lambda: len(plant.tasks()) == 15)
            assert worker.poll() is None
        plant.settle()

        assert plant.open_tasks() == ["ask_origin"] * 15
        assert plant.count("SELECT count(*) FROM delivery WHERE state != 'done'") == 0
        assert plant.count("SELECT count(*) FROM lane WHERE holder != ''") == 0


def test_a_connection_lost_in_a_transaction_leaves_nothing(database: Database) -> None:
    """The writer hears of it, and the next transaction finds a good connection."""
    row = {"name": "work", "subject": "done", "n": 1, "last_at": 0}

    def interrupted() -> None:
        with database.write() as connection:
            connection.execute(sa.insert(counter), row)
            mine = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            with database.write() as other:
                other.execute(sa.select(sa.func.pg_terminate_backend(mine)))

    with pytest.raises(sa.exc.OperationalError):
        interrupted()
    with database.write() as connection:
        assert connection.execute(sa.select(counter)).all() == []
        connection.execute(sa.insert(counter), row)


def test_a_database_that_only_reads_is_away_until_it_takes_writes(server: Server) -> None:
    """`/health` would say so, too; no connection made meanwhile is used when it is over."""
    with (
        server.fresh() as url,
        closing(Database(url)) as database,
        closing(Inbox(database, lambda: NOW)) as inbox,
    ):
        inbox.probe()
        server.only_read(url, on=True)
        for _ in range(3):
            with pytest.raises(DATABASE_AWAY, match="read-only"):
                inbox.probe()
            with pytest.raises(DATABASE_AWAY, match="read-only"):
                inbox.put(crm="hubspot", endpoint="", body=b"[]")
        code, _, err = ended(start(url, "worker", "--until-idle"))
        assert (code, "no database there" in err, "read-only" in err) == (1, True, True)

        server.only_read(url, on=False)
        inbox.put(crm="hubspot", endpoint="", body=b"[]")


def test_a_host_that_vanishes_is_noticed_soon(server: Server) -> None:
    """By what a connection is asked to do: otherwise the system waits for a quarter of an hour.
    What the admin wrote into DATABASE_URL wins; of ``options`` each by itself."""
    with server.fresh() as url:
        more = "&tcp_user_timeout=9000&options=-c%20idle_in_transaction_session_timeout%3D7s"
        for address, acknowledged, idle in ((url, "5000", "15s"), (url + more, "9000", "7s")):
            with closing(Database(address)) as database, database.read() as connection:
                driver: Any = connection.connection.driver_connection
                found = driver.info.get_parameters()
                assert found["tcp_user_timeout"] == acknowledged
                assert (found["keepalives_idle"], found["connect_timeout"]) == ("5", "5")
                for name, value in (
                    ("idle_in_transaction_session_timeout", idle), ("tcp_keepalives_count", "3"),
                ):  # fmt: skip
                    assert f"-c {name}={value}" in found["options"]
                shown = connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout")
                assert shown.scalar_one() == idle


# --------------------------------------------------------------------------- many writers


def test_of_two_who_connect_one_account_at_once_one_is_told(server: Server) -> None:
    """On a server writers do not queue up: there is one account, and the other admin reads a
    sentence."""
    row = {"crm": "hubspot", "crm_id": "4711001", "token": "", "connected_at": NOW}
    ran: list[subprocess.CompletedProcess[str]] = []
    with running(server) as plant:
        assert str(plant.crm.portal.portal_id) == row["crm_id"]
        late = threading.Thread(target=lambda: ran.append(plant.call("connect", "hubspot")))
        with plant.parts.database.write() as connection:
            connection.execute(sa.insert(account), row)
            late.start()
            eventually(lambda: waiting(plant.parts.database) == 1)
        late.join(PATIENCE)
        again = plant.call("connect", "hubspot")

    assert [(one.returncode, one.stdout, one.stderr) for one in ran] == [
        (1, "", "somebody else did the same at the same time: nothing was changed, try again\n")
    ]
    assert again.stdout.startswith("Reconnected HubSpot account 4711001.")


def waiting(database: Database) -> int:
    """How many of this database's sessions wait for a lock."""
    with database.read() as connection:
        found: int = connection.exec_driver_sql(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).scalar_one()
        return found


def test_two_web_servers_that_count_do_not_wait_for_each_other(database: Database) -> None:
    """Counters are written in one order, whatever was refused first: otherwise PostgreSQL ends
    one of two transactions, and the deliveries in it would not be kept."""

    def add(connection: sa.Connection, subject: str) -> None:
        connection.execute(
            sa.update(counter).where(counter.c.subject == subject).values(n=counter.c.n + 1)
        )

    with database.write() as connection:
        rows = [{"name": "refused", "subject": one, "n": 0, "last_at": 0} for one in "ab"]
        connection.execute(sa.insert(counter), rows)
    with database.write() as connection:
        add(connection, "a")
        faults: list[sa.engine.ExceptionContext] = []
        sa.event.listen(database.engine, "handle_error", faults.append)
        inbox = Inbox(database, lambda: NOW)
        inbox._counts.update([("refused", "b"), ("refused", "a")])
        inbox.count("refused", "b")  # the writer begins
        eventually(lambda: waiting(database) == 1)
        add(connection, "b")
    inbox.close()

    with database.read() as connection:
        counted = connection.execute(sa.select(counter.c.subject, counter.c.n)).all()
    assert (sorted(map(tuple, counted)), faults) == ([("a", 2), ("b", 3)], [])
