"""Reading Pipedrive: what is told, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from plugin.errors import CrmRejected, CrmUnavailable, RecordGone
from plugin.manifest import manifest
from plugin.ports import (
    AccountFacts,
    ContactCard,
    ContactSnapshot,
    DealSnapshot,
    LinkUpdate,
    Page,
    User,
)
from tests.adapters.pipedrive import NOON, Company, Reply, company


@pytest.fixture
def acme() -> Iterator[Company]:
    with company() as opened:
        yield opened


def load(acme: Company, *ids: str, known: dict[str, list[str]] | None = None) -> ContactSnapshot:
    """The first of these contacts."""
    found = acme.session().load(ids, history=False, known_deals=known or {})
    return found.contacts[0]


def deal_ids(contact: ContactSnapshot) -> list[str]:
    return [deal.crm_id for deal in contact.deals]


# ---------------------------------------------------------------------------- contacts


def test_a_contact_is_read_whole(acme: Company) -> None:
    """Card, values, deals and referrer, in the words of the ports."""
    acme.install()
    referrer = acme.crm.contact("Otto", "Beispiel")
    one = acme.crm.contact(
        "Erika", "Muster", email="erika@example.com", phone="+49 89 123", company="Bäckerei GmbH",
        city="München",
    )  # fmt: skip
    acme.crm.change(
        one, spiral_rating="delighted", spiral_rated_on="2026-09-13", spiral_do_not_ask="true",
        spiral_contact_consent="email;phone", spiral_recommended_words="Schön & gut",
    )  # fmt: skip
    acme.session().link_referrers([LinkUpdate(contact_id=one, referrer_id=referrer)])
    deal = acme.crm.deal(one, name="Küche", amount="1000.50")
    acme.later(minutes=1)
    acme.crm.win(deal)

    found = load(acme, one)

    empty = {field.key: "" for field in manifest().fields if field.key != "spiral_referrer"}
    assert found == ContactSnapshot(
        card=ContactCard(
            crm_id=one,
            first_name="Erika",
            last_name="Muster",
            email="erika@example.com",
            phones=("+49 89 123",),
            company="Bäckerei GmbH",
            city="München",
            owner_id=acme.crm.owner_id,
            created_at=NOON,
        ),
        values={
            **empty,
            "spiral_rating": "delighted",
            "spiral_rated_on": "2026-09-13",
            "spiral_do_not_ask": "true",
            "spiral_contact_consent": "phone;email",
            "spiral_recommended_words": "Schön & gut",
        },
        deals=(
            DealSnapshot(
                crm_id=deal,
                name="Küche",
                created_at=NOON,
                won=True,
                lost=False,
                closed_at=NOON + timedelta(minutes=1),
                won_at=NOON + timedelta(minutes=1),
                pipeline="1",
                amount=Decimal("1000.5"),
                currency="EUR",
                home_amount=None,
                owner_id=acme.crm.owner_id,
                contact_ids=(one,),
                primary_contact_id=one,
            ),
        ),
        referrer_ids=(referrer,),
    )


def test_a_mapped_score_is_read(acme: Company) -> None:
    """From a numerical field of the account's own, by its code."""
    acme.install()
    code = acme.crm.company.add_field("NPS", "double").code
    one = acme.crm.contact("Erika", "Muster")
    acme.crm.company.records["persons"][int(one)]["custom_fields"][code] = 9.0

    (found,) = (
        acme.session(rating_property=code).load([one], history=False, known_deals={}).contacts
    )

    assert found.score == "9"


def test_names_fall_back_to_the_whole_name(acme: Company) -> None:
    """Old persons have a name and no parts of it."""
    one = acme.crm.contact("", "")
    acme.crm.company.records["persons"][int(one)]["name"] = "Erika Muster"

    assert load(acme, one).card.name == "Erika Muster"


