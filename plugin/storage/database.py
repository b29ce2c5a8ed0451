"""One database behind the plugin: an SQLite file (one machine) or PostgreSQL (many).

Reading and writing go through :meth:`Database.read` and :meth:`Database.write`; nothing else
opens a connection. On SQLite every write transaction first takes a file lock: the busy
handler of SQLite sleeps and is unfair, a lock queues (measured: an 18-fold lower p99 with two
processes).
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql, sqlite

from plugin import clock
from plugin.errors import ConfigurationError, DatabaseUnavailable

MIGRATIONS = Path(__file__).parent / "migrations"
DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
"""How a DATABASE_URL may begin, and the driver meant by it."""
UPGRADE_LOCK = 7_239_471  # any number of our own: PostgreSQL's advisory locks have only numbers
LOCK_TIMEOUT = 30.0  # seconds SQLite itself waits for a reader or a checkpoint
CHANNEL = "referral_spiral"  # of PostgreSQL's notifications
SERVER_OPTIONS = {
    # Of a frozen process or a dead host: what it had locked is let go.
    "idle_in_transaction_session_timeout": "15s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
CLIENT_OPTIONS: Mapping[str, int | str] = {
    "target_session_attrs": "read-write",  # of several hosts never the one that only reads
    # Of a host that vanished: who waits for it hears so within 10 seconds, then tries the others.
    "connect_timeout": 5,  # seconds, as are the next two
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 5_000,  # milliseconds in which what was sent must be acknowledged
}
DATABASE_AWAY = (
    sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError, sa.exc.TimeoutError,
)  # fmt: skip
"""Locked, restarting or full: nobody's fault, and over by itself."""
PASSING = ("SQLITE_BUSY", "SQLITE_FULL", "SQLITE_IOERR")
"""How the names of those of SQLite's errors begin that are over by themselves."""
LISTEN_FOR = 1.0  # seconds at a time
POOL = 10  # connections kept open per process
OVERFLOW = 64  # more of them, while so many threads are at it

_QUOTING = re.compile(r'\b(invalid|service) .*"')
"""What libpq says of values it does not take, which it quotes."""

Row = Mapping[str, Any]


