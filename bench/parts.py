"""What every part of the benchmark is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.databases import Databases

Row = dict[str, Any]
"""One line of results, as it is written to the file: plain JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """Where a part measures. ``folder``: its own, empty and gone afterwards."""

    folder: Path
    databases: Databases


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """A table for people; the first ``texts`` columns are text, the others are figures."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    texts: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """``about``: what is measured and how, for whoever reads the figures. ``plots``: pictures in
    ``docs/performance/`` by name, and what each shows."""

    name: str
    title: str
    about: str
    measure: Callable[[Site], list[Row]]
    sheet: Callable[[Sequence[Row]], Sheet]
    plots: Mapping[str, str] = field(default_factory=dict)


def spread(values: Sequence[float]) -> float:
    """How far rounds lie apart: (largest − smallest) ÷ median."""
    middle = median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them did not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def percent(share: float) -> str:
    return f"{share * 100:.0f} %"
