"""Reconcile: load up to a hundred contacts fresh, decide, write only the difference."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from plugin.errors import CrmError, CrmRejected, LeaseLost
from plugin.pipeline import absorb, leave, todo
from plugin.pipeline.absorb import NAME_FIELD, Ripples
from plugin.pipeline.casebook import Books, case_of, open_books, outcome_of
from plugin.pipeline.erase import buried_names
from plugin.pipeline.lanes import Lane
from plugin.pipeline.naming import look_up, update_referrals
from plugin.pipeline.outbox import Outbox
from plugin.pipeline.values import difference, field_values
from plugin.ports import (
    ContactSnapshot,
    FieldUpdate,
    LinkUpdate,
    Loaded,
    Session,
)
from plugin.referral.decision import decide
from plugin.referral.model import Case, Decision, WantedTask
from plugin.referral.names import split_referrers, text_key
from plugin.secrets import Vault
from plugin.storage import accounts, aliases, hints, tasks
from plugin.storage.accounts import Account, milliseconds
from plugin.storage.among import among
from plugin.storage.database import DATABASE_AWAY, Database
from plugin.storage.hints import Hint, HintKind
from plugin.storage.tables import contact, contact_deal
from plugin.storage.tasks import TaskState
from plugin.texts import task_text

log = logging.getLogger(__name__)

PORTION = 500
"""Hints that are marked in one transaction."""
MISSING_GRACE = 60_000  # milliseconds: a record that vanished unannounced may just be merging


@dataclass(frozen=True, kw_only=True)
class _Decided:
    """One contact of the batch, decided."""

    snapshot: ContactSnapshot
    case: Case
    decision: Decision
    values: Mapping[str, str]
    outcome: Mapping[str, Any]


class Reconciler:
    """Works for one account, within its lane."""

    def __init__(
        self,
        database: Database,
        account: Account,
        session: Session,
        lane: Lane,
        *,
        vault: Vault,
        batch_size: int,
        keeps_history: bool,
        now_ms: Callable[[], int],
        utc_now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._account = account
        self._session = session
        self._lane = lane
        self._vault = vault
        self._batch_size = batch_size
        self._keeps_history = keeps_history
        self._now_ms = now_ms
        self._utc_now = utc_now
        self._outbox = Outbox(database, account, session, lane, now_ms=now_ms)

    @property
    def _today(self) -> date:
        return self._account.day(self._utc_now())

    def work(self, batch: Sequence[Hint]) -> None:
        """Bring these contacts in order; one that cannot be is parked, alone."""
        try:
            self._reconcile(batch)
        except (LeaseLost, OSError, *DATABASE_AWAY):
            raise
        except CrmRejected as error:
            self._halve(batch, str(error), may_pass=error.status is None)
        except CrmError:
            raise
        except Exception as error:
            # Odd data of one contact must not stop the other ninety-nine.
            log.exception("contacts of account %s could not be reconciled", self._account.id)
            self._halve(batch, _why(error), may_pass=False)

    def _halve(self, batch: Sequence[Hint], why: str, *, may_pass: bool) -> None:
        if len(batch) == 1:
            mine, kind = self._account.id, HintKind.CONTACT
            with self._lane.write() as connection:
                if may_pass:
                    now = self._now_ms()
                    hints.look_or_park(connection, mine, kind, batch[0], why=why, now=now)
                else:
                    hints.park(connection, mine, kind, batch[0], why=why)
            return
        middle = len(batch) // 2
        self.work(batch[:middle])
        self.work(batch[middle:])

    def _reconcile(self, batch: Sequence[Hint]) -> None:
        ids = [one.record_id for one in batch]
        history = self._keeps_history and self._needs_history(batch)
        loaded = self._session.load(ids, history=history, known_deals=self._known_deals(ids))
        ripples = Ripples()
        waiting, unsure = self._absorb(batch, loaded, with_history=history, ripples=ripples)
        self._read_back([one.card.crm_id for one in loaded.contacts])
        sure = [one for one in loaded.contacts if one.card.crm_id not in unsure]
        decided, refused = self._decide(sure, ripples)
        if not self._account.observing:
            refused |= self._write_fields(decided)
        with self._lane.write() as connection:
            done = [
                one
                for one in batch
                if one.record_id not in refused and one.record_id not in waiting
            ]
            hints.clear(connection, self._account.id, HintKind.CONTACT, done)
            hints.postpone(
                connection,
                self._account.id,
                HintKind.CONTACT,
                [one for one in batch if one.record_id in waiting],
                due_at=self._now_ms() + MISSING_GRACE,
            )
            for one in batch:
                if why := refused.get(one.record_id):
                    hints.park(connection, self._account.id, HintKind.CONTACT, one, why=why)

    def _needs_history(self, batch: Sequence[Hint]) -> bool:
        if any(one.history for one in batch):
            return True
        with self._database.read() as connection:
            seen = connection.scalar(
                sa.select(sa.func.count()).where(
                    contact.c.account_id == self._account.id,
                    among(contact.c.crm_id, (one.record_id for one in batch)),
                    contact.c.seen_at.is_not(None),
                )
            )
        return seen != len(batch)

    def _heard_at(self, batch: Sequence[Hint]) -> dict[str, int]:
        """When deliveries told of these contacts, in the time the model lives in."""
        present, now = milliseconds(self._utc_now()), self._now_ms()
        return {
            one.record_id: present - (now - one.heard_at)
            for one in batch
            if one.heard_at is not None
        }

    def _known_deals(self, ids: Sequence[str]) -> dict[str, list[str]]:
        """The deals of those contacts that were read before, as far as was heard since."""
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(contact.c.crm_id, contact_deal.c.deal_id)
                .outerjoin(
                    contact_deal,
                    sa.and_(
                        contact_deal.c.account_id == contact.c.account_id,
                        contact_deal.c.contact_id == contact.c.crm_id,
                    ),
                )
                .where(
                    contact.c.account_id == self._account.id,
                    among(contact.c.crm_id, ids),
                    contact.c.seen_at.is_not(None),
                )
            )
            known: dict[str, list[str]] = {}
            for row in rows:
                deals = known.setdefault(row.crm_id, [])
                if row.deal_id is not None:
                    deals.append(row.deal_id)
        return known

    # --------------------------------------------------------------------- absorbing

    def _absorb(
        self, batch: Sequence[Hint], loaded: Loaded, *, with_history: bool, ripples: Ripples
    ) -> tuple[set[str], set[str]]:
        """Take in what was loaded; returns the missing ones that get a grace, and those whose
        history has to be read before anything can be decided about them."""
        account = self._account
        with self._lane.write() as connection:
            if account.observing:
                loaded = self._without_erased(connection, loaded)
            for old, new in leave.pending_merges(connection, account, loaded.contacts).items():
                leave.merge(connection, account, old, new, ripples)
            absorb.absorb_cards(connection, account, [one.card for one in loaded.contacts], ripples)
            absorb.absorb_deals(connection, account, loaded.contacts, self._today)
            absorb.absorb_changes(
                connection,
                account,
                loaded.contacts,
                keeps_history=self._keeps_history,
                with_history=with_history,
                heard_at=self._heard_at(batch),
                now=milliseconds(self._utc_now()),
                ripples=ripples,
            )
            unsure = set(ripples.history) if self._keeps_history and not with_history else set()
            self._spread(connection, ripples)
        return self._take_names(batch, loaded, unsure, ripples), unsure

    def _take_names(
        self, batch: Sequence[Hint], loaded: Loaded, unsure: Container[str], ripples: Ripples
    ) -> set[str]:
        """Link who was named, let go who is gone; returns the missing ones that get a grace."""
        sure = [one for one in loaded.contacts if one.card.crm_id not in unsure]
        # Searching takes a while: not under the lock that incoming deliveries wait for.
        with self._database.read() as connection:
            naming = look_up(connection, self._account, sure, now=self._utc_now())
        if naming is None and not loaded.missing:
            return set()
        unmerged = self._unmerged(loaded.missing)
        with self._lane.write() as connection:
            if naming is not None:
                update_referrals(connection, self._account, naming, ripples)
            if unmerged:
                aliases.forget(connection, self._account.id, unmerged)
                ripples.history |= unmerged
            waiting = self._let_go(connection, batch, loaded, ripples)
            self._spread(connection, ripples)
        return waiting

    def _unmerged(self, missing: Iterable[str]) -> set[str]:
        """Contacts that are in the CRM, though they were told to be merged into these missing
        ones: they must not go with them."""
        with self._database.read() as connection:
            told = aliases.former_ids(connection, self._account.id, missing, pending=True)
        ids, size = sorted(told), self._batch_size
        return {
            one
            for start in range(0, len(ids), size)
            for one in self._session.existing(ids[start : start + size])
        }

    def _without_erased(self, connection: sa.Connection, loaded: Loaded) -> Loaded:
        """Where nothing may be written, names of erased people stay in the CRM's fields; they
        are not taken in again."""
        told = {
            one.card.crm_id: split_referrers(one.values.get(NAME_FIELD, ""))
            for one in loaded.contacts
        }
        keys = {text_key(name) for names in told.values() for name in names}
        buried = buried_names(connection, self._vault, self._account, keys) if keys else set()
        if not buried:
            return loaded
        contacts = []
        for one in loaded.contacts:
            if names := told[one.card.crm_id]:
                left = "; ".join(name for name in names if text_key(name) not in buried)
                one = replace(one, values={**one.values, NAME_FIELD: left})
            contacts.append(one)
        return replace(loaded, contacts=tuple(contacts))

    def _let_go(
        self, connection: sa.Connection, batch: Sequence[Hint], loaded: Loaded, ripples: Ripples
    ) -> set[str]:
        if not loaded.missing:
            return set()
        account = self._account
        missing = [one for one in batch if one.record_id in loaded.missing]
        merged = aliases.present_ids(connection, account.id, loaded.missing)
        ripples.history |= set(merged.values()) - set(loaded.missing)
        left = [one for one in missing if one.record_id not in merged]
        waiting = {one.record_id for one in left if not one.deleted and one.attempts == 0}
        gone = [one.record_id for one in left if one.record_id not in waiting]
        if gone:
            leave.merge_into_gone(connection, account, gone, ripples)
            # Not every CRM tells of merges: the deals may be somebody else's now. Once: looking
            # at a deal also looks at whom it had, and so at those who are gone.
            known = absorb.known_contacts(connection, account, gone)
            leaving = [one for one, row in known.items() if row.gone_at is None]
            theirs = leave.deals_of(connection, account, leaving)
            hints.mark(connection, account.id, HintKind.DEAL, theirs, due_at=self._now_ms())
            leave.let_go(connection, account, gone, now_ms=self._now_ms(), ripples=ripples)
            # An erasure that was told of a former id had to wait for this.
            former = aliases.former_ids(connection, account.id, gone)
            hints.unpark(connection, account.id, now=self._now_ms(), only=(HintKind.ERASE, former))
            ripples.contacts -= set(gone)
            ripples.history -= set(gone)
            for row in tasks.of_subjects(connection, account.id, gone):
                if row.state in tasks.LIVE or row.state == TaskState.REFUSED:
                    todo.withdraw(connection, row, reason="contact_gone")
        return waiting

    def _spread(self, connection: sa.Connection, ripples: Ripples) -> None:
        now = self._now_ms()
        mine = self._account.id
        hints.mark(connection, mine, HintKind.CONTACT, ripples.contacts, due_at=now)
        hints.mark(connection, mine, HintKind.CONTACT, ripples.history, due_at=now, history=True)
        ripples.contacts.clear()
        ripples.history.clear()

    def _read_back(self, ids: Sequence[str]) -> None:
        """What became of the open tasks of these contacts."""
        self._outbox.check_doubtful(ids)
        with self._database.read() as connection:
            mine = tasks.of_subjects(connection, self._account.id, ids)
        still_open = [row for row in mine if row.state == TaskState.OPEN]
        self._outbox.read_back(still_open, look_again=False)

    # ---------------------------------------------------------------------- deciding

    def _decide(
        self, snapshots: Sequence[ContactSnapshot], ripples: Ripples
    ) -> tuple[list[_Decided], dict[str, str]]:
        """Decide and store what was decided; also returns contact → why it cannot be decided."""
        account, today = self._account, self._today
        ids = [one.card.crm_id for one in snapshots]
        # Deciding takes a while and nobody else writes these rows: only the result is written
        # under the lock that incoming deliveries wait for.
        with self._database.read() as connection:
            books = open_books(connection, account, ids)
            existing = defaultdict(list)
            for row in tasks.of_subjects(connection, account.id, ids):
                existing[row.subject_id].append(row)
        decided, odd = self._decide_each(books, snapshots, today)
        kept = [self._kept(books, one) for one in decided]
        changed = [one.case.crm_id for one in decided if _has_changed(books, one)]
        ripples.contacts |= self._concerned(changed)
        with self._lane.write() as connection:
            if not account.observing:
                new = [
                    row
                    for one in decided
                    for row in self._compare(
                        connection, books, one, existing[one.case.crm_id], today
                    )
                ]
                tasks.add(connection, account.id, new)
            self._keep(connection, kept, decided)
            self._spread(connection, ripples)
        return decided, odd

    def _concerned(self, changed: Sequence[str]) -> set[str]:
        """Whom it concerns that the decisions about these contacts changed. Where they are very
        many, most are marked right here, in portions: nobody else can write meanwhile. Too early
        does no harm, as nothing is worked on before this batch is through."""
        if not changed:
            return set()
        with self._database.read() as connection:
            concerned = sorted(leave.neighbours(connection, self._account, changed))
        while len(concerned) > PORTION:
            now, concerned = concerned[:PORTION], concerned[PORTION:]
            with self._lane.write() as connection:
                self._spread(connection, Ripples(contacts=set(now)))
        return set(concerned)

    def _decide_each(
        self, books: Books, snapshots: Sequence[ContactSnapshot], today: date
    ) -> tuple[list[_Decided], dict[str, str]]:
        decided: list[_Decided] = []
        odd: dict[str, str] = {}
        for one in snapshots:
            try:
                decided.append(self._decide_one(books, one, today))
            except Exception as error:
                # Only pure functions of this contact's data: the others need not be read again.
                log.exception("contact of account %s could not be reconciled", self._account.id)
                odd[one.card.crm_id] = _why(error)
        return decided, odd

    def _decide_one(self, books: Books, snapshot: ContactSnapshot, today: date) -> _Decided:
        case = case_of(books, snapshot, self._utc_now())
        decision = decide(case, self._account.policy, today)
        values = field_values(decision, case, self._account.language)
        return _Decided(
            snapshot=snapshot,
            case=case,
            decision=decision,
            values=values,
            outcome=outcome_of(case, decision.spiral),
        )

    def _compare(
        self,
        connection: sa.Connection,
        books: Books,
        one: _Decided,
        existing: Sequence[Any],
        today: date,
    ) -> list[dict[str, Any]]:
        return todo.compare(
            connection,
            self._account,
            one.case.crm_id,
            one.decision.tasks,
            one.decision.ask,
            existing,
            lambda wanted: owner_for(books, wanted),
            today,
        )

    def _kept(self, books: Books, one: _Decided) -> dict[str, Any]:
        before = books.people.get(one.case.crm_id)
        seen_at = before.seen_at if before is not None else None
        ask = one.decision.ask
        owner = owner_for(books, ask.task) if ask else None
        intent = (
            asdict(todo.intent_of(ask.task, owner_id=owner, language=self._account.language))
            if ask
            else None
        )
        return {
            "id_": one.case.crm_id,
            "seen_at_": seen_at if seen_at is not None else self._now_ms(),
            "outcome_": one.outcome,
            "decision_": summary(one, self._account),
            "review_on_": one.decision.review_on,
            "ask_owner_": (owner or "") if ask else None,
            "ask_": {"order": list(ask.order), "intent": intent} if ask else None,
        }

    def _keep(
        self,
        connection: sa.Connection,
        kept: Sequence[Mapping[str, Any]],
        decided: Sequence[_Decided],
    ) -> None:
        if not kept:
            return
        names = [name.removesuffix("_") for name in kept[0] if name != "id_"]
        connection.execute(
            sa.update(contact)
            .where(
                contact.c.account_id == self._account.id, contact.c.crm_id == sa.bindparam("id_")
            )
            .values({name: sa.bindparam(f"{name}_") for name in names}),
            list(kept),
        )
        if any(one.decision.ask for one in decided):
            accounts.save(connection, self._account.id, asks_to_plan=True)

    # ----------------------------------------------------------------------- writing

    def _write_fields(self, decided: Sequence[_Decided]) -> dict[str, str]:
        """Write what differs; returns contact → why the CRM refused it."""
        fields = self._account.fields or frozenset()
        updates = []
        links = []
        for one in decided:
            present = {k: v for k, v in one.snapshot.values.items() if k in fields}
            if changed := difference(one.values, present):
                updates.append(FieldUpdate(contact_id=one.case.crm_id, values=changed))
            if link := self._link(one):
                links.append(link)
        refused: dict[str, str] = {}
        if updates:
            refused |= {
                one.item: one.reason for one in self._session.write_fields(updates) if not one.gone
            }
        if links:
            refused |= {
                one.item: one.reason for one in self._session.link_referrers(links) if not one.gone
            }
        return refused

    def _link(self, one: _Decided) -> LinkUpdate | None:
        """How the referrer association has to change (adapters without one leave it)."""
        referrer = one.decision.primary_referrer
        wanted = (
            referrer.crm_id if referrer and not referrer.is_user and not referrer.gone else None
        )
        present = set(one.snapshot.referrer_ids)
        remove = tuple(sorted(present - {wanted}))
        missing = wanted is not None and wanted not in present
        if not missing and not remove:
            return None
        return LinkUpdate(
            contact_id=one.case.crm_id, referrer_id=wanted if missing else None, remove=remove
        )


def _why(error: Exception) -> str:
    """Not in the error's own words: they may tell what customers said."""
    return f"internal error: {type(error).__name__}"


