"""Many runs on one database, in a process of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence

import click

from tests.faults.ground import NoServer, laid
from tests.faults.plan import Plan
from tests.faults.run import Outcome, RunFailed, run


def play(kind: str, plans: Sequence[Plan]) -> list[Outcome | None]:
    """In a process of its own: what came of each; None where something did not hold."""
    outcomes: list[Outcome | None] = []
    try:
        with laid(kind) as ground:
            for plan in plans:
                title = f"seed {plan.seed} on {kind}"
                try:
                    outcomes.append(run(plan, ground))
                    click.echo(f"{title}: {outcomes[-1]}")
                except RunFailed as broken:
                    outcomes.append(None)
                    click.echo(f"{title}: FAILED\n{broken}")
    except NoServer as missing:
        click.echo(missing, err=True)
        return [None] * len(plans)
    return outcomes


def begin() -> None:
    """What this process starts is ended with it, and has ports of its own."""
    number = int(multiprocessing.current_process().name.rpartition("-")[2])
    os.environ["PYTEST_XDIST_WORKER"] = f"gw{number - 1}"
    signal.signal(signal.SIGTERM, _end)


def _end(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # told twice, it would stop clearing up
    sys.exit(143)
