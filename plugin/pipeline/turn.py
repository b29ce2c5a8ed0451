"""One turn in the lane of an account: the most urgent thing that is due, and no more.

Between two turns the worker may hand the lane on, so no account waits for another's storm.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa

from plugin.errors import (
    CrmError,
    CrmRateLimited,
    CrmRejected,
    CrmUnauthorized,
    CrmUnavailable,
    RecordGone,
)
from plugin.pipeline.apart import apart
from plugin.pipeline.erase import Eraser
from plugin.pipeline.lanes import Lane
from plugin.pipeline.outbox import Outbox
from plugin.pipeline.planning import choose_asks, store_asks
from plugin.pipeline.reconcile import Reconciler
from plugin.pipeline.subscribe import put_off, subscribe, subscription_due_at
from plugin.pipeline.upkeep import Sweep, Upkeep, keep_allowance
from plugin.ports import Adapter, Session
from plugin.referral.workdays import week_of
from plugin.secrets import Vault
from plugin.storage import accounts, hints
from plugin.storage.accounts import Account
from plugin.storage.among import among
from plugin.storage.database import Database, upsert
from plugin.storage.hints import Hint, HintKind
from plugin.storage.tables import contact, contact_deal

log = logging.getLogger(__name__)

FIRST_BACK_OFF = 5_000  # milliseconds
LONGEST_BACK_OFF = 600_000
UNAUTHORIZED_BACK_OFF = 3_600_000
DEAL_RECHECKS = (30_000, 300_000)  # a CRM may attach the contacts a little after the deal
AGAIN_IN = 3_600_000  # milliseconds until webhooks that could not be made are tried again


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What every turn needs, whatever the account."""

    database: Database
    vault: Vault
    public_url: str
    """"" where the setting is missing: webhooks are not looked after then."""
    now_ms: Callable[[], int]
    utc_now: Callable[[], datetime]


