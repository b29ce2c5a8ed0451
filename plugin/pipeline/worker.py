"""The worker: free lanes with something to do, one after the other, in a few threads.

Any number of workers may run. A thread takes the lane that has been due for longest, works a few
turns in it and gives it back. One thread at a time looks for work; the others wait behind it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import sqlalchemy as sa

from plugin.errors import LeaseLost, PluginError
from plugin.pipeline.bell import Bell
from plugin.pipeline.digest import Digest
from plugin.pipeline.lanes import DIGEST, Claimed, Lane, Lanes, wake_all
from plugin.pipeline.retention import EVERY, RETENTION, WHILE_MORE, forget_old
from plugin.pipeline.schedule import next_at, nothing_due
from plugin.pipeline.turn import Turn, Workshop
from plugin.ports import AccountLink, Adapter, Session
from plugin.secrets import Vault
from plugin.settings import Settings
from plugin.storage import accounts, deliveries
from plugin.storage.accounts import Account
from plugin.storage.database import DATABASE_AWAY, Database

log = logging.getLogger(__name__)

POLL = 0.1  # seconds between two looks where nothing was due and nobody tells
POLL_BESIDE_BELL = 1.0  # the same where the database rings
TURNS = 20  # in one lane before others get their chance
LONGEST = 2.0  # seconds of turns in one lane before others get their chance
NOTHING_FOUND = 1_000  # milliseconds until a lane that was due for nothing is looked at again
SET_ASIDE = 60_000  # milliseconds an account waits after an error that was not foreseen
MISHAP_PAUSE = 1.0  # seconds after an error that was not foreseen
MISHAPS = 5  # in a row, and a worker that should end by itself gives up
LAST_CALLS = 20.0  # seconds after being told to stop in which calls to CRMs may still begin
PATIENCE = 27.0  # seconds after being told to stop until what is in hand is left as it is
SESSIONS = 200  # kept; more only where they were used a moment ago
MOMENT = 15.0  # seconds, longer than the windows in which CRMs count calls

Job = Callable[[], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Connected:
    link: AccountLink
    session: Session
    used_at: float


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
        self._lanes = Lanes(database)
        self._bell = Bell()
        self._looking = threading.Lock()
        self._stopping = threading.Event()
        self._until_idle = False
        self._forget_at = time.monotonic()
        self._digested_last = False
        self._slow: set[int] = set()  # accounts whose last turn took longer than ``LONGEST``
        self._unsteady = threading.Semaphore(max(1, settings.worker_threads // 2))
        self._sessions: dict[int, _Connected] = {}  # the least recently used first
        self._sessions_lock = threading.Lock()
        self._mishap: Exception | None = None

    def stop(self) -> None:
        """Finish what is in hand, start nothing new."""
        if not self._stopping.is_set():
            self._lanes.end_in(LAST_CALLS)
            self._stopping.set()

    def run(self, *, until_idle: bool = False) -> bool:
        """Work until stopped, or until nothing is due anywhere. Within 30 seconds after ``stop``
        all lanes are given back; False where something in hand had to be left as it was, as a
        crash would leave it.

        Raises what made the worker stumble again and again, where it should end by itself.
        """
        self._until_idle = until_idle
        threads = [
            threading.Thread(target=self._loop, name=f"worker-{n}", daemon=True)
            for n in range(1 if until_idle else self._settings.worker_threads)
        ]
        listening = threading.Thread(
            target=self._database.listen, args=(self._bell.ring, self._stopping), daemon=True
        )
        try:
            if until_idle:
                with self._database.write() as connection:
                    wake_all(connection, at=self._now_ms())
            for thread in (listening, *threads):
                thread.start()
            while any(thread.is_alive() for thread in threads):
                if self._stopping.wait(0.2):  # a plain join would keep signals waiting
                    break
        finally:
            self.stop()
            self._bell.ring()
            deadline = time.monotonic() + PATIENCE
            for thread in threads:
                if thread.is_alive():
                    thread.join(max(0.0, deadline - time.monotonic()))
            self._lanes.close()
        if self._mishap:
            raise self._mishap
        return not any(thread.is_alive() for thread in threads)

    def _loop(self) -> None:
        mishaps = 0
        while not self._stopping.is_set():
            try:
                job = self._next()
                if job is None:
                    return
                job()
                mishaps = 0
                self._bell.ring()
            except LeaseLost as error:
                log.warning("%s", error)
            except Exception as error:
                # The worker outlives a database that restarts and bugs of ours: everything it
                # does can be done again.
                log.exception("the worker stumbled")
                mishaps += 1
                if self._until_idle and mishaps >= MISHAPS:
                    self._mishap = error
                    return
                self._stopping.wait(MISHAP_PAUSE)

    # ------------------------------------------------------------------- finding work

    def _next(self) -> Job | None:
        """Something to do, its lane taken; waited for. None where the worker should end."""
        with self._looking:
            while not self._stopping.is_set():
                rings = self._bell.rings
                if job := self._look():
                    return job
                if self._until_idle and self._is_idle():
                    return None
                rung = not (self._database.is_sqlite or self._until_idle)
                self._bell.wait(since=rings, timeout=POLL_BESIDE_BELL if rung else POLL)
        return None

    def _look(self) -> Job | None:
        looks = [self._look_for_deliveries, self._look_for_old, self._look_for_accounts]
        if self._digested_last:  # a backlog of deliveries is not all there is
            looks.reverse()
        return next((job for look in looks if (job := look())), None)

    def _look_for_deliveries(self) -> Job | None:
        with self._database.read() as connection:
            waiting = deliveries.any_new(connection)
        if not waiting or not (lane := self._lanes.take(DIGEST)):
            return None
        self._digested_last = True
        return partial(self._in_lane, lane, self._digest_turn)

    def _look_for_old(self) -> Job | None:
        if time.monotonic() < self._forget_at:
            return None
        self._forget_at = time.monotonic() + EVERY
        lane = self._lanes.take(RETENTION)
        return partial(self._in_lane, lane, self._forget) if lane else None

    def _look_for_accounts(self) -> Job | None:
        """Accounts in trouble may keep a thread waiting for long: those that failed and those that
        were slow share half of the threads."""
        trusting = self._unsteady.acquire(blocking=False)
        claimed = None
        try:
            slow = frozenset(self._slow)
            claimed = self._lanes.claim(now=self._now_ms(), steady=not trusting, besides=slow)
        finally:
            troubled = claimed and (claimed.failures or claimed.account_id in slow)
            if trusting and not troubled:
                self._unsteady.release()
        if not claimed:
            return None
        self._digested_last = False
        return partial(self._for_account, claimed, troubled=bool(troubled))

    def _is_idle(self) -> bool:
        return nothing_due(self._database, now=self._now_ms(), present=self._shop.utc_now())

    # ------------------------------------------------------------------------ working

    def _in_lane(self, lane: Lane, turn: Callable[[Lane], bool]) -> bool:
        try:
            return self._turns(partial(turn, lane))
        finally:
            self._lanes.release(lane)

    def _turns(self, turn: Callable[[], bool]) -> bool:
        """A few, as long as there is something to do; False where there was nothing."""
        since = time.monotonic()
        for n in range(TURNS):
            if self._stopping.is_set() or time.monotonic() - since > LONGEST or not turn():
                return n > 0
        return True

    def _digest_turn(self, lane: Lane) -> bool:
        worked = self._digest.turn(lane)
        if worked:
            self._bell.ring()
        return worked

    def _forget(self, lane: Lane) -> bool:
        more = forget_old(lane, days=self._settings.delivery_days, now=self._now_ms())
        if more:
            self._forget_at = time.monotonic() + WHILE_MORE
        return more

    def _for_account(self, claimed: Claimed, *, troubled: bool) -> bool:
        lane = claimed.lane
        worked = True
        try:
            worked = self._turns(partial(self._timed_turn, claimed))
            return worked
        finally:
            if troubled:
                self._unsteady.release()
            self._lanes.release(lane, due_at=partial(self._due_again, claimed, worked))

    def _due_again(
        self, claimed: Claimed, worked: bool, connection: sa.Connection, told: int | None
    ) -> int | None:
        """``told``: what the lane says, see ``Claimed.due_at``."""
        account = accounts.by_id(connection, claimed.account_id)
        if account is None:
            return None
        now = self._now_ms()
        at = next_at(
            connection, account, now=now, present=self._shop.utc_now(),
            webhooks=bool(self._shop.public_url),
        )  # fmt: skip
        woken = told is not None and told < claimed.due_at
        return at if at is None or worked or woken else max(at, now + NOTHING_FOUND)

    def _timed_turn(self, claimed: Claimed) -> bool:
        since = time.monotonic()
        try:
            return self._turn(claimed)
        finally:
            if time.monotonic() - since > LONGEST:
                self._slow.add(claimed.account_id)
            else:
                self._slow.discard(claimed.account_id)

    def _turn(self, claimed: Claimed) -> bool:
        with self._database.read() as connection:
            account = accounts.by_id(connection, claimed.account_id)
        if account is None or account.paused or account.waits_until(self._now_ms()):
            return False
        try:
            adapter = self._adapters[account.crm]
            session = self._session(adapter, account)
            return Turn(self._shop, adapter, account, session, claimed.lane).take()
        except (LeaseLost, *DATABASE_AWAY):
            raise
        # Whatever is wrong with one account must not keep the others waiting.
        except PluginError as error:
            log.warning("account %s has to wait: %s", account.id, error)
            self._set_aside(account, claimed.lane, str(error))
            return True
        except Exception as error:
            log.exception("account %s stumbled", account.id)
            self._set_aside(account, claimed.lane, f"internal error: {type(error).__name__}")
            return True

    def _set_aside(self, account: Account, lane: Lane, why: str) -> None:
        with lane.write() as connection:
            accounts.save(
                connection,
                account.id,
                blocked_until=self._now_ms() + SET_ASIDE,
                blocked_reason=why[:500],
            )

    def _session(self, adapter: Adapter, account: Account) -> Session:
        """One session per account and process, so that its rate limit is kept in one place."""
        link = link_of(self._settings, self._vault, account)
        now = time.monotonic()
        with self._sessions_lock:
            known = self._sessions.pop(account.id, None)
            session = known.session if known and known.link == link else adapter.connect(link)
            self._sessions[account.id] = _Connected(link=link, session=session, used_at=now)
            for other in [*self._sessions.items()][: max(0, len(self._sessions) - SESSIONS)]:
                if now - other[1].used_at > MOMENT:
                    del self._sessions[other[0]]
        return session


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
        networks=settings.crm_networks,
    )
