"""What must be true once all faults are over and everything has settled."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import sqlalchemy as sa

from plugin import clock
from plugin.app import open_parts
from plugin.referral.model import ASK_KINDS
from plugin.sandbox.portal import CONTACTS
from plugin.sandbox.records import Sandbox
from plugin.sandbox.server import create_sandbox
from plugin.settings import load_settings
from plugin.storage import accounts, hints
from plugin.storage.database import Database
from plugin.storage.hints import HintKind
from plugin.storage.tables import delivery, hint, lane
from plugin.storage.tables import task as task_table
from plugin.storage.tasks import PENDING
from tests.e2e.installation import run_command, work_until_idle
from tests.faults.plan import FIRST, LAST, Plan
from tests.faults.post import Post
from tests.faults.town import FORGED, WORDS, Town, counted, fields_in, tasks_in, twin_of
from tests.faults.weather import serving

AFTER_ASKS = ("spiral_readiness", "spiral_explanation")
"""Depend on the asks made, which a CRM that never saw the plugin does not know."""

DATABASE_TROUBLE = (
    "OperationalError", "PendingRollbackError", "InterfaceError", "InternalError", "DatabaseError",
    "AdminShutdown", "CannotConnectNow", "DiskFull", "TimeoutError", "OSError",
)  # fmt: skip
"""How a traceback may end where the database was locked, full, restarted, or its client frozen."""
TRACEBACK = "Traceback (most recent call last):"
RECORD = re.compile(r"^(?=\[?20\d\d-)", re.MULTILINE)
ERROR = re.compile(r"^[ \t]*((?:\w+\.)*\w+(?:Error|Lost|Gone|Shutdown|Full))\b", re.MULTILINE)
NEVER = (
    "could not be reconciled",
    "could not be parsed",
    "could not be noted",
    "account 1 stumbled",
)
"""What the worker says when it met something nobody had thought of."""


def check(
    *, plan: Plan, crm: Sandbox, town: Town, post: Post, environ: dict[str, str],
    now_ms: Callable[[], int], folder: Path, logs: Sequence[Path],
) -> list[str]:  # fmt: skip
    """What does not hold, one sentence each."""
    database = Database(environ["DATABASE_URL"])
    try:
        twin = decided_anew(crm, folder / "twin")
        return [
            *_deliveries(database, post),
            *_fields(crm, twin),
            *_tasks(crm, twin, town),
            *nothing_left(database),
            *_commands(environ, crm, now_ms),
            *_logs(plan, logs, environ),
        ]
    finally:
        database.close()


# ------------------------------------------------------------------------------ deliveries


def _deliveries(database: Database, post: Post) -> Iterator[str]:
    """Every delivery that got 2xx is stored, as often as it did, and digested."""
    with database.read() as connection:
        rows = connection.execute(sa.select(delivery.c.body, delivery.c.state)).all()
    stored = counted(bytes(row.body) for row in rows)
    lost = {body: n for body, n in post.acknowledged.items() if stored.get(body, 0) < n}
    if lost:
        yield f"{sum(lost.values())} acknowledged deliveries are not stored"
    states = counted(row.state for row in rows)
    if set(states) - {"done"}:
        yield f"deliveries are not digested: {states}"
    if any(FORGED.encode() in body for body in stored) or post.forged_taken:
        yield "a forged delivery was taken"


# ---------------------------------------------------------------------------------- fields


def decided_anew(crm: Sandbox, folder: Path) -> Sandbox:
    """A twin of the CRM as it is now, in which a fresh installation has decided about everybody,
    in calm weather."""
    folder.mkdir()
    twin = twin_of(crm)
    with serving(create_sandbox(twin)) as url:
        environ = {
            "DATABASE_URL": f"sqlite:///{folder / 'referrals.db'}",
            "SECRET_KEY": "another-key-of-32-characters-lon",
            "HUBSPOT_API_URL": url,
            "CRM_NETWORKS": "127.0.0.0/8",
            "HUBSPOT_TOKEN": twin.portal.token,
            "HUBSPOT_APP_ID": str(twin.portal.app_id),
        }
        connect(environ, folder)
        parts = open_parts(load_settings(environ))
        try:
            for _ in range(2):  # who is a referrer shows when the referred are read
                with parts.database.write() as connection:
                    mine = accounts.all_accounts(connection)[0].id
                    ids = [one.id for one in twin.all(CONTACTS)]
                    hints.mark(connection, mine, HintKind.CONTACT, ids, due_at=clock.now_ms(),
                               history=True)  # fmt: skip
                work_until_idle(parts, now_ms=clock.now_ms, utc_now=clock.utc_now)
        finally:
            parts.database.close()
    return twin


def connect(environ: dict[str, str], folder: Path) -> None:
    """Connect and install, with a policy by which a lot happens within a day."""
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    for words in (
        ("connect", "hubspot", "--fallback-owner", "64492917", "--policy", str(policy)),
        ("install", "hubspot"),
    ):
        ran = run_command(words, environ=environ, now_ms=clock.now_ms)
        assert ran.returncode == 0, ran.stderr


POLICY = """\
[spiral]
enthusiasm_delights = 1
[asks]
per_owner_and_week = 100
"""


def _fields(crm: Sandbox, twin: Sandbox) -> Iterator[str]:
    """Every contact's fields are what the model says of the CRM as it is now."""
    asked = {
        one
        for task in tasks_in(crm)
        for one in task.contacts
        if task.kind in ASK_KINDS and task.state == "done"
    }
    wanted = fields_in(twin)
    for contact_id, values in fields_in(crm).items():
        for key, value in wanted[contact_id].items():
            if key in AFTER_ASKS and contact_id in asked:
                continue
            if values[key] != value:
                yield f"contact {contact_id}: {key} is {values[key]!r}, should be {value!r}"


