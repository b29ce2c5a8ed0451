"""Erase: a privacy deletion takes every trace of a person with it.

First a tombstone, which keeps late deliveries from bringing the person back; then what was
delivered, the CRM (fields that name the person, our tasks about them), our tables in one
transaction, and the free pages of the database file. A crash in between only means that all of
it is done again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from plugin.pipeline import absorb, leave
from plugin.pipeline.lanes import Lane
from plugin.ports import Adapter, ContactSnapshot, Failure, FieldUpdate, Session, TaskUpdate
from plugin.referral.model import TaskKind
from plugin.referral.names import split_referrers, text_key
from plugin.secrets import Vault
from plugin.storage import aliases, deliveries, hints
from plugin.storage.accounts import Account
from plugin.storage.among import among
from plugin.storage.database import Database, upsert
from plugin.storage.deliveries import StoredDelivery
from plugin.storage.hints import Hint, HintKind
from plugin.storage.tables import (
    contact,
    contact_deal,
    deal,
    field_change,
    referral,
    task,
    tombstone,
)
from plugin.storage.tasks import LIVE, TaskState, key_in, marker
from plugin.texts import erased_text

log = logging.getLogger(__name__)

NAMING_FIELDS = ("spiral_referrer", absorb.NAME_FIELD, "spiral_recommended_words")
OPEN = (*LIVE, TaskState.WITHDRAWING)
"""Not completed in the CRM, as far as we know."""
REDACTED = 10  # deliveries in one transaction: webhooks that come in wait for it
READ_AT_ONCE = 100  # deliveries
SHORTEST_WORD = 5
AGAIN = 60_000  # milliseconds until what could not be done yet is tried again


def name_subject(key: str) -> str:
    """What a tombstone of a told name is made for; ids of contacts are numbers."""
    return f"name:{key}"


def buried_names(
    connection: sa.Connection, vault: Vault, account: Account, keys: Iterable[str]
) -> set[str]:
    """Those of the told names (their keys) that were erased."""
    graves = {
        grave: key for key in keys for grave in vault.tombstones(account.crm_id, name_subject(key))
    }
    found = connection.execute(
        sa.select(tombstone.c.hash).where(
            tombstone.c.account_id == account.id, among(tombstone.c.hash, graves)
        )
    )
    return {graves[grave] for grave in found.scalars()}


@dataclass(frozen=True, kw_only=True)
class _Traces:
    """Where a person is mentioned."""

    ids: frozenset[str]
    """The contact and all ids merged into it."""
    words: frozenset[str]
    """The person's name, addresses and the texts others used for them."""
    named_on: Mapping[str, Sequence[str]]
    """Contacts that named the person → the keys of the texts."""
    tasks: Sequence[Any]
    candidates: Sequence[Any]
    """Unresolved names where the person is one of several who may be meant."""

    def without(self, refused: Container[str]) -> _Traces:
        """What can be forgotten: where the CRM would not change something, what leads there is
        kept for the next time."""
        return replace(
            self,
            named_on={one: keys for one, keys in self.named_on.items() if one not in refused},
            tasks=[row for row in self.tasks if row.crm_id not in refused],
        )

    @property
    def keys(self) -> frozenset[str]:
        """The words as they are compared."""
        return frozenset(text_key(word) for word in self.words)

    def is_own(self, row: Any) -> bool:
        """Whether a task is about the person, and not about somebody else whom they sent."""
        return bool({row.subject_id, row.target_id} & self.ids)

    def is_named_by(self, cause: str) -> bool:
        """Whether a task's cause tells of the person."""
        referrers = {f"referrer={one}" for one in self.ids}
        names = {f"name={key}" for key in self.keys}
        return not (referrers | names).isdisjoint(cause.split(";"))


