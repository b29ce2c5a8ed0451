"""Records are read as they are now, whatever was known of them before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine

from plugin.manifest import Direction, FieldType, manifest
from plugin.ports import ContactCard, DealSnapshot, Delivery, FieldUpdate, Page, User
from tests.conformance.account import Account
from tests.conformance.promise import Promise
from tests.stand_in import Unsupported

PERSON: Mapping[str, str] = {
    "first": "Zoë", "last": "Groß-Müller", "email": "zoe@example.com", "phone": "+498912345678",
    "company": "Stadtbäckerei", "city": "Köln",
}  # fmt: skip
SCORE = "spiral_referrals_given"
MANY = 230
"""More than one page of any list."""
NOBODY = ("", "0", "no-such-contact", "../users", "1/../2", "%2e%2e", "a b", "ü", "9" * 30)
"""Ids that no contact of any CRM has."""


class TestReading(Promise):
    # --------------------------------------------------------------------------- contacts

    def test_a_contact_is_read_with_who_it_is(self, account: Account) -> None:
        """The same card from everywhere; where the CRM has no place for a company or a city, it
        is empty."""
        owner = account.crm.owner_id
        contact = account.crm.contact(owner=owner, **_named())
        before = account.crm.clock() - timedelta(minutes=5)

        loaded = account.loaded(contact).card
        (listed,) = _all(account.session().list_contacts)
        changed = _changed_since(account, before)

        assert loaded.created_at is not None
        assert abs(loaded.created_at - account.crm.clock()) < timedelta(minutes=1)
        assert loaded == ContactCard(
            crm_id=contact, first_name="Zoë", last_name="Groß-Müller", email="zoe@example.com",
            phones=("+498912345678",), company=loaded.company, city=loaded.city, owner_id=owner,
            created_at=loaded.created_at,
        )  # fmt: skip
        assert loaded.company in ("", "Stadtbäckerei")
        assert loaded.city in ("", "Köln")
        assert (listed, changed) == (loaded, [loaded])

    def test_a_contact_with_nothing_but_a_name_is_read(self, account: Account) -> None:
        """Nothing is made up."""
        card = account.loaded(account.crm.contact("Erika", "Muster")).card

        assert replace(card, crm_id="1", created_at=None, owner_id=None) == ContactCard(
            crm_id="1", first_name="Erika", last_name="Muster"
        )

    def test_what_people_filled_in_is_read(self, account: Account) -> None:
        """Every *in* field, in the manifest's own form, one value after the other."""
        account.install()
        contact = account.crm.contact("Erika", "Muster")
        wrong = []
        for values in _in_values():
            account.later()
            account.crm.change(contact, **values)
            found = account.loaded(contact).values
            wrong += [(key, found.get(key)) for key, value in values.items()
                      if not _means(key, found.get(key), value)]  # fmt: skip

        assert wrong == []

    def test_all_our_fields_are_read_and_no_others(self, account: Account) -> None:
        """Those that are installed; none before."""
        contact = account.crm.contact("Erika", "Muster")

        assert dict(account.loaded(contact).values) == {}
        account.install()
        values = account.loaded(contact).values
        assert account.fields is not None
        assert set(values) <= account.fields
        assert account.fields - set(values) <= {"spiral_referrer"}
        assert {key for key, value in values.items() if not _is_empty(key, value)} == set()

    @pytest.mark.parametrize("key", ["spiral_rating", "spiral_referrer_name", "spiral_stage"])
    def test_a_field_that_was_taken_away_is_not_taken_for_an_empty_one(
        self, account: Account, key: str
    ) -> None:
        """Whoever reads "" would act on it: the key is left out. The others go on as before."""
        session = account.install()
        contact = account.crm.contact("Erika", "Muster")
        account.crm.change(contact, spiral_rating="angry", spiral_referrer_name="Hans")
        account.crm.take_field_away(key)

        before = account.loaded(contact).values
        written = {"spiral_readiness": "not_yet", SCORE: "3"}
        failures = session.write_fields([FieldUpdate(contact_id=contact, values=written)])

        assert key not in before
        assert failures == ()
        kept = {"spiral_rating": "angry", "spiral_referrer_name": "Hans", **written}
        kept.pop(key, "")
        assert kept.items() <= account.loaded(contact).values.items()

    # ------------------------------------------------- what was told, and what is there now

    @pytest.mark.parametrize("late", [False, True], ids=["worked on late", "arrived late"])
    def test_what_was_told_a_day_ago_stands_in_for_nothing(
        self, account: Account, late: bool
    ) -> None:
        """However full a delivery is: it waited for us, or for the network, and the CRM has gone
        on since."""
        contact, angry = _rated(account, "angry")
        account.later()
        account.crm.change(contact, spiral_rating="delighted")
        account.crm.deliveries.clear()
        day = timedelta(days=1)

        with time_machine.travel(datetime.now(UTC) + day):
            for one in angry:
                account.adapter.parse(account.received(one, after=-day * (not late)))
            assert _rating(account, contact) == "delighted"

    @pytest.mark.parametrize(
        "order",
        ["first, second", "second, first", "second, reading, first", "second, writing, first"],
    )
    def test_deliveries_in_any_order_show_the_present(self, account: Account, order: str) -> None:
        """An older one that comes after a newer one was used, or after we wrote, changes nothing
        of what is read next."""
        contact, first = _rated(account, "angry")
        account.later()
        account.crm.change(contact, spiral_rating="delighted")
        second = account.taken()
        account.later()
        stage = ""

        for step in order.split(", "):
            match step:
                case "reading":
                    assert _rating(account, contact) == "delighted"
                case "writing":
                    stage = "loyalty"
                    update = FieldUpdate(contact_id=contact, values={"spiral_stage": stage})
                    account.session().write_fields([update])
                case _:
                    for one in first if step == "first" else second:
                        account.adapter.parse(account.received(one))

        values = _values(account, contact)
        assert (values["spiral_rating"], values["spiral_stage"]) == ("delighted", stage)

    # ------------------------------------------------------------------------ who is there

    def test_who_is_not_there_is_missing(self, account: Account) -> None:
        """Deleted, never there, or no id at all: the others are read all the same."""
        here, gone = account.crm.contact("Erika", "Muster"), account.crm.contact("Otto", "Fort")
        account.crm.delete(gone)
        asked = [*NOBODY, gone, here]

        for batch in _batches(account, asked):
            loaded = account.session().load(batch, history=False, known_deals={})
            assert [one.card.crm_id for one in loaded.contacts] == [i for i in batch if i == here]
            assert loaded.missing == set(batch) - {here}
            assert account.session().existing(batch) == {here} & set(batch)

    def test_a_full_batch_is_read_at_once(self, account: Account) -> None:
        """As many as the declaration says; asking for nobody is no fault."""
        ids = [
            account.crm.contact("Erika", f"Muster{n}")
            for n in range(account.declaration.batch_size)
        ]

        loaded = account.session().load(ids, history=False, known_deals={})

        assert {one.card.crm_id for one in loaded.contacts} == set(ids)
        assert loaded.missing == frozenset()
        assert account.session().existing(ids) == set(ids)
        assert account.session().existing([]) == frozenset()
        nobody = account.session().load([], history=False, known_deals={})
        assert (nobody.contacts, nobody.missing) == ((), frozenset())

    def test_the_history_of_a_field_is_read_or_there_is_none(self, account: Account) -> None:
        """Where the CRM keeps it: every value with its time; else the present one is all."""
        account.install()
        contact = account.crm.contact("Erika", "Muster")
        for value in ("angry", "satisfied", ""):
            account.later()
            account.crm.change(contact, spiral_rating=value)

        loaded = account.session().load([contact], history=True, known_deals={})

        (found,) = loaded.contacts
        told = [one for one in found.changes if one.field == "spiral_rating"]
        if account.declaration.history_batch_size:
            assert [one.value for one in told] == ["angry", "satisfied", ""]
            assert sorted(told, key=lambda one: one.at) == told
        else:
            assert found.changes == ()
        assert found.values["spiral_rating"] == ""

    def test_a_mapped_score_is_read(self, account: Account) -> None:
        """The field that the admin chose for it, by the CRM's own name; without one there is none.
        Here it is one of ours, for want of another that every CRM has."""
        account.install()
        contact, unrated = account.crm.contact("Erika", "M"), account.crm.contact("Otto", "B")
        values = {SCORE: "9"}
        account.session().write_fields([FieldUpdate(contact_id=contact, values=values)])
        named = [name for fact, name in account.facts.items() if fact.endswith(SCORE)]
        mapped = account.session(rating_property=named[0] if named else SCORE)

        batches = _batches(account, [contact, unrated])
        scores = {
            one.card.crm_id: one.score
            for batch in batches
            for one in mapped.load(batch, history=False, known_deals={}).contacts
        }

        assert scores == {contact: "9", unrated: ""}
        assert account.loaded(contact).score == ""

    # ------------------------------------------------------------------------------ lists

    def test_all_contacts_are_listed_page_by_page(self, account: Account) -> None:
        """All of them, deleted ones not; some may come on two pages."""
        ids = [account.crm.contact("Erika", f"Muster{n}") for n in range(MANY)]
        account.crm.delete(ids.pop())

        found = [card.crm_id for card in _all(account.session().list_contacts)]

        assert set(found) == set(ids)
        assert len(found) < 2 * len(ids)

    def test_what_changed_is_listed_oldest_first(self, account: Account) -> None:
        """Of many, only those changed since, over as many pages as it takes."""
        ids = []
        for n in range(MANY):
            account.later(0.5)
            ids.append(account.crm.contact("Erika", f"Muster{n}"))
        since_all = account.crm.clock() - timedelta(seconds=MANY)
        account.later(60)
        since = account.crm.clock() - timedelta(seconds=5)
        changed = [ids[n] for n in (7, 3, 200)]
        for contact in changed:
            account.later(2)
            account.crm.change(contact, last="Sommer")

        every = [card.crm_id for card in _changed_since(account, since_all)]
        some = [card.crm_id for card in _changed_since(account, since)]

        assert sorted(set(every)) == sorted(ids)
        assert list(dict.fromkeys(some)) == changed

    def test_deals_that_changed_are_listed(self, account: Account) -> None:
        """Those changed since, and none that did not."""
        contact = account.crm.contact("Erika", "Muster")
        old, won = account.crm.deal(contact), account.crm.deal(contact)
        account.later(60)
        since = account.crm.clock() - timedelta(seconds=5)
        account.crm.win(won)
        new = account.crm.deal(contact)
        session = account.session()

        found = _all(lambda cursor: session.deals_changed_since(since, cursor))

        assert set(found) == {won, new}
        assert old not in found

    # ------------------------------------------------------------------------------ deals

    def test_deals_are_read_with_what_became_of_them(self, account: Account) -> None:
        """Open, won and lost; each is a sum, a name and all its contacts."""
        first, second = account.crm.contact("Erika", "Muster"), account.crm.contact("Otto", "Bsp")
        opened = account.crm.deal(first, name="Küche", amount="1000")
        won = account.crm.deal(first, second, name="Bad", amount="2500.5")
        lost = account.crm.deal(second, name="Dach", amount="3")
        account.later()
        account.crm.win(won)
        account.crm.lose(lost)

        deals = {one.crm_id: one for one in account.loaded(first).deals}
        others = {one.crm_id: one for one in account.loaded(second).deals}

        assert deals.keys() == {opened, won}
        assert others.keys() == {won, lost}
        assert others[won] == deals[won]
        assert _deal(deals[opened]) == ("Küche", Decimal(1000), False, False, {first})
        assert _deal(deals[won]) == ("Bad", Decimal("2500.5"), True, False, {first, second})
        assert _deal(others[lost]) == ("Dach", Decimal(3), False, True, {second})
        for deal in (*deals.values(), *others.values()):
            assert abs(deal.created_at - account.crm.clock()) < timedelta(minutes=1)
            assert deal.primary_contact_id in (None, first, second)
        assert deals[won].primary_contact_id in (None, first)
        assert deals[won].won_at or deals[won].closed_at

    def test_a_deal_is_told_in_its_currency(self, account: Account) -> None:
        """And, where the CRM converts, in the account's own, too."""
        contact = account.crm.contact("Erika", "Muster")
        account.crm.deal(contact, name="Bad", amount="2500.5", currency="CHF")
        account.crm.deal(contact, name="Dach", amount="700", currency="EUR")
        home = account.session().account().currency

        deals = {one.name: one for one in account.loaded(contact).deals}

        assert home == "EUR"
        assert (deals["Bad"].amount, deals["Bad"].currency) == (Decimal("2500.5"), "CHF")
        assert deals["Dach"].amount == Decimal(700)
        assert deals["Dach"].currency in (home, None)
        assert deals["Bad"].home_amount in (None, Decimal("2625.53"), Decimal("2625.525"))
        assert deals["Dach"].home_amount in (None, Decimal(700))

    @pytest.mark.parametrize("known", ["nothing", "the other", "both"])
    def test_a_deal_put_aside_is_still_a_deal(self, account: Account, known: str) -> None:
        """Where the CRM has an archive: what is in it is read, listed and belongs to its contacts
        like what is not."""
        contact = account.crm.contact("Erika", "Muster")
        other, aside = (account.crm.deal(contact, name=name) for name in ("A", "B"))
        account.later(60)
        since = account.crm.clock() - timedelta(seconds=5)
        account.crm.win(aside)
        with suppress(Unsupported):
            account.crm.archive(aside)
        hints: dict[str, dict[str, Sequence[str]]] = {
            "nothing": {}, "the other": {contact: (other,)}, "both": {contact: (other, aside)},
        }  # fmt: skip
        session = account.session()

        loaded = session.load([contact], history=False, known_deals=hints[known])

        assert {deal.crm_id: deal.won for found in loaded.contacts for deal in found.deals} == {
            other: False, aside: True,
        }  # fmt: skip
        assert set(_all(lambda cursor: session.deals_changed_since(since, cursor))) == {aside}
        assert session.deal_contacts([aside]) == {aside: (contact,)}

    def test_contacts_of_deals_are_told(self, account: Account) -> None:
        """All of each; a deal that is gone or has none is absent."""
        first, second = account.crm.contact("Erika", "Muster"), account.crm.contact("Otto", "Bsp")
        one, both = account.crm.deal(first), account.crm.deal(first, second)
        gone, nobodys = account.crm.deal(first), account.crm.deal()
        account.crm.delete_deal(gone)

        found = account.session().deal_contacts([one, both, gone, nobodys])

        assert {deal: set(ids) for deal, ids in found.items()} == {
            one: {first}, both: {first, second},
        }  # fmt: skip
        assert account.session().deal_contacts([]) == {}

    @pytest.mark.parametrize(
        "known", ["nothing", "none", "right", "too few", "gone", "foreign", "too many", "swapped"]
    )
    def test_known_deals_are_only_a_hint(self, account: Account, known: str) -> None:
        """Whatever was known before, the deals are those the CRM has now."""
        contact, other = account.crm.contact("Erika", "Muster"), account.crm.contact("Otto", "B")
        one, two, gone = (account.crm.deal(contact, name=name) for name in ("A", "B", "C"))
        foreign = account.crm.deal(other, name="D")
        account.crm.delete_deal(gone)
        hints: dict[str, dict[str, Sequence[str]]] = {
            "nothing": {},
            "none": {contact: ()},
            "right": {contact: (one, two)},
            "too few": {contact: (two,)},
            "gone": {contact: (one, two, gone)},
            "foreign": {contact: (one, foreign)},
            "too many": {contact: (one, two, foreign, gone)},
            "swapped": {contact: (foreign,), other: (one, two)},
        }

        loaded = account.session().load([contact, other], history=False, known_deals=hints[known])

        assert {
            found.card.crm_id: {deal.crm_id for deal in found.deals} for found in loaded.contacts
        } == {contact: {one, two}, other: {foreign}}

    def test_a_known_deal_is_read_afresh(self, account: Account) -> None:
        """That it is known says nothing about what became of it."""
        contact = account.crm.contact("Erika", "Muster")
        deal = account.crm.deal(contact)
        session = account.session()
        session.load([contact], history=False, known_deals={contact: (deal,)})
        account.later()
        account.crm.win(deal)

        loaded = session.load([contact], history=False, known_deals={contact: (deal,)})

        assert [[one.won for one in found.deals] for found in loaded.contacts] == [[True]]

    # ------------------------------------------------------------------ users and account

    def test_users_are_read(self, account: Account) -> None:
        """Whoever an owner field may hold, each once; deactivated ones are told as such."""
        users = account.session().users()
        found = {user.crm_id: user for user in users}

        assert len(found) == len(users)
        for owner in (account.crm.owner_id, account.crm.other_owner_id):
            user = found[owner]
            assert user == User(crm_id=owner, name=user.name, email=user.email, active=True)
            assert user.name

    def test_who_left_is_nobodys_owner_any_more(self, account: Account) -> None:
        """A deactivated user is told as such, or not at all; never as active."""
        account.crm.deactivate(account.crm.other_owner_id)
        active = {user.crm_id for user in account.session().users() if user.active}

        assert account.crm.owner_id in active
        assert account.crm.other_owner_id not in active

    def test_the_account_says_who_it_is(self, account: Account) -> None:
        """Its id, its zone by a name there is, its currency by its code, a link to a contact."""
        facts = account.session().account()

        assert facts.crm_id == account.crm.account_crm_id
        assert facts.name
        assert facts.time_zone is None or ZoneInfo(facts.time_zone)
        assert facts.currency is None or (len(facts.currency) == 3 and facts.currency.isupper())
        assert facts.record_url is None or facts.record_url.format(id="7").count("7") >= 1
        assert facts.record_url is None or facts.record_url.count("{id}") == 1

    def test_calls_are_counted(self, account: Account) -> None:
        """The benchmark and the log say how many requests were sent."""
        session = account.session()
        account.crm.calls.clear()
        session.account()
        session.users()
        _all(session.list_contacts)

        assert session.calls == len(account.crm.calls) > 0