def test_few_are_read_one_by_one_and_many_by_a_list(acme: Company) -> None:
    """One token each, or ten for up to a hundred."""
    ids = [acme.crm.contact("Erika", str(at)) for at in range(100)]

    acme.session().load(ids[:9], history=False, known_deals={})
    assert acme.cost == 9
    acme.session().load(ids, history=False, known_deals={})
    assert acme.asked == [f"GET /api/v2/persons {','.join(ids)}"]


def test_an_organization_is_read_once(acme: Company) -> None:
    """Its name and city stay known for an hour, or until the directory is read anew."""
    one = acme.crm.contact("Erika", "Muster", company="Bäckerei GmbH", city="München")
    session = acme.session()

    for _ in range(2):
        session.load([one], history=False, known_deals={})
    assert acme.asked == [
        f"GET /api/v2/persons/{one}", "GET /api/v2/organizations/301", f"GET /api/v2/persons/{one}",
    ]  # fmt: skip
    session.list_contacts(None)
    assert acme.asked == ["GET /api/v2/persons", "GET /api/v2/organizations/301"]
    acme.later(hours=1)
    session.load([one], history=False, known_deals={})
    assert acme.asked == [f"GET /api/v2/persons/{one}", "GET /api/v2/organizations/301"]


def test_a_deleted_contact_is_missing(acme: Company) -> None:
    """Pipedrive keeps it for 30 days, marked."""
    one = acme.crm.contact("Erika", "Muster")
    acme.crm.delete(one)

    found = acme.session().load([one], history=False, known_deals={})

    assert found.missing == {one}
    assert acme.session().existing([one]) == frozenset()


def test_a_404_alone_makes_nobody_missing(acme: Company) -> None:
    """A list has to say so, too; where it is not there either, the address is wrong."""
    one = acme.crm.contact("Erika", "Muster")
    acme.replies = [Reply(on="persons", status=404), Reply(on="persons", status=404)]

    with pytest.raises(RecordGone):
        acme.session().load([one], history=False, known_deals={})
    acme.replies = [Reply(on="persons", status=404)]
    assert load(acme, one).card.crm_id == one


# ------------------------------------------------------------------------------- deals


def test_without_deals_nothing_more_is_asked(acme: Company) -> None:
    """The counts say so."""
    one = acme.crm.contact("Erika", "Muster")

    assert load(acme, one).deals == ()
    assert acme.asked == [f"GET /api/v2/persons/{one}"]


def test_unknown_deals_are_asked_for(acme: Company) -> None:
    """By the person, since nothing else names them."""
    one = acme.crm.contact("Erika", "Muster")
    deal = acme.crm.deal(one)

    assert deal_ids(load(acme, one)) == [deal]
    assert acme.asked == [f"GET /api/v2/persons/{one}", "GET /api/v2/deals"]


def test_known_deals_are_read_by_id(acme: Company) -> None:
    """One token each, and no list."""
    one = acme.crm.contact("Erika", "Muster")
    deals = [acme.crm.deal(one) for _ in range(2)]

    assert deal_ids(load(acme, one, known={one: deals})) == deals
    assert acme.asked == [
        f"GET /api/v2/persons/{one}", *[f"GET /api/v2/deals/{deal}" for deal in deals]
    ]  # fmt: skip


def test_a_deal_that_went_to_somebody_else_is_asked_about(acme: Company) -> None:
    """The one known is another's by now, and the count says that there is another one."""
    one, other = acme.crm.contact("Erika", "Muster"), acme.crm.contact("Otto", "Beispiel")
    known, unknown = acme.crm.deal(one), acme.crm.deal(one)
    acme.crm.company.records["deals"][int(known)]["person_id"] = int(other)

    assert deal_ids(load(acme, one, known={one: [known]})) == [unknown]


def test_archived_deals_are_found_and_known_afterwards(acme: Company) -> None:
    """They are in a list of their own, and read by their id like all others."""
    one = acme.crm.contact("Erika", "Muster")
    deal = acme.crm.deal(one)
    acme.crm.archive(deal)

    assert deal_ids(load(acme, one)) == [deal]
    assert acme.asked == [
        f"GET /api/v2/persons/{one}", "GET /api/v2/deals", "GET /api/v2/deals/archived",
    ]  # fmt: skip
    assert deal_ids(load(acme, one, known={one: [deal]})) == [deal]
    assert acme.asked == [f"GET /api/v2/persons/{one}", f"GET /api/v2/deals/{deal}"]


