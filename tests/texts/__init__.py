"""Texts are compared whole with golden files, which hold both languages of one text.

``UPDATE_GOLDEN=1 pytest tests/texts`` writes them anew: read the difference before keeping it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"
SEEDS = Path(__file__).resolve().parents[2].parent / "shared" / "seeds"

_RUN = 6
"""So many words in a row are a copy, not a coincidence."""


def golden(name: str, text: str) -> str:
    """What ``text`` has to be."""
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(text, "utf-8", newline="\n")
    return path.read_text("utf-8")


def golden_names(prefix: str) -> set[str]:
    return {path.stem for path in GOLDEN.glob(f"{prefix}-*.txt")}


def borrowed(prefix: str) -> set[str]:
    """Runs of words that our texts share with the source texts. Skips where those are not."""
    if not SEEDS.is_dir():
        pytest.skip("the source texts are not on this machine")
    ours = {run for path in GOLDEN.glob(f"{prefix}-*.txt") for run in _runs(path)}
    return ours & {run for path in SEEDS.glob("*.txt") for run in _runs(path)}


def _runs(path: Path) -> Iterator[str]:
    words = re.findall(r"\w+", path.read_text("utf-8").lower())
    return (" ".join(words[start : start + _RUN]) for start in range(len(words) - _RUN + 1))
