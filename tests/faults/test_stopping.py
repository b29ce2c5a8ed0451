"""SIGTERM finishes what is in hand and gives the lanes back. Real workers, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.databases import Databases
from tests.faults.neighbours import Neighbour, Street, soon, street
from tests.faults.plan import Fault
from tests.faults.processes import Process

pytestmark = pytest.mark.slow

ALWAYS = 1_000_000
WITHIN = 30.0  # seconds in which a worker ends, as promised
HELD = "SELECT name FROM lane WHERE until > 0"


@pytest.fixture
def site(databases: Databases, tmp_path: Path) -> Iterator[tuple[Street, ExitStack]]:
    with databases.fresh() as url, street(url, tmp_path) as opened:
        yield opened


def ends(worker: Process) -> int | None:
    """Send SIGTERM; the exit code, None where it did not end in time."""
    assert worker.pid
    os.kill(worker.pid, signal.SIGTERM)
    try:
        return worker.wait(WITHIN)
    except subprocess.TimeoutExpired:
        return None


def takes_over(installed: Street, account: Neighbour, people: list[str]) -> None:
    """All lanes are free at once, nothing is lost, and the next worker finishes it."""
    assert installed.rows(HELD) == []
    done = set(account.decided(people))
    assert done | installed.waiting(account).keys() >= set(people)
    account.weather.clear()
    installed.worker()
    soon(lambda: account.decided(people) == people)
    soon(lambda: installed.waiting(account) == {})


@pytest.mark.parametrize("trouble", ["slow", "hang", "503", "429 after"])
def test_a_worker_ends_in_time_and_leaves_nothing_half_done(
    site: tuple[Street, ExitStack], trouble: str
) -> None:
    """In the middle of three batches, whatever the CRM does: exit code 0 within 30 seconds; each
    contact is done or still marked; another worker takes the lane without waiting for a lease."""
    installed, stack = site
    account = installed.connect(stack, 1)
    installed.web()
    people = account.contacts(300)
    for n in range(3):
        installed.post(account.events(people[n::3]))
    worker = installed.worker()
    soon(lambda: account.decided(people) != [])  # the first batch is written
    account.weather.brew(Fault(at=0, what=trouble, calls=ALWAYS, lasts=3.0 * (trouble == "slow")))
    installed.post(account.events(people))
    soon(lambda: bool(account.weather.met))

    assert ends(worker) == 0

    takes_over(installed, account, people)


def test_a_second_signal_changes_nothing(site: tuple[Street, ExitStack]) -> None:
    """An impatient administrator does not make it end otherwise."""
    installed, stack = site
    account = installed.connect(stack, 1)
    installed.web()
    people = account.contacts(100)
    account.weather.brew(Fault(at=0, what="slow", calls=ALWAYS, lasts=1.0))
    installed.post(account.events(people))
    worker = installed.worker()
    soon(lambda: bool(account.weather.met))
    assert worker.pid
    os.kill(worker.pid, signal.SIGTERM)

    assert ends(worker) == 0

    takes_over(installed, account, people)
