"""The plugin's commands and web application as a run starts them: with a clock that can be set,
and with waits that are a few seconds long instead of minutes.

    python -m tests.faults.entry worker
    gunicorn tests.faults.web:app

Nothing else differs from ``python -m plugin`` and ``wsgi:app``.
"""

from __future__ import annotations

import importlib
import mmap
import os
import struct
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from plugin import clock

CLOCK = "FAULTS_CLOCK"
"""Names the file that holds this process's error, in seconds."""

SHORTER: dict[str, dict[str, Any]] = {
    "plugin.pipeline.lanes": {"LEASE": 3_000, "RENEW_EVERY": 0.75},
    "plugin.pipeline.worker": {"SET_ASIDE": 2_000, "MISHAP_PAUSE": 0.3},
    "plugin.pipeline.turn": {
        "FIRST_BACK_OFF": 300,
        "LONGEST_BACK_OFF": 2_000,
        "UNAUTHORIZED_BACK_OFF": 1_500,
        "DEAL_RECHECKS": (300, 1_500),
    },
    "plugin.pipeline.outbox": {"SETTLE": 1_500},
    "plugin.pipeline.reconcile": {"MISSING_GRACE": 1_500},
    "plugin.storage.hints": {"LOOK_AGAIN": 1_500},
    "adapters.client": {"TIMEOUT": (1.0, 2.0), "GUESSED_WAIT": 0.7},
}
"""Module → constant → its value here. All bear the proportions they have in the product."""


def set_clock(path: Path, seconds: float) -> None:
    """Put the clock of the process that was started with this file ahead (or behind)."""
    with path.open("r+b") as file:
        file.write(struct.pack("d", seconds))


def make_clock(path: Path) -> Path:
    path.write_bytes(struct.pack("d", 0.0))
    return path


def prepare() -> None:
    """Give this process the clock and the waits."""
    with Path(os.environ[CLOCK]).open("rb") as file:
        error = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)

    def ahead() -> float:
        seconds: float = struct.unpack("d", error[:8])[0]
        return seconds

    clock.now_ms = lambda: time.time_ns() // 1_000_000 + round(ahead() * 1000)
    clock.utc_now = lambda: datetime.now(UTC) + timedelta(seconds=ahead())
    importlib.import_module("plugin.cli")
    importlib.import_module("plugin.app")
    for module, values in SHORTER.items():
        for name, value in values.items():
            _replace(name, getattr(importlib.import_module(module), name), value)


def _replace(name: str, old: Any, new: Any) -> None:
    """Wherever the constant was imported to."""
    for title, module in list(sys.modules.items()):
        ours = title.partition(".")[0] in ("plugin", "adapters")
        if ours and getattr(module, name, None) == old:
            setattr(module, name, new)


if __name__ == "__main__":
    prepare()
    importlib.import_module("plugin.cli").main()
