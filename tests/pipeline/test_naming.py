"""Names that nobody was found for are searched for again when, and only when, that may help."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugin.pipeline import naming
from plugin.pipeline.absorb import Ripples, absorb_cards
from plugin.pipeline.leave import forget_contact, let_go, merge
from plugin.pipeline.naming import look_up, update_referrals
from plugin.ports import ContactCard, ContactSnapshot
from plugin.storage import accounts
from plugin.storage.accounts import Account
from plugin.storage.database import Database, upsert
from plugin.storage.tables import (
    account,
    contact,
    contact_key,
    referral,
    referral_key,
    user,
)
from tests.databases import Databases

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NOW_MS = accounts.milliseconds(NOW)
IDS = [str(number) for number in range(101, 107)]
PLAIN = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Company:
    """An account of its own in the database, and what happens to it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        with database.write() as connection:
            count = connection.scalar(sa.select(sa.func.count()).select_from(account))
            values = {"crm": "hubspot", "crm_id": f"{count}", "token": "", "connected_at": 0}
            connection.execute(sa.insert(account), values)
        with database.read() as connection:
            found = accounts.find(connection, "hubspot", f"{count}")
        assert found is not None
        self.account: Account = found
        self.texts: dict[str, str] = {}
        self.cards: dict[str, ContactCard] = {}
        self.concerned: set[str] = set()

    def change(self, work: Callable[[sa.Connection, Ripples], object]) -> None:
        ripples = Ripples()
        with self.database.write() as connection:
            work(connection, ripples)
        self.concerned |= ripples.contacts

    def told(self, contact_id: str, text: str) -> None:
        self.texts[contact_id] = text
        self.concerned.add(contact_id)

    def card(self, contact_id: str, **words: Any) -> None:
        self.cards[contact_id] = card = ContactCard(crm_id=contact_id, **words)
        self.change(lambda connection, r: absorb_cards(connection, self.account, [card], r))

    def gone(self, contact_id: str) -> None:
        self.change(
            lambda connection, ripples: let_go(
                connection, self.account, [contact_id], now_ms=NOW_MS, ripples=ripples
            )
        )

    def merged(self, old: str, new: str) -> None:
        if old != new:
            if text := self.texts.pop(old, ""):
                self.told(new, text)
            self.change(lambda connection, r: merge(connection, self.account, old, new, r))

    def forgotten(self, contact_id: str) -> None:
        self.change(lambda connection, _: forget_contact(connection, self.account, contact_id))

    def users(self, names: Mapping[str, str]) -> None:
        rows = [
            {
                "account_id": self.account.id,
                "crm_id": one,
                "name": name,
                "email": f"{one}@a.test",
                "active": True,
            }
            for one, name in names.items()
        ]
        self.change(lambda connection, _: upsert(connection, user, rows, update=("name",)))

    def policy(self, **words: float) -> None:
        matching = replace(self.account.policy.matching, **words)
        self.account = replace(self.account, policy=replace(self.account.policy, matching=matching))

    def look(self) -> None:
        """At all contacts."""
        snapshots = [
            ContactSnapshot(
                card=self.cards.get(one, ContactCard(crm_id=one)),
                values={"spiral_referrer_name": text},
                deals=(),
            )
            for one, text in self.texts.items()
        ]
        with self.database.read() as connection:
            found = look_up(connection, self.account, snapshots, now=NOW)
        if found is not None:
            self.change(lambda connection, r: update_referrals(connection, self.account, found, r))

    def referrals(self) -> list[dict[str, Any]]:
        with self.database.read() as connection:
            rows = connection.execute(
                sa.select(referral)
                .where(referral.c.account_id == self.account.id)
                .order_by(referral.c.id)
            )
            return [dict(row._mapping) for row in rows]

    def forget_searches(self) -> None:
        with self.database.write() as connection:
            connection.execute(sa.update(referral).values(searched_by=None))


@pytest.fixture
def company(database: Database) -> Company:
    return Company(database)


