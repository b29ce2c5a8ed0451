"""What is read from BottleCRM, and in how many calls."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.bottlecrm.reading import card
from adapters.recent import Recent
from plugin.errors import CrmRejected, CrmUnauthorized, CrmUnavailable
from plugin.ports import FieldUpdate, Page, Session
from schemas.bottlecrm import (
    ContactAnswerSchema,
    ContactSchema,
    DealSchema,
    DefinitionSchema,
    ProfileSchema,
)
from tests.adapters.bottlecrm import Connected
from tests.adapters.conftest import Time
from tests.payloads.bottlecrm.stand_in import Crm
from tests.stand_in import Fault

NOBODY = "00000000-0000-4000-8000-000000000000"
SOMEBODY = "11111111-1111-4111-8111-111111111111"
START = datetime(2026, 9, 14, 8, tzinfo=UTC)


@pytest.fixture
def there() -> Iterator[Connected]:
    crm = Crm()
    crm.clock = lambda: START
    with crm.serving():
        yield Connected(crm)


@pytest.fixture
def session(there: Connected) -> Session:
    return there.install()


def at(there: Connected, **since_start: float) -> None:
    there.crm.clock = lambda: START + timedelta(**since_start)


# ------------------------------------------------------------------------ contacts and deals


def test_a_contact_costs_a_call_and_each_deal_one(there: Connected, session: Session) -> None:
    """A deal that two contacts share is read once; who is gone costs a call, too."""
    erika, otto = there.crm.contact("Erika", "Muster"), there.crm.contact("Otto", "Beispiel")
    shared, own = there.crm.deal(erika, otto), there.crm.deal(erika)

    loaded = session.load([erika, otto, NOBODY], history=False, known_deals={})

    assert sorted(there.asked()) == sorted(
        [
            *(f"GET /api/contacts/{one}/" for one in (erika, otto, NOBODY)),
            *(f"GET /api/opportunities/{one}/" for one in (shared, own)),
        ]
    )
    assert {one.card.crm_id: {deal.crm_id for deal in one.deals} for one in loaded.contacts} == {
        erika: {shared, own},
        otto: {shared},
    }
    assert loaded.missing == {NOBODY}


def test_more_than_ten_deals_are_known_from_before(there: Connected, session: Session) -> None:
    """A contact's page shows ten; the others are asked for where they are known."""
    erika = there.crm.contact("Erika", "Muster")
    deals = {there.crm.deal(erika) for _ in range(12)}

    loaded = session.load([erika], history=False, known_deals={erika: sorted(deals)})

    assert {deal.crm_id for deal in loaded.contacts[0].deals} == deals
    assert len(there.asked()) == 1 + 12


def test_deals_nobody_knows_of_are_looked_for_in_the_list(
    there: Connected, session: Session
) -> None:
    """It tells the same of a deal as the deal itself."""
    erika, otto = there.crm.contact("Erika", "Muster"), there.crm.contact("Otto", "Beispiel")
    deals = [there.crm.deal(erika) for _ in range(12)]
    there.crm.deal(otto)

    listed = session.load([erika], history=False, known_deals={}).contacts[0]
    asked = there.asked()
    single = session.load([erika], history=False, known_deals={erika: deals}).contacts[0]

    assert len(listed.deals) == 12
    assert listed == single
    assert asked[-1] == "GET /api/opportunities/"


def test_few_deals_are_not_asked_for_again(there: Connected, session: Session) -> None:
    """Up to ten the contact's page tells all; what was known before does not matter."""
    erika, otto = there.crm.contact("Erika", "Muster"), there.crm.contact("Otto", "Beispiel")
    former = there.crm.deal(otto)

    loaded = session.load([erika], history=False, known_deals={erika: [former]})

    assert loaded.contacts[0].deals == ()
    assert there.asked() == [f"GET /api/contacts/{erika}/"]


def test_a_close_date_is_a_day_of_the_account(there: Connected) -> None:
    """Whatever its zone, the instant lies on that day there."""
    there.install()
    erika = there.crm.contact("Erika", "Muster")
    deal = there.crm.deal(erika)
    there.does(
        "PATCH", f"opportunities/{deal}/", {"stage": "CLOSED_WON", "closed_on": "2026-09-10"}
    )
    found = {}
    for zone in ("Europe/Berlin", "Pacific/Auckland", "America/Los_Angeles"):
        session = there.session(facts={"time_zone": zone})
        (read,) = session.load([erika], history=False, known_deals={}).contacts[0].deals
        found[zone] = read.closed_at

    assert found == {
        "Europe/Berlin": datetime(2026, 9, 10, 10, tzinfo=UTC),
        "Pacific/Auckland": datetime(2026, 9, 10, 0, tzinfo=UTC),
        "America/Los_Angeles": datetime(2026, 9, 10, 19, tzinfo=UTC),
    }
    assert (read.won, read.lost, read.won_at) == (True, False, START)