def test_many_known_deals_are_read_by_lists(acme: Company) -> None:
    """Those that are not in the first one may be archived."""
    one = acme.crm.contact("Erika", "Muster")
    deals = [acme.crm.deal(one) for _ in range(12)]
    acme.crm.archive(deals[3])

    assert deal_ids(load(acme, one, known={one: deals})) == deals
    assert acme.asked == [
        f"GET /api/v2/persons/{one}",
        f"GET /api/v2/deals {','.join(deals)}",
        f"GET /api/v2/deals/{deals[3]}",
    ]


def test_everybody_who_takes_part_is_told(acme: Company) -> None:
    """The deal's person first; it is evidence for each of them."""
    first, second = acme.crm.contact("Erika", "Muster"), acme.crm.contact("Otto", "Beispiel")
    deal = acme.crm.deal(first, second)

    assert [one.contact_ids for one in load(acme, second).deals] == [(first, second)]
    assert acme.session().deal_contacts([deal]) == {deal: (first, second)}


def test_who_takes_part_is_asked_once(acme: Company) -> None:
    """And again when the deal was saved, somebody came or went, or more than a day has passed."""
    first, second = acme.crm.contact("Erika", "Muster"), acme.crm.contact("Otto", "Beispiel")
    deal = acme.crm.deal(first, second)
    third = acme.crm.contact("Ida", "Neu")
    acme.session().deal_contacts([deal])

    def look() -> tuple[tuple[str, ...], int]:
        acme.calls.clear()
        found = load(acme, first, known={first: [deal]}).deals[0].contact_ids
        return found, acme.cost

    assert look() == ((first, second), 2)
    acme.later(seconds=1)
    acme.crm.win(deal)
    assert look() == ((first, second), 12)
    assert look() == ((first, second), 2)
    acme.crm.company.participants[int(deal)].append(int(third))
    assert look() == ((first, second, third), 12)
    acme.later(hours=30)
    assert look() == ((first, second, third), 12)


@pytest.mark.parametrize("looked_at", ["who left", "who came"])
def test_somebody_who_took_anothers_place_is_found(acme: Company, looked_at: str) -> None:
    """The number stays the same; the persons' own counts tell that something is wrong."""
    first, second = acme.crm.contact("Erika", "Muster"), acme.crm.contact("Otto", "Beispiel")
    third = acme.crm.contact("Ida", "Neu")
    deal = acme.crm.deal(first, second)
    acme.session().deal_contacts([deal])
    acme.crm.company.participants[int(deal)][:] = [int(third)]

    if looked_at == "who left":
        assert load(acme, second, known={second: [deal]}).deals == ()
    else:
        assert [one.contact_ids for one in load(acme, third).deals] == [(first, third)]
    assert acme.session().deal_contacts([deal]) == {deal: (first, third)}


def test_after_a_merge_those_who_take_part_are_asked_for(acme: Company) -> None:
    """Nobody says that the deal counts as saved."""
    acme.install()
    first, second = acme.crm.contact("Erika", "Muster"), acme.crm.contact("Otto", "Beispiel")
    third = acme.crm.contact("O.", "Beispiel")
    deal = acme.crm.deal(first, second)
    acme.session().deal_contacts([deal])
    acme.crm.merge(third, second)
    acme.deliver()

    assert acme.session().deal_contacts([deal]) == {deal: (first, third)}


def test_a_count_that_cannot_be_met_is_asked_about_once(acme: Company) -> None:
    """Some deals are counted and not shown; the same count is not asked about again."""
    one = acme.crm.contact("Erika", "Muster")
    other = acme.crm.contact("Otto", "Beispiel")
    acme.crm.deal(other, one)
    acme.crm.api.habits.deal_lists_follow_participants = False

    assert [deal_ids(load(acme, one)) for _ in range(2)] == [[], []]
    assert acme.asked == [
        f"GET /api/v2/persons/{one}", "GET /api/v2/deals", f"GET /api/v2/persons/{one}",
    ]  # fmt: skip


