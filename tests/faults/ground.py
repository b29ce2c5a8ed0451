"""What the plugin stands on, its database, and what may happen to it."""

from __future__ import annotations

import fcntl
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Protocol

from tests.databases import NO_SERVER, Server, programs, serving


class NoServer(Exception):
    """PostgreSQL is not installed."""


class Ground(Protocol):
    """Where a run's database comes from."""

    def fresh(self, folder: Path) -> AbstractContextManager[str]:
        """The DATABASE_URL of a new database, for the block."""

    def lock(self, how: str, seconds: float) -> None:
        """Somebody else keeps everybody from writing."""

    def restart(self, how: str) -> None:
        """The server goes and comes again; ``how`` is a mode of ``pg_ctl stop``."""


class File:
    """SQLite."""

    def __init__(self) -> None:
        self._path = Path()

    @contextmanager
    def fresh(self, folder: Path) -> Iterator[str]:
        self._path = folder / "referrals.db"
        yield f"sqlite:///{self._path}"

    def lock(self, how: str, seconds: float) -> None:
        if how == "flock":
            with self._path.with_name("referrals.db.lock").open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                time.sleep(seconds)
            return
        with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            other.execute("ROLLBACK")

    def restart(self, how: str) -> None:
        raise NotImplementedError("there is no server")


class Cluster:
    """PostgreSQL: one server for many runs, a database for each."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._restarting = threading.Lock()  # it cannot be stopped while it is being started

    @contextmanager
    def fresh(self, folder: Path) -> Iterator[str]:
        with self._server.fresh() as url:
            yield url

    def lock(self, how: str, seconds: float) -> None:
        raise NotImplementedError("a server has no lock over everything")

    def restart(self, how: str) -> None:
        with self._restarting:
            self._server.restart(how)


@contextmanager
def laid(kind: str) -> Iterator[Ground]:
    """The ground for any number of runs. Raises ``NoServer``."""
    if kind == "sqlite":
        yield File()
        return
    found = programs()
    if found is None:
        raise NoServer(NO_SERVER)
    with ExitStack() as stack:
        yield Cluster(stack.enter_context(serving(found)))
