"""Digest: stored deliveries become hints, and what only an event can tell is written down.

Doing it twice changes nothing: changes and aliases are sets, hints are marks.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from plugin.errors import PayloadError
from plugin.pipeline.lanes import Lane
from plugin.ports import Adapter, Event, EventKind, Parsed
from plugin.secrets import Vault
from plugin.storage import accounts, changes, deliveries, hints, inbox
from plugin.storage.accounts import Account, milliseconds
from plugin.storage.database import Database, upsert
from plugin.storage.deliveries import DeliveryState, StoredDelivery
from plugin.storage.hints import HintKind
from plugin.storage.tables import alias, tombstone

log = logging.getLogger(__name__)

MAX_DELIVERIES = 200
MAX_BYTES = 4 * 2**20
SCORE = "score"


@dataclass(kw_only=True)
class _Notes:
    """What the events of one round say about one account."""

    contacts: set[str] = field(default_factory=set)
    history: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    erased: set[str] = field(default_factory=set)
    deals: set[str] = field(default_factory=set)
    changes: list[dict[str, object]] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)


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

    def turn(self, lane: Lane) -> bool:
        """Digest what has come; False where there was nothing."""
        with self._database.read() as connection:
            found = deliveries.new(connection, limit=MAX_DELIVERIES, max_bytes=MAX_BYTES)
            if not found:
                return False
            known = {(a.crm, a.crm_id): a for a in accounts.all_accounts(connection)}
        parsed = [(one, self._parse(one)) for one in found]
        with lane.write() as connection:
            self._note(connection, parsed, known)
        return True

    def _parse(self, stored: StoredDelivery) -> Parsed | str:
        """The events, or why the delivery cannot be read."""
        adapter = self._adapters.get(stored.crm)
        if adapter is None:
            return f"there is no adapter for {stored.crm} any more"
        try:
            return adapter.parse(stored.body)
        except PayloadError as error:
            return str(error)
        except Exception as error:
            log.exception("delivery %s could not be parsed", stored.id)
            return f"internal error: {type(error).__name__}"

    def _note(
        self,
        connection: sa.Connection,
        parsed: Iterable[tuple[StoredDelivery, Parsed | str]],
        known: Mapping[tuple[str, str], Account],
    ) -> None:
        now = self._now_ms()
        notes: dict[int, _Notes] = defaultdict(_Notes)
        done: list[int] = []
        for stored, result in parsed:
            if isinstance(result, str):
                deliveries.finish(
                    connection, [stored.id], DeliveryState.QUARANTINED, at=now, reason=result
                )
                continue
            erased: dict[str, set[str]] = defaultdict(set)
            for event in result.events:
                account = known.get((stored.crm, event.account_crm_id))
                expected = event.account_crm_id if account and account.own_secrets else ""
                if account is None or stored.endpoint != expected:
                    inbox.count(
                        connection, "not_connected", f"{stored.crm}/{event.account_crm_id}", at=now
                    )
                elif self._is_erased(connection, account, event):
                    erased[account.crm_id].add(event.record_id)
                elif not event.ours:
                    _collect(notes[account.id], account, event)
            self._redact(connection, stored, erased)
            if result.unreadable:
                reason = "; ".join(f"event {at}: {why}" for at, why in result.unreadable[:5])
                deliveries.finish(
                    connection, [stored.id], DeliveryState.QUARANTINED, at=now, reason=reason
                )
            else:
                done.append(stored.id)
        for account_id, noted in notes.items():
            _write(connection, account_id, noted, now)
        deliveries.finish(connection, done, DeliveryState.DONE, at=now)

    def _is_erased(self, connection: sa.Connection, account: Account, event: Event) -> bool:
        """A late delivery must not bring an erased person back."""
        if event.kind not in (EventKind.CONTACT_CHANGED, EventKind.CONTACT_DELETED):
            return False
        hashes = self._vault.tombstones(account.crm_id, event.record_id)
        return (
            connection.scalar(
                sa.select(sa.true()).where(
                    sa.exists().where(
                        tombstone.c.account_id == account.id, tombstone.c.hash.in_(hashes)
                    )
                )
            )
            is True
        )

    def _redact(
        self, connection: sa.Connection, stored: StoredDelivery, erased: Mapping[str, set[str]]
    ) -> None:
        body: bytes = stored.body
        for account_crm_id, contact_ids in erased.items():
            body = (
                self._adapters[stored.crm].redact(
                    body,
                    account_crm_id=account_crm_id,
                    contact_ids=frozenset(contact_ids),
                    words=(),
                )
                or body
            )
        if body != stored.body:
            deliveries.replace_bodies(connection, [(stored.id, body)])


def _collect(noted: _Notes, account: Account, event: Event) -> None:
    match event.kind:
        case EventKind.CONTACT_CHANGED:
            noted.contacts.add(event.record_id)
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
    if event.change:
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
        upsert(
            connection,
            alias,
            [
                {"account_id": account_id, "old_id": old, "new_id": new, "applied": False}
                for old, new in sorted(noted.aliases.items())
            ],
        )
    moved = _present_ids(
        connection, account_id, {*noted.contacts, *noted.deleted, *noted.history, *noted.aliases}
    )

    def present(ids: Iterable[str]) -> set[str]:
        return {moved.get(one, one) for one in ids}

    changes.add(
        connection,
        account_id,
        [
            {**change, "contact_id": moved.get(str(change["contact_id"]), change["contact_id"])}
            for change in noted.changes
        ],
    )
    hints.mark(connection, account_id, HintKind.CONTACT, present(noted.contacts), due_at=now)
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


def _present_ids(
    connection: sa.Connection, account_id: int, record_ids: Iterable[str]
) -> dict[str, str]:
    """Old id → present id, for those that were merged away."""
    found = connection.execute(
        sa.select(alias.c.old_id, alias.c.new_id).where(
            alias.c.account_id == account_id, alias.c.old_id.in_(sorted(set(record_ids)))
        )
    )
    return {row.old_id: row.new_id for row in found}
