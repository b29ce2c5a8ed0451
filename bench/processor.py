"""Processor time per contact reconciled, with a CRM that costs none, and how it grows."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median

from bench.databases import POSTGRESQL, SQLITE
from bench.office import Office, told
from bench.parts import Part, Row, Sheet, Site, percent, spread
from bench.people import TODAY
from bench.processes import forget_peak, peak_mb
from plugin.storage import changes

SIZES = {SQLITE: (1_000, 10_000, 100_000), POSTGRESQL: (1_000, 10_000)}
SAMPLE = 1_000  # contacts of one round
ROUNDS = 3
PARTS_OF_A_PASS = 10  # of the one pass over everybody, whose spread is told
RATINGS = ("delighted", "satisfied", "delighted")
"""What everybody in the sample says, round by round."""
FIRST = "first seen"
UNCHANGED = "seen before, unchanged"
RATED = "seen before, a new rating"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """``cpu``: ms of processor time per contact, a median over the rounds; ``once``: ms once a
    pass, after the last contact; ``peak``: MB of memory at most, where it was looked at."""

    database: str
    contacts: int
    what: str
    cpu: float
    spread: float
    once: float
    peak: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pass:
    """What one pass of the worker took: ms per contact, in parts; ms at its end; MB at most."""

    cpu: tuple[float, ...]
    once: float
    peak: float


# ------------------------------------------------------------- in a process of its own

_office: Office | None = None


def _opened() -> Office:
    if _office is None:
        raise RuntimeError("the office is not open")
    return _office


def _open(folder: Path, url: str, contacts: int) -> None:
    global _office
    _office = Office(folder, url, contacts=contacts)
    _office.work()  # the directory and the users


def _first_seen() -> _Pass:
    office = _opened()
    office.mark(str(number) for number in range(office.session.count))
    return _worked(office, PARTS_OF_A_PASS)


def _looked_at(numbers: Sequence[int]) -> _Pass:
    office = _opened()
    office.mark(map(str, numbers))
    return _worked(office, 1)


def _rated(numbers: Sequence[int], round_: int) -> _Pass:
    """As a delivery does it: the rating is noted with its time, the contact is dirty."""
    office = _opened()
    at = TODAY - timedelta(hours=ROUNDS - round_)
    for number in numbers:
        office.session.rate(number, RATINGS[round_])
    with office.database.write() as connection:
        changes.add(connection, 1, [told(str(one), RATINGS[round_], at) for one in numbers])
    written = office.session.written
    office.mark(map(str, numbers))
    done = _worked(office, 1)
    if office.session.written == written:
        raise RuntimeError("a new rating changed nothing")
    return done


def _worked(office: Office, parts: int) -> _Pass:
    session = office.session
    session.loads.clear()
    forget_peak()
    office.work()
    end = session.spent()
    if office.waiting():
        raise RuntimeError(f"{office.waiting()} contacts were left dirty")
    loads = session.loads
    bounds = [round(n * (len(loads) - 1) / parts) for n in range(parts + 1)]
    cpu = tuple(
        (loads[b][0] - loads[a][0]) * 1000 / sum(count for _, count in loads[a:b])
        for a, b in pairwise(bounds)
        if b > a
    )
    begun, last = loads[-1]
    return _Pass(cpu=cpu, once=max(0.0, (end - begun) * 1000 - last * median(cpu)), peak=peak_mb())


def _close() -> None:
    _opened().close()


# --------------------------------------------------------------------------- measuring


def measure(site: Site) -> list[Row]:
    """Every situation at every size; the sizes take turns in the rounds."""
    found: list[Cost] = []
    for kind in site.databases.kinds:
        found += _measure(site, kind)
    return [asdict(one) for one in found]


def _measure(site: Site, kind: str) -> list[Cost]:
    sizes = SIZES[kind]
    dice = random.Random(kind)
    found: list[Cost] = []
    with ExitStack() as stack:
        offices: dict[int, ProcessPoolExecutor] = {}
        for size in sizes:
            folder = site.folder / f"{kind}{size}"
            folder.mkdir()
            url = stack.enter_context(site.databases.fresh(kind))
            office = offices[size] = stack.enter_context(
                ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
            )
            office.submit(_open, folder, url, size).result()
            done = office.submit(_first_seen).result()
            found.append(_cost(kind, size, FIRST, [done], peak=done.peak))
        rounds: dict[tuple[int, str], list[_Pass]] = {}
        for number in range(ROUNDS):
            for size in sizes[:: 1 if number % 2 else -1]:
                sample = dice.sample(range(size), min(size, SAMPLE))
                for what, done in (
                    (UNCHANGED, offices[size].submit(_looked_at, sample).result()),
                    (RATED, offices[size].submit(_rated, sample, number).result()),
                ):
                    rounds.setdefault((size, what), []).append(done)
        for what in (UNCHANGED, RATED):
            found += [_cost(kind, size, what, rounds[size, what]) for size in sizes]
        for office in offices.values():
            office.submit(_close).result()
    return found


def _cost(
    kind: str, size: int, what: str, passes: Sequence[_Pass], *, peak: float | None = None
) -> Cost:
    values = [cpu for one in passes for cpu in one.cpu]
    return Cost(
        database=kind,
        contacts=size,
        what=what,
        cpu=median(values),
        spread=spread(values),
        once=median(one.once for one in passes),
        peak=peak,
    )


def growth(rows: Sequence[Row]) -> dict[tuple[str, str], float]:
    """(database, situation) → time per contact at the largest size ÷ that at the smallest."""
    curves: dict[tuple[str, str], dict[int, float]] = {}
    for one in rows:
        curves.setdefault((one["database"], one["what"]), {})[one["contacts"]] = one["cpu"]
    return {
        which: curve[max(curve)] / curve[min(curve)]
        for which, curve in curves.items()
        if len(curve) > 1
    }


def sheet(rows: Sequence[Row]) -> Sheet:
    grown = growth(rows)
    return Sheet(
        texts=2,
        columns=(
            "", "database", "contacts known", "cpu ms a contact", "±", "growth",
            "once a pass, ms", "peak MB",
        ),
        rows=[
            (
                one["what"],
                one["database"],
                f"{one['contacts']:,}",
                f"{one['cpu']:.2f}",
                percent(one["spread"] / 2),
                _grown(one, rows, grown),
                f"{one['once']:.0f}",
                "" if one["peak"] is None else f"{one['peak']:.0f}",
            )
            for one in rows
        ],
    )  # fmt: skip


def _grown(one: Row, rows: Sequence[Row], grown: dict[tuple[str, str], float]) -> str:
    which = one["database"], one["what"]
    largest = max(
        other["contacts"] for other in rows if (other["database"], other["what"]) == which
    )
    return f"× {grown[which]:.2f}" if which in grown and one["contacts"] == largest else ""


PART = Part(
    name="processor",
    title="Processor time of a contact",
    about=(
        "The worker in a process of its own, with a CRM that answers at once, holds nothing in "
        "memory and whose own processor time is taken off; a database server's is not counted. "
        "Everybody is read into the directory, then looked at for the first time (one pass over "
        f"all; ± is that of its tenths), then {SAMPLE:,} contacts drawn at random are looked at "
        f"again in {ROUNDS} rounds in which the sizes take turns, without a change and with a new "
        "rating. Three of four contacts have bought, half have said how it was, one of ten was "
        "recommended by another. *Growth* is the time at the largest size over that at the "
        "smallest. *Once a pass* is what comes after the last contact, such as planning the "
        "week's asks. *Peak* is the most memory the process had while it worked off everybody."
    ),
    measure=measure,
    sheet=sheet,
    plots={"growth": "Processor time of a contact over the number of contacts"},
)