def test_a_deal_without_currency_is_in_that_of_the_organisation(
    there: Connected, session: Session
) -> None:
    """As the contact's page shows it."""
    erika = there.crm.contact("Erika", "Muster")
    told = {"name": "Bad", "contacts": [erika], "amount": "10"}
    there.does("POST", "opportunities/", told)

    (deal,) = session.load([erika], history=False, known_deals={}).contacts[0].deals

    assert deal.currency == "EUR"


@pytest.mark.parametrize(
    ("profiles", "owner"),
    [
        ([], None),
        ([(NOBODY, False)], NOBODY),
        ([(NOBODY, False), (SOMEBODY, True)], SOMEBODY),
        ([(SOMEBODY, True), (NOBODY, True)], SOMEBODY),
    ],
)
def test_the_owner_is_the_first_who_is_still_there(
    profiles: list[tuple[str, bool]], owner: str | None
) -> None:
    """Contacts have any number of owners; the last who left is better than nobody."""
    assigned = [{"id": one, "is_active": active} for one, active in profiles]

    assert card(ContactSchema().load({"id": NOBODY, "assigned_to": assigned})).owner_id == owner


def test_somebody_at_a_company_without_its_name_is_at_its_account() -> None:
    """The free text wins: it is what the rep typed for this person."""
    account = {"id": SOMEBODY, "name": "Muster GmbH"}
    found = [
        card(ContactSchema().load({"id": NOBODY, "organization": name, "account_detail": account}))
        for name in (None, "", "Muster & Söhne")
    ]

    assert [one.company for one in found] == ["Muster GmbH", "Muster GmbH", "Muster & Söhne"]


def test_only_fields_that_are_switched_on_are_read(there: Connected, session: Session) -> None:
    """A field deleted in BottleCRM keeps its values, but is none of ours any more."""
    erika = there.crm.contact("Erika", "Muster")
    session.write_fields([FieldUpdate(contact_id=erika, values={"spiral_stage": "loyalty"})])
    there.crm.take_field_away("spiral_stage")

    values = session.load([erika], history=False, known_deals={}).contacts[0].values

    assert "spiral_stage" not in values
    assert "spiral_rating" in values


def test_many_contacts_are_looked_for_in_the_list(there: Connected, session: Session) -> None:
    """Read once for all batches of one check; only those not in it are asked for singly."""
    ids = [there.crm.contact("Erika", f"Muster{n}") for n in range(40)]
    there.crm.delete(ids[0])

    found = session.existing(ids[:20]) | session.existing(ids[20:])

    assert found == frozenset(ids[1:])
    assert there.asked() == ["GET /api/contacts/", f"GET /api/contacts/{ids[0]}/"]


def test_a_contact_made_after_the_list_was_read_is_there(
    there: Connected, session: Session
) -> None:
    """The list is good for ten minutes."""
    ids = [there.crm.contact("Erika", f"Muster{n}") for n in range(10)]
    session.existing(ids)
    new = there.crm.contact("Otto", "Beispiel")
    there.crm.calls.clear()

    assert session.existing([*ids[1:], new]) == {*ids[1:], new}
    assert there.asked() == [f"GET /api/contacts/{new}/"]


