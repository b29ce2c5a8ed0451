"""The stand-in's memory: records with their history, and what happens when one is changed.

``Sandbox`` is the whole account. Every public method of it takes the lock, so threads may call
it; what it hands out is only safe to read while ``lock`` is held.
"""

from __future__ import annotations

import bisect
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import RLock
from typing import Any, NamedTuple

from plugin.sandbox.associations import Associations, LinkType
from plugin.sandbox.portal import (
    CONTACTS,
    DEALS,
    OBJECT_TYPES,
    PIPELINES,
    STAFF,
    TASKS,
    ObjectType,
    Owner,
    Portal,
    stage,
    standard_properties,
)
from plugin.sandbox.properties import iso
from plugin.sandbox.refusals import Problem, Refused, bad_input, invalid, not_found
from plugin.sandbox.webhooks import Change, Outbox, Source

CALCULATED = Source(type="CALCULATED", id="")
TICK = timedelta(milliseconds=1)


class Version(NamedTuple):
    """What a property was from an instant on."""

    value: str
    at: datetime
    source: Source


@dataclass(kw_only=True, slots=True)
class Record:
    """A contact, deal or task. ``values`` holds what is not empty; ``history`` is newest first."""

    type: ObjectType
    id: str
    created_at: datetime
    updated_at: datetime
    values: dict[str, str] = field(default_factory=dict)
    history: dict[str, list[Version]] = field(default_factory=dict)
    archived_at: datetime | None = None

    @property
    def ref(self) -> tuple[str, str]:
        return (self.type.plural, self.id)

    def value(self, name: str) -> str | None:
        return self.values.get(name)


