"""Fresh databases for tests: SQLite files, or a PostgreSQL server of our own.

Not pytest-postgresql: it cannot start a server as root, and its server outlives a pytest that was
killed. Ours ends with the process that began it, however that ends.
"""

from __future__ import annotations

import itertools
import os
import pwd
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa

from plugin.storage.database import Database
from plugin.storage.tables import metadata

NO_SERVER = "no PostgreSQL server here (Debian: apt-get install postgresql)"
ROLE = "spiral"
TEMPLATE = "migrated"
PROGRAM = """
trap 'pg_ctl -D data -m immediate stop > /dev/null 2>&1; cd /; rm -rf "$OLDPWD"' EXIT
initdb -A trust -U "$1" -E UTF8 --locale=C --locale-provider=icu --icu-locale=de \
    --no-sync -D data &&
    printf '%s\n' "$2" >> data/postgresql.conf &&
    pg_ctl -D data -l log -w start || { cat log; exit 1; }
echo ready
cat
"""
"""Serves until its standard input ends: when pytest closes it, or is no more."""
CHOICES = """
listen_addresses = ''
unix_socket_directories = '.'
max_connections = 200
shared_buffers = 32MB
fsync = off
full_page_writes = off
autovacuum = off
timezone = 'Asia/Kathmandu'
"""
"""A server only for us. Neither its order of texts (German) nor its time zone is what a test
may rely on; durability is PostgreSQL's own business."""


class Databases(Protocol):
    """Where tests get their databases from."""

    def fresh(self, *, migrated: bool = True) -> AbstractContextManager[str]:
        """The DATABASE_URL of a new database, which is gone after the block."""


class Files:
    """SQLite, each database in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self._template = folder / "migrated.db"
        with closing(Database(f"sqlite:///{self._template}")) as database:
            database.upgrade()

    @contextmanager
    def fresh(self, *, migrated: bool = True) -> Iterator[str]:
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        if migrated:
            shutil.copy(self._template, folder / "referrals.db")
        yield f"sqlite:///{folder / 'referrals.db'}"
        shutil.rmtree(folder)


class Server:
    """A running PostgreSQL server."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._numbers = itertools.count(1)
        self._create(TEMPLATE)
        with closing(Database(self._url(TEMPLATE))) as database:
            database.upgrade()

    @contextmanager
    def fresh(self, *, migrated: bool = True) -> Iterator[str]:
        name = f"test_{next(self._numbers)}"
        self._create(name, TEMPLATE if migrated else "template1")
        yield self._url(name)
        self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def restart(self, mode: str = "immediate") -> None:
        """End every connection and start anew, as after a crash; ``mode`` as pg_ctl has it."""
        subprocess.run(
            [self._programs / "pg_ctl", *("-D", "data", "-l", "log", "-m", mode, "restart")],
            check=True,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            **_unprivileged(),
        )

    def only_read(self, url: str, *, on: bool) -> None:
        """Whether this database takes no writes, as hosters have it where the disk gets full; all
        who were connected are cut off."""
        name = sa.make_url(url).database
        self._execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {on}")
        those = f"FROM pg_stat_activity WHERE datname = '{name}'"
        self._execute(f"SELECT pg_terminate_backend(pid) {those}")

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://{ROLE}@/{name}?host={self._folder / 'data'}"

    def _create(self, name: str, template: str = "template1") -> None:
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")

    def _execute(self, statement: str) -> None:
        engine = sa.create_engine(
            self._url("postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
        )
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)


@contextmanager
def full_disk() -> Iterator[None]:
    """For this process no file grows any more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def busy(database: Database) -> Iterator[None]:
    """Somebody else is writing: what is delivered meanwhile has to wait."""
    with database.write() as connection:
        if not database.is_sqlite:  # where writers do not wait for each other by themselves
            connection.exec_driver_sql("LOCK TABLE delivery, counter IN EXCLUSIVE MODE")
        yield


def contents(database: Database) -> dict[str, bytes]:
    """All that is stored, by file or table, in lower case.

    Of SQLite every byte, be it a free page or the log; of a server what its rows say, as how long
    its files keep old versions of them is not ours to say.
    """
    if database.is_sqlite:
        path = Path(str(database.url.database))
        files = {one.name: one.read_bytes() for one in path.parent.glob(f"{path.name}*")}
        assert {f"{path.name}{ending}" for ending in ("", "-wal", "-shm")} <= files.keys()
        return {name: content.lower() for name, content in files.items()}
    with database.read() as connection:
        return {
            name: b"\n".join(
                value if isinstance(value, bytes) else str(value).encode()
                for row in connection.execute(sa.select(table))
                for value in row
            ).lower()
            for name, table in metadata.tables.items()
        }


def programs() -> Path | None:
    """Where the newest server's programs lie; None where there is none."""
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")  # Debian: not on the PATH
    newest = max(installed, key=lambda one: int(one.parts[-3]), default=None)
    found = newest or shutil.which("initdb")
    return Path(found).parent if found else None


@contextmanager
def serving(programs: Path, *, choices: str = CHOICES) -> Iterator[Server]:
    """A fresh server, reached through a socket in a folder that is closed to others.

    ``choices``: lines for its configuration file.
    """
    whom = _unprivileged()
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to the server's user
    if whom:
        os.chown(folder, whom["user"], whom["group"])
    with subprocess.Popen(
        ["sh", "-c", PROGRAM, "sh", ROLE, choices],
        cwd=folder,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C is for pytest, which then ends the server
        **whom,
    ) as process:
        assert process.stdout
        said = ""
        while not said.endswith("ready\n"):
            line = process.stdout.readline()
            assert line, said
            said += line
        yield Server(programs, folder)


def _unprivileged() -> dict[str, Any]:
    """Arguments for ``subprocess``: PostgreSQL refuses to run as root."""
    if os.getuid():
        return {}
    names = {one.pw_name for one in pwd.getpwall()}
    who = pwd.getpwnam(next(one for one in ("postgres", "nobody") if one in names))
    return {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}
