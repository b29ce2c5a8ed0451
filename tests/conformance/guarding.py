"""Whoever lost the lane sends nothing more, not even the rest of what was begun."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from plugin.errors import LeaseLost
from plugin.ports import FieldUpdate, LinkUpdate, Session, TaskUpdate
from tests.conformance.account import Account, draft
from tests.conformance.promise import Promise
from tests.stand_in import Fault

CONTACTS = 4


@dataclass
class Lease:
    """Lasts for so many calls, and counts how often it was asked for."""

    calls: int = 1000
    asked: int = 0

    def __call__(self) -> None:
        self.asked += 1
        if self.asked > self.calls:
            raise LeaseLost("lane account:1 was taken over")


class TestGuard(Promise):
    @pytest.fixture
    def ready(self, account: Account) -> Account:
        account.install()
        return account

    @pytest.fixture
    def contacts(self, ready: Account) -> list[str]:
        found = [ready.crm.contact("Erika", f"Muster {n}") for n in range(CONTACTS)]
        for contact in found:
            ready.crm.deal(contact)
        return found

    def test_a_lease_is_asked_for_before_every_single_request(
        self, ready: Account, contacts: list[str]
    ) -> None:
        """Reading, writing, tasks, plans: whatever goes out."""
        session, lease = guarded(ready, Lease())
        ready.crm.calls.clear()

        everything(session, contacts)
        session.plan_install()
        session.plan_uninstall(delete_data=False)

        assert lease.asked == session.calls == len(ready.crm.calls) > CONTACTS

    def test_the_rest_stops_where_the_lease_is_lost(
        self, ready: Account, contacts: list[str]
    ) -> None:
        """In the middle of a batch, too: no further request arrives, and the error is the
        guard's own."""
        session, lease = guarded(ready, Lease())
        everything(session, contacts)

        for spared in range(lease.asked):
            ready.crm.calls.clear()
            late, lost = guarded(ready, Lease(calls=spared))
            with pytest.raises(LeaseLost, match="taken over"):
                everything(late, contacts)
            assert (len(ready.crm.calls), late.calls) == (spared, spared)
            assert lost.asked == spared + 1

    def test_a_call_is_not_repeated_without_a_lease(self, ready: Account) -> None:
        """What was answered with 503 is not sent a second time."""
        session, _ = guarded(ready, Lease(calls=1))
        ready.crm.faults.append(Fault(status=503, times=9))
        ready.crm.calls.clear()

        with pytest.raises(LeaseLost):
            session.account()

        assert len(ready.crm.calls) == session.calls == 1

    def test_installing_asks_too(self, account: Account) -> None:
        """What an administrator's login does as well."""
        session, lease = guarded(account, Lease())
        account.crm.calls.clear()

        session.install(session.plan_install())
        session.uninstall(session.plan_uninstall(delete_data=True))

        assert lease.asked == session.calls == len(account.crm.calls) > 0

    def test_without_a_lane_nothing_is_asked(self, ready: Account) -> None:
        """``connect`` holds none: a session nobody gave a guard works."""
        assert ready.session(admin=ready.crm.admin).account()


def guarded(account: Account, lease: Lease) -> tuple[Session, Lease]:
    session = account.session(admin=account.crm.admin, rate_share=1000.0)
    session.follow(None, guard=lease)
    return session, lease


def everything(session: Session, contacts: list[str]) -> None:
    """A turn's work on several contacts."""
    first, *others = contacts
    session.load(contacts, history=False, known_deals={})
    session.write_fields(
        [FieldUpdate(contact_id=one, values={"spiral_stage": "loyalty"}) for one in contacts]
    )
    session.link_referrers([LinkUpdate(contact_id=one, referrer_id=first) for one in others])
    made = session.create_tasks([draft(f"k{one}", one) for one in contacts])
    ids = list(made.crm_ids.values()) or [one.crm_id for one in session.find_tasks(contacts)]
    session.update_tasks([TaskUpdate(crm_id=one, done=True) for one in ids])
    session.read_tasks(ids)
    session.delete_tasks(ids)