class Turn:
    """The account's lane is held; ``session`` talks to its CRM."""

    def __init__(
        self, shop: Workshop, adapter: Adapter, account: Account, session: Session, lane: Lane
    ) -> None:
        self._shop = shop
        self._account = account
        self._adapter = adapter
        self._session = session
        self._lane = lane
        session.follow(account.allowance, guard=lane.check)
        declared = adapter.declaration
        self._upkeep = Upkeep(
            shop.database, account, session, lane,
            batch_size=declared.batch_size, now_ms=shop.now_ms,
        )  # fmt: skip
        self._outbox = Outbox(shop.database, account, session, lane, now_ms=shop.now_ms)
        self._reconciler = Reconciler(
            shop.database, account, session, lane,
            vault=shop.vault, batch_size=declared.batch_size,
            keeps_history=declared.history_batch_size > 0, now_ms=shop.now_ms, utc_now=shop.utc_now,
        )  # fmt: skip

    def take(self) -> bool:
        """Do the most urgent thing; False where nothing is due. Failures of the CRM block the
        account for a while, with the reason in ``status``."""
        try:
            worked = self._work()
        except CrmError as error:
            self._block(error)
            keep_allowance(self._account, self._session, self._lane)
            return True
        keep_allowance(self._account, self._session, self._lane)
        if self._account.failures or self._account.blocked_reason:
            with self._lane.write() as connection:
                accounts.save(
                    connection, self._account.id, failures=0, blocked_until=None,
                    blocked_reason=None,
                )  # fmt: skip
        return worked

    def _work(self) -> bool:
        steps = (
            self._erasures,
            self._users,
            self._directory,
            self._deals,
            self._contacts,
            self._tasks,
            self._reviews,
            self._sweeps,
            self._asks,
            self._webhooks,
        )
        return any(step() for step in steps)

    @property
    def _today(self) -> date:
        return self._account.day(self._shop.utc_now())

    def _users(self) -> bool:
        if not self._upkeep.users_due():
            return False
        self._upkeep.read_users()
        return True

    def _directory(self) -> bool:
        if self._account.directory_read_at is not None:
            return False
        with self._anew(directory_cursor=None):
            self._upkeep.read_directory()
        return True

    @contextmanager
    def _anew(self, **place: None) -> Iterator[None]:
        """Long work begins anew where the CRM does not know the kept place any more."""
        try:
            yield
        except CrmRejected:
            with self._lane.write() as connection:
                accounts.save(connection, self._account.id, **place)
            raise

    def _erasures(self) -> bool:
        with self._shop.database.read() as connection:
            found = hints.due(
                connection, self._account.id, HintKind.ERASE, now=self._shop.now_ms(), limit=1
            )
        eraser = Eraser(
            self._shop.database, self._shop.vault, self._adapter, self._account, self._session,
            self._lane, now_ms=self._shop.now_ms,
        )  # fmt: skip
        for one in found:
            try:
                eraser.work(one)
            except CrmRejected as error:  # an odd record must not hold up the account
                self._look_or_park(HintKind.ERASE, one, str(error))
        return bool(found)

    def _look_or_park(self, kind: HintKind, one: Hint, why: str) -> None:
        mine, now = self._account.id, self._shop.now_ms()
        with self._lane.write() as connection:
            hints.look_or_park(connection, mine, kind, one, why=why, now=now)

    def _deals(self) -> bool:
        """Deals are looked at through their contacts, those they have and those they had."""
        now = self._shop.now_ms()
        mine = self._account.id
        with self._shop.database.read() as connection:
            size = self._adapter.declaration.batch_size
            found = hints.due(connection, mine, HintKind.DEAL, now=now, limit=size)
        if not found:
            return False
        answers, odd = apart([one.record_id for one in found], self._session.deal_contacts)
        for one in found:
            if one.record_id in odd:
                self._look_or_park(HintKind.DEAL, one, odd[one.record_id])
        found = [one for one in found if one.record_id not in odd]
        present = {deal_id: contacts for each in answers for deal_id, contacts in each.items()}
        with self._shop.database.read() as connection:
            had = connection.execute(
                sa.select(contact_deal.c.contact_id).where(
                    contact_deal.c.account_id == mine,
                    among(contact_deal.c.deal_id, (one.record_id for one in found)),
                )
            ).scalars()
            contacts = set(had).union(*present.values())
        joined = [
            {"account_id": mine, "contact_id": one, "deal_id": deal_id}
            for deal_id, several in present.items()
            for one in several
        ]
        with self._lane.write() as connection:
            upsert(connection, contact_deal, joined)
            hints.mark(connection, mine, HintKind.CONTACT, contacts, due_at=now)
            for attempt, wait in enumerate(DEAL_RECHECKS):
                lonely = [
                    one for one in found if one.record_id not in present and one.attempts == attempt
                ]
                hints.postpone(connection, mine, HintKind.DEAL, lonely, due_at=now + wait)
            hints.clear(
                connection,
                mine,
                HintKind.DEAL,
                [
                    one
                    for one in found
                    if one.record_id in present or one.attempts >= len(DEAL_RECHECKS)
                ],
            )
        return True

    def _contacts(self) -> bool:
        if not self._account.ready:
            return False
        with self._shop.database.read() as connection:
            batch = hints.due(
                connection,
                self._account.id,
                HintKind.CONTACT,
                now=self._shop.now_ms(),
                limit=self._adapter.declaration.batch_size,
            )
        if not batch:
            return False
        self._reconciler.work(batch)
        self._tasks()
        return True

    def _tasks(self) -> bool:
        return not self._account.observing and self._outbox.work()

    def _reviews(self) -> bool:
        """Time alone may change a decision: its day has come."""
        mine = self._account.id
        with self._shop.database.read() as connection:
            ids = list(
                connection.execute(
                    sa.select(contact.c.crm_id)
                    .where(contact.c.account_id == mine, contact.c.review_on <= self._today)
                    .limit(1000)
                ).scalars()
            )
        if not ids:
            return False
        with self._lane.write() as connection:
            connection.execute(
                sa.update(contact)
                .where(contact.c.account_id == mine, among(contact.c.crm_id, ids))
                .values(review_on=None)
            )
            hints.mark(connection, mine, HintKind.CONTACT, ids, due_at=self._shop.now_ms())
        return True

    def _webhooks(self) -> bool:
        now = self._shop.now_ms()
        at = subscription_due_at(self._account, now)
        if not self._shop.public_url or at is None or at > now:
            return False
        try:
            subscribe(
                self._account, self._session, self._lane,
                vault=self._shop.vault, public_url=self._shop.public_url, now_ms=self._shop.now_ms,
            )  # fmt: skip
        except (CrmRejected, CrmUnauthorized, RecordGone) as error:
            # The sweep is there for what webhooks miss: it must not wait for them.
            log.warning("webhooks of account %s are not in order: %s", self._account.id, error)
            put_off(self._account, self._lane, until=now + AGAIN_IN)
        return True

    def _sweeps(self) -> bool:
        account = self._account
        if self._upkeep.sweep_due():
            with self._anew(sweep=None):
                self._upkeep.sweep(Sweep(**account.sweep) if account.sweep else None)
        elif self._upkeep.tasks_due():
            self._upkeep.read_tasks(self._outbox)
        elif self._upkeep.ids_due():
            self._upkeep.check_ids(account.ids_cursor)
        else:
            return False
        return True

    def _asks(self) -> bool:
        """Nothing else is left to do: plan this week's asks over all candidates at once."""
        account = self._account
        this_week = week_of(self._today).toordinal()
        if not account.ready or account.observing:
            return False
        if not account.asks_to_plan and account.asks_planned_week == this_week:
            return False
        with self._shop.database.read() as connection:
            chosen = choose_asks(connection, account, self._today)
        with self._lane.write() as connection:
            store_asks(connection, account, chosen, self._today)
            accounts.save(connection, account.id, asks_to_plan=False, asks_planned_week=this_week)
        self._tasks()
        return True

    # -------------------------------------------------------------------------- failures

    def _block(self, error: CrmError) -> None:
        now = self._shop.now_ms()
        failures = self._account.failures
        match error:
            case CrmRateLimited() if error.guessed:
                failures += 1
                wait = round(error.retry_after * 1000) * 2 ** min(failures - 1, 10)
                wait = min(LONGEST_BACK_OFF, wait)
            case CrmRateLimited():
                wait = max(1_000, round(error.retry_after * 1000))
            case CrmUnavailable():
                failures += 1
                wait = min(LONGEST_BACK_OFF, FIRST_BACK_OFF * 2 ** min(failures - 1, 10))
                wait = round(wait * random.uniform(0.8, 1.2))  # noqa: S311 - spreads retries
            case CrmUnauthorized():
                failures += 1
                wait = UNAUTHORIZED_BACK_OFF
            case _:
                failures += 1
                wait = LONGEST_BACK_OFF
        log.warning("account %s waits %s s: %s", self._account.id, wait // 1000, error)
        with self._lane.write() as connection:
            accounts.save(
                connection,
                self._account.id,
                failures=failures,
                blocked_until=now + wait,
                blocked_reason=str(error)[:500],
            )