def _rated(account: Account, rating: str) -> tuple[str, list[Delivery]]:
    """A contact whose rating was told, and the deliveries that tell it."""
    account.install()
    account.listen()
    contact = account.crm.contact("Erika", "Muster")
    account.taken()
    account.later()
    account.crm.change(contact, spiral_rating=rating)
    return contact, account.taken()


def _values(account: Account, contact: str) -> Mapping[str, str]:
    """As somebody reads them who knows of no deals, and that there are none."""
    known: Mapping[str, Sequence[str]] = {contact: ()}
    loaded = account.session().load([contact], history=False, known_deals=known)
    (found,) = loaded.contacts
    return found.values


def _rating(account: Account, contact: str) -> str:
    return _values(account, contact)["spiral_rating"]


def _named(**more: str) -> dict[str, Any]:
    return {**PERSON, **more}


def _all(page_at: Any) -> list[Any]:
    """Every page of a list, one after the other."""
    items: list[Any] = []
    cursor: str | None = None
    for turn in count():
        page: Page[Any] = page_at(cursor)
        items += page.items
        cursor = page.cursor
        if cursor is None:
            return items
        assert turn < MANY, "a list without end"
    raise AssertionError


def _changed_since(account: Account, since: Any) -> list[ContactCard]:
    session = account.session()
    return _all(lambda cursor: session.contacts_changed_since(since, cursor))


