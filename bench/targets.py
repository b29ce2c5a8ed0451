"""What the figures are held against, and why where one is missed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.databases import SQLITE
from bench.parts import Row, percentile
from bench.processor import growth
from bench.rate import ASSOCIATIONS

Measured = Callable[[Sequence[Row]], float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """``bound``: the least, or with ``at_most`` the most, that ``measured`` may be.

    ``measured`` takes the part's rows and returns None where they do not tell. ``unit`` "%": the
    value is a share.
    """

    name: str
    part: str
    what: str
    bound: float
    at_most: bool = False
    unit: str = ""
    digits: int = 2
    measured: Measured

    @property
    def wanted(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.told(self.bound)}"

    def told(self, value: float) -> str:
        """A value as people read it."""
        if self.unit == "%":
            return f"{value * 100:.{self.digits}f} %"
        return f"{value:,.{self.digits}f}{f' {self.unit}' if self.unit else ''}"

    def met(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound

    def verdict(self, value: float) -> str:
        """Whether it is met, or by how much not."""
        if self.met(value):
            return "met"
        if not self.bound:
            return f"missed by {self.told(value)}"
        off = abs(value - self.bound)
        if self.unit == "%":
            points = max(1, round(off * 100))
            return f"missed by {points} point{'s' if points > 1 else ''}"
        return f"missed by {max(1, round(off / self.bound * 100))} %"

    def said(self, rows: Sequence[Row]) -> str:
        """One line for the console."""
        value = self.measured(rows)
        if value is None:
            return f"  {self.what}: wanted {self.wanted}, not measured"
        return f"  {self.what}: wanted {self.wanted}, is {self.told(value)}: {self.verdict(value)}"


def _answer(key: str, *, processes: int, events: int) -> Measured:
    def measured(rows: Sequence[Row]) -> float | None:
        for one in rows:
            if (one["database"], one["processes"], one["events"]) == (SQLITE, processes, events):
                return float(one[key])
        return None

    return measured


def _on_sqlite(rows: Sequence[Row]) -> list[Row]:
    return [one for one in rows if one["database"] == SQLITE]


def _dearest_contact(rows: Sequence[Row]) -> float | None:
    return max((one["cpu"] for one in _on_sqlite(rows)), default=None)


def _growth(rows: Sequence[Row]) -> float | None:
    """How far the steepest curve is from flat."""
    return max((abs(times - 1) for times in growth(_on_sqlite(rows)).values()), default=None)


def _memory(rows: Sequence[Row]) -> float | None:
    peaks = [one["peak"] for one in rows if one["peak"] is not None and one["contacts"] >= 100_000]
    return max(peaks, default=None)


def _latency(share: float) -> Measured:
    """Of the slowest database."""

    def measured(rows: Sequence[Row]) -> float | None:
        return max((percentile(one["seconds"], share) for one in rows), default=None)

    return measured


def _too_many(rows: Sequence[Row]) -> float | None:
    over = [max(0, one["most_associations"] - ASSOCIATIONS) + one["refused"] for one in rows]
    return sum(over) if over else None


TARGETS: tuple[Target, ...] = (
    Target(
        name="one_event",
        part="answers",
        what="durable answer ÷ bare 204: one event, 1 gunicorn process, SQLite `synchronous=FULL`",
        bound=0.65,
        measured=_answer("ratio", processes=1, events=1),
    ),
    Target(
        name="hundred_events",
        part="answers",
        what="the same, 100 events in a delivery, against “read the body, 204”",
        bound=0.45,
        measured=_answer("ratio", processes=1, events=100),
    ),
    Target(
        name="two_processes",
        part="answers",
        what="one event, 2 processes on one SQLite file",
        bound=0.45,
        measured=_answer("ratio", processes=2, events=1),
    ),
    Target(
        name="slowest_answers",
        part="answers",
        what="the same: 99th percentile ÷ that of the bare 204",
        bound=3,
        at_most=True,
        measured=_answer("p99", processes=2, events=1),
    ),
    Target(
        name="latency",
        part="latency",
        what="webhook received → field in the CRM, light load: half of the changes",
        bound=0.3,
        at_most=True,
        unit="s",
        measured=_latency(0.5),
    ),
    Target(
        name="slowest_latency",
        part="latency",
        what="the same: 99 of 100 changes",
        bound=1,
        at_most=True,
        unit="s",
        measured=_latency(0.99),
    ),
    Target(
        name="processor",
        part="processor",
        what="processor time per contact reconciled, SQLite, the dearest situation at any size",
        bound=1,
        at_most=True,
        unit="ms",
        measured=_dearest_contact,
    ),
    Target(
        name="growth",
        part="processor",
        what="its change from 1,000 to 100,000 contacts, up or down, in the steepest situation",
        bound=0.2,
        at_most=True,
        unit="%",
        digits=0,
        measured=_growth,
    ),
    Target(
        name="worker_memory",
        part="processor",
        what="worker memory with 100,000 dirty contacts",
        bound=200,
        at_most=True,
        unit="MB",
        digits=0,
        measured=_memory,
    ),
    Target(
        name="calls",
        part="rate",
        what="CRM calls per contact, 10,000 dirty contacts, HubSpot: read, decide, write fields",
        bound=0.06,
        at_most=True,
        digits=3,
        measured=lambda rows: rows[0]["calls"] / rows[0]["contacts"] if rows else None,
    ),
    Target(
        name="rate",
        part="rate",
        what="share of the allowed rate that is used while there is work, of the fuller limit",
        bound=0.95,
        unit="%",
        digits=0,
        measured=lambda rows: max(rows[0]["general"], rows[0]["associations"]) if rows else None,
    ),
    Target(
        name="refused",
        part="rate",
        what="429s of our own making (and calls above the limit that is not enforced)",
        bound=0,
        at_most=True,
        digits=0,
        measured=_too_many,
    ),
)

WHY: Mapping[str, str] = {
    "one_event": "a delivery is handed to the one thread that commits for all, and its thread is "
    "woken again when it is on disk. These two hand-overs, the signature and the row cost 0.2 ms "
    "of processor time beside the 0.3 ms of the bare answer, and both processors are busy.",
    "two_processes": "a second bare process doubles the answers, as eight threads fight less for "
    "an interpreter than sixteen. Ours wait for the disk in groups of half the size then, twice as "
    "often and in turns at one file; and they share two processors with who sends.",
    "growth": "that of the first look; later ones are flat. A name that is told for the first time "
    "is compared with everybody who shares a surname with it, its sound, or all but one of its "
    "letters: of 1,000 contacts two, of 100,000 some 170. Here one contact in ten tells a name.",
}
"""Name of a target → why it is missed; shown on the page for those that are."""
