"""What many connected accounts cost a worker that has nothing to do for them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import product

from bench.latency import change
from bench.office import add_accounts, this_week
from bench.parts import Part, Row, Sheet, Site
from bench.processes import cpu_seconds, peak_mb
from bench.server import free_port, serving
from bench.stand import Stand, standing, working
from plugin import clock
from plugin.app import open_parts
from plugin.manifest import manifest
from plugin.pipeline.upkeep import HOUR
from plugin.sandbox.records import Record
from plugin.settings import load_settings

ACCOUNTS = (1, 100, 10_000)
CHANGES = 10
IDLE = 5.0  # seconds
PATIENCE = 60.0  # seconds a change may take
SETTLED = 0.5  # of a second's processor time at most: the worker has come to rest
SETTLING = 90.0  # seconds


def measure(site: Site) -> list[Row]:
    """Each database with so many accounts, one of which is alive."""
    return [_measure(site, kind, count) for kind, count in product(site.databases.kinds, ACCOUNTS)]


def _measure(site: Site, kind: str, count: int) -> Row:
    port = free_port()
    with (
        site.databases.fresh(kind) as url,
        standing(site.folder / f"{kind}{count}", 4 * CHANGES, database=url, port=port) as stand,
    ):
        stand.crm.clock.set(None)
        _connect_others(stand, count - 1)
        with serving("wsgi:app", stand.environ, port=port), working(stand.environ) as worker:
            buyers = [one for one in stand.contacts if stand.crm.associations.of(one.ref, "deals")]
            first = _tried(stand, buyers, 1)  # the directory is read by then
            _settle(worker.pid)
            before = cpu_seconds(worker.pid)
            time.sleep(IDLE)
            idle = (cpu_seconds(worker.pid) - before) / IDLE
            return {
                "database": kind,
                "accounts": count,
                "idle": idle,
                "seconds": _tried(stand, buyers, CHANGES) if first else [],
                "peak": peak_mb(worker.pid),
            }


def _connect_others(stand: Stand, count: int) -> None:
    """Accounts with everything done for this hour; their CRM's address leads nowhere."""
    parts = open_parts(load_settings(stand.environ))
    now = clock.now_ms()
    alike = {
        "token": parts.vault.encrypt("none"),
        "base_url": "http://127.0.0.1:9",
        "fields": [field.key for field in manifest().fields],
        "directory_read_at": now,
        "users_read_at": now,
        "asks_planned_week": this_week(clock.utc_now()),
        "subscribed_at": now,
    }
    others = [{"crm_id": f"idle-{number}", **alike} for number in range(count)]
    try:
        if others:
            with parts.database.write() as connection:
                add_accounts(connection, others, due_at=now + HOUR)
    finally:
        parts.database.close()


def _settle(pid: int) -> None:
    """Wait until the worker has come to rest."""
    deadline = time.monotonic() + SETTLING
    before = cpu_seconds(pid)
    while time.monotonic() < deadline:
        time.sleep(1.0)
        now = cpu_seconds(pid)
        if now - before < SETTLED:
            return
        before = now
    raise RuntimeError("the worker does not come to rest")


def _tried(stand: Stand, buyers: list[Record], changes: int) -> list[float]:
    """Seconds of so many changes; fewer where one took longer than anybody waits."""
    seconds: list[float] = []
    for _ in range(changes):
        try:
            seconds.append(change(stand, buyers.pop(), patience=PATIENCE))
        except TimeoutError:
            break
        time.sleep(0.2)
    return seconds


def sheet(rows: Sequence[Row]) -> Sheet:
    return Sheet(
        columns=("", "accounts", "idle cpu ms /s", "a change: median s", "longest s", "peak MB"),
        rows=[
            (
                one["database"],
                f"{one['accounts']:,}",
                f"{one['idle'] * 1000:.0f}",
                f"{sorted(one['seconds'])[len(one['seconds']) // 2]:.3f}"
                if one["seconds"]
                else f"> {PATIENCE:.0f}",
                f"{max(one['seconds']):.3f}" if one["seconds"] else "",
                f"{one['peak']:.0f}",
            )
            for one in rows
        ],
    )


PART = Part(
    name="accounts",
    title="Many accounts",
    about=(
        "One real worker process with so many connected accounts, all but one of which have "
        f"nothing to do: its processor time while nothing happens ({IDLE:.0f} s), and how long a "
        "change in the living account takes until the field is written, as above."
    ),
    measure=measure,
    sheet=sheet,
)
