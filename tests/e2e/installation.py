"""The plugin installed for a test: its commands, its worker and its web server, in this process."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import datetime
from unittest.mock import patch

import sqlalchemy as sa
from flask import Flask

from plugin import cli, clock
from plugin.app import Parts, close_app, open_parts
from plugin.cli import command as cli_command
from plugin.pipeline.worker import Worker
from plugin.registry import adapters
from plugin.settings import Settings
from plugin.storage.database import Database
from plugin.storage.tables import lane
from tests.listening import listening


def run_command(
    words: Sequence[str],
    *,
    environ: Mapping[str, str],
    now_ms: Callable[[], int] = clock.now_ms,
    stdin: io.TextIOBase | None = None,
    alone: bool = False,
) -> subprocess.CompletedProcess[str]:
    """``python -m plugin …`` within this process: a second faster than in one of its own.

    ``alone``: the environment is ``environ`` and nothing else.
    """
    out, err = io.StringIO(), io.StringIO()
    opened: list[Parts] = []

    def open_and_note(settings: Settings, **options: bool) -> Parts:
        opened.append(open_parts(settings, **options))
        return opened[-1]

    code = 0
    with (
        patch.dict(os.environ, environ, clear=alone),
        patch.object(sys, "argv", ["plugin", *words]),
        patch.object(sys, "stdin", stdin or io.StringIO()),
        patch.object(cli_command, "open_parts", open_and_note),
        patch.object(clock, "now_ms", now_ms),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            for parts in opened:
                parts.database.close()
    return subprocess.CompletedProcess(list(words), code, out.getvalue(), err.getvalue())


def work_until_idle(
    parts: Parts, *, now_ms: Callable[[], int], utc_now: Callable[[], datetime]
) -> None:
    """``worker --until-idle``, in this process."""
    Worker(
        parts.settings,
        adapters(),
        parts.database,
        parts.vault,
        now_ms=now_ms,
        utc_now=utc_now,
    ).run(until_idle=True)


def let_leases_run(database: Database, milliseconds: int) -> None:
    """Leases go by the real clock, or by the server's: what passes for a test ends them sooner."""
    with database.write() as connection:
        connection.execute(sa.update(lane).values(until=lane.c.until - milliseconds))


@contextmanager
def serving(app: Flask, port: int) -> Iterator[None]:
    """Serve the application on the loopback until the block ends, and close it."""
    try:
        with listening(app, port):
            yield
    finally:
        close_app(app)
