"""From a change in the CRM to the field in the CRM, with the real server and the real worker."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from bench.parts import Part, Row, Sheet, Site, percentile
from bench.server import free_port, serving
from bench.stand import Stand, standing, working
from plugin.sandbox.records import Record

CHANGES = 100
PAUSE = (0.2, 1.0)  # seconds between two changes, drawn, in step with nothing
"""Light load of one account. At three changes a second HubSpot's limit on associations (100 calls
in 10 seconds, of which 80 are used) would be what is measured."""
LOOK = 0.002  # seconds between two looks at the field
PATIENCE = 10.0  # seconds
START = 60.0  # seconds until the worker is up and has read the directory


def measure(site: Site) -> list[Row]:
    """Each database; ``seconds`` from the rep's change to the plugin's field."""
    return [_measure(site, kind) for kind in site.databases.kinds]


def _measure(site: Site, kind: str) -> Row:
    port = free_port()
    dice = random.Random(kind)
    with (
        site.databases.fresh(kind) as url,
        standing(site.folder / kind, 2 * CHANGES, database=url, port=port) as stand,
    ):
        stand.crm.clock.set(None)  # signatures, events and worker share one time
        with serving("wsgi:app", stand.environ, port=port), working(stand.environ):
            buyers = [one for one in stand.contacts if stand.crm.associations.of(one.ref, "deals")]
            change(stand, buyers.pop(), patience=START)
            seconds = []
            for contact in buyers[:CHANGES]:
                time.sleep(dice.uniform(*PAUSE))
                seconds.append(change(stand, contact, patience=PATIENCE))
    return {"database": kind, "seconds": seconds}


def change(stand: Stand, contact: Record, *, patience: float) -> float:
    """A rating after a first purchase makes satisfaction; returns how long that took."""
    started = time.perf_counter()
    stand.rate(contact, "satisfied")
    while contact.value("spiral_stage") != "satisfaction":
        if time.perf_counter() - started > patience:
            raise TimeoutError(f"the field was not written within {patience:.0f} s")
        time.sleep(LOOK)
    return time.perf_counter() - started


def sheet(rows: Sequence[Row]) -> Sheet:
    return Sheet(
        columns=("", "changes", "p50 s", "p90 s", "p99 s", "longest s"),
        rows=[
            (
                one["database"],
                str(len(one["seconds"])),
                *(f"{percentile(one['seconds'], share):.3f}" for share in (0.5, 0.9, 0.99, 1.0)),
            )
            for one in rows
        ],
    )


PART = Part(
    name="latency",
    title="From a change to the field",
    about=(
        "A rep's rating in the sandbox until the plugin's stage stands in the sandbox: webhook, "
        "gunicorn, worker and the calls to the CRM, all real processes and real HTTP on one "
        "machine. The sandbox gathers events for 20 ms before it delivers. "
        f"{CHANGES} changes of one account, {sum(PAUSE) / 2:g} s after one another on average."
    ),
    measure=measure,
    sheet=sheet,
    plots={"latency": "How long changes took until the field was written"},
)
