"""How much of the CRM's call limit is used while there is work, and whether it is ever exceeded."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import sqlalchemy as sa

from bench.calls import mark_all, rate_all, work
from bench.databases import SQLITE
from bench.parts import Part, Row, Sheet, Site, percent
from bench.people import TODAY
from bench.processes import peak_mb
from bench.stand import Stand, standing, working
from plugin.app import Parts, open_parts
from plugin.policy import load_policy
from plugin.sandbox.gate import WINDOW
from plugin.sandbox.server import serving
from plugin.settings import load_settings

CONTACTS = 10_000
LIMIT = (
    190  # calls in ten seconds, a Professional account (developers.hubspot.com, usage guidelines)
)
ASSOCIATIONS = 100  # batch calls for associations in ten seconds: a limit of its own
LOOK = 0.02  # seconds between two looks at the stand-in's counters
PATIENCE = 300.0  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """Calls so far, ``at`` seconds after the first."""

    at: float
    general: int
    associations: int
    refused: int


def measure(site: Site) -> list[Row]:
    """One pass over 10,000 contacts with a new rating, by the real worker under the real limit."""
    with (
        site.databases.fresh(SQLITE) as url,
        standing(site.folder / "rate", CONTACTS, database=url) as stand,
    ):
        parts = open_parts(load_settings(stand.environ))
        try:
            work(parts)  # the directory and the users, without a limit
            mark_all(stand, parts)
            work(parts)
            rate_all(stand, parts)
            with _limited(stand), _watched(stand) as moments:
                mark_all(stand, parts)
                with working(stand.environ) as worker:
                    peak = _until_done(parts, worker.pid)
        finally:
            parts.database.close()
    return [_row(moments, peak)]


@contextmanager
def _limited(stand: Stand) -> Iterator[None]:
    """The sandbox once more, at another address and with HubSpot's limit; the account moves."""
    stand.crm.portal = replace(stand.crm.portal, rate_limit=LIMIT, enforce_rate=True)
    with serving(stand.crm) as url:
        stand.environ["HUBSPOT_API_URL"] = url
        stand.command("connect", "hubspot")
        stand.crm.clock.set(TODAY)
        stand.crm.calls.clear()
        stand.crm.answers.clear()
        yield


@contextmanager
def _watched(stand: Stand) -> Iterator[list[Moment]]:
    """The counters of the stand-in, over time."""
    moments: list[Moment] = []
    stop = threading.Event()

    def watch() -> None:
        begun = 0.0
        while not stop.wait(LOOK):
            with stand.crm.lock:
                calls = stand.crm.calls.copy()
            if not calls:
                continue
            now = time.monotonic()
            begun = begun or now
            apart = _associations(calls)
            moments.append(
                Moment(
                    at=now - begun,
                    general=sum(calls.values()) - apart,
                    associations=apart,
                    refused=stand.crm.answers[429],
                )
            )

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield moments
    finally:
        stop.set()
        thread.join()


def _associations(calls: Counter[str]) -> int:
    return sum(n for call, n in calls.items() if "/crm/associations/" in call)


def _until_done(parts: Parts, pid: int) -> float:
    """Wait until no contact is dirty; returns the most memory the worker had, in MB."""
    deadline = time.monotonic() + PATIENCE
    waiting = sa.text("SELECT count(*) FROM hint")
    while time.monotonic() < deadline:
        peak = peak_mb(pid)
        with parts.database.read() as connection:
            if not connection.execute(waiting).scalar_one():
                return peak
        time.sleep(0.1)
    raise RuntimeError("the contacts were never worked off")


def _row(moments: Sequence[Moment], peak: float) -> Row:
    working_ = [one for one in moments if one.general + one.associations < _total(moments[-1])]
    share = load_policy("", name="policy").rate_share
    general = int(LIMIT * share)
    apart = int(ASSOCIATIONS * share)
    return {
        "contacts": CONTACTS,
        "limit": LIMIT,
        "rate_share": share,
        "calls": _total(moments[-1]),
        "seconds": working_[-1].at,
        "refused": moments[-1].refused,
        "most_general": _most([one.general for one in moments], moments),
        "most_associations": _most([one.associations for one in moments], moments),
        "general": _used([one.general for one in working_], working_, general),
        "associations": _used([one.associations for one in working_], working_, apart),
        "peak": peak,
        "moments": [
            [round(one.at, 2), one.general, one.associations]
            for one in moments[:: max(1, len(moments) // 500)]
        ],
        "allowed": {"general": general, "associations": apart},
    }


def _total(one: Moment) -> int:
    return one.general + one.associations


def _used(counts: Sequence[int], moments: Sequence[Moment], allowed: int) -> float:
    """Share of the allowed calls in windows of ten seconds: the mean over all whole windows."""
    shares = []
    after = 0
    for before, one in enumerate(moments):
        while after < len(moments) and moments[after].at < one.at + WINDOW:
            after += 1
        if after == len(moments):
            break
        shares.append((counts[after] - counts[before]) / allowed)
    return sum(shares) / len(shares) if shares else 0.0


def _most(counts: Sequence[int], moments: Sequence[Moment]) -> int:
    """Calls in the fullest window of ten seconds."""
    most = before = 0
    for one, count in zip(moments, counts, strict=True):
        while moments[before].at < one.at - WINDOW:
            before += 1
        most = max(most, count - (counts[before] if one.at > WINDOW else 0))
    return most


def sheet(rows: Sequence[Row]) -> Sheet:
    return Sheet(
        columns=(
            "dirty contacts", "calls", "a contact", "seconds", "general limit used",
            "most in 10 s", "associations limit used", "most in 10 s", "429s", "worker's peak MB",
        ),
        rows=[
            (
                f"{one['contacts']:,}",
                str(one["calls"]),
                f"{one['calls'] / one['contacts']:.3f}",
                f"{one['seconds']:.0f}",
                percent(one["general"]),
                str(one["most_general"]),
                percent(one["associations"]),
                str(one["most_associations"]),
                str(one["refused"]),
                f"{one['peak']:.0f}",
            )
            for one in rows
        ],
    )  # fmt: skip


PART = Part(
    name="rate",
    title="Use of HubSpot's call limit",
    about=(
        f"The real worker process, {CONTACTS:,} contacts with a new rating, and the sandbox as it "
        f"enforces HubSpot's limit of {LIMIT} calls in any ten seconds. The account allows the "
        "plugin 80 % of it, as is the default. HubSpot counts batch calls for associations apart "
        f"from the rest ({ASSOCIATIONS} in ten seconds; the sandbox counts but does not refuse "
        "these): whichever of the two is used up first holds back the other. The share used is "
        "the mean over all windows of ten seconds while there is work."
    ),
    measure=measure,
    sheet=sheet,
    plots={"rate": "Calls in the last ten seconds beside what is allowed"},
)
