"""The plugin on PostgreSQL: a server of its own for these tests, where its binaries are found."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from plugin import clock
from plugin.pipeline.lanes import Lanes
from plugin.storage.database import Database
from plugin.storage.inbox import Inbox
from plugin.storage.tables import delivery, metadata
from tests.e2e.plant import Plant, free_port, running

pytestmark = pytest.mark.slow

PATIENCE = 30.0  # seconds
ROLE = "spiral"


# --------------------------------------------------------------------------- the server


def binaries() -> Path | None:
    """Where the newest server's programs lie."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    found = shutil.which("initdb")
    return installed[-1].parent if installed else Path(found).parent if found else None


def _version(initdb: Path) -> float:
    return float(initdb.parts[-3])


def unprivileged() -> dict[str, Any]:
    """Arguments for ``subprocess``: PostgreSQL refuses to run as root."""
    if os.getuid():
        return {}
    names = {one.pw_name for one in pwd.getpwall()}
    who = pwd.getpwnam(next(one for one in ("postgres", "nobody") if one in names))
    return {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}


@contextmanager
def serving(programs: Path) -> Iterator[str]:
    """A fresh server on the loopback; yields the address of its databases."""
    whom = unprivileged()
    # pytest's own folders are closed to other users.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if whom:
            os.chown(folder, whom["user"], whom["group"])
        data = Path(folder) / "data"
        choices = ("-A", "trust", "-U", ROLE, "-E", "UTF8", "--locale=C", "--no-sync")
        subprocess.run(
            [programs / "initdb", *choices, "-D", data],
            check=True,
            cwd=folder,
            capture_output=True,
            **whom,
        )
        port = free_port()
        log = Path(folder) / "log"
        with log.open("wb") as output:
            server = subprocess.Popen(
                [
                    programs / "postgres",
                    *("-D", data, "-p", str(port), "-k", folder),
                    *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
                ],
                cwd=folder,
                stdout=output,
                stderr=output,
                **whom,
            )
        try:
            url = f"postgresql+psycopg://{ROLE}@127.0.0.1:{port}"
            _wait_for(url, server, log)
            yield url
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(PATIENCE)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    engine = sa.create_engine(f"{url}/postgres", poolclass=sa.NullPool)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            engine.connect().close()
        except sa.exc.OperationalError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        else:
            return


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    programs = binaries()
    if programs is None:
        pytest.skip("no PostgreSQL server here (Debian: apt-get install postgresql)")
    with serving(programs) as url:
        yield url


