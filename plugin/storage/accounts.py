"""The connected accounts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import sqlalchemy as sa

from plugin.errors import ConfigurationError
from plugin.policy import load_policy
from plugin.ports import Allowance
from plugin.referral.policy import Policy
from plugin.referral.ratings import ScoreScale
from plugin.storage.among import among
from plugin.storage.tables import account as table

LONGEST_WAIT = 25 * 3_600_000  # milliseconds
READ = 100  # accounts at a time, where there may be thousands


def instant(milliseconds: int) -> datetime:
    """The stored instant as an aware datetime."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def milliseconds(moment: datetime) -> int:
    """An aware datetime as it is stored."""
    return round(moment.timestamp() * 1000)


def has_come(
    at: sa.ColumnElement[Any], now: int
) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    """Whether an instant until which something was put off has come; or lies so far ahead that
    nobody can have meant it: then the clock was set back. To be asked one after the other: each
    is a range of an index, both together are none."""
    return at <= now, at > now + LONGEST_WAIT


def put_off_until(at: int, now: int) -> int:
    """``has_come`` for an instant at hand: when it comes; ``now`` where it lies too far ahead."""
    return at if at <= now + LONGEST_WAIT else now


@dataclass(frozen=True, kw_only=True)
class Account:
    """One connected account with its settings. Secrets are still encrypted."""

    id: int
    crm: str
    crm_id: str
    name: str
    token: str = field(repr=False)
    app_id: str
    base_url: str | None
    endpoint: str | None
    own_secrets: str | None = field(repr=False)
    mode: str
    paused: bool
    language: str
    fallback_owner: str | None
    rating_property: str | None
    rating_kind: str | None
    policy: Policy
    zone: ZoneInfo
    currency: str
    record_url: str | None
    fields: frozenset[str] | None
    facts: dict[str, str]
    connected_at: int
    directory_cursor: str | None
    directory_read_at: int | None
    users_read_at: int | None
    swept_at: int | None
    tasks_read_at: int | None
    ids_checked_at: int | None
    ids_cursor: str | None
    sweep: dict[str, Any] | None
    asks_planned_week: int | None
    asks_to_plan: bool
    blocked_until: int | None
    blocked_reason: str | None
    failures: int
    subscribed_at: int | None
    subscribe_after: int | None
    allowance: Allowance | None

    @property
    def observing(self) -> bool:
        """Decide and show everything, write nothing."""
        return self.mode == "observe"

    @property
    def ready(self) -> bool:
        """Contacts can be worked on: the fields are there, or nothing will be written."""
        return self.observing or self.fields is not None

    @property
    def path(self) -> str:
        """Where its webhooks arrive, below PUBLIC_URL."""
        return f"/webhooks/{self.crm}" + (f"/{self.endpoint}" if self.endpoint else "")

    def waits_until(self, now: int) -> int:
        """When it may be worked for again, in UTC milliseconds; 0 where it may now. Nobody waits
        for longer than a day: else the clock was set back meanwhile."""
        until = put_off_until(self.blocked_until or 0, now)
        return until if until > now else 0

    def day(self, moment: datetime) -> date:
        """The calendar day of an instant in the account's time zone."""
        return moment.astimezone(self.zone).date()

    def score_scale(self) -> ScoreScale | None:
        if not self.rating_property or not self.rating_kind:
            return None
        if self.rating_kind == "nps":
            return ScoreScale(kind="nps")
        return ScoreScale(kind="csat", maximum=self.policy.csat_maximum)


def zone_of(name: str | None) -> ZoneInfo:
    """The account's zone, Europe/Berlin where the CRM names none we know."""
    try:
        return ZoneInfo(name or "Europe/Berlin")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("Europe/Berlin")


@lru_cache(maxsize=256)
def _policy(text: str) -> Policy:
    return load_policy(text, name="policy")


def _account(row: Any) -> Account:
    values = dict(row._mapping)
    values["zone"] = zone_of(values.pop("time_zone"))
    values["policy"] = _policy(values["policy"])
    values["fields"] = None if values["fields"] is None else frozenset(values["fields"])
    values["allowance"] = _allowance(values["allowance"])
    return Account(**values)


def _allowance(stored: Mapping[str, Any] | None) -> Allowance | None:
    if stored is None:
        return None
    return Allowance(**{**stored, "ends_at": datetime.fromisoformat(stored["ends_at"])})


def allowance_json(allowance: Allowance) -> dict[str, Any]:
    """A day's budget as it is kept with the account."""
    return {**asdict(allowance), "ends_at": allowance.ends_at.isoformat()}


def all_accounts(connection: sa.Connection, *, crm: str | None = None) -> list[Account]:
    query = sa.select(table).order_by(table.c.id)
    if crm:
        query = query.where(table.c.crm == crm)
    return [_account(row) for row in connection.execute(query)]


def tokens(connection: sa.Connection) -> Generator[str]:
    """Their credentials as they are stored, read as far as they are asked for: an installation
    may have thousands. To be closed before the connection."""
    query = sa.select(table.c.token).order_by(table.c.id)
    with connection.execute(query, execution_options={"yield_per": READ}) as rows:
        yield from rows.scalars()


def any_endpoint(connection: sa.Connection) -> bool:
    """Whether one has an address of its own."""
    return bool(connection.scalar(sa.select(sa.exists().where(table.c.endpoint.is_not(None)))))


def among_crm_ids(
    connection: sa.Connection, wanted: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Account]:
    """Those of these accounts that are connected, by CRM and id there."""
    ids: dict[str, set[str]] = defaultdict(set)
    for crm, crm_id in wanted:
        ids[crm].add(crm_id)
    found = {}
    for crm, several in ids.items():
        for row in connection.execute(
            sa.select(table).where(table.c.crm == crm, among(table.c.crm_id, several))
        ):
            found[crm, row.crm_id] = _account(row)
    return found


def by_id(connection: sa.Connection, account_id: int) -> Account | None:
    row = connection.execute(sa.select(table).where(table.c.id == account_id)).one_or_none()
    return _account(row) if row else None


def find(connection: sa.Connection, crm: str, crm_id: str) -> Account | None:
    row = connection.execute(
        sa.select(table).where(table.c.crm == crm, table.c.crm_id == crm_id)
    ).one_or_none()
    return _account(row) if row else None


def choose(connection: sa.Connection, crm: str, crm_id: str | None) -> Account:
    """The account a command means. Raises ``ConfigurationError`` where that is not clear."""
    accounts = all_accounts(connection, crm=crm)
    if crm_id is not None:
        accounts = [one for one in accounts if one.crm_id == crm_id]
        if not accounts:
            raise ConfigurationError(f"--account {crm_id}: no such {crm} account is connected")
    if not accounts:
        raise ConfigurationError(
            f"no {crm} account is connected: run `python -m plugin connect {crm}` first"
        )
    if len(accounts) > 1:
        ids: Sequence[str] = [one.crm_id for one in accounts]
        raise ConfigurationError(
            f"several {crm} accounts are connected: name one with --account ({', '.join(ids)})"
        )
    return accounts[0]


def save(connection: sa.Connection, account_id: int, **values: Any) -> None:
    connection.execute(sa.update(table).where(table.c.id == account_id).values(**values))