def test_a_deal_heard_of_is_read_by_id(acme: Company) -> None:
    """Whether by webhook or when its contacts were asked for: no list is needed."""
    acme.install()
    one = acme.crm.contact("Erika", "Muster")
    told = acme.crm.deal(one)
    acme.deliver()
    seen = acme.crm.deal(one)
    acme.crm.deliveries.clear()
    acme.session().deal_contacts([seen])
    acme.calls.clear()

    assert deal_ids(load(acme, one, known={one: []})) == [told, seen]
    assert acme.asked == [
        f"GET /api/v2/persons/{one}", f"GET /api/v2/deals/{told}", f"GET /api/v2/deals/{seen}"
    ]  # fmt: skip


def test_a_deal_that_left_is_not_read_again_and_again(acme: Company) -> None:
    """What was heard of it is forgotten with the first reading."""
    acme.install()
    one, other = acme.crm.contact("Erika", "Muster"), acme.crm.contact("Otto", "Beispiel")
    deal = acme.crm.deal(one)
    acme.deliver()
    acme.crm.company.records["deals"][int(deal)]["person_id"] = int(other)

    assert [deal_ids(load(acme, one)) for _ in range(2)] == [[], []]
    assert acme.asked.count(f"GET /api/v2/deals/{deal}") == 1


def test_contacts_of_deals_that_are_gone_or_have_none_are_absent(acme: Company) -> None:
    """No contact, deleted, never there."""
    one = acme.crm.contact("Erika", "Muster")
    without, deleted = acme.crm.deal(), acme.crm.deal(one)
    acme.crm.delete_deal(deleted)

    assert acme.session().deal_contacts([without, deleted, "999", "x"]) == {}


# --------------------------------------------------------------- what webhooks have told


def test_a_late_webhook_does_not_stand_in_for_what_is_read(acme: Company) -> None:
    """It tells again what was corrected meanwhile."""
    acme.install()
    one = acme.crm.contact("Erika", "Muster")
    acme.crm.deliveries.clear()
    acme.crm.change(one, spiral_rating="angry", spiral_do_not_ask="true")
    late = [acme.crm.again(sent) for sent in acme.crm.deliveries]
    acme.later(seconds=10)
    acme.crm.change(one, spiral_rating="delighted", spiral_do_not_ask="false")
    acme.deliver()
    load(acme, one, known={one: []})
    acme.crm.deliveries[:] = late
    acme.deliver()

    values = load(acme, one, known={one: []}).values
    assert (values["spiral_rating"], values["spiral_do_not_ask"]) == ("delighted", "false")


def test_nor_does_one_that_just_came(acme: Company) -> None:
    """Another process may have heard of a later one by now."""
    acme.install()
    one = acme.crm.contact("Erika", "Muster")
    acme.crm.change(one, spiral_rating="angry")
    acme.deliver()
    acme.crm.change(one, spiral_rating="delighted")

    assert load(acme, one, known={one: []}).values["spiral_rating"] == "delighted"


def test_another_companys_webhook_tells_nothing_of_this_one(acme: Company) -> None:
    """Whoever sends it here; its event says whose it is."""
    acme.install()
    one = acme.crm.contact("Erika", "Muster")
    acme.crm.deal(one)
    bodies = [json.loads(sent.body) for sent in acme.crm.deliveries]
    (body,) = [body for body in bodies if body["meta"]["entity"] == "deal"]
    body["meta"] |= {"company_id": "999", "entity_id": "7"}
    acme.crm.deliveries.clear()

    (event,) = acme.parse(json.dumps(body).encode()).events
    acme.calls.clear()
    load(acme, one)
    assert event.account_crm_id == "999"
    assert "GET /api/v2/deals/7" not in acme.asked


