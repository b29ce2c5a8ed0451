"""Where a CRM sells so many calls a day, our share of them is never overdrawn; elsewhere nothing of
the kind is shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from adapters.client import unguarded
from plugin.errors import CrmRateLimited
from plugin.ports import Allowance, Session
from tests.conformance.account import Account
from tests.conformance.crms import new_adapter
from tests.conformance.promise import Promise
from tests.stand_in import Unsupported

SECONDS = 5.0
"""That a test may take, as it is seen in its times."""


class TestBudget(Promise):
    @pytest.fixture
    def ready(self, account: Account) -> Account:
        account.install()
        return account

    def test_a_budget_of_the_day_is_counted_and_kept(self, ready: Account) -> None:
        """What we used is what it cost, and at our share of it we stop until the next day; what
        was spent before a restart counts."""
        contact = ready.crm.contact("Erika", "Muster")
        ready.crm.deal(contact)
        if not (before := allowance_of(ready)):
            assert sum(call.cost for call in ready.crm.calls) == 0
            return
        most = before.limit // 2
        stored = replace(before, used=most - 100)
        session = restarted(ready, stored, rate_share=0.5)
        ready.crm.calls.clear()

        with pytest.raises(CrmRateLimited) as caught:  # noqa: PT012 (it ends by that error only)
            for _ in range(200):
                session.load([contact], history=False, known_deals={})

        after = session.allowance
        assert after is not None
        assert after.used - stored.used == sum(call.cost for call in ready.crm.calls)
        assert most - 20 < after.used <= most
        assert (after.limit, after.unit) == (before.limit, before.unit)
        left = (after.ends_at - datetime.now(UTC)).total_seconds()
        assert 0 < left <= 86_400
        assert abs(caught.value.retry_after - left) < SECONDS

    def test_what_other_processes_spent_counts(self, ready: Account) -> None:
        """As soon as it is known."""
        before = allowance_of(ready)
        session = ready.session()
        session.follow(None, guard=unguarded)
        session.account()
        if not before:
            assert session.allowance is None
            return
        ready.crm.calls.clear()

        session.follow(replace(before, used=1000 * before.limit), guard=unguarded)

        with pytest.raises(CrmRateLimited):
            session.account()
        assert ready.crm.calls == []

    def test_a_day_that_others_used_up_is_over_when_the_crm_says(self, ready: Account) -> None:
        """Whatever day it is for us: until then nothing is sent, by nobody, not after a restart
        either; then all goes on, and nothing of it is spent."""
        evening = datetime.now(UTC).replace(hour=21) + timedelta(days=1)
        until = evening + timedelta(hours=5)
        if not allowance_of(ready):
            with pytest.raises(Unsupported):
                ready.crm.spend_budget(until)
            return

        with time_machine.travel(evening) as traveller:
            ready.adapter = new_adapter(ready.crm.name)
            stored = _used_up(ready, until)
            ready.crm.calls.clear()
            for at in (evening, evening + timedelta(hours=4), until - timedelta(minutes=1)):
                traveller.move_to(at)
                for session in (ready.session(), restarted(ready, stored)):
                    with pytest.raises(CrmRateLimited) as caught:
                        session.account()
                    left = (until - at).total_seconds()
                    assert abs(caught.value.retry_after - left) < SECONDS
            assert ready.crm.calls == []

            traveller.move_to(until + timedelta(minutes=1))
            for session in (ready.session(), restarted(ready, stored)):
                ready.crm.calls.clear()
                session.account()
                now = session.allowance
                assert now is not None
                assert now.used == sum(call.cost for call in ready.crm.calls)
                assert timedelta() < now.ends_at - datetime.now(UTC) <= timedelta(days=1)


def _used_up(account: Account, until: datetime) -> Allowance:
    """Others have used up the day; what is known of it once the CRM has said so."""
    session = account.session()
    session.account()
    account.crm.spend_budget(until)
    with pytest.raises(CrmRateLimited):
        session.account()
    stored = session.allowance
    assert stored is not None
    assert stored.left == 0
    assert abs(stored.ends_at - until) < timedelta(seconds=SECONDS)
    return stored


def allowance_of(account: Account) -> Allowance | None:
    """After a call, which may have told it."""
    session = account.session()
    session.account()
    return session.allowance


def restarted(account: Account, stored: Allowance, rate_share: float = 1000.0) -> Session:
    """Of a new process, which knows what was stored."""
    link = account.crm.link(
        fields=account.fields, facts=account.facts, allowance=stored, rate_share=rate_share
    )
    return new_adapter(account.crm.name).connect(link)
