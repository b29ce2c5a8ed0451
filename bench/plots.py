"""The pictures of ``docs/performance.md``, one style for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.every import PARTS
from bench.parts import Row, percentile
from bench.targets import TARGETS

STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#9aa0a6",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.facecolor": "white",
    "font.family": "sans-serif",
    "font.size": 9,
    "grid.color": "#e3e5e8",
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "referral-spiral",  # the same picture is the same file
    "xtick.color": "#5f6368",
    "ytick.color": "#5f6368",
}
OURS = "#1a73e8"
BARE = "#bdc1c6"
LIMIT = "#d93025"
LINES = (OURS, "#e8710a", "#188038")
MARKS = {"SQLite": "-", "PostgreSQL": "--"}


def answers(rows: Sequence[Row], figure: Figure) -> None:
    """Answers a second, ours beside the bare ones."""
    cells = list(dict.fromkeys((one["database"], one["processes"]) for one in rows))
    for axes, (database, processes) in zip(_side_by_side(figure, len(cells)), cells, strict=True):
        here = [one for one in rows if (one["database"], one["processes"]) == (database, processes)]
        for at, one in enumerate(here):
            axes.bar(at - 0.2, one["bare"]["rate"], 0.4, color=BARE, label="bare" * (not at))
            axes.bar(at + 0.2, one["ours"]["rate"], 0.4, color=OURS, label="plugin" * (not at))
            axes.annotate(
                f"{one['ratio']:.2f}", (at + 0.2, one["ours"]["rate"]), ha="center", va="bottom"
            )
        axes.set_xticks(range(len(here)), [str(one["events"]) for one in here])
        axes.set_xlabel("events in a delivery")
        axes.set_title(f"{database}, {processes} process{'es' * (processes > 1)}")
        axes.grid(visible=False, axis="x")
    figure.axes[0].set_ylabel("answers a second; above a bar: ratio")
    figure.axes[0].legend()


def growth(rows: Sequence[Row], figure: Figure) -> None:
    """Time per contact over the number of contacts."""
    axes = figure.subplots()
    for color, what in zip(LINES, dict.fromkeys(one["what"] for one in rows), strict=True):
        for database, style in MARKS.items():
            curve = [one for one in rows if (one["what"], one["database"]) == (what, database)]
            if curve:
                axes.plot(
                    [one["contacts"] for one in curve],
                    [one["cpu"] for one in curve],
                    style,
                    color=color,
                    marker="o",
                    label=f"{what}, {database}",
                )
    axes.axhline(_bound("processor"), color=LIMIT, linewidth=1, linestyle=":", label="target")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("contacts known")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel("processor time of a contact, ms")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def latency(rows: Sequence[Row], figure: Figure) -> None:
    """How long changes took."""
    every = sorted(second for one in rows for second in one["seconds"])
    edges = [every[-1] * 1.02 * n / 40 for n in range(41)]
    for axes, one in zip(_side_by_side(figure, len(rows)), rows, strict=True):
        axes.hist(one["seconds"], edges, color=OURS)
        for share, style in ((0.5, "--"), (0.99, ":")):
            at = percentile(one["seconds"], share)
            axes.axvline(at, color=LIMIT, linewidth=1, linestyle=style,
                         label=f"p{share * 100:.0f} {at:.2f} s")  # fmt: skip
        axes.set_title(one["database"])
        axes.set_xlabel("seconds from the change to the field")
        axes.legend()
    figure.axes[0].set_ylabel("changes")


def rate(rows: Sequence[Row], figure: Figure) -> None:
    """Calls in the last ten seconds, beside what is allowed."""
    (one,) = rows
    figures = figure.subplots(1, 2, sharex=True)
    for axes, column, limit in zip(figures, (1, 2), ("general", "associations"), strict=True):
        at = [moment[0] for moment in one["moments"]]
        counts = [moment[column] for moment in one["moments"]]
        axes.plot(at, _in_window(at, counts), color=OURS, label="calls in the last 10 s")
        axes.axhline(one["allowed"][limit], color=LIMIT, linewidth=1, label="allowed")
        axes.set_title(f"{limit} limit")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("seconds")
    figure.legend(*figures[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)


def _in_window(at: Sequence[float], counts: Sequence[int], window: float = 10.0) -> list[int]:
    found, begin = [], 0
    for now, count in zip(at, counts, strict=True):
        while at[begin] < now - window:
            begin += 1
        found.append(count - (counts[begin] if now > window else 0))
    return found


def _side_by_side(figure: Figure, count: int) -> list[Axes]:
    found = figure.subplots(1, count, sharey=True, squeeze=False)
    return list(found[0])


def _bound(name: str) -> float:
    return next(one.bound for one in TARGETS if one.name == name)


PLOTS: Mapping[str, Callable[[Sequence[Row], Figure], None]] = {
    "answers": answers,
    "latency": latency,
    "growth": growth,
    "rate": rate,
}
"""Name of a picture → who draws it, of the rows of the part that has it."""


def draw(found: Mapping[str, Any], folder: Path) -> list[Path]:
    """The pictures of all parts."""
    folder.mkdir(exist_ok=True)
    written = []
    with mpl.rc_context(STYLE):
        for part in PARTS.values():
            for name in part.plots:
                figure = Figure(figsize=(9, 3.2), layout="constrained")
                PLOTS[name](found[part.name]["rows"], figure)
                written.append(folder / f"{name}.svg")
                figure.savefig(written[-1], metadata={"Date": None, "Creator": None})
    return written
