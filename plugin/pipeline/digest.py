"""Digest: stored deliveries become hints, and what only an event can tell is written down.

Doing it twice changes nothing: changes and aliases are sets, hints are marks.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import sqlalchemy as sa

from plugin.errors import PayloadError
from plugin.pipeline.absorb import NAME_FIELD
from plugin.pipeline.erase import name_subject
from plugin.pipeline.lanes import Lane, wake
from plugin.pipeline.leave import merge_changes
from plugin.ports import Adapter, Declaration, Event, EventKind, Parsed, Received
from plugin.referral.names import split_referrers, text_key
from plugin.referral.ratings import SCORE
from plugin.secrets import Vault
from plugin.storage import accounts, aliases, changes, deliveries, hints, inbox
from plugin.storage.accounts import Account, milliseconds
from plugin.storage.among import among
from plugin.storage.database import Database
from plugin.storage.deliveries import DeliveryState, StoredDelivery
from plugin.storage.hints import HintKind
from plugin.storage.tables import tombstone

log = logging.getLogger(__name__)

MAX_DELIVERIES = 200
MAX_EVENTS = 5_000  # noted in one transaction: webhooks that come in wait for it


@dataclass(kw_only=True)
class _Notes:
    """What the events of one round say about one account."""

    contacts: set[str] = field(default_factory=set)
    heard: dict[str, int] = field(default_factory=dict)
    history: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    erased: set[str] = field(default_factory=set)
    deals: set[str] = field(default_factory=set)
    changes: list[dict[str, object]] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)

    def hear(self, contact_id: str, at: int) -> None:
        self.heard[contact_id] = max(at, self.heard.get(contact_id, at))


@dataclass(kw_only=True)
class _Erased:
    """What has to go from a delivery that came late."""

    contact_ids: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)


class Digest:
    """Works off new deliveries, in the one lane that all accounts share."""

    def __init__(
        self,
        adapters: Mapping[str, Adapter],
        database: Database,
        vault: Vault,
        now_ms: Callable[[], int],
    ) -> None:
        self._adapters = adapters
        self._database = database
        self._vault = vault
        self._now_ms = now_ms
        self._last_sender: str | None = None
        self._redacted = False

    def turn(self, lane: Lane) -> bool:
        """Digest what has come; False where there was nothing."""
        with self._database.read() as connection:
            found = deliveries.read(connection, self._chosen(connection))
            known = accounts.among_crm_ids(connection, {(one.crm, one.endpoint) for one in found})
        if not found:
            return False
        for parsed in self._portions(found, known):
            told_of = {(one.crm, event.account_crm_id) for one, event in _events(parsed)}
            with self._database.read() as connection:
                known |= accounts.among_crm_ids(connection, told_of - known.keys())
            self._note_all(lane, parsed, known)
        if self._redacted and self._database.forget_freed_pages():
            self._redacted = False
        return True

    def _chosen(self, connection: sa.Connection) -> list[int]:
        """What is digested in this turn: of all who sent something an equal share of their oldest,
        so that nobody waits for another's storm."""
        waiting = deliveries.senders(connection, after=self._last_sender, limit=MAX_DELIVERIES)
        if self._last_sender is not None and len(waiting) < MAX_DELIVERIES:
            room = MAX_DELIVERIES - len(waiting)
            waiting += deliveries.senders(connection, upto=self._last_sender, limit=room)
        chosen: list[int] = []
        room = deliveries.MAX_BYTES
        for sender in waiting:
            share = max(1, MAX_DELIVERIES // len(waiting))
            for delivery_id, size in deliveries.sizes(connection, sender, limit=share):
                if chosen and size > room:
                    return chosen
                room -= size
                chosen.append(delivery_id)
            self._last_sender = sender
        return chosen

    def _portions(
        self, found: Iterable[StoredDelivery], known: Mapping[tuple[str, str], Account]
    ) -> Iterator[list[tuple[StoredDelivery, Parsed | str]]]:
        """The deliveries as they are read, no more at a time than are noted in a moment."""
        portion: list[tuple[StoredDelivery, Parsed | str]] = []
        room = MAX_EVENTS
        for one in found:
            result = self._parse(one, known)
            events = 0 if isinstance(result, str) else len(result.events)
            if portion and events > room:
                yield portion
                portion, room = [], MAX_EVENTS
            portion.append((one, result))
            room -= events
        yield portion

    def _note_all(
        self,
        lane: Lane,
        parsed: Sequence[tuple[StoredDelivery, Parsed | str]],
        known: Mapping[tuple[str, str], Account],
    ) -> None:
        """Note what these say; where the database does not take one of them, only that one is
        quarantined."""
        try:
            with lane.write() as connection:
                self._note(connection, parsed, known)
        except (
            sa.exc.DataError,
            sa.exc.IntegrityError,
            sa.exc.ProgrammingError,
            ValueError,
        ) as odd:
            log.warning("deliveries could not be noted: %s", type(odd).__name__)
            if len(parsed) > 1:
                for one in parsed:
                    self._note_all(lane, [one], known)
                return
            why = f"the database does not take it: {type(odd).__name__}"
            with lane.write() as connection:
                deliveries.finish(
                    connection,
                    [parsed[0][0].id],
                    DeliveryState.QUARANTINED,
                    at=self._now_ms(),
                    reason=why,
                )

    def _parse(
        self, stored: StoredDelivery, known: Mapping[tuple[str, str], Account]
    ) -> Parsed | str:
        """The events, or why the delivery cannot be read."""
        adapter = self._adapters.get(stored.crm)
        if adapter is None:
            return f"there is no adapter for {stored.crm} any more"
        try:
            return adapter.parse(_received(stored, known))
        except PayloadError as error:
            return str(error)
        except Exception as error:
            log.exception("delivery %s could not be parsed", stored.id)
            return f"internal error: {type(error).__name__}"

    def _note(
        self,
        connection: sa.Connection,
        parsed: Sequence[tuple[StoredDelivery, Parsed | str]],
        known: Mapping[tuple[str, str], Account],
    ) -> None:
        now = self._now_ms()
        wake(connection, set(_concerned(parsed, known)), at=now)
        deliveries.lock(connection, [stored.id for stored, _ in parsed])
        notes: dict[int, _Notes] = defaultdict(_Notes)
        strangers: Counter[str] = Counter()
        done: list[int] = []
        buried = self._buried(connection, parsed, known)
        for stored, result in parsed:
            if isinstance(result, str):
                deliveries.finish(
                    connection, [stored.id], DeliveryState.QUARANTINED, at=now, reason=result
                )
                continue
            erased: dict[str, _Erased] = defaultdict(_Erased)
            for event in result.events:
                account = _account_of(stored, event, known)
                late = {one for one in _merging(event) if account and (account.id, one) in buried}
                if account is None:
                    strangers[f"{stored.crm}/{event.account_crm_id}"] += 1
                elif (account.id, event.record_id) in buried and _is_of_contact(event):
                    erased[account.crm_id].contact_ids.add(event.record_id)
                elif any((account.id, one) in buried for one in _told_names(event)):
                    erased[account.crm_id].words.add(event.change.value if event.change else "")
                    notes[account.id].contacts.add(event.record_id)
                elif not event.ours and not (late and late == _merging(event)):
                    _collect(
                        notes[account.id], account, event,
                        self._adapters[stored.crm].declaration, stored.received_at,
                    )  # fmt: skip
                    # One who was erased was these others as well.
                    notes[account.id].erased |= late
            self._redact(connection, stored, _received(stored, known), erased)
            if result.unreadable:
                reason = "; ".join(f"event {at}: {why}" for at, why in result.unreadable[:5])
                deliveries.finish(
                    connection, [stored.id], DeliveryState.QUARANTINED, at=now, reason=reason
                )
            else:
                done.append(stored.id)
        for account_id, noted in sorted(notes.items()):
            _write(connection, account_id, noted, now)
        for subject, n in sorted(strangers.items()):
            inbox.count(connection, "not_connected", subject, at=now, by=n)
        deliveries.finish(connection, done, DeliveryState.DONE, at=now)
        self._database.notify(connection)

    def _buried(
        self,
        connection: sa.Connection,
        parsed: Iterable[tuple[StoredDelivery, Parsed | str]],
        known: Mapping[tuple[str, str], Account],
    ) -> set[tuple[int, str]]:
        """(account, contact or told name) of those that were erased: a late delivery must not
        bring them back."""
        graves: dict[tuple[int, str], str] = {}
        for stored, event in _events(parsed):
            account = known.get((stored.crm, event.account_crm_id))
            if account is None:
                continue
            for subject in (event.record_id, *event.merged_ids, *_told_names(event)):
                for grave in self._vault.tombstones(account.crm_id, subject):
                    graves[account.id, grave] = subject
        lying = connection.execute(
            sa.select(tombstone).where(
                among(tombstone.c.account_id, (account_id for account_id, _ in graves)),
                among(tombstone.c.hash, (grave for _, grave in graves)),
            )
        )
        return {
            (row.account_id, erased)
            for row in lying
            if (erased := graves.get((row.account_id, row.hash))) is not None
        }

    def _redact(
        self,
        connection: sa.Connection,
        stored: StoredDelivery,
        received: Received,
        erased: Mapping[str, _Erased],
    ) -> None:
        if not erased:
            return
        # Read again: an erasure may have redacted more of it since it was parsed.
        (stored,) = deliveries.read(connection, [stored.id])
        body = stored.body
        for account_crm_id, what in erased.items():
            left = self._adapters[stored.crm].redact(
                replace(received, body=body),
                account_crm_id=account_crm_id,
                contact_ids=frozenset(what.contact_ids),
                words=sorted(what.words),
            )
            body = body if left is None else left
        if body != stored.body:
            deliveries.replace_bodies(connection, [(stored.id, body)])
            self._redacted = True


def _events(
    parsed: Iterable[tuple[StoredDelivery, Parsed | str]],
) -> Iterator[tuple[StoredDelivery, Event]]:
    """All that could be read, with the delivery it came in."""
    for stored, result in parsed:
        for event in () if isinstance(result, str) else result.events:
            yield stored, event


def _account_of(
    stored: StoredDelivery, event: Event, known: Mapping[tuple[str, str], Account]
) -> Account | None:
    """The connected account an event is about; none where it came to another one's address."""
    account = known.get((stored.crm, event.account_crm_id))
    expected = event.account_crm_id if account and account.endpoint else ""
    return account if stored.endpoint == expected else None


def _concerned(
    parsed: Iterable[tuple[StoredDelivery, Parsed | str]],
    known: Mapping[tuple[str, str], Account],
) -> Iterator[int]:
    """The accounts for which these deliveries leave something to do."""
    for stored, event in _events(parsed):
        told = not event.ours or _told_names(event)
        if told and (account := _account_of(stored, event, known)):
            yield account.id


def _received(stored: StoredDelivery, known: Mapping[tuple[str, str], Account]) -> Received:
    account = known.get((stored.crm, stored.endpoint))
    return stored.received(account.facts if account else {})


def _is_of_contact(event: Event) -> bool:
    return event.kind in (EventKind.CONTACT_CHANGED, EventKind.CONTACT_DELETED)


def _merging(event: Event) -> set[str]:
    """The ids that a merge made one person."""
    merged = event.kind is EventKind.CONTACT_MERGED
    return {event.record_id, *event.merged_ids} if merged else set()


def _told_names(event: Event) -> list[str]:
    """The names an event tells, as what their tombstones would be made for."""
    if event.change is None or event.change.field != NAME_FIELD:
        return []
    return [name_subject(text_key(name)) for name in split_referrers(event.change.value)]


def _collect(
    noted: _Notes, account: Account, event: Event, declared: Declaration, received_at: int
) -> None:
    match event.kind:
        case EventKind.CONTACT_CHANGED:
            noted.contacts.add(event.record_id)
            if not declared.tells_changes:
                noted.hear(event.record_id, received_at)
        case EventKind.CONTACT_DELETED:
            noted.deleted.add(event.record_id)
        case EventKind.CONTACT_ERASED:
            noted.erased.add(event.record_id)
        case EventKind.CONTACT_MERGED:
            noted.history.add(event.record_id)
            for old in event.merged_ids:
                if old != event.record_id:
                    noted.aliases[old] = event.record_id
        case EventKind.DEAL_CHANGED | EventKind.DEAL_DELETED:
            noted.deals.add(event.record_id)
            noted.contacts.update(event.contact_ids)
    if event.change and not declared.dates_changes:
        # A delivery that comes late, or again, must not tell of a rating anew: only what reading
        # the contact shows is believed, and dated by this.
        noted.hear(event.record_id, milliseconds(event.change.at))
    elif event.change:
        name = event.change.field
        if name.startswith(f"{SCORE}:"):
            if name != f"{SCORE}:{account.rating_property}":
                return
            name = SCORE
        noted.changes.append(
            {
                "contact_id": event.record_id,
                "field": name,
                "at": milliseconds(event.change.at),
                "value": event.change.value,
            }
        )


def _write(connection: sa.Connection, account_id: int, noted: _Notes, now: int) -> None:
    if noted.aliases:
        aliases.tell(connection, account_id, noted.aliases)
    moved = aliases.present_ids(
        connection, account_id, {*noted.contacts, *noted.deleted, *noted.history, *noted.aliases}
    )

    def present(ids: Iterable[str]) -> set[str]:
        return {moved.get(one, one) for one in ids}

    changes.add(connection, account_id, noted.changes)
    for old in sorted({str(one["contact_id"]) for one in noted.changes} & moved.keys()):
        merge_changes(connection, account_id, old, moved[old])
    hints.mark(
        connection,
        account_id,
        HintKind.CONTACT,
        present(noted.contacts),
        due_at=now,
        heard_at={moved.get(one, one): at for one, at in noted.heard.items()},
    )
    hints.mark(
        connection,
        account_id,
        HintKind.CONTACT,
        noted.deleted - moved.keys(),
        due_at=now,
        deleted=True,
    )
    hints.mark(
        connection,
        account_id,
        HintKind.CONTACT,
        present({*noted.history, *noted.aliases}),
        due_at=now,
        history=True,
    )
    hints.mark(connection, account_id, HintKind.ERASE, noted.erased, due_at=now)
    hints.mark(connection, account_id, HintKind.DEAL, noted.deals, due_at=now)
