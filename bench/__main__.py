"""``make bench``, or ``python -m bench [answers] [calls] [crms] [processor] [latency]``.

Everything runs on the loopback and ends by itself, in about three minutes. The tables are also
written to ``bench/results/``, which git ignores.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import answers, calls, crms, latency, processor

RESULTS = Path(__file__).resolve().parent / "results"


WIDTH = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """One part's results: as a table, and as they are written to the file."""

    title: str
    table: Table
    values: list[dict[str, Any]]


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(str, row))
    return table


def show_answers(folder: Path) -> Report:
    found = answers.measure(folder)
    if refused := sum(one.refused for one in found):
        raise RuntimeError(f"{refused} deliveries were not taken")
    table = _table(
        ("delivery", "/s", "bare /s", "ratio", "cpu ratio", "p50 ms", "bare", "p99 ms", "bare"),
        [
            (
                f"{one.setup.events} event{'s' * (one.setup.events > 1)}, "
                f"{one.setup.processes} process{'es' * (one.setup.processes > 1)}",
                f"{one.ours.rate:.0f}",
                f"{one.bare.rate:.0f}",
                f"{one.ratio:.2f}",
                f"{one.bare.cpu / one.ours.cpu:.2f}",
                f"{one.ours.p50:.1f}",
                f"{one.bare.p50:.1f}",
                f"{one.ours.p99:.1f}",
                f"{one.bare.p99:.1f}",
            )
            for one in found
        ],
    )
    return Report(
        title="Answers to webhooks: the receiver on gunicorn, against a bare Flask application",
        table=table,
        values=[asdict(one) for one in found],
    )


def show_calls(folder: Path) -> Report:
    found = calls.measure(folder)
    table = _table(
        ("contacts", "", "reads", "writes", "calls a contact"),
        [
            (one.contacts, one.what, one.reads, one.writes, f"{one.total / one.contacts:.3f}")
            for one in found
        ],
    )
    return Report(
        title="Calls to the CRM: read, decide, write fields",
        table=table,
        values=[{**asdict(one), "total": one.total} for one in found],
    )


def show_crms(folder: Path) -> Report:
    found = crms.measure(folder)
    table = _table(
        ("CRM", "contacts", "", "calls", "calls a contact", "budget a contact"),
        [
            (
                one.crm,
                one.contacts,
                one.what,
                one.calls,
                f"{one.calls / one.contacts:.2f}",
                "–" if one.cost is None else f"{one.cost / one.contacts:.2f} {one.unit}",
            )
            for one in found
        ],
    )
    return Report(
        title="Calls to each CRM: read, decide, write fields",
        table=table,
        values=[asdict(one) for one in found],
    )


def show_processor(folder: Path) -> Report:
    found = [cost for size in processor.SIZES for cost in processor.measure(folder, size)]
    table = _table(
        ("contacts", "", "cpu ms", "wall ms"),
        [(one.contacts, one.what, f"{one.cpu:.2f}", f"{one.wall:.2f}") for one in found],
    )
    return Report(
        title="Processor time of a contact, with a CRM that costs none",
        table=table,
        values=[asdict(one) for one in found],
    )


def show_latency(folder: Path) -> Report:
    found = latency.measure(folder)
    table = _table(
        ("changes", "p50 s", "p99 s"),
        [(found.changes, f"{found.p50:.2f}", f"{found.p99:.2f}")],
    )
    return Report(
        title="From a change in the CRM to the field in the CRM, light load",
        table=table,
        values=[asdict(found)],
    )


PARTS: dict[str, Callable[[Path], Report]] = {
    "calls": show_calls,
    "crms": show_crms,
    "processor": show_processor,
    "latency": show_latency,
    "answers": show_answers,
}


def main(wanted: Sequence[str]) -> None:
    """Measure these parts, or all; print each table as soon as it is there."""
    if unknown := set(wanted) - PARTS.keys():
        sys.exit(f"no such part: {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    console = Console(width=WIDTH)
    RESULTS.mkdir(exist_ok=True)
    results: dict[str, Any] = {"machine": platform.platform(), "python": platform.python_version()}
    # Beside the results and not in /tmp, which may be memory: a commit has to reach a disk.
    with tempfile.TemporaryDirectory(dir=RESULTS) as folder:
        for name, show in PARTS.items():
            if name in wanted or not wanted:
                with console.status(f"measuring {name} …"):
                    report = show(Path(folder))
                results[name] = report.values
                console.print(f"[bold]{report.title}[/]", report.table, "", sep="\n")
    file = RESULTS / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}.json"
    file.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    console.print(f"Written to {file.relative_to(RESULTS.parent.parent)}")


if __name__ == "__main__":
    main(sys.argv[1:])
