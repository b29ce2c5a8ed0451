"""The worker: free lanes with something to do, one after the other, in a few threads.

Any number of workers may run. A thread takes a lane, works a few turns in it and gives it back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

import sqlalchemy as sa

from plugin.errors import LeaseLost, PluginError
from plugin.pipeline.digest import Digest
from plugin.pipeline.lanes import DIGEST, Lane, Lanes, account_lane, held_by_others
from plugin.pipeline.subscribe import subscription_due
from plugin.pipeline.turn import Turn, Workshop, due_at
from plugin.ports import AccountLink, Adapter, Session
from plugin.secrets import Vault
from plugin.settings import Settings
from plugin.storage import accounts, deliveries
from plugin.storage.accounts import Account
from plugin.storage.database import Database

log = logging.getLogger(__name__)

THREADS = 4
POLL = 0.1  # seconds between two looks where nothing was due
TURNS = 20  # in one lane before others get their chance
SOON = 8_000  # milliseconds: what is due within is waited for before being idle
SET_ASIDE = 60_000  # milliseconds an account waits after an error that was not foreseen
MISHAP_PAUSE = 1.0  # seconds after an error that was not foreseen
MISHAPS = 5  # in a row, and a worker that should end by itself gives up


class Worker:
    """Digests deliveries and works for all accounts, until told to stop."""

    def __init__(
        self,
        settings: Settings,
        adapters: Mapping[str, Adapter],
        database: Database,
        vault: Vault,
        *,
        now_ms: Callable[[], int],
        utc_now: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._adapters = adapters
        self._database = database
        self._vault = vault
        self._now_ms = now_ms
        self._shop = Workshop(
            database=database,
            vault=vault,
            public_url=settings.public_url,
            now_ms=now_ms,
            utc_now=utc_now,
        )
        self._digest = Digest(adapters, database, vault, now_ms)
        self._lanes = Lanes(database, now_ms)
        self._stopping = threading.Event()
        self._sessions: dict[int, tuple[AccountLink, Session]] = {}
        self._mishap: Exception | None = None

    def stop(self) -> None:
        """Finish what is in hand, start nothing new."""
        self._stopping.set()

    def run(self, *, until_idle: bool = False) -> None:
        """Work until stopped, or until nothing is due anywhere.

        Raises what made the worker stumble again and again, where it should end by itself.
        """
        threads = [
            threading.Thread(target=self._loop, args=(until_idle,), name=f"worker-{n}")
            for n in range(1 if until_idle else THREADS)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)  # a plain join would keep signals waiting
        finally:
            self.stop()
            for thread in threads:
                thread.join()
            self._lanes.close()
        if self._mishap:
            raise self._mishap

    def _loop(self, until_idle: bool) -> None:
        mishaps = 0
        while not self._stopping.is_set():
            try:
                if self._round():
                    mishaps = 0
                    continue
                if until_idle and self._is_idle():
                    return
                self._stopping.wait(POLL)
            except LeaseLost as error:
                log.warning("%s", error)
            except Exception as error:
                # The worker outlives a database that restarts and bugs of ours: everything it
                # does can be done again.
                log.exception("the worker stumbled")
                mishaps += 1
                if until_idle and mishaps >= MISHAPS:
                    self._mishap = error
                    return
                self._stopping.wait(MISHAP_PAUSE)

    def _is_idle(self) -> bool:
        return nothing_due(self._database, now=self._now_ms(), present=self._shop.utc_now())

    def _round(self) -> bool:
        """Digest, then one lane with something due; False where there was nothing."""
        worked = self._in_lane(DIGEST, self._digest_turns)
        for account in self._due():
            if self._stopping.is_set():
                return True
            worked |= self._in_lane(account_lane(account.id), partial(self._turns, account))
        return worked

    def _in_lane(self, name: str, work: Callable[[Lane], bool]) -> bool:
        if name == DIGEST:
            with self._database.read() as connection:
                if not deliveries.any_new(connection):
                    return False
        lane = self._lanes.take(name)
        if lane is None:
            return False
        try:
            return work(lane)
        finally:
            self._lanes.release(lane)

    def _digest_turns(self, lane: Lane) -> bool:
        worked = False
        for _ in range(TURNS):
            if self._stopping.is_set() or not self._digest.turn(lane):
                break
            worked = True
        return worked

    def _due(self) -> list[Account]:
        now, present = self._now_ms(), self._shop.utc_now()
        with self._database.read() as connection:
            found = []
            for account in accounts.all_accounts(connection):
                at = due_at(connection, account, now=now, today=account.day(present))
                upkeep = not account.paused and self._upkeep_due(account, now)
                if upkeep or (at is not None and at <= now):
                    found.append(account)
        return found

    def _upkeep_due(self, account: Account, now: int) -> bool:
        if (account.blocked_until or 0) > now:
            return False
        hour_ago = now - 3_600_000
        marks = (account.users_read_at, account.swept_at or account.connected_at)
        webhooks = bool(self._shop.public_url) and subscription_due(account, now)
        begun = account.sweep is not None or account.ids_cursor is not None
        return begun or webhooks or any((mark or 0) <= hour_ago for mark in marks)

    def _turns(self, account: Account, lane: Lane) -> bool:
        worked = False
        for _ in range(TURNS):
            if self._stopping.is_set():
                break
            with self._database.read() as connection:
                fresh = accounts.by_id(connection, account.id)
            if fresh is None or fresh.paused or (fresh.blocked_until or 0) > self._now_ms():
                break
            try:
                adapter = self._adapters[fresh.crm]
                session = self._session(adapter, fresh)
                if not Turn(self._shop, adapter, fresh, session, lane).take():
                    break
            except (LeaseLost, sa.exc.SQLAlchemyError):
                raise
            except Exception as error:
                # Whatever is wrong with one account must not keep the others waiting.
                log.exception("account %s stumbled", account.id)
                self._set_aside(account, lane, error)
            worked = True
        return worked

    def _set_aside(self, account: Account, lane: Lane, error: Exception) -> None:
        why = str(error) if isinstance(error, PluginError) else type(error).__name__
        with lane.write() as connection:
            accounts.save(
                connection,
                account.id,
                blocked_until=self._now_ms() + SET_ASIDE,
                blocked_reason=f"internal error: {why}"[:500],
            )

    def _session(self, adapter: Adapter, account: Account) -> Session:
        """One session per account and process, so that its rate limit is kept in one place."""
        link = link_of(self._settings, self._vault, account)
        known = self._sessions.get(account.id)
        if known and known[0] == link:
            return known[1]
        session = adapter.connect(link)
        self._sessions[account.id] = (link, session)
        return session


def nothing_due(database: Database, *, now: int, present: datetime, soon: int = SOON) -> bool:
    """Whether nothing is due anywhere, nor within ``soon`` milliseconds, and nobody works."""
    with database.read() as connection:
        if deliveries.any_new(connection):
            return False
        if held_by_others(connection, DIGEST, now=now):
            return False
        for account in accounts.all_accounts(connection):
            if held_by_others(connection, account_lane(account.id), now=now):
                return False
            at = due_at(connection, account, now=now, today=account.day(present))
            waits = (account.blocked_until or 0) > now
            if at is not None and at <= now + (0 if waits else soon):
                return False
    return True


def link_of(settings: Settings, vault: Vault, account: Account) -> AccountLink:
    """All the adapter needs to talk to this account."""
    crm = settings.crm(account.crm)
    return AccountLink(
        crm_id=account.crm_id,
        base_url=account.base_url or crm.base_url,
        token=vault.decrypt(account.token),
        app_id=account.app_id or crm.app_id,
        language=account.language,
        rating_property=account.rating_property,
        fields=account.fields,
        facts=account.facts,
        rate_share=account.policy.rate_share,
        daily_budget=account.policy.daily_budget,
        allowance=account.allowance,
    )