class Database:
    """Connections, transactions and the schema. Safe to share between threads, not over fork."""

    def __init__(self, url: str) -> None:
        try:
            self.url = sa.make_url(url)
        except (sa.exc.ArgumentError, ValueError):  # the latter: a port that is no number
            raise ConfigurationError("DATABASE_URL is no valid database address") from None
        if self.url.drivername not in DRIVERS:
            raise ConfigurationError(
                "DATABASE_URL must begin with sqlite:/// or postgresql+psycopg://"
            )
        self.url = self.url.set(drivername=DRIVERS[self.url.drivername])
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if not self.is_sqlite and _splits_password(url):
            raise ConfigurationError(
                "DATABASE_URL has more than one @: percent-encode the password (%40 is an @)"
            )
        self._lock = threading.Lock()
        self._lock_path: Path | None = None
        self._lock_file: IO[str] | None = None
        if self.is_sqlite:
            self._prepare_file()
        try:
            self.engine = self._engine()
        except (sa.exc.ArgumentError, ValueError):  # its words quote what they do not take
            raise ConfigurationError("DATABASE_URL has an option that is not valid") from None

    def _prepare_file(self) -> None:
        if not self.url.database or self.url.database == ":memory:":
            raise ConfigurationError(
                "DATABASE_URL must name a file: web and worker are processes of their own"
            )
        path = Path(self.url.database)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not path.exists():  # an admin may have given an old one to a group
                path.touch(mode=0o600)  # SQLite gives what it puts beside it the same mode
        except OSError as error:
            raise _no_file(error) from error
        self._lock_path = path.with_name(path.name + ".lock")

    def _engine(self) -> sa.Engine:
        if not self.is_sqlite:
            told = self.url.normalized_query  # what the admin says wins
            ours = [f"-c {name}={value}" for name, value in SERVER_OPTIONS.items()]
            options = {"options": " ".join([*ours, *told.get("options", ())])}
            rest = {name: value for name, value in CLIENT_OPTIONS.items() if name not in told}
            return sa.create_engine(
                self.url,
                pool_pre_ping=True,
                pool_size=POOL,
                max_overflow=OVERFLOW,
                hide_parameters=True,
                connect_args=options | rest,
            )
        engine = sa.create_engine(
            self.url,
            pool_size=20,
            hide_parameters=True,  # what customers said does not belong in a log
            connect_args={"timeout": LOCK_TIMEOUT, "isolation_level": None},
        )

        @sa.event.listens_for(engine, "connect")
        def _pragmas(connection: Any, _record: object) -> None:
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA secure_delete=ON")
            cursor.close()

        @sa.event.listens_for(engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
            connection.exec_driver_sql(f"BEGIN {mode}")

        return engine

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the database and writes nothing."""
        with self.engine.connect() as connection:
            if not self.is_sqlite:
                connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            with connection.begin():
                yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that writes; it waits for its turn, and is all or nothing."""
        if not self._lock_path:
            with self.engine.begin() as connection:
                yield connection
            return
        with (
            self._turn(self._lock_path),
            self.engine.connect().execution_options(sqlite_begin="IMMEDIATE") as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def _turn(self, path: Path) -> Iterator[None]:
        """One writes at a time, and whoever waits is woken: SQLite itself would let them sleep and
        try again. The file stays open, as opening it anew costs as much as a small transaction."""
        with self._lock:
            if self._lock_file is None:
                self._lock_file = self._open_lock(path)
            fcntl.flock(self._lock_file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def _open_lock(self, path: Path) -> IO[str]:
        """Whoever may write the database may lock it, and nobody else."""
        mode = Path(str(self.url.database)).stat().st_mode & 0o666
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, mode), "a")

    def close(self) -> None:
        self.engine.dispose()
        if self._lock.acquire(timeout=LOCK_TIMEOUT):  # else somebody writes; the file ends with us
            try:
                if self._lock_file:
                    self._lock_file.close()
                    self._lock_file = None
            finally:
                self._lock.release()

    def present(self) -> sa.ColumnElement[int]:
        """UTC milliseconds since 1970: the server's where many hosts share one, whose clocks may
        differ, else this machine's."""
        if self.is_sqlite:
            return sa.literal(clock.now_ms(), sa.BigInteger)
        seconds = sa.extract("epoch", sa.func.clock_timestamp())
        return sa.cast(seconds * 1000, sa.BigInteger)

    # ----------------------------------------------------------------------- waking others

    def notify(self, connection: sa.Connection) -> None:
        """Once this is committed, all who listen are woken. SQLite has no such thing."""
        if not self.is_sqlite:
            connection.exec_driver_sql(f"NOTIFY {CHANNEL}")

    def listen(self, ring: Callable[[], None], stopped: threading.Event) -> None:
        """Call ``ring`` whenever somebody notified, until ``stopped``; a connection that breaks is
        made anew. Returns at once on SQLite."""
        while not self.is_sqlite and not stopped.is_set():
            try:
                with self.engine.connect().execution_options(
                    isolation_level="AUTOCOMMIT"
                ) as connection:
                    connection.detach()  # never back into the pool
                    self._listen(connection, ring, stopped)
            except (sa.exc.DBAPIError, psycopg.Error):
                stopped.wait(LISTEN_FOR)

    def _listen(
        self, connection: sa.Connection, ring: Callable[[], None], stopped: threading.Event
    ) -> None:
        connection.exec_driver_sql(f"LISTEN {CHANNEL}")
        ring()  # what came before we listened
        driver = cast(psycopg.Connection[Any], connection.connection.dbapi_connection)
        while not stopped.is_set():
            for _ in driver.notifies(timeout=LISTEN_FOR, stop_after=1):
                ring()

    # -------------------------------------------------------------------------- schema

    def _alembic(self, connection: sa.Connection) -> Config:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        return config

    def is_current(self) -> bool:
        with self.read() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
            head = ScriptDirectory.from_config(self._alembic(connection)).get_current_head()
        return found == head

    def upgrade(self) -> None:
        """Bring the schema up to date."""
        with self.write() as connection:
            if not self.is_sqlite:
                # Hosts may be updated together; tables cannot be created side by side.
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(UPGRADE_LOCK)))
            command.upgrade(self._alembic(connection), "head")

    def require_current(self) -> None:
        """Make sure the schema fits: an SQLite file is migrated here, a server is not touched.

        Raises ``ConfigurationError`` where the schema is old or the file is none, and
        ``DatabaseUnavailable`` where no server answers.
        """
        try:
            if self.is_current():
                return
            if not self.is_sqlite:
                raise ConfigurationError(
                    "The database schema is not up to date: run `python -m plugin db upgrade` "
                    "first."
                )
            self.upgrade()
        except sa.exc.DatabaseError as error:
            raise _no_database(error) from error
        except OSError as error:  # of the lock file
            raise _no_file(error) from error

    def forget_freed_pages(self) -> bool:
        """After an erasure: nothing of the erased rows stays in free pages or in the log. False
        where somebody was reading for too long, and it has to be tried again."""
        if not self.is_sqlite or not self._lock_path:
            return True
        with (
            self._turn(self._lock_path),
            self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        ):
            # Everybody who wants to write waits for this: rather once more, later.
            connection.exec_driver_sql("PRAGMA busy_timeout=200")
            try:
                checkpoint = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
                busy = checkpoint.scalar_one()
            finally:
                connection.exec_driver_sql(f"PRAGMA busy_timeout={LOCK_TIMEOUT * 1000:.0f}")
        return not busy