# --------------------------------------------------------------- fields that are gone


def test_a_field_that_is_gone_was_not_emptied(acme: Company) -> None:
    """It is left out, and once an hour looked for."""
    acme.install()
    one = acme.crm.contact("Erika", "Muster")
    for key in ("spiral_rating", "spiral_advocate_tier"):
        acme.crm.take_field_away(key)
    session = acme.session()
    acme.calls.clear()

    for _ in range(2):
        values = session.load([one], history=False, known_deals={}).contacts[0].values
        assert not {"spiral_rating", "spiral_advocate_tier"} & values.keys()
        assert values["spiral_stage"] == ""
    person = f"GET /api/v2/persons/{one}"
    assert acme.asked == [person, "GET /api/v2/personFields", person]
    acme.later(hours=6)
    session.load([one], history=False, known_deals={})
    assert acme.asked == ["GET /api/v2/personFields", person]


def test_an_answer_without_its_empty_fields_tells_that_they_are_empty(acme: Company) -> None:
    """Nobody promises that all are named."""
    acme.install()
    one = acme.crm.contact("Erika", "Muster")
    person = {"id": int(one), "custom_fields": {acme.code("spiral_stage_since"): "2026-09-01"}}
    acme.replies = [Reply(on="persons", body={"success": True, "data": person})]
    acme.calls.clear()

    values = load(acme, one, known={one: []}).values
    assert (values["spiral_rating"], values["spiral_stage"]) == ("", "")
    assert acme.asked == [f"GET /api/v2/persons/{one}"]


def test_what_is_not_named_and_yet_there_is_written(acme: Company) -> None:
    """Should only those be named that once had a value."""
    acme.install()
    one = acme.crm.contact("Erika", "Muster")
    named = {acme.code("spiral_rated_on"): None}
    person = {"id": int(one), "custom_fields": named}
    acme.replies = [Reply(on=f"persons/{one}", body={"success": True, "data": person})]

    values = load(acme, one, known={one: []}).values
    assert values["spiral_stage"] == ""
    assert "spiral_rating" not in values


# --------------------------------------------------------------- records that are odd

ODD = {"id": 1042, "emails": "erika@example.com"}


def persons(*told: object) -> Reply:
    return Reply(on="persons", body={"success": True, "data": list(told)})


@pytest.fixture
def ten(acme: Company) -> list[str]:
    """So many that they are read by a list."""
    return [acme.crm.contact("Erika", str(at)) for at in range(10)]


def test_one_odd_record_is_to_blame_itself(acme: Company, ten: list[str]) -> None:
    """A smaller batch reads the others; alone, it is still to blame."""
    session = acme.session()
    acme.replies = [persons(ODD, {"id": int(ten[0])})]
    with pytest.raises(CrmRejected, match="emails") as caught:
        session.load(ten, history=False, known_deals={})
    assert "erika" not in str(caught.value)

    acme.replies = [Reply(on="persons", body={"success": True, "data": ODD})]
    with pytest.raises(CrmRejected):
        session.load(["1042"], history=False, known_deals={})


def test_where_all_are_odd_pipedrive_is_to_blame(acme: Company, ten: list[str]) -> None:
    """Parking everybody would help nobody."""
    session = acme.session()
    session.load(ten, history=False, known_deals={})
    acme.replies = [persons(ODD, ODD | {"id": 1043}), persons(None)]

    for ids in (ten, ten):
        with pytest.raises(CrmUnavailable):
            session.load(ids, history=False, known_deals={})
        acme.later(hours=1)


def test_an_odd_record_does_not_end_the_directory(acme: Company, ten: list[str]) -> None:
    """Nor a sweep; it is there all the same."""
    session = acme.session()
    acme.replies = [persons(ODD, {"id": int(ten[0])}), persons(ODD, {"id": int(ten[1])})]

    assert [card.crm_id for card in session.list_contacts(None).items] == [ten[0]]
    assert session.existing(ten) == {"1042", ten[1]}