def _batches(account: Account, ids: Sequence[str]) -> list[Sequence[str]]:
    size = account.declaration.batch_size
    return [ids[at : at + size] for at in range(0, len(ids), size)]


def _deal(deal: DealSnapshot) -> tuple[str, Decimal | None, bool, bool, set[str]]:
    return deal.name, deal.amount, deal.won, deal.lost, set(deal.contact_ids)


def _in_values() -> list[dict[str, str]]:
    """Rounds of values that people may type, until every option was chosen."""
    texts = ["Frau Dr. Meyer; „Hans“ <Groß> & Söhne", "x", ""]
    samples = {
        FieldType.LINE: texts,
        FieldType.TEXT: ["Zeile eins\nZeile zwei: 100 % 🙂", *texts],
        FieldType.DATE: ["2026-09-13", "2024-02-29", ""],
        FieldType.BOOL: ["true", "false", "true"],
    }
    rounds = []
    for turn in range(10):
        values = {}
        for field in manifest().fields:
            if field.direction is Direction.IN:
                options = [option.value for option in field.options]
                choices = samples.get(field.type) or [*options, ""]
                if field.type is FieldType.MULTI_ENUM:
                    choices = [*options, ";".join(options), ""]
                values[field.key] = choices[turn % len(choices)]
        rounds.append(values)
    return rounds


def _means(key: str, found: str | None, wanted: str) -> bool:
    """Equal; an empty yes/no is a no."""
    if manifest().field(key).type is FieldType.BOOL:
        return found is not None and (found or "false") == (wanted or "false")
    return found == wanted


def _is_empty(key: str, value: str) -> bool:
    return _means(key, value, "")
