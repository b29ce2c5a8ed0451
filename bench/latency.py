"""From a change in the CRM to the field in the CRM, with the real server and the real worker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.server import ROOT, free_port, serving
from bench.stand import Stand, standing
from plugin.sandbox.records import Record

CHANGES = 30
PAUSE = 0.6  # seconds between two changes: light load
LOOK = 0.002  # seconds between two looks at the field
PATIENCE = 10.0  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Seconds from the rep's change to the plugin's field; the CRM gathers events for 20 ms."""

    changes: int
    p50: float
    p99: float


def measure(folder: Path) -> Latency:
    port = free_port()
    with standing(folder / "latency", 2 * CHANGES, port=port) as stand:
        stand.crm.clock.set(None)  # signatures, events and worker share one time
        with serving("wsgi:app", stand.environ, port=port), working(stand):
            buyers = [one for one in stand.contacts if stand.crm.associations.of(one.ref, "deals")]
            _change(stand, buyers.pop())  # the worker is up, and the directory read
            taken = sorted(_change(stand, one) for one in buyers[:CHANGES])
    return Latency(
        changes=len(taken), p50=taken[len(taken) // 2], p99=taken[int(len(taken) * 0.99)]
    )


def _change(stand: Stand, contact: Record) -> float:
    """A rating after a first purchase makes satisfaction; returns how long that took."""
    started = time.perf_counter()
    stand.rate(contact, "satisfied")
    while contact.value("spiral_stage") != "satisfaction":
        if time.perf_counter() - started > PATIENCE:
            raise RuntimeError("the field was never written")
        time.sleep(LOOK)
    taken = time.perf_counter() - started
    time.sleep(PAUSE)
    return taken


@contextmanager
def working(stand: Stand) -> Iterator[None]:
    """The worker, as a process of its own."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "plugin", "worker"],
        cwd=ROOT,
        env={**os.environ, **stand.environ},
    )
    try:
        yield
    finally:
        worker.terminate()
        worker.wait()