# ----------------------------------------------------------------------------------- tasks


def _tasks(crm: Sandbox, twin: Sandbox, town: Town) -> Iterator[str]:
    """Each cause has exactly one task; none without a reason, none missing."""
    there = tasks_in(crm)
    twice = {key: n for key, n in counted(task.key for task in there).items() if n > 1}
    if twice:
        yield f"tasks exist twice: {twice}"
    wanted = [one for one in tasks_in(twin) if one.state == "open"]
    still_open = counted(one.about for one in there if one.state == "open")
    should_be = counted(one.about for one in wanted)
    for about, n in still_open.items():
        if n > should_be.get(about, 0):
            yield f"open without a reason: {about}, {n} times"
    met = counted(one.about for one in there if one.state in ("open", "done"))
    gone = tasks_in(crm, deleted=True)
    discarded = {one.about for one in gone if one.key in town.discarded}
    for about, n in should_be.items():
        if met.get(about, 0) < n and about not in discarded:
            yield f"missing: {about}"


# ------------------------------------------------------------------------------ what is left


def nothing_left(database: Database) -> Iterator[str]:
    """No record is parked or waits, no task is on its way."""
    with database.read() as connection:
        for row in connection.execute(sa.select(hint)):
            why = f", parked: {row.parked}" if row.parked else ""
            yield f"{row.kind} {row.record_id} waits{why}"
        states = (*PENDING, "refused")
        for row in connection.execute(sa.select(task_table).where(task_table.c.state.in_(states))):
            yield f"task {row.kind} is {row.state}: {row.reason}"


def given_back(database: Database, *, now: int) -> list[str]:
    """The lanes that a worker that ended in order did not give back: another would wait."""
    with database.read() as connection:
        held = connection.execute(sa.select(lane.c.name).where(lane.c.until >= now)).scalars()
        return [f"lane {name} was not given back" for name in held]


def settled(database: Database, *, now: int) -> bool:
    """Whether nothing is under way or waits for its time."""
    with database.read() as connection:
        waiting = [
            sa.select(delivery.c.id).where(delivery.c.state == "new"),
            sa.select(hint.c.record_id).where(hint.c.parked.is_(None)),
            sa.select(task_table.c.id).where(task_table.c.state.in_(PENDING)),
            sa.select(lane.c.name).where(lane.c.until >= now),
        ]
        if any(connection.execute(one.limit(1)).first() for one in waiting):
            return False
        return not any(
            (one.blocked_until or 0) > now or one.sweep or one.asks_to_plan
            for one in accounts.all_accounts(connection)
        )


def _commands(environ: dict[str, str], crm: Sandbox, now_ms: Callable[[], int]) -> Iterator[str]:
    """``status`` and ``explain`` tell the same."""

    def said(*words: str) -> str:
        ran = run_command(words, environ=environ, now_ms=now_ms)
        return ran.stdout if ran.returncode == 0 else f"{words} failed: {ran.stderr}"

    status = said("status")
    for word in ("parked", "quarantined", "waiting until", "failed", "new"):
        if re.search(rf"\b{word}\b", status):
            yield f"status says {word}: {status}"
    if "  waiting     0 records" not in status:
        yield f"status tells of waiting records: {status}"
    for contact_id, values in fields_in(crm).items():
        if values["spiral_explanation"].strip() not in said("explain", "hubspot", contact_id):
            yield f"explain tells something else of contact {contact_id}"


# ------------------------------------------------------------------------------------ logs


def _logs(plan: Plan, logs: Sequence[Path], environ: dict[str, str]) -> Iterator[str]:
    """No secret, nobody's data, and no traceback but where the database was away."""
    secrets = [environ[name] for name in ("SECRET_KEY", "HUBSPOT_CLIENT_SECRET", "HUBSPOT_TOKEN")]
    people = [*(f"{name}." for name in FIRST), *LAST, "@example.com", WORDS, "Küche"]
    disturbed = any(one.what in ("lock", "restart", "full disk", "freeze worker", "freeze web")
                    for one in plan.faults)  # fmt: skip
    for path in logs:
        text = path.read_text("utf-8", "replace") if path.exists() else ""
        for secret in secrets:
            if secret in text:
                yield f"{path.name} holds a secret"
        for word in people:
            if re.search(rf"(?<!\w){re.escape(word)}", text, re.IGNORECASE):
                yield f"{path.name} holds personal data: {word}"
        for words in NEVER:
            if words in text:
                yield f"{path.name}: {words}"
        for error in _ends(text):
            if error.rpartition(".")[2] not in (DATABASE_TROUBLE if disturbed else ()):
                yield f"{path.name} has a traceback of {error}"


def _ends(text: str) -> Iterator[str]:
    """The errors that tracebacks end with; those that led to another are not the end."""
    for record in RECORD.split(text):
        _, found, trace = record.partition(TRACEBACK)
        if found:
            errors = ERROR.findall(trace)
            yield errors[-1] if errors else "unknown kind"
