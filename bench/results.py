"""What was measured last, a file for each part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.every import PARTS

RESULTS = Path(__file__).resolve().parent / "results"


def file_of(part: str) -> Path:
    return RESULTS / f"{part}.json"


def kept() -> dict[str, dict[str, Any]]:
    """Part → ``{"measured": …, "rows": […]}``, for those that were measured."""
    return {
        name: json.loads(file_of(name).read_text("utf-8"))
        for name in PARTS
        if file_of(name).exists()
    }