def test_the_list_is_read_again_after_ten_minutes(
    there: Connected, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check of the next week begins anew."""
    assert Recent.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(Recent.__init__.__kwdefaults__, "clock", time.clock)
    session = there.install()
    ids = [there.crm.contact("Erika", f"Muster{n}") for n in range(10)]
    for seconds in (0, 599, 1):
        time.sleep(seconds)
        session.existing(ids)

    assert there.asked() == ["GET /api/contacts/"] * 2


def test_few_contacts_are_asked_for_singly(there: Connected, session: Session) -> None:
    """The list of all would cost more."""
    ids = [there.crm.contact("Erika", f"Muster{n}") for n in range(9)]

    assert session.existing(ids) == frozenset(ids)
    assert sorted(there.asked()) == sorted(f"GET /api/contacts/{one}/" for one in ids)


def test_what_is_null_is_empty() -> None:
    """Lists, switches and parts, wherever they come from."""
    nothing = {"assigned_to": None, "custom_fields": None, "account_detail": None}
    contact = {"id": NOBODY, **nothing}
    answer = {
        "contact_obj": contact,
        "opportunities": None,
        "opportunity_count": None,
        "tasks": None,
        "custom_field_definitions": None,
    }
    deal = {"id": NOBODY, "contacts": None, "assigned_to": None}
    profile = {"id": NOBODY, "user_details": None, "is_active": None}
    definition = {
        "id": NOBODY,
        "key": "k",
        "field_type": "text",
        "options": None,
        "is_active": None,
    }

    told = ContactAnswerSchema().load(answer)

    assert card(told["contact"]).owner_id is None
    assert {k: v for k, v in told.items() if k != "contact"} == {
        "deals": [], "deal_count": 0, "tasks": [], "definitions": [],
    }  # fmt: skip
    assert DealSchema().load(deal)["contacts"] == DealSchema().load(deal)["assigned_to"] == []
    assert ProfileSchema().load(profile) == ProfileSchema().load({"id": NOBODY})
    assert DefinitionSchema().load(definition) == DefinitionSchema().load(
        {k: v for k, v in definition.items() if v is not None}
    )


def test_one_odd_contact_is_that_contacts_fault(
    there: Connected, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists leave it out; where nothing can be read, it is BottleCRM's."""
    erika = there.crm.contact("Erika", "Muster")
    otto = there.crm.contact("Otto", "Beispiel")
    answer = there.crm.answer

    def spoilt(*asked: Any) -> Any:
        status, content, headers = answer(*asked)
        told = content.get("results", [content.get("contact_obj")])
        for one in told:
            if one["id"] in odd:
                one["assigned_to"] = "nobody"
        return status, content, headers

    monkeypatch.setattr(there.crm, "answer", spoilt)

    odd = {erika}
    with pytest.raises(CrmRejected, match="a record of an unknown form: contact_obj"):
        session.load([otto, erika], history=False, known_deals={})
    assert [one.crm_id for one in session.list_contacts(None).items] == [otto]
    odd = {erika, otto}
    with pytest.raises(CrmUnavailable, match="has an unknown form: assigned_to"):
        session.list_contacts(None)


def test_a_contact_deleted_meanwhile_hides_no_other(there: Connected, session: Session) -> None:
    """Pages overlap, and what was told before is left out."""
    ids = [there.crm.contact("Erika", f"Muster{n}") for n in range(205)]
    at(there, minutes=1)
    first = session.list_contacts(None)
    for gone in ids[-5:]:
        there.crm.delete(gone)

    second = session.list_contacts(first.cursor)

    told = [card.crm_id for card in (*first.items, *second.items)]
    assert second.cursor is None
    assert sorted(told) == sorted(ids)


# --------------------------------------------------------------------------- what has changed


def test_changed_deals_are_told_by_the_feed(there: Connected, session: Session) -> None:
    """In one call, while it reaches back so far."""
    erika = there.crm.contact("Erika", "Muster")
    there.crm.deal(erika)
    at(there, hours=1)
    changed = there.crm.deal(erika)

    page = session.deals_changed_since(START + timedelta(minutes=30), None)

    assert page == Page(items=(changed,), cursor=None)
    assert there.asked() == ["GET /api/activities/"]


def test_a_feed_that_is_too_short_is_made_up_for_by_the_list(
    there: Connected, session: Session
) -> None:
    """It shows fifty doings; deals that were made or moved since are in the list, too."""
    erika = there.crm.contact("Erika", "Muster")
    there.crm.deal(erika)
    at(there, hours=1)
    moved, busy = there.crm.deal(erika), there.crm.deal(erika)
    for n in range(60):
        there.does("PATCH", f"opportunities/{busy}/", {"amount": str(n)})

    since = START + timedelta(minutes=30)
    first = session.deals_changed_since(since, None)
    second = session.deals_changed_since(since, first.cursor)

    assert first.items == (busy,)
    assert (set(second.items), second.cursor) == ({moved, busy}, None)


# ------------------------------------------------------------------------------------ refusals


def test_a_missing_scope_is_named(there: Connected, session: Session) -> None:
    """The account waits, and its admin knows what for."""
    narrow = there.session(token=there.crm.mint("contacts:read"))
    erika = there.crm.contact("Erika", "Muster")

    with pytest.raises(CrmUnauthorized) as caught:
        narrow.write_fields([FieldUpdate(contact_id=erika, values={"spiral_stage": "loyalty"})])

    assert str(caught.value) == (
        f"BottleCRM answered 403 scope contacts:write missing to PATCH /api/contacts/{erika}/"
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":true,"errors":"You don\'t have permission to perform this action."}',
        b'{"detail":"You do not have Permission to perform this action"}',
    ],
)
def test_a_refused_record_does_not_stop_the_account(
    there: Connected, session: Session, body: bytes
) -> None:
    """403 means a single record here, too."""
    erika = there.crm.contact("Erika", "Muster")
    there.crm.faults.append(Fault(on="^PATCH ", status=403, body=body))

    failures = session.write_fields(
        [FieldUpdate(contact_id=erika, values={"spiral_stage": "loyalty"})]
    )

    assert [(one.item, one.gone) for one in failures] == [(erika, False)]


def test_a_module_that_is_off_is_no_missing_record(there: Connected, session: Session) -> None:
    """404 for all of *Deals* must not look like deals that were deleted."""
    off = b'{"detail":"Deals is switched off.","code":"module_off","module":"deals"}'
    there.crm.faults.append(Fault(on="^GET /api/opportunities/", status=404, body=off))

    with pytest.raises(CrmRejected, match="404 module_off"):
        session.deal_contacts([NOBODY])


def test_a_refused_value_is_told_by_its_field(there: Connected, session: Session) -> None:
    """Not by the value, nor by BottleCRM's words, which may quote it."""
    erika = there.crm.contact("Erika", "Muster")

    (failure,) = session.write_fields(
        [FieldUpdate(contact_id=erika, values={"spiral_stage": "geheim"})]
    )

    assert failure.reason.endswith(f"PATCH /api/contacts/{erika}/: spiral_stage not_an_option")