class Eraser:
    """Works for one account, within its lane."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        adapter: Adapter,
        account: Account,
        session: Session,
        lane: Lane,
        *,
        now_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._vault = vault
        self._adapter = adapter
        self._account = account
        self._session = session
        self._lane = lane
        self._now_ms = now_ms

    def work(self, hint: Hint) -> None:
        ids = self._bury_ids(hint)
        if not ids:
            return
        with self._database.read() as connection:
            traces = self._traces(connection, ids)
        with self._lane.write() as connection:
            self._bury(connection, map(name_subject, traces.keys))
        naming = self._naming(traces)
        quoted = {one.values.get(name, "") for one in naming for name in NAMING_FIELDS}
        self._redact_deliveries(traces, {*traces.words, *quoted})
        refused = {} if self._account.observing else self._erase_in_crm(traces, naming)
        with self._lane.write() as connection:
            self._erase_here(connection, traces.without(refused))
            if not refused:
                self._forget_merges(connection, ids)
        forgotten = self._database.forget_freed_pages()
        with self._lane.write() as connection:
            self._conclude(connection, hint, refused, forgotten=forgotten)

    def _bury_ids(self, hint: Hint) -> frozenset[str]:
        """All ids of the person, from now on known as erased; none where that has to wait."""
        with self._database.read() as connection:
            person = self._present_id(connection, hint)
        if person != hint.record_id and self._session.existing([person]):
            self._put_off(hint, person)
            return frozenset()
        with self._lane.write() as connection:
            if self._present_id(connection, hint) != person:
                return frozenset()  # merged meanwhile: the next turn looks at who that is
            ids = {person, *aliases.former_ids(connection, self._account.id, [person])}
            self._bury(connection, ids)
        return frozenset(ids)

    def _present_id(self, connection: sa.Connection, hint: Hint) -> str:
        told = hint.record_id
        return aliases.present_ids(connection, self._account.id, [told]).get(told, told)

    def _put_off(self, hint: Hint, person: str) -> None:
        """The id means somebody who is still in the CRM. That one may be about to go; else
        somebody has to decide, as nothing here tells what belonged to the former id."""
        mine = self._account.id
        with self._lane.write() as connection:
            if hint.attempts == 0:
                due_at = self._now_ms() + AGAIN
                hints.postpone(connection, mine, HintKind.ERASE, [hint], due_at=due_at)
            else:
                why = f"it was merged into {person}, which is still in the CRM: delete it there"
                hints.park(connection, mine, HintKind.ERASE, hint, why=why)

    def _conclude(
        self,
        connection: sa.Connection,
        hint: Hint,
        refused: Mapping[str, str],
        *,
        forgotten: bool,
    ) -> None:
        mine = self._account.id
        if refused:
            why = "; ".join(f"{one} still tells of it: {why}" for one, why in refused.items())
            hints.park(connection, mine, HintKind.ERASE, hint, why=why)
        elif forgotten:
            hints.clear(connection, mine, HintKind.ERASE, [hint])
        else:
            due_at = self._now_ms() + AGAIN
            hints.postpone(connection, mine, HintKind.ERASE, [hint], due_at=due_at)

    def _traces(self, connection: sa.Connection, ids: frozenset[str]) -> _Traces:
        mine = self._account.id
        linked = connection.execute(
            sa.select(referral).where(
                referral.c.account_id == mine,
                among(referral.c.referrer_id, ids),
                referral.c.referrer_is_user.is_(False),
            )
        ).all()
        maybe = [
            row
            for one in sorted(ids)
            for row in connection.execute(
                sa.select(referral).where(
                    referral.c.account_id == mine,
                    sa.cast(referral.c.candidates, sa.Text).contains(f'"{one}"', autoescape=True),
                )
            )
        ]
        named_on: dict[str, list[str]] = {}
        for row in linked:
            named_on.setdefault(row.referred_id, []).append(row.text_key)
        words = self._words(connection, ids, [row.text for row in linked])
        return _Traces(
            ids=ids,
            words=words,
            named_on=named_on,
            tasks=_tasks_about(connection, mine, ids, {text_key(word) for word in words}),
            candidates=maybe,
        )

    def _words(
        self, connection: sa.Connection, ids: frozenset[str], texts: Iterable[str]
    ) -> frozenset[str]:
        people = map(
            absorb.person_of, absorb.known_contacts(connection, self._account, ids).values()
        )
        told = [
            word
            for one in people
            for word in (f"{one.first_name} {one.last_name}", one.email, *one.phones)
        ]
        return frozenset({word.strip() for word in (*told, *texts)} - {""})

    def _naming(self, traces: _Traces) -> list[ContactSnapshot]:
        """The contacts that named the person, as they are in the CRM now."""
        ids = sorted(traces.named_on.keys() - traces.ids)
        size = self._adapter.declaration.batch_size
        return [
            one
            for start in range(0, len(ids), size)
            for one in self._session.load(
                ids[start : start + size], history=False, known_deals={}
            ).contacts
        ]

    # -------------------------------------------------------------------------- the CRM

    def _erase_in_crm(self, traces: _Traces, naming: Sequence[ContactSnapshot]) -> dict[str, str]:
        """Returns what the CRM would not change: contact or task → why."""
        failures = self._empty_fields(traces, naming)
        crm_ids = self._crm_ids(traces.tasks)
        words = erased_text(self._account.language)
        # Those that are deleted are emptied before: a CRM keeps what is deleted for a while.
        updates = [
            TaskUpdate(
                crm_id=crm_ids[row.key],
                done=True,
                subject=words.subject,
                body=f"{words.body}\n\n{marker(row.kind, row.key)}",
            )
            for row in traces.tasks
            if row.key in crm_ids
        ]
        gone = [
            crm_ids[row.key]
            for row in traces.tasks
            if row.key in crm_ids and (row.target_id in traces.ids or row.state in OPEN)
        ]
        if updates:
            failures += self._session.update_tasks(updates)
        if gone:
            self._session.delete_tasks(gone)
        return {one.item: one.reason for one in failures if not one.gone}

    def _crm_ids(self, rows: Sequence[Any]) -> dict[str, str]:
        """Task key → id in the CRM; where its making had no answer it is looked for."""
        known = {row.key: row.crm_id for row in rows if row.crm_id}
        lost = {row.key: row.target_id for row in rows if not row.crm_id and row.sent_at}
        if lost:
            for one in self._session.find_tasks(sorted(set(lost.values()))):
                if (key := key_in(one.body)) in lost:
                    known[key] = one.crm_id
        return known

    def _empty_fields(self, traces: _Traces, naming: Sequence[ContactSnapshot]) -> list[Failure]:
        updates = []
        for one in naming:
            keys = set(traces.named_on[one.card.crm_id])
            told = one.values.get(absorb.NAME_FIELD, "")
            left = [name for name in split_referrers(told) if text_key(name) not in keys]
            wanted = dict.fromkeys(NAMING_FIELDS, "")
            wanted[absorb.NAME_FIELD] = "; ".join(left)
            values = {
                key: value
                for key, value in wanted.items()
                if key in one.values and one.values[key] != value
            }
            if values:
                updates.append(FieldUpdate(contact_id=one.card.crm_id, values=values))
        size = self._adapter.declaration.batch_size
        failures: list[Failure] = []
        for start in range(0, len(updates), size):
            failures += self._session.write_fields(updates[start : start + size])
        return failures

    # ------------------------------------------------------------------------ our tables

    def _bury(self, connection: sa.Connection, subjects: Iterable[str]) -> None:
        hashes = {self._vault.tombstone(self._account.crm_id, one) for one in subjects}
        rows = [{"account_id": self._account.id, "hash": one} for one in sorted(hashes)]
        upsert(connection, tombstone, rows)

    def _redact_deliveries(self, traces: _Traces, words: Iterable[str]) -> None:
        # Short words would black out half of other people's deliveries.
        long = sorted({word for word in words if len(word) >= SHORTEST_WORD})

        def redacted(stored: StoredDelivery) -> bytes | None:
            return self._adapter.redact(
                stored.received(self._account.facts),
                account_crm_id=self._account.crm_id,
                contact_ids=traces.ids,
                words=long,
            )

        telling = [
            stored.id
            for stored in self._deliveries()
            if stored.endpoint in ("", self._account.crm_id) and redacted(stored) is not None
        ]
        for start in range(0, len(telling), REDACTED):
            with self._lane.write() as connection:
                # Read again: one that accounts share may have been redacted for another meanwhile.
                part = deliveries.read(
                    connection, telling[start : start + REDACTED], to_change=True
                )
                bodies = [(one.id, body) for one in part if (body := redacted(one)) is not None]
                deliveries.replace_bodies(connection, bodies)

    def _deliveries(self) -> Iterator[StoredDelivery]:
        """All of the CRM. There may be a month of them: read in portions, of which each is a
        transaction of its own, and only while nobody waits for the lane."""
        after = 0
        while True:
            self._lane.check()
            with self._database.read() as connection:
                found = deliveries.portion(
                    connection, self._account.crm, after=after, limit=READ_AT_ONCE
                )
            if not found:
                return
            yield from found
            after = found[-1].id

    def _erase_here(self, connection: sa.Connection, traces: _Traces) -> None:
        mine = self._account.id
        ids = sorted(traces.ids)
        dropped = connection.execute(
            sa.select(referral.c.id, referral.c.referrer_id).where(
                referral.c.account_id == mine,
                sa.or_(
                    among(referral.c.referred_id, ids),
                    sa.and_(
                        among(referral.c.referred_id, traces.named_on),
                        among(referral.c.referrer_id, ids),
                        referral.c.referrer_is_user.is_(False),
                    ),
                ),
            )
        ).all()
        touched = {row.referrer_id for row in dropped if row.referrer_id} | set(traces.named_on)
        touched |= {row.subject_id for row in traces.tasks}
        if dropped:
            absorb.drop_referrals(connection, [row.id for row in dropped])
        for row in traces.candidates:
            left = [one for one in row.candidates if one["crm_id"] not in traces.ids]
            connection.execute(
                sa.update(referral)
                .where(referral.c.id == row.id)
                .values(candidates=left, searched_by=None)
            )
            touched.add(row.referred_id)
        self._forget_texts(connection, traces)
        self._forget_tasks(connection, traces)
        self._forget_on_deals(connection, traces)
        for one in ids:
            touched |= leave.forget_contact(connection, self._account, one)
        known = absorb.known_contacts(connection, self._account, touched - traces.ids)
        # Their last explanations may name the person; they are made anew right away.
        connection.execute(
            sa.update(contact)
            .where(contact.c.account_id == mine, among(contact.c.crm_id, known))
            .values(decision=None)
        )
        hints.mark(connection, mine, HintKind.CONTACT, known, due_at=self._now_ms())

    def _forget_merges(self, connection: sa.Connection, ids: frozenset[str]) -> None:
        """Not those that were told meanwhile: for them the person is erased once more."""
        mine = self._account.id
        aliases.forget(connection, mine, ids)
        hints.unpark(connection, mine, now=self._now_ms(), only=(HintKind.ERASE, ids))

    def _forget_on_deals(self, connection: sa.Connection, traces: _Traces) -> None:
        """Deals may be others' too: then only the person goes from them."""
        mine = self._account.id
        of_person = sa.select(contact_deal.c.deal_id).where(
            contact_deal.c.account_id == mine,
            among(contact_deal.c.contact_id, traces.ids),
        )
        for row in connection.execute(
            sa.select(deal.c.crm_id, deal.c.snapshot).where(
                deal.c.account_id == mine, deal.c.crm_id.in_(of_person)
            )
        ).all():
            left = [one for one in row.snapshot["contact_ids"] if one not in traces.ids]
            this = sa.and_(deal.c.account_id == mine, deal.c.crm_id == row.crm_id)
            if not left:
                connection.execute(sa.delete(deal).where(this))
                continue
            primary = row.snapshot["primary"]
            snapshot = {
                **row.snapshot,
                "contact_ids": left,
                "primary": None if primary in traces.ids else primary,
            }
            connection.execute(sa.update(deal).where(this).values(snapshot=snapshot))

    def _forget_texts(self, connection: sa.Connection, traces: _Traces) -> None:
        """What others typed about the person is no evidence any more."""
        named = sorted(traces.named_on)
        connection.execute(
            sa.delete(field_change).where(
                field_change.c.account_id == self._account.id,
                among(field_change.c.contact_id, named),
                field_change.c.field == absorb.NAME_FIELD,
            )
        )

    def _forget_tasks(self, connection: sa.Connection, traces: _Traces) -> None:
        """Open tasks go and are made anew where there is still a reason; of those done only
        that they were is kept."""
        for row in traces.tasks:
            this = task.c.id == row.id
            if traces.is_own(row) or row.state in OPEN:
                connection.execute(sa.delete(task).where(this))
                continue
            left = [one for one in row.also_on if one not in traces.ids]
            cause = f"erased={row.key}" if traces.is_named_by(row.cause) else row.cause
            connection.execute(
                sa.update(task)
                .where(this)
                .values(cause=cause, also_on=left, mentions=[], subject=None, body=None)
            )


def _tasks_about(
    connection: sa.Connection, mine: int, ids: frozenset[str], keys: Iterable[str]
) -> Sequence[Any]:
    wanted = sorted(ids)
    mentioned = [
        sa.cast(column, sa.Text).contains(f'"{one}"', autoescape=True)
        for one in wanted
        for column in (task.c.mentions, task.c.also_on)
    ]
    # A cause is made of tokens that end with ";" or with the cause.
    caused = [(task.c.cause + ";").contains(f"referrer={one};", autoescape=True) for one in wanted]
    asked = [task.c.cause.startswith(f"name={key};", autoescape=True) for key in sorted(set(keys))]
    return connection.execute(
        sa.select(task)
        .where(
            task.c.account_id == mine,
            sa.or_(
                among(task.c.subject_id, wanted),
                among(task.c.target_id, wanted),
                *mentioned,
                *caused,
                sa.and_(task.c.kind == TaskKind.RESOLVE_REFERRER, sa.or_(sa.false(), *asked)),
            ),
        )
        .order_by(task.c.id)
    ).all()
