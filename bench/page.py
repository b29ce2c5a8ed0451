"""``docs/performance.md``, made from what was measured; nothing in it is typed by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.every import PARTS
from bench.machine import ROOT
from bench.parts import Part, Sheet
from bench.targets import TARGETS, WHY, Target

PAGE = ROOT / "docs" / "performance.md"
PICTURES = ROOT / "docs" / "performance"

Found = Mapping[str, Mapping[str, Any]]
"""Part → ``{"measured": …, "rows": […]}``, as ``bench.results`` keeps them."""

INTRODUCTION = """\
# Performance

Made by `make bench` and `python -m bench --write-docs`; do not edit. One part alone: `python -m \
bench NAME`, with the name that stands behind its title.

What counts are ratios and growth: they hold on other machines, figures a second do not. Whatever \
serves, works or drives is a process of its own; what is compared takes turns in rounds, and a \
figure is the median of its rounds. ± tells how noisy they were: half the distance between the \
best round and the worst, as a share of the median. What is lost or done twice under faults \
stands in `docs/reliability.md`.

Where the time goes was looked up by sampling the server or the worker of a part while it ran: \
`py-spy record --pid PID --duration 10 --rate 500 --gil --output profile.svg` (`pip install \
py-spy`).
"""


def write(found: Found) -> list[Path]:
    """Draw and write; returns the files. Raises ``ValueError`` where a part was not measured."""
    if missing := [name for name in PARTS if name not in found]:
        raise ValueError(f"not measured yet: python -m bench {' '.join(missing)}")
    from bench.plots import draw  # it needs matplotlib, which rendering does not

    pictures = draw(found, PICTURES)
    PAGE.write_text(rendered(found), "utf-8")
    return [PAGE, *pictures]


def rendered(found: Found) -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *_machines(found), *_targets(found), *_parts(found)])


def _machines(found: Found) -> Iterator[str]:
    yield "## Measured on\n"
    told: dict[str, list[str]] = {}
    for name, one in found.items():
        told.setdefault(_machine(one["measured"]), []).append(name)
    for machine, names in told.items():
        which = "everything" if len(told) == 1 else ", ".join(f"`{name}`" for name in names)
        yield f"- {which}: {machine}"
    minutes = sum(one["measured"]["seconds"] for one in found.values()) / 60
    yield f"\nAll parts together took {minutes:.0f} minutes.\n"


def _machine(one: Mapping[str, Any]) -> str:
    changed = ", with changes not committed" if one["changed"] else ""
    return (
        f"{one['at'][:10]}, commit `{one['commit']}`{changed}; {one['cpus']} processors "
        f"({one['cpu']}), {one['memory_gb']} GB, {one['system']}, {one['python']}"
    )


def _targets(found: Found) -> Iterator[str]:
    yield "## Targets\n"
    yield "| | target | measured | |\n|---|---|---|---|"
    notes = []
    for target in TARGETS:
        value = target.measured(found[target.part]["rows"])
        measured, verdict = ("–", "not measured")
        if value is not None:
            measured, verdict = target.told(value), target.verdict(value)
            if not target.met(value):
                notes.append(_note(target))
        yield f"{row(target)} {measured} | {verdict} |"
    yield ""
    yield from notes
    if notes:
        yield ""


def row(target: Target) -> str:
    """The beginning of its line in the table: what does not depend on what was measured."""
    return f"| {target.what} | {target.wanted} |"


def _note(target: Target) -> str:
    return f"- **{target.what}**: {WHY.get(target.name, 'the reason is not known yet.')}"


def heading(part: Part) -> str:
    return f"## {part.title} (`{part.name}`)"


def _parts(found: Found) -> Iterator[str]:
    for name, part in PARTS.items():
        yield f"{heading(part)}\n"
        yield f"{part.about}\n"
        yield f"{_markdown(part.sheet(found[name]['rows']))}\n"
        for plot, shown in part.plots.items():
            yield f"![{shown}]({PICTURES.name}/{plot}.svg)\n"


def _markdown(sheet: Sheet) -> str:
    figures = len(sheet.columns) - sheet.texts
    lines = [sheet.columns, ["---"] * sheet.texts + ["--:"] * figures, *sheet.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