def owner_for(books: Books, wanted: WantedTask) -> str | None:
    """Who should do it: the owner where still active, else the account's fallback owner."""
    user = books.users.get(wanted.owner_id) if wanted.owner_id else None
    if user is not None and user.active:
        return wanted.owner_id
    return books.account.fallback_owner


def _has_changed(books: Books, one: _Decided) -> bool:
    """Whether something changed that decisions about others depend on."""
    before = books.people.get(one.case.crm_id)
    return before is None or before.outcome != one.outcome


def summary(one: _Decided, account: Account) -> dict[str, Any]:
    """The decision as it is kept for ``explain`` and ``status``; where nothing is written to the
    CRM, with the words of the tasks that would be made."""
    decision = one.decision
    wanted = [*decision.tasks, *([decision.ask.task] if decision.ask else [])]
    return {
        "stage": decision.stage,
        "since": decision.assessment.since.isoformat() if decision.assessment else None,
        "readiness": decision.ready.value if decision.ready else None,
        "explanation": one.values["spiral_explanation"],
        "referrer": decision.primary_referrer.name if decision.primary_referrer else None,
        "tier": decision.tier,
        "given": decision.referrals_given,
        "won": decision.referrals_won,
        "tasks": [
            {
                "kind": task.kind,
                "on": task.target_id,
                "subject": task_text(task, account.language).subject if account.observing else None,
            }
            for task in wanted
        ],
        "review_on": decision.review_on.isoformat() if decision.review_on else None,
    }
