"""A dozen runs of the fault harness; ``make faults`` has hundreds."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.faults.ground import Ground, NoServer, laid
from tests.faults.plan import KINDS, plan_of
from tests.faults.run import run

SEEDS = range(1, 7)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def ground(request: pytest.FixtureRequest) -> Iterator[tuple[str, Ground]]:
    """What the runs' databases are."""
    try:
        with laid(request.param) as found:
            yield request.param, found
    except NoServer as missing:
        # .ci/run must not pass because nothing was run.
        (pytest.fail if os.environ.get("REQUIRE_POSTGRES") == "1" else pytest.skip)(str(missing))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_everything_is_right_in_the_end(
    ground: tuple[str, Ground], seed: int
) -> None:
    """Nothing acknowledged is lost, nothing is done twice or left behind: see
    ``invariants.py``."""
    kind, found = ground
    run(plan_of(seed, database=kind), found)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_seed_is_a_plan(database: str) -> None:
    """The same seed means the same deeds and faults at the same instants, and another one
    others; a calm run has the same deeds."""
    plan = plan_of(7, database=database)
    assert plan == plan_of(7, database=database)
    assert plan.deeds != plan_of(8, database=database).deeds
    calm = plan_of(7, database=database, families=())
    assert (calm.deeds, calm.faults) == (plan.deeds, ())


def test_every_fault_comes_up() -> None:
    """No kind of fault is announced and never drawn."""
    drawn = {
        (kind, fault.what)
        for kind in ("sqlite", "postgresql")
        for seed in range(100)
        for fault in plan_of(seed, database=kind).faults
    }
    whats = {what for family in KINDS.values() for what in family}
    assert {what for _, what in drawn} == whats
    assert ("postgresql", "lock") not in drawn
    assert ("sqlite", "restart") not in drawn
