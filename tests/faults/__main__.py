"""``python -m tests.faults``: many seeds, some at a time."""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import sys
from collections.abc import Mapping, Sequence

import click

from bench.machine import measured_on
from docs.tables import RELIABILITY, filled
from tests.faults.many import begin, play
from tests.faults.plan import KINDS, plan_of
from tests.faults.run import Outcome

DATABASES = ("sqlite", "postgresql")
SHARE = 10  # runs of one process before it takes others


def main(words: Sequence[str] | None = None) -> int:
    """Exit code: 0 all held, 1 something did not."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many runs of each database")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--database", choices=DATABASES, help="both by default")
    parser.add_argument(
        "--faults",
        default=",".join(KINDS),
        help="families or single faults, by commas; 'none' for a calm run",
    )
    parser.add_argument("--jobs", type=int, default=2, help="how many runs at a time")
    parser.add_argument("--plan", action="store_true", help="only show the plans")
    parser.add_argument(
        "--write-docs", action="store_true", help="put what came out into docs/reliability.md"
    )
    options = parser.parse_args(words)
    families = [one for one in options.faults.split(",") if one != "none"]
    known = {*KINDS, *(one for several in KINDS.values() for one in several)}
    if unknown := set(families) - known:
        parser.error(f"--faults: no such fault: {', '.join(sorted(unknown))}")
    last = options.first + options.seeds
    seeds = range(options.first, last) if options.seed is None else [options.seed]
    plans = {
        kind: [plan_of(seed, database=kind, families=families) for seed in seeds]
        for kind in ([options.database] if options.database else DATABASES)
    }
    if options.plan:
        click.echo("\n\n".join(str(plan) for several in plans.values() for plan in several))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # like Ctrl-C: everything is ended
    shares = [
        (kind, several[at : at + SHARE])
        for kind, several in plans.items()
        for at in range(0, len(several), SHARE)
    ]
    came_out: dict[str, list[Outcome | None]] = {kind: [] for kind in plans}
    with multiprocessing.get_context("spawn").Pool(options.jobs, begin) as pool:
        for (kind, _), outcomes in zip(
            shares, pool.starmap(play, shares, chunksize=1), strict=True
        ):
            came_out[kind] += outcomes
        pool.close()
        pool.join()  # leaving alone would end them by a signal, in the middle of their clearing up
    failed = [
        f"seed {plan.seed} on {kind}"
        for kind, outcomes in came_out.items()
        for plan, outcome in zip(plans[kind], outcomes, strict=True)
        if outcome is None
    ]
    if options.write_docs:
        page = filled(RELIABILITY.read_text("utf-8"), "faults", table(came_out, seeds))
        RELIABILITY.write_text(page, "utf-8")
    if failed:
        click.echo(f"{len(failed)} failed: {', '.join(failed)}", err=True)
    return 1 if failed else 0


def table(came_out: Mapping[str, Sequence[Outcome | None]], seeds: Sequence[int]) -> str:
    """What the runs have seen, as docs/reliability.md shows it."""
    rows = [
        f"Seeds {seeds[0]} to {seeds[-1]}; {measured_on()}",
        "",
        "| database | runs | of them failed | deliveries acknowledged | never delivered | contacts "
        "| tasks | faulty answers met |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for kind, outcomes in came_out.items():
        held = [one for one in outcomes if one]
        figures = (
            len(outcomes),
            len(outcomes) - len(held),
            sum(one.deliveries for one in held),
            sum(one.dropped for one in held),
            sum(one.contacts for one in held),
            sum(one.tasks for one in held),
            sum(one.met for one in held),
        )
        title = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[kind]
        rows.append(f"| {title} | {' | '.join(f'{one:,}' for one in figures)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
