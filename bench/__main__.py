"""``make bench``, or ``python -m bench [PART …] [--database sqlite] [--write-docs]``.

Everything runs on the loopback and ends by itself, in 17 to 20 minutes. What each part found is
shown as a table and kept in ``bench/results/PART.json``, which git ignores. ``--write-docs`` makes
``docs/performance.md`` and its pictures of what is kept there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import machine, page
from bench.databases import KINDS, Databases
from bench.every import PARTS
from bench.parts import Part, Sheet, Site
from bench.results import RESULTS, file_of, kept
from bench.targets import TARGETS

WIDTH = 140


def main() -> None:
    """Measure what is asked for, or everything; print each table as soon as it is there."""
    asked = _arguments()
    console = Console(width=WIDTH)
    if asked.parts or not asked.write_docs:
        RESULTS.mkdir(exist_ok=True)
        for name, part in PARTS.items():
            if name in asked.parts or not asked.parts:
                _measure(part, asked.database, console)
    if asked.write_docs:
        for file in page.write(kept()):
            console.print(f"Written: {file.relative_to(machine.ROOT)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the plugin.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument(
        "--database",
        choices=[kind.lower() for kind in KINDS],
        help="only this; the results are not kept",
    )
    parser.add_argument("--write-docs", action="store_true", help="make docs/performance.md")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    return asked


def _measure(part: Part, database: str | None, console: Console) -> None:
    wanted = tuple(kind for kind in KINDS if database in (None, kind.lower()))
    # Beside the results and not in /tmp, which may be memory: a commit has to reach a disk.
    with (
        tempfile.TemporaryDirectory(dir=RESULTS) as scratch,
        closing(Databases(Path(scratch), wanted=wanted)) as databases,
        console.status(f"measuring {part.name} …"),
    ):
        begun = time.monotonic()
        folder = Path(scratch) / part.name
        folder.mkdir()
        rows = part.measure(Site(folder=folder, databases=databases))
        seconds = time.monotonic() - begun
    if database is None:
        found = {"measured": {**machine.described(), "seconds": round(seconds)}, "rows": rows}
        file_of(part.name).write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    console.print(f"[bold]{part.title}[/] ({seconds:.0f} s)", _rich(part.sheet(rows)), sep="\n")
    for target in TARGETS:
        if target.part == part.name:
            console.print(target.said(rows), highlight=False)
    console.print()


def _rich(sheet: Sheet) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(sheet.columns):
        text = number < sheet.texts
        table.add_column(column, justify="left" if text else "right", no_wrap=True)
    for row in sheet.rows:
        table.add_row(*row)
    return table


if __name__ == "__main__":
    main()