@pytest.fixture
def url(server: str) -> Iterator[str]:
    """An empty database."""
    engine = sa.create_engine(
        f"{server}/postgres", isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
    )
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE referrals")
    yield f"{server}/referrals"
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE referrals WITH (FORCE)")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """A migrated database."""
    opened = Database(url)
    opened.upgrade()
    yield opened
    opened.close()


# ------------------------------------------------------------------------------ tests


def command(url: str, *words: str) -> subprocess.CompletedProcess[str]:
    """``python -m plugin …`` on this database."""
    plant = Plant.__new__(Plant)  # only its settings are needed
    plant.environ = {"DATABASE_URL": url, "SECRET_KEY": "a-test-key-of-32-characters-long"}
    return plant.command(*words)


def test_a_server_is_migrated_only_when_told(url: str) -> None:
    """A start on an empty or old schema exits 2 and says what to do; then it works."""
    for words in (("status",), ("worker", "--until-idle"), ("pause", "hubspot")):
        refused = command(url, *words)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr == (
            "The database schema is not up to date: run `python -m plugin db upgrade` first.\n"
        )
    for _ in range(2):  # a second time has nothing left to do
        upgraded = command(url, "db", "upgrade")
        assert (upgraded.returncode, upgraded.stderr) == (0, "")
        assert upgraded.stdout == "The database schema is up to date.\n"
    status = command(url, "status")
    assert (status.returncode, status.stderr) == (0, "")
    assert status.stdout.startswith("No account is connected.")
    idle = command(url, "worker", "--until-idle")
    assert (idle.returncode, idle.stdout, idle.stderr) == (0, "", "")


def test_the_migrations_make_exactly_the_tables(database: Database) -> None:
    """A migrated database and ``tables.py`` do not differ, here as on SQLite."""
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_two_upgrades_at_once_do_not_disturb_each_other(url: str) -> None:
    """Several hosts may be deployed together: each upgrade ends well."""
    plant = Plant.__new__(Plant)
    plant.environ = {"DATABASE_URL": url, "SECRET_KEY": "a-test-key-of-32-characters-long"}
    results: list[subprocess.CompletedProcess[str]] = []
    threads = [
        threading.Thread(target=lambda: results.append(plant.command("db", "upgrade")))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(one.returncode, one.stderr) for one in results] == [(0, "")] * 3


def test_a_lane_is_held_by_one_at_a_time(database: Database) -> None:
    """Two workers on two hosts: the second gets the lane when the first gives it back."""
    here, there = (Lanes(database, clock.now_ms) for _ in range(2))
    try:
        held = here.take("account:1")
        assert held is not None
        assert there.take("account:1") is None
        with held.write() as connection:
            connection.execute(sa.select(1))
        here.release(held)
        second = there.take("account:1")
        assert second is not None
        assert second.token > held.token
    finally:
        here.close()
        there.close()


def test_deliveries_of_many_requests_are_all_kept(database: Database) -> None:
    """The group-committing inbox stores every delivery once."""
    inbox = Inbox(database, clock.now_ms)
    bodies = [f"[{n}]".encode() for n in range(200)]

    def put(part: list[bytes]) -> None:
        for body in part:
            inbox.put(crm="hubspot", endpoint="", body=body)

    threads = [threading.Thread(target=put, args=(bodies[n::8],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    inbox.close()
    with database.read() as connection:
        kept = connection.execute(sa.select(delivery.c.body)).scalars().all()
    assert sorted(map(bytes, kept)) == sorted(bodies)


def test_the_main_job_works(database: Database, url: str, tmp_path: Path) -> None:
    """Webhooks in, fields and tasks out: a referral, a merge and an erasure, on PostgreSQL."""
    with running(tmp_path, DATABASE_URL=url) as plant:
        plant.connect("--fallback-owner", "64492917")
        anna = plant.contact("Anna", "Sommer", company="Bäckerei Sommer")
        bernd = plant.contact("Bernd", "Keller", email="bernd.keller@example.com")
        double = plant.contact("Bernd", "Keller")
        plant.change(bernd, spiral_referrer_name="Frau Sommer von der Bäckerei Sommer")
        plant.bought(bernd)
        plant.rate(bernd, "delighted")
        plant.settle()
        assert plant.fields(bernd, "stage", "referrer") == {
            "stage": "satisfaction",
            "referrer": f"Anna Sommer ({anna})",
        }
        assert plant.open_tasks(anna) == ["tell_outcome", "thank_referrer"]

        merged = plant.ui("POST", f"contacts/{bernd}/merge", other=double)["id"]
        plant.settle()
        assert plant.fields(merged, "stage", "referrer") == {
            "stage": "satisfaction",
            "referrer": f"Anna Sommer ({anna})",
        }
        assert plant.open_tasks(anna) == ["tell_outcome", "thank_referrer"]

        plant.ui("POST", f"contacts/{anna}/gdpr")
        plant.settle()
        assert plant.fields(merged, "referrer", "referrer_name") == {
            "referrer": None,
            "referrer_name": None,
        }
        assert plant.count("SELECT count(*) FROM contact WHERE last_name = 'Sommer'") == 0
        shown = plant.command("status")
        assert shown.returncode == 0, shown.stderr
        assert "3 known" not in shown.stdout
        assert "parked" not in shown.stdout
