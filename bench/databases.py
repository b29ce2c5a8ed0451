"""Fresh databases to measure on: SQLite files and, where its programs are installed, PostgreSQL.

Both commit durably, as in production: SQLite with the plugin's own ``synchronous=FULL``,
PostgreSQL with its defaults (``fsync`` and ``synchronous_commit`` on).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from tests import databases

SQLITE = "SQLite"
POSTGRESQL = "PostgreSQL"
KINDS = (SQLITE, POSTGRESQL)
DURABLE = """
listen_addresses = ''
unix_socket_directories = '.'
max_connections = 200
"""


class Databases:
    """``kinds``: those that can be had here."""

    def __init__(self, folder: Path, *, wanted: tuple[str, ...] = KINDS) -> None:
        self._stack = ExitStack()
        self._folder = folder
        self._programs = databases.programs()
        self._opened: dict[str, databases.Databases] = {}
        self.kinds = tuple(
            kind for kind in wanted if kind == SQLITE or (self._programs and kind == POSTGRESQL)
        )

    def of(self, kind: str) -> databases.Databases:
        """Where databases of this kind come from."""
        if kind not in self._opened:
            self._opened[kind] = self._open(kind)
        return self._opened[kind]

    def fresh(self, kind: str) -> AbstractContextManager[str]:
        """The address of a migrated database, which is gone after the block."""
        return self.of(kind).fresh()

    def _open(self, kind: str) -> databases.Databases:
        if kind == SQLITE:
            folder = self._folder / "sqlite"
            folder.mkdir()
            return databases.Files(folder)
        if self._programs is None:
            raise RuntimeError(databases.NO_SERVER)
        return self._stack.enter_context(databases.serving(self._programs, choices=DURABLE))

    def close(self) -> None:
        self._stack.close()