def _no_database(error: sa.exc.DatabaseError) -> ConfigurationError | DatabaseUnavailable:
    """A fault of the settings, or one that is over by itself: a server away, a full disk."""
    sqlite_name = getattr(error.orig, "sqlite_errorname", "")
    if sqlite_name.startswith(PASSING):
        return DatabaseUnavailable(f"DATABASE_URL: the database cannot be used: {said(error)}")
    away = isinstance(error, sa.exc.OperationalError) and not sqlite_name
    kind = DatabaseUnavailable if away else ConfigurationError
    return kind(f"DATABASE_URL: no database there: {said(error)}")


def _no_file(error: OSError) -> ConfigurationError | DatabaseUnavailable:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
    kind = DatabaseUnavailable if full else ConfigurationError
    return kind(f"DATABASE_URL: {error.filename} cannot be made: {error.strerror}")


def said(error: sa.exc.DBAPIError) -> str:
    """The driver's first line. Of a wrong option nothing: it may be a piece of the password."""
    line = " ".join(str(error.orig).partition("\n")[0].split())
    return "its port or an option is not valid" if _QUOTING.search(line) else line


def _splits_password(url: str) -> bool:
    """Whether a password has an "@" of its own, and what follows it would be taken for the host."""
    return url.partition("://")[2].partition(":")[2].count("@") > 1


def upsert(
    connection: sa.Connection,
    table: sa.Table,
    rows: Sequence[Row],
    *,
    update: Iterable[str] = (),
    **expressions: Any,
) -> None:
    """Insert rows; where the primary key is taken, set ``update`` columns to the new values and
    ``expressions`` to what they say; with neither, leave the old row."""
    if not rows:
        return
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table)
    values = {name: statement.excluded[name] for name in update} | expressions
    keys = [column.name for column in table.primary_key]
    if values:
        statement = statement.on_conflict_do_update(index_elements=keys, set_=values)
    else:
        statement = statement.on_conflict_do_nothing(index_elements=keys)
    connection.execute(statement, list(rows))