def test_null_is_as_good_as_missing(acme: Company) -> None:
    """In yes/no and in lists."""
    email = {"value": "erika@example.com", "primary": None}
    person = {"id": 1041, "name": "Erika", "is_deleted": None, "emails": [email], "phones": None}
    acme.replies = [Reply(on="persons", body={"success": True, "data": person}),
                    Reply(on="persons", body={"success": True, "data": None})]  # fmt: skip

    assert load(acme, "1041", known={"1041": []}).card.email == "erika@example.com"
    assert acme.session().list_contacts(None) == Page(items=(), cursor=None)


# ------------------------------------------------------------------------------- lists


def test_the_directory_is_read_page_by_page(acme: Company) -> None:
    """500 for ten tokens."""
    ids = [acme.crm.contact("Erika", str(at)) for at in range(501)]
    session = acme.session()

    first = session.list_contacts(None)
    second = session.list_contacts(first.cursor)

    assert [card.crm_id for page in (first, second) for card in page.items] == ids
    assert second.cursor is None
    assert acme.cost == 20


def test_deleted_contacts_are_in_no_list(acme: Company) -> None:
    """Should Pipedrive list them after all."""
    acme.crm.api.habits.person_lists_tell_deleted = True
    acme.crm.delete(acme.crm.contact("Erika", "Muster"))

    assert acme.session().list_contacts(None) == Page(items=(), cursor=None)


def test_changes_are_asked_for_from_the_whole_second(acme: Company) -> None:
    """Never later than asked, oldest first."""
    since = datetime(2026, 9, 14, 11, 59, 59, 999_999, tzinfo=UTC)
    one = acme.crm.contact("Erika", "Muster")

    assert [c.crm_id for c in acme.session().contacts_changed_since(since, None).items] == [one]
    query = acme.calls[-1].query
    assert (query["updated_since"], query["sort_by"], query["sort_direction"]) == (
        "2026-09-14T11:59:59Z", "update_time", "asc",
    )  # fmt: skip


def test_changed_deals_are_listed_whatever_became_of_them(acme: Company) -> None:
    """Won, deleted, archived: archived ones by a second list."""
    one = acme.crm.contact("Erika", "Muster")
    won, deleted, archived = (acme.crm.deal(one) for _ in range(3))
    acme.crm.win(won)
    acme.crm.delete_deal(deleted)
    acme.crm.archive(archived)
    session = acme.session()

    first = session.deals_changed_since(NOON, None)
    second = session.deals_changed_since(NOON, first.cursor)

    assert sorted(first.items) == [won, deleted]
    assert second == Page(items=(archived,), cursor=None)


# ------------------------------------------------------------------- users and account


def test_users_are_told_with_those_who_left(acme: Company) -> None:
    """By the id that owner fields hold."""
    found = {user.crm_id: user for user in acme.session().users()}

    assert found["16219013"] == User(
        crm_id="16219013", name="Rita Rep", email=found["16219013"].email, active=True
    )
    assert not found["16219015"].active


def test_the_account_is_the_company(acme: Company) -> None:
    """Zone and currency are those of the user whose token it is."""
    assert acme.session().account() == AccountFacts(
        crm_id="6083095",
        name=acme.session().account().name,
        time_zone="Europe/Berlin",
        currency="EUR",
        record_url="https://acme-sandbox.pipedrive.com/person/{id}",
    )
    assert acme.session().account().name


def test_the_token_goes_into_its_header(acme: Company) -> None:
    """And nowhere else."""
    acme.session().account()

    assert acme.calls[0].headers["x-api-token"] == acme.crm.token
    assert "authorization" not in acme.calls[0].headers
    assert acme.calls[0].query == {}


@pytest.mark.parametrize("more", ["", "/", "/api", "/api/v1", "/api/v2/", "/v1"])
def test_the_address_may_have_the_apis_path(acme: Company, more: str) -> None:
    """As it stands in the documentation."""
    acme.session(base_url=f"https://acme-sandbox.pipedrive.com{more}").account()

    assert acme.asked == ["GET /api/v1/users/me"]