class Clock:
    """The sandbox's time: the real one until it is set, then standing still but for a
    millisecond with every change."""

    def __init__(self) -> None:
        self._now: datetime | None = None

    def now(self) -> datetime:
        if self._now is not None:
            return self._now
        now = datetime.now(UTC)
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    def set(self, at: datetime | None) -> None:
        """Travel to an instant; None goes back to real time."""
        self._now = at.astimezone(UTC) if at else None

    def tick(self) -> datetime:
        """The instant of a change."""
        if self._now is not None:
            self._now += TICK
        return self.now()


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What goes wrong with one of the next API calls.

    ``status``: this is the answer and nothing is done. ``drop``: it is done and the connection
    cut without an answer. ``delay``: seconds before anything. ``path``, ``method``: only a call
    whose path holds this text, by this method.
    """

    status: int | None = None
    drop: bool = False
    delay: float = 0.0
    path: str = ""
    method: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None

    def meets(self, method: str, path: str) -> bool:
        return self.path in path and self.method in ("", method)


class Sandbox:
    """One account in memory."""

    def __init__(self, portal: Portal | None = None, *, outbox: Outbox | None = None) -> None:
        self.portal = portal or Portal()
        self.outbox = outbox or Outbox(self.portal)
        self.lock = RLock()
        self.clock = Clock()
        self.properties = standard_properties(self.portal)
        self.associations = Associations()
        self.owners: dict[str, Owner] = {owner.id: owner for owner in STAFF}
        self.calls: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()
        self.faults: deque[Fault] = deque()
        self._records: dict[str, dict[str, Record]] = {t.plural: {} for t in OBJECT_TYPES}
        self._order: dict[str, list[int]] = {t.plural: [] for t in OBJECT_TYPES}
        self._next_id = {t.plural: t.first_id for t in OBJECT_TYPES}
        self._by_email: dict[str, str] = {}

    # ----------------------------------------------------------------------- who writes

    @property
    def app(self) -> Source:
        """The plugin, writing through the API."""
        return Source(type="INTEGRATION", id=str(self.portal.app_id))

    def person(self, owner_id: str | None = None) -> Source:
        """A user at the screen; the first of the staff where nobody is named."""
        owner = self.owners.get(owner_id or "", next(iter(self.owners.values())))
        return Source(type="CRM_UI", id=f"userId:{owner.user_id}", user_id=owner.user_id)

    # ----------------------------------------------------------------------- reading

    def find(self, of: ObjectType, record_id: str, *, archived: bool = False) -> Record | None:
        with self.lock:
            record = self._records[of.plural].get(record_id)
            return record if record and bool(record.archived_at) is archived else None

    def get(self, of: ObjectType, record_id: str) -> Record:
        """Raises ``Refused`` (404) where it is not there."""
        record = self.find(of, record_id)
        if record is None:
            raise not_found(of.singular.upper(), [record_id])
        return record

    def by_property(self, of: ObjectType, name: str, value: str) -> Record | None:
        """The record whose unique property has this value."""
        with self.lock:
            if of is CONTACTS and name == "email":
                return self.find(of, self._by_email.get(value.lower(), ""))
            return next((r for r in self.all(of) if r.value(name) == value), None)

    def all(self, of: ObjectType, *, after: str = "", archived: bool = False) -> Iterator[Record]:
        """In the order of ids, from the one behind ``after``."""
        order = self._order[of.plural]
        records = self._records[of.plural]
        start = bisect.bisect_right(order, int(after)) if after else 0
        for position in range(start, len(order)):
            record = records[str(order[position])]
            if bool(record.archived_at) is archived:
                yield record

    def linked(self, record: Record, to: ObjectType) -> list[tuple[Record, list[LinkType]]]:
        """The active records of one type joined to this one."""
        with self.lock:
            found = self.associations.of(record.ref, to.plural)
            return [
                (end, kinds)
                for end_id, kinds in found
                if (end := self.find(to, end_id)) is not None
            ]

    # ----------------------------------------------------------------------- writing

    def check(
        self, of: ObjectType, raw: Mapping[str, object], record: Record | None = None
    ) -> dict[str, str]:
        """The values as they would be stored. Raises ``Refused`` where one is not valid.

        ``record`` None: they are for a new one.
        """
        with self.lock:
            values, problems = self.properties.read(of.plural, raw)
            problems += self._misfits(of, values, record)
            if problems:
                raise invalid(problems)
            self._check_email(of, values, record)
            return values

    def create(
        self,
        of: ObjectType,
        raw: Mapping[str, object],
        source: Source,
        *,
        links: Sequence[tuple[ObjectType, str, Sequence[LinkType]]] = (),
    ) -> Record:
        """A new record, joined to others at once."""
        with self.lock:
            values = self.check(of, raw)
            for to, to_id, _ in links:
                self.get(to, to_id)
            now = self.clock.tick()
            record = self._add(of, now)
            self._emit("creation", record, now, source, changeFlag="CREATED")
            defaults = self._defaults(of, now)
            self._apply(record, {**defaults, **values}, now, source)
            for to, to_id, kinds in links:
                self.associate(record, self.get(to, to_id), kinds, source)
            return record

    def update(self, record: Record, raw: Mapping[str, object], source: Source) -> Record:
        """Values that are as they were change nothing, not even the modification date."""
        with self.lock:
            values = self.check(record.type, raw, record)
            changed = {
                name: value
                for name, value in values.items()
                if value != record.values.get(name, "")
            }
            if changed:
                now = self.clock.tick()
                self._apply(record, {**self._closing(changed, now), **changed}, now, source)
            return record

    def archive(self, record: Record, source: Source) -> None:
        """Into the recycling bin."""
        with self.lock:
            now = self.clock.tick()
            record.archived_at = now
            if record.type is CONTACTS:
                self._by_email.pop(record.values.get("email", ""), None)
            self._emit("deletion", record, now, source, changeFlag="DELETED")

    def restore(self, of: ObjectType, record_id: str, source: Source) -> Record:
        """Out of the recycling bin. The app cannot do this, only a person."""
        with self.lock:
            record = self.find(of, record_id, archived=True)
            if record is None:
                raise not_found(of.singular.upper(), [record_id])
            self._check_email(of, record.values, record)
            now = self.clock.tick()
            record.archived_at = None
            self._touch(record, now)
            self._note_email(record)
            self._emit("restore", record, now, source)
            return record

    def erase(self, of: ObjectType, record_id: str, source: Source) -> None:
        """Privacy deletion: nothing of the record is kept. Told as such *and* as a deletion."""
        with self.lock:
            record = self._records[of.plural].get(record_id)
            if record is None:
                raise not_found(of.singular.upper(), [record_id])
            now = self.clock.tick()
            self._emit("privacyDeletion", record, now, source)
            if record.archived_at is None:
                self._emit("deletion", record, now, source, changeFlag="DELETED")
            self.associations.forget(record.ref)
            self._remove(record)

    def merge(self, primary: Record, other: Record, source: Source) -> Record:
        """Two records become a new one, with a new id; the old ids are gone.

        The primary's values win; the other's fill what is empty. Both histories are kept.
        """
        with self.lock:
            if primary is other or primary.type is not other.type:
                raise bad_input("Only two different records of one type can be merged")
            now = self.clock.tick()
            for old in (primary, other):
                self._remove(old)
            record = self._add(primary.type, now)
            filled = {k: v for k, v in other.values.items() if k not in primary.values}
            self._inherit(record, primary, other, now)
            self._emit(
                "merge",
                primary,
                now,
                source,
                primaryObjectId=int(primary.id),
                mergedObjectIds=[int(other.id)],
                newObjectId=int(record.id),
                numberOfPropertiesMoved=len(filled),
            )
            return record

    def associate(
        self, start: Record, end: Record, kinds: Sequence[LinkType], source: Source
    ) -> None:
        """Join two records. Both directions are told, once."""
        with self.lock:
            if self.associations.add(start.ref, end.ref, kinds):
                self._tell_association(start, end, source, removed=False)

    def part(self, start: Record, end: Record, source: Source) -> None:
        """Take all associations between two records away."""
        with self.lock:
            if self.associations.remove(start.ref, end.ref):
                self._tell_association(start, end, source, removed=True)

    def dismiss(self, owner_id: str) -> Owner:
        """A user leaves: the owner stays, archived."""
        with self.lock:
            self.owners[owner_id] = replace(self.owners[owner_id], archived=True)
            return self.owners[owner_id]

    # ----------------------------------------------------------------------- inside

    def _add(self, of: ObjectType, now: datetime) -> Record:
        number = self._next_id[of.plural]
        self._next_id[of.plural] += 1
        record = Record(type=of, id=str(number), created_at=now, updated_at=now)
        self._records[of.plural][record.id] = record
        self._order[of.plural].append(number)
        record.values["hs_object_id"] = record.id
        record.values[of.created] = record.values[of.modified] = iso(now)
        return record

    def _remove(self, record: Record) -> None:
        del self._records[record.type.plural][record.id]
        self._order[record.type.plural].remove(int(record.id))
        if record.type is CONTACTS:
            self._by_email.pop(record.values.get("email", ""), None)

    def _apply(
        self, record: Record, values: Mapping[str, str], now: datetime, source: Source
    ) -> None:
        """Write, remember, tell; then what follows from it by itself."""
        for name, value in values.items():
            if value == record.values.get(name, ""):
                continue
            if name == "email":
                self._by_email.pop(record.values.get("email", ""), None)
            self._set(record, name, value, now, source)
            self._emit(
                "propertyChange", record, now, source, propertyName=name, propertyValue=value
            )
        for name, value in self._derived(record, values, now).items():
            if value != record.values.get(name, ""):
                self._set(record, name, value, now, CALCULATED)
        self._note_email(record)
        self._touch(record, now)

    def _set(self, record: Record, name: str, value: str, now: datetime, source: Source) -> None:
        if value:
            record.values[name] = value
        else:
            record.values.pop(name, None)
        record.history.setdefault(name, []).insert(0, Version(value, now, source))

    def _touch(self, record: Record, now: datetime) -> None:
        record.updated_at = now
        record.values[record.type.modified] = iso(now)

    def _defaults(self, of: ObjectType, now: datetime) -> dict[str, str]:
        if of is DEALS:
            return {
                "pipeline": PIPELINES[0].key,
                "dealstage": PIPELINES[0].stages[0].key,
                "closedate": iso(_month_end(now)),
            }
        if of is TASKS:
            return {"hs_task_status": "NOT_STARTED", "hs_task_priority": "NONE"}
        return {}

    def _closing(self, changed: Mapping[str, str], now: datetime) -> dict[str, str]:
        """A deal that closes gets today's close date, unless one is given."""
        closes = "dealstage" in changed and stage(changed["dealstage"]).closed
        return {"closedate": iso(now)} if closes and "closedate" not in changed else {}

    def _derived(self, record: Record, written: Mapping[str, str], now: datetime) -> dict[str, str]:
        if record.type is DEALS:
            return self._deal_derived(record, written, now)
        if record.type is TASKS and "hs_task_status" in written:
            done = record.values.get("hs_task_status") == "COMPLETED"
            since = record.values.get("hs_task_completion_date", iso(now))
            return {"hs_task_completion_date": since if done else ""}
        return {}

    def _deal_derived(
        self, record: Record, written: Mapping[str, str], now: datetime
    ) -> dict[str, str]:
        at = stage(record.values["dealstage"])
        currency = record.values.get("deal_currency_code", self.portal.currency)
        amount = record.values.get("amount")
        home = Decimal(amount) * self.portal.rates[currency] if amount else None
        derived = {
            "hs_is_closed": "true" if at.closed else "false",
            "hs_is_closed_won": "true" if at.won else "false",
            "hs_deal_stage_probability": at.probability,
            "amount_in_home_currency": f"{home.normalize():f}" if home is not None else "",
        }
        if "dealstage" in written:
            won_since = record.values.get("hs_closed_won_date", iso(now))
            derived["hs_closed_won_date"] = won_since if at.won else ""
            derived["hs_v2_date_entered_current_stage"] = iso(now)
        return derived

    def _misfits(
        self, of: ObjectType, values: Mapping[str, str], record: Record | None
    ) -> list[Problem]:
        """What is wrong although each value taken alone is good."""
        problems = []
        owner = values.get("hubspot_owner_id")
        if owner and owner not in self.owners:
            message = f"Owner {owner} does not exist"
            problems.append(
                Problem(name="hubspot_owner_id", error="INVALID_OWNER_ID", message=message)
            )
        if of is DEALS and not values.keys().isdisjoint(("pipeline", "dealstage")):
            before = record.values if record else self._defaults(of, self.clock.now())
            pipeline = values.get("pipeline", before["pipeline"])
            at = values.get("dealstage", before["dealstage"])
            if not any(p.key == pipeline and at in {s.key for s in p.stages} for p in PIPELINES):
                message = f"Stage {at} does not belong to pipeline {pipeline}"
                problems.append(Problem(name="dealstage", error="INVALID_OPTION", message=message))
        if of is TASKS and record is None and not values.get("hs_timestamp"):
            message = "hs_timestamp is required"
            problems.append(Problem(name="hs_timestamp", error="REQUIRED_FIELD", message=message))
        return problems

    def _check_email(
        self, of: ObjectType, values: Mapping[str, str], record: Record | None
    ) -> None:
        other = self._by_email.get(values.get("email", "")) if of is CONTACTS else None
        if other and (record is None or other != record.id):
            raise Refused(409, "CONFLICT", f"Contact already exists. Existing ID: {other}")

    def _note_email(self, record: Record) -> None:
        if record.type is CONTACTS and (email := record.values.get("email")):
            self._by_email[email] = record.id

    def _inherit(self, record: Record, primary: Record, other: Record, now: datetime) -> None:
        own = dict(record.values)
        record.values = {**other.values, **primary.values, **own}
        record.created_at = min(primary.created_at, other.created_at)
        record.values[record.type.created] = iso(record.created_at)
        for name in {**primary.history, **other.history}:
            both = primary.history.get(name, []) + other.history.get(name, [])
            record.history[name] = sorted(both, key=lambda version: version.at, reverse=True)
        merged = [
            record_id
            for old in (primary, other)
            for record_id in (*old.values.get("hs_merged_object_ids", "").split(";"), old.id)
            if record_id
        ]
        self._set(record, "hs_merged_object_ids", ";".join(merged), now, CALCULATED)
        for old in (primary, other):
            self.associations.move(old.ref, record.ref)
        self._note_email(record)

    def _tell_association(
        self, start: Record, end: Record, source: Source, *, removed: bool
    ) -> None:
        now = self.clock.tick()
        for one, two in ((start, end), (end, start)):
            name = f"{one.type.singular}_to_{two.type.singular}".upper()
            self._emit(
                "associationChange",
                one,
                now,
                source,
                associationType=name,
                fromObjectId=int(one.id),
                toObjectId=int(two.id),
                associationRemoved=removed,
                isPrimaryAssociation=False,
            )

    def _emit(
        self, what: str, record: Record, now: datetime, source: Source, **detail: Any
    ) -> None:
        self.outbox.emit(
            Change(
                what=what,
                object_type=record.type,
                object_id=record.id,
                at=now,
                source=source,
                detail=detail,
            )
        )


def _month_end(now: datetime) -> datetime:
    first = now.replace(day=1, hour=12, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1) - timedelta(days=1)