NAMES = ("Meyer", "Maier", "Meier", "Mayer-Lang", "Zimmermann", "Zimermann", "")
OWN_IDS = st.sampled_from(IDS)
STEPS = st.one_of(
    st.tuples(
        st.just("card"),
        OWN_IDS,
        st.fixed_dictionaries(
            {
                "first_name": st.sampled_from(("Anna", "Bernd", "A.")),
                "last_name": st.sampled_from(NAMES),
                "email": st.sampled_from(("", "anna@example.com", "7@a.test")),
                "company": st.sampled_from(("", "Autohaus Lang")),
                "created_at": st.sampled_from(
                    (None, NOW - timedelta(days=9), NOW + timedelta(days=1))
                ),
            }
        ),
    ),
    st.tuples(st.just("gone"), OWN_IDS),
    st.tuples(st.just("forgotten"), OWN_IDS),
    st.tuples(st.just("merged"), OWN_IDS, OWN_IDS),
    st.tuples(
        st.just("told"),
        st.sampled_from(IDS[:3]),
        st.sampled_from(("Anna Meyer", "Frau Zimmermann", "Anna Maier (Autohaus Lang)", "")),
    ),
    st.tuples(
        st.just("users"),
        st.dictionaries(st.sampled_from(("7", "8")), st.sampled_from(("Anna Meyer", "Jo Lang"))),
    ),
    st.tuples(st.just("look")),
)


@PLAIN
@given(st.lists(STEPS, max_size=25), st.sampled_from((0.5, 0.75)))
def test_what_was_not_searched_again_would_have_found_the_same(
    database: Database, steps: list[tuple[Any, ...]], link_score: float
) -> None:
    """Whatever happened to the directory, to users, texts and policy: who looks finds what a
    search from scratch finds."""
    company = Company(database)
    for name, *words in steps:
        if words and isinstance(words[-1], dict) and name == "card":
            company.card(words[0], **words[1])
        else:
            getattr(company, name)(*words)
    company.policy(link_score=link_score)
    company.look()
    found = company.referrals()
    company.forget_searches()
    company.look()

    assert company.referrals() == found


def test_a_second_look_searches_for_nobody(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for a name that may be two, nor for one that is nobody's."""
    company.card("101", first_name="Anna", last_name="Meyer")
    company.card("102", first_name="Anna", last_name="Maier")
    company.told("103", "Frau Meyer; Jemand Anderes")
    company.look()
    found = company.referrals()
    searches: list[str] = []
    search = naming.Search
    monkeypatch.setattr(
        naming, "Search", lambda text, **words: searches.append(text) or search(text, **words)
    )
    company.look()

    assert [row["outcome"] for row in found] == ["ambiguous", "none"]
    assert (company.referrals(), searches) == (found, [])


def test_the_last_who_may_be_meant_is_linked_when_the_other_goes(company: Company) -> None:
    """Of two who had the name one was a duplicate: on whom it was told is looked at again."""
    company.card("101", first_name="Anna", last_name="Meyer", created_at=NOW - timedelta(days=9))
    company.card("102", first_name="Anna", last_name="Meyer", created_at=NOW - timedelta(days=8))
    company.told("103", "Anna Meyer")
    company.look()
    company.concerned.clear()
    company.merged("102", "101")
    concerned = company.concerned.copy()
    company.look()

    assert "103" in concerned
    assert [(row["outcome"], row["referrer_id"]) for row in company.referrals()] == [
        ("linked", "101")
    ]


def test_an_older_database_keeps_its_referrals(database: Database) -> None:
    """Whichever way its schema goes; it has no column more than ours then."""
    company = Company(database)
    company.card("101", first_name="Anna", last_name="Zimmermann")
    company.told("102", "Anna Zimmermann; Carla")
    company.look()
    before = company.referrals()
    with database.write() as connection:
        config = database._alembic(connection)
        command.downgrade(config, "0004")
        old = connection.execute(sa.text("SELECT * FROM referral")).keys()
        command.upgrade(config, "head")
        new = connection.execute(sa.text("SELECT * FROM referral")).keys()

    assert (len(before), company.referrals()) == (2, before)
    assert {*old} - {*new} == {"score", "reasons"}
    assert {*new} == {column.name for column in referral.columns}


def test_an_older_database_gets_the_keys_of_today(databases: Databases) -> None:
    """Whoever was in the directory before an update is found by a misspelt name after it."""
    with databases.fresh() as url, closing(Database(url)) as database:
        company = Company(database)
        company.card("101", first_name="Anna", last_name="Zimmermann")
        company.told("102", "Bernd Zimmerman")
        company.look()
        keys = [sa.select(*table.c).order_by(*table.c) for table in (contact_key, referral_key)]
        with database.write() as connection:
            before = [connection.execute(one).all() for one in keys]
            config = database._alembic(connection)
            command.downgrade(config, "0003")
            old = [{**row._mapping, "key": "x:5:zimm"} for row in before[0][:1]]
            connection.execute(sa.insert(contact_key), old)
            command.upgrade(config, "0004")
            after = [connection.execute(one).all() for one in keys]
            names = connection.execute(sa.select(contact.c.last_name)).scalars().all()

    assert names == ["Zimmermann"]
    assert after == before
