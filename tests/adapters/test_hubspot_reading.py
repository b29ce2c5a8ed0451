"""What HubSpot's records become, and how few calls that takes."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from adapters.hubspot.values import from_property, instant
from adapters.values import amount, plain_number
from plugin.errors import CrmUnavailable
from plugin.manifest import manifest
from plugin.ports import (
    AccountFacts,
    ContactCard,
    ContactSnapshot,
    DealSnapshot,
    Loaded,
    Page,
    User,
)
from plugin.referral.model import FieldChange
from tests.adapters.conftest import (
    NOW,
    Connect,
    Wire,
    associated,
    batch,
    part_error,
    problem,
    record,
)

READ_CONTACTS = "POST /crm/objects/2026-09/contacts/batch/read"
READ_DEALS = "POST /crm/objects/2026-09/deals/batch/read"
DEALS_OF_CONTACTS = "POST /crm/associations/2026-09/contacts/deals/batch/read"
CONTACTS_OF_DEALS = "POST /crm/associations/2026-09/deals/contacts/batch/read"
LINKS = "POST /crm/associations/2026-09/contacts/contacts/batch/read"
PIPELINES = "GET /crm/pipelines/2026-09/deals"
LABELLED = {"label_type_id": "37", "inverse_label_type_id": "38"}

ERIKA = {
    "firstname": "Erika",
    "lastname": "Muster",
    "email": "erika@example.com",
    "phone": "+49 89 1234",
    "mobilephone": None,
    "company": "Stadtbäckerei",
    "city": "München",
    "hubspot_owner_id": "64492917",
    "createdate": "2025-01-05T09:30:00.000Z",
}
CARD = ContactCard(
    crm_id="1",
    first_name="Erika",
    last_name="Muster",
    email="erika@example.com",
    phones=("+49 89 1234",),
    company="Stadtbäckerei",
    city="München",
    owner_id="64492917",
    created_at=datetime(2025, 1, 5, 9, 30, tzinfo=UTC),
)


def deal(crm_id: str, **properties: str | None) -> Any:
    return record(
        crm_id,
        {
            "dealname": "Kuchen",
            "createdate": "2026-01-02T10:00:00Z",
            "closedate": "2026-03-04T11:00:00.000Z",
            "dealstage": "closedwon",
            "pipeline": "default",
            "amount": "1200.50",
            "amount_in_home_currency": "1100",
            "deal_currency_code": "CHF",
            "hubspot_owner_id": "7",
            "hs_is_closed": "true",
            "hs_is_closed_won": "true",
            **properties,
        },
    )


def one_deal(wire: Wire, connect: Connect, **properties: str | None) -> DealSnapshot:
    """Contact 1 with deal 9 only."""
    wire.answers(READ_CONTACTS, batch([record("1")]))
    wire.answers(DEALS_OF_CONTACTS, associated({"1": ["9"]}))
    wire.answers(READ_DEALS, batch([deal("9", **properties)]))
    wire.answers(CONTACTS_OF_DEALS, associated({"9": ["1"]}, type_id=3))
    return connect().load(["1"], history=False, known_deals={}).contacts[0].deals[0]


# ------------------------------------------------------------------------------- contacts


def test_a_contact_comes_with_everything(wire: Wire, connect: Connect) -> None:
    """Card, our fields in the manifest's form, score, merged ids, deals and linked referrers."""
    properties = {
        **ERIKA,
        "hs_merged_object_ids": "5;6",
        "spiral_rating": "delighted",
        "spiral_rated_on": "2026-09-13",
        "spiral_do_not_ask": None,
        "spiral_referrals_given": "3.0",
        "spiral_contact_consent": "email;phone",
        "nps": "9",
    }
    labels = [
        {"category": "HUBSPOT_DEFINED", "typeId": 449, "label": None},
        {"category": "USER_DEFINED", "typeId": 37, "label": "Empfehlungsgeber"},
    ]
    links = associated({"1": ["2", "3"]}, type_id=449)
    links["results"][0]["to"][1]["associationTypes"] = labels
    wire.answers(READ_CONTACTS, batch([record("1", properties)]))
    wire.answers(DEALS_OF_CONTACTS, associated({"1": ["9"]}))
    wire.answers(READ_DEALS, batch([deal("9", hs_closed_won_date="2026-03-03T08:00:00Z")]))
    wire.answers(CONTACTS_OF_DEALS, associated({"9": ["1", "4"]}, type_id=3))
    wire.answers(LINKS, links)
    fields = frozenset(
        {
            "spiral_rating",
            "spiral_rated_on",
            "spiral_do_not_ask",
            "spiral_referrals_given",
            "spiral_contact_consent",
        }
    )

    loaded = connect(fields=fields, facts=LABELLED, rating_property="nps").load(
        ["1"], history=False, known_deals={}
    )

    assert loaded == Loaded(
        contacts=(
            ContactSnapshot(
                card=CARD,
                values={
                    "spiral_rating": "delighted",
                    "spiral_rated_on": "2026-09-13",
                    "spiral_do_not_ask": "",
                    "spiral_referrals_given": "3",
                    "spiral_contact_consent": "phone;email",
                },
                score="9",
                merged_ids=("5", "6"),
                deals=(
                    DealSnapshot(
                        crm_id="9",
                        name="Kuchen",
                        created_at=datetime(2026, 1, 2, 10, tzinfo=UTC),
                        won=True,
                        lost=False,
                        closed_at=datetime(2026, 3, 4, 11, tzinfo=UTC),
                        won_at=datetime(2026, 3, 3, 8, tzinfo=UTC),
                        pipeline="default",
                        amount=Decimal("1200.50"),
                        currency="CHF",
                        home_amount=Decimal(1100),
                        owner_id="7",
                        contact_ids=("1", "4"),
                    ),
                ),
                referrer_ids=("3",),
            ),
        )
    )


def test_only_fields_that_exist_are_asked_for(wire: Wire, connect: Connect) -> None:
    """Before the installation none of ours is; afterwards those that fit, and the score."""
    wire.answers(READ_CONTACTS, batch([record("1")]), always=True)
    wire.answers(DEALS_OF_CONTACTS, associated({}), always=True)

    connect(fields=None).load(["1"], history=False, known_deals={})
    connect(fields=frozenset({"spiral_stage"}), rating_property="nps").load(
        ["1"], history=True, known_deals={}
    )

    first, second = wire.bodies(READ_CONTACTS)
    assert set(second["properties"]) - set(first["properties"]) == {"spiral_stage", "nps"}
    assert second["propertiesWithHistory"] == ["nps"]


def test_history_becomes_changes_in_order(wire: Wire, connect: Connect) -> None:
    """Each version of a told field is a change, oldest first; the mapped score is one too."""

    def version(value: str, at: str) -> dict[str, str]:
        return {"value": value, "timestamp": at, "sourceType": "CRM_UI"}

    history = {
        "spiral_rating": [
            version("", "2026-05-03T10:00:00Z"),
            version("angry", "2026-05-01T10:00:00.5Z"),
        ],
        "spiral_rated_on": [version("1777507200000", "2026-05-01T10:00:00.5Z")],
        "spiral_referrer_name": [],
        "nps": [version("10.0", "2026-05-02T10:00:00Z"), version("7", "1970-13-45T00:00:00Z")],
    }
    wire.answers(READ_CONTACTS, batch([record("1", propertiesWithHistory=history)]), official=False)
    wire.answers(DEALS_OF_CONTACTS, associated({}))

    loaded = connect(rating_property="nps").load(["1"], history=True, known_deals={})

    at = datetime(2026, 5, 1, 10, 0, 0, 500_000, tzinfo=UTC)
    assert loaded.contacts[0].changes == (
        FieldChange(field="spiral_rated_on", value="2026-04-30", at=at),
        FieldChange(field="spiral_rating", value="angry", at=at),
        FieldChange(field="score", value="10", at=datetime(2026, 5, 2, 10, tzinfo=UTC)),
        FieldChange(field="spiral_rating", value="", at=datetime(2026, 5, 3, 10, tzinfo=UTC)),
    )


def test_who_is_not_there_is_missing(wire: Wire, connect: Connect) -> None:
    """Gone, archived, merged into another, or no id at all: missing, and nobody else suffers."""
    gone = part_error("OBJECT_NOT_FOUND", {"ids": ["2"]})
    found = [record("1"), record("3", archived=True), record("77")]
    wire.answers(READ_CONTACTS, batch(found, [gone]), status=207)
    wire.answers(DEALS_OF_CONTACTS, associated({}))

    loaded = connect().load(["1", "2", "3", "4", "erika"], history=False, known_deals={})

    assert [contact.card.crm_id for contact in loaded.contacts] == ["1"]
    assert loaded.missing == {"2", "3", "4", "erika"}
    assert wire.bodies(READ_CONTACTS)[0]["inputs"] == [{"id": x} for x in "1234"]


@pytest.mark.parametrize("category", ["RATE_LIMITS", "INTERNAL_ERROR", "MISSING_SCOPES", ""])
def test_who_could_not_be_read_is_not_missing(wire: Wire, connect: Connect, category: str) -> None:
    """An error that is not about absence must not look like a deletion."""
    wire.answers(READ_CONTACTS, batch([], [part_error(category, {"ids": ["1"]})]), status=207)

    with pytest.raises(CrmUnavailable):
        connect().load(["1"], history=False, known_deals={})


def test_an_answer_of_unknown_form_is_not_an_empty_one(wire: Wire, connect: Connect) -> None:
    """Without ``results`` nothing is known about anybody."""
    wire.answers(READ_CONTACTS, {"status": "COMPLETE"}, official=False)

    with pytest.raises(CrmUnavailable, match="results"):
        connect().load(["1"], history=False, known_deals={})


# --------------------------------------------------------------------------- call counts


def hundred(wire: Wire, *, deals: bool) -> list[str]:
    ids = [str(n) for n in range(1000, 1100)]
    wire.answers(
        READ_CONTACTS,
        lambda body: batch([record(one["id"]) for one in body["inputs"]]),
        always=True,
    )
    pairs = {one: [f"9{one}"] for one in ids} if deals else {}
    wire.answers(DEALS_OF_CONTACTS, associated(pairs), always=True)
    wire.answers(
        READ_DEALS,
        lambda body: batch([deal(one["id"], hs_is_closed_won=None) for one in body["inputs"]]),
        always=True,
    )
    wire.answers(
        CONTACTS_OF_DEALS,
        lambda body: associated({one["id"]: [one["id"][1:]] for one in body["inputs"]}, type_id=3),
        always=True,
    )
    wire.answers(LINKS, associated({}), always=True)
    wire.answers(PIPELINES, {"results": []}, always=True)
    return ids


def test_a_hundred_contacts_cost_at_most_six_calls(wire: Wire, connect: Connect) -> None:
    """With deals, links and pipelines: six; the next hundred five, as pipelines are known."""
    session = connect(facts=LABELLED)
    ids = hundred(wire, deals=True)

    session.load(ids, history=False, known_deals={})
    assert session.calls == 6

    session.load(ids, history=False, known_deals={})
    assert session.calls == 11


def test_contacts_without_deals_cost_two_calls(wire: Wire, connect: Connect) -> None:
    """Where nobody has a deal and there are no labels, nothing more is asked."""
    session = connect()

    session.load(hundred(wire, deals=False), history=False, known_deals={})

    assert wire.sent == [READ_CONTACTS, DEALS_OF_CONTACTS]


def test_history_is_read_in_smaller_batches(wire: Wire, connect: Connect) -> None:
    """HubSpot takes fewer records at once where it has to give their history."""
    connect().load(hundred(wire, deals=False), history=True, known_deals={})

    assert [len(body["inputs"]) for body in wire.bodies(READ_CONTACTS)] == [50, 50]


def test_many_deals_are_read_in_batches(wire: Wire, connect: Connect) -> None:
    """More than a hundred deals are read a hundred at a time, each once."""
    deal_ids = [str(n) for n in range(100, 350)]
    wire.answers(READ_CONTACTS, batch([record("1"), record("2")]))
    wire.answers(DEALS_OF_CONTACTS, associated({"1": deal_ids, "2": deal_ids}))
    wire.answers(
        READ_DEALS, lambda body: batch([deal(one["id"]) for one in body["inputs"]]), always=True
    )
    wire.answers(CONTACTS_OF_DEALS, associated({}))

    loaded = connect().load(["1", "2"], history=False, known_deals={})

    assert [len(body["inputs"]) for body in wire.bodies(READ_DEALS)] == [100, 100, 50]
    assert [len(contact.deals) for contact in loaded.contacts] == [250, 250]


def test_associations_are_paged_per_record(wire: Wire, connect: Connect) -> None:
    """A record with more than one page is asked again, alone and from its own place."""
    first = associated({"1": ["9"], "2": ["8"]})
    first["results"][0]["paging"] = {"next": {"after": "NTI1Cg", "link": "ignored"}}
    wire.answers("POST /crm/associations/2026-09/deals/contacts/batch/read", first)
    wire.answers(
        "POST /crm/associations/2026-09/deals/contacts/batch/read", associated({"1": ["10", "9"]})
    )

    found = connect().deal_contacts(["1", "2", "3"])

    assert found == {"1": ("9", "10"), "2": ("8",)}
    assert [call.body["inputs"] for call in wire.calls] == [
        [{"id": "1"}, {"id": "2"}, {"id": "3"}],
        [{"id": "1", "after": "NTI1Cg"}],
    ]


def test_having_no_associations_is_no_error(wire: Wire, connect: Connect) -> None:
    """HubSpot reports it in a 207; here the deal is simply absent."""
    lonely = part_error(
        "OBJECT_NOT_FOUND",
        {"fromObjectId": ["1"]},
        subCategory={"any": "crm.associations.NO_ASSOCIATIONS_FOUND"},
    )
    wire.answers(CONTACTS_OF_DEALS, batch([], [lonely]), status=207, official=False)

    assert connect().deal_contacts(["1"]) == {}


# ---------------------------------------------------------------------------------- deals


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        ({"hs_is_closed_won": "true"}, (True, False)),
        ({"hs_is_closed_won": "false", "hs_is_closed": "true"}, (False, True)),
        ({"hs_is_closed_won": "false", "hs_is_closed": "false"}, (False, False)),
        ({"hs_is_closed_won": "false", "hs_is_closed": None}, (False, False)),
    ],
)
def test_hubspot_says_itself_how_a_deal_ended(
    wire: Wire, connect: Connect, told: dict[str, str | None], outcome: tuple[bool, bool]
) -> None:
    """Where HubSpot has calculated the outcome, no pipeline is read."""
    found = one_deal(wire, connect, **told)

    assert (found.won, found.lost) == outcome
    assert PIPELINES not in wire.sent


@pytest.mark.parametrize(
    ("metadata", "outcome"),
    [
        ({"isClosed": "true", "probability": "1.0"}, (True, False)),
        ({"isClosed": "true", "probability": "0.0"}, (False, True)),
        ({"isClosed": "false", "probability": "0.9"}, (False, False)),
        ({"probability": "1"}, (True, False)),
        ({"probability": "0"}, (False, True)),
        ({}, (False, False)),
    ],
)
def test_else_the_stage_says_it(
    wire: Wire, connect: Connect, metadata: dict[str, str], outcome: tuple[bool, bool]
) -> None:
    """A closed stage of probability 1 is won; any other closed one is lost."""
    wire.answers(PIPELINES, {"results": [{"stages": [{"id": "closedwon", "metadata": metadata}]}]})

    found = one_deal(wire, connect, hs_is_closed_won=None, hs_is_closed=None)

    assert (found.won, found.lost) == outcome


@pytest.mark.parametrize(
    ("probability", "outcome"),
    [("1", (True, False)), ("0.0", (False, True)), (None, (False, True))],
)
def test_a_stage_nobody_knows_leaves_the_probability(
    wire: Wire, connect: Connect, probability: str | None, outcome: tuple[bool, bool]
) -> None:
    """The deal's own probability is the last resort."""
    wire.answers(PIPELINES, {"results": []})

    found = one_deal(wire, connect, hs_is_closed_won="", hs_deal_stage_probability=probability)

    assert (found.won, found.lost) == outcome


def test_a_deal_became_won_on_the_earlier_of_two_days(wire: Wire, connect: Connect) -> None:
    """A move between won stages is no new win, and a close date may lie in the future."""
    found = one_deal(
        wire,
        connect,
        hs_closed_won_date="2026-12-01T00:00:00Z",
        hs_v2_date_entered_current_stage="1772528400000",
    )

    assert found.won_at == datetime(2026, 3, 3, 9, tzinfo=UTC)


def test_a_deal_that_is_not_won_never_became_so(wire: Wire, connect: Connect) -> None:
    """When it entered its stage does not count while the stage is no won one."""
    found = one_deal(
        wire,
        connect,
        hs_is_closed_won="false",
        hs_v2_date_entered_current_stage="2026-03-03T09:00:00Z",
    )

    assert found.won_at is None


def test_an_almost_empty_deal_is_read(wire: Wire, connect: Connect) -> None:
    """Whatever a deal lacks is None or empty; nothing breaks."""
    wire.answers(READ_CONTACTS, batch([record("1")]))
    wire.answers(DEALS_OF_CONTACTS, associated({"1": ["9", "10"]}))
    wire.answers(READ_DEALS, batch([record("9", {"amount": "a lot", "closedate": "soon"})]))
    wire.answers(CONTACTS_OF_DEALS, associated({}))
    wire.answers(PIPELINES, {"results": []})

    loaded = connect().load(["1"], history=False, known_deals={})

    assert loaded.contacts[0].deals == (
        DealSnapshot(
            crm_id="9",
            name="",
            created_at=datetime(2025, 1, 5, 9, 30, tzinfo=UTC),
            won=False,
            lost=False,
            closed_at=None,
            won_at=None,
            pipeline="",
            amount=None,
            currency=None,
            home_amount=None,
            owner_id=None,
            contact_ids=(),
        ),
    )


# ----------------------------------------------------------------------- lists and changes


def test_all_contacts_are_listed_page_by_page(wire: Wire, connect: Connect) -> None:
    """A hundred a page, until there is no next one."""
    path = "GET /crm/objects/2026-09/contacts"
    wire.answers(path, {"results": [record("1", ERIKA)], "paging": {"next": {"after": "1"}}})
    wire.answers(path, {"results": [record("2")]})
    session = connect()

    first = session.list_contacts(None)
    second = session.list_contacts(first.cursor)

    assert first == Page(items=(CARD,), cursor="1/1")
    assert (second.items[0].crm_id, second.cursor) == ("2", None)
    assert [(c.query["limit"], c.query.get("after")) for c in wire.calls] == [
        ("100", None),
        ("100", "1"),
    ]


SINCE = datetime(2026, 9, 1, tzinfo=UTC)
SINCE_MS = 1788220800000


def found(
    names: list[str], changed: str, after: str | None, *, at: str = NOW, **properties: str
) -> Any:
    page: dict[str, Any] = {
        "total": 20_000,
        "results": [record(name, {changed: at, **properties}) for name in names],
    }
    return page | ({"paging": {"next": {"after": after}}} if after else {})


def test_changed_contacts_come_oldest_first(wire: Wire, connect: Connect) -> None:
    """A search by change date; the cursor goes on where the page ended."""
    path = "POST /crm/objects/2026-09/contacts/search"
    wire.answers(path, found(["1", "2"], "lastmodifieddate", "200"))
    wire.answers(path, found(["3"], "lastmodifieddate", None))
    session = connect()

    first = session.contacts_changed_since(SINCE, None)
    second = session.contacts_changed_since(SINCE, first.cursor)

    assert [card.crm_id for card in (*first.items, *second.items)] == ["1", "2", "3"]
    assert second.cursor is None
    one, two = wire.bodies(path)
    assert one["filterGroups"] == [
        {
            "filters": [
                {"propertyName": "lastmodifieddate", "operator": "GTE", "value": str(SINCE_MS)}
            ]
        }
    ]
    assert one["sorts"] == [{"propertyName": "lastmodifieddate", "direction": "ASCENDING"}]
    assert (one["limit"], one["after"], two["after"]) == (200, "0", "200")


def test_changed_deals_are_ids(wire: Wire, connect: Connect) -> None:
    """Deals have their own change date."""
    path = "POST /crm/objects/2026-09/deals/search"
    wire.answers(path, found(["8", "9"], "hs_lastmodifieddate", None))

    assert connect().deals_changed_since(SINCE, None) == Page(items=("8", "9"), cursor=None)


def test_a_search_goes_on_beyond_ten_thousand(wire: Wire, connect: Connect) -> None:
    """Before HubSpot's cap a new query starts at the last change seen."""
    path = "POST /crm/objects/2026-09/deals/search"
    wire.answers(path, found(["9"], "hs_lastmodifieddate", "9800", at="2026-09-02T00:00:00Z"))
    wire.answers(path, found([], "hs_lastmodifieddate", None))
    session = connect()

    first = session.deals_changed_since(SINCE, f"{SINCE_MS}:9600")
    session.deals_changed_since(SINCE, first.cursor)

    body = wire.bodies(path)[1]
    assert body["filterGroups"][0]["filters"][0]["value"] == str(SINCE_MS + 24 * 3600 * 1000)
    assert body["after"] == "0"


def test_a_search_never_turns_in_circles(wire: Wire, connect: Connect) -> None:
    """Ten thousand changes in one millisecond are stepped over."""
    path = "POST /crm/objects/2026-09/deals/search"
    wire.answers(path, found(["9"], "hs_lastmodifieddate", "9800", at="2026-09-01T00:00:00Z"))

    page = connect().deals_changed_since(SINCE, f"{SINCE_MS}:9600")

    assert page.cursor == f"1/{SINCE_MS + 1}:0"


def test_existing_tells_who_is_there(wire: Wire, connect: Connect) -> None:
    """Of a list of ids, those that still are contacts of their own."""
    wire.answers(READ_CONTACTS, batch([record("1"), record("77")]))

    assert connect().existing(["1", "2"]) == {"1"}


# -------------------------------------------------------------------- users and account


def owner(crm_id: str, *, archived: bool = False, **more: Any) -> Any:
    return {
        "id": crm_id,
        "email": f"u{crm_id}@example.com",
        "firstName": "Uwe",
        "lastName": "Müller",
        "type": "PERSON",
        "archived": archived,
        "createdAt": NOW,
        "updatedAt": NOW,
        **more,
    }


def test_users_are_owners_deactivated_ones_too(wire: Wire, connect: Connect) -> None:
    """All pages of both lists; queues are nobody; who has no name is called by mail address."""
    path = "GET /crm/owners/2026-09"
    nameless = owner("2", firstName="", lastName="")
    wire.answers(path, {"results": [owner("1")], "paging": {"next": {"after": "1"}}})
    wire.answers(path, {"results": [nameless, owner("3", type="QUEUE")]})
    wire.answers(path, {"results": [owner("4", archived=True), owner("1", archived=True)]})

    assert connect().users() == (
        User(crm_id="1", name="Uwe Müller", email="u1@example.com"),
        User(crm_id="2", name="u2@example.com", email="u2@example.com"),
        User(crm_id="4", name="Uwe Müller", email="u4@example.com", active=False),
    )
    assert [call.query["archived"] for call in wire.calls] == ["false", "false", "true"]


DETAILS = {
    "portalId": 247187887,
    "accountType": "STANDARD",
    "timeZone": "Europe/Berlin",
    "companyCurrency": "EUR",
    "additionalCurrencies": [],
    "utcOffset": "+02:00",
    "utcOffsetMilliseconds": 7200000,
    "uiDomain": "app-eu1.hubspot.com",
    "dataHostingLocation": "eu1",
}


@pytest.mark.parametrize(
    ("zone", "expected"),
    [("Europe/Berlin", "Europe/Berlin"), ("Middle/Earth", None), ("../etc", None), ("", None)],
)
def test_the_account_tells_zone_currency_and_links(
    wire: Wire, connect: Connect, zone: str, expected: str | None
) -> None:
    """A zone nobody knows is none; the link to a contact has a place for the id."""
    wire.answers("GET /account-info/2026-09/details", {**DETAILS, "timeZone": zone})

    assert connect().account() == AccountFacts(
        crm_id="247187887",
        name="HubSpot 247187887",
        time_zone=expected,
        currency="EUR",
        record_url="https://app-eu1.hubspot.com/contacts/247187887/record/0-1/{id}",
    )


def test_an_account_that_tells_little_is_an_account(wire: Wire, connect: Connect) -> None:
    """Only its id is needed."""
    wire.answers("GET /account-info/2026-09/details", {"portalId": 7}, official=False)

    assert connect().account() == AccountFacts(
        crm_id="7", name="HubSpot 7", time_zone=None, currency=None
    )


def test_a_lost_scope_stops_the_reading(wire: Wire, connect: Connect) -> None:
    """An error of a whole call is raised as it is."""
    wire.answers(READ_CONTACTS, problem("MISSING_SCOPES"), status=403)

    with pytest.raises(Exception, match="MISSING_SCOPES") as caught:
        connect().load(["1"], history=False, known_deals={})

    assert type(caught.value).__name__ == "CrmUnauthorized"


# --------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-09-14T10:00:00.123Z", datetime(2026, 9, 14, 10, 0, 0, 123_000, tzinfo=UTC)),
        ("2026-09-14T12:00:00+02:00", datetime(2026, 9, 14, 10, tzinfo=UTC)),
        ("2026-09-14", datetime(2026, 9, 14, tzinfo=UTC)),
        ("1789372800000", datetime(2026, 9, 14, 8, tzinfo=UTC)),
        ("-1", None),
        ("99999999999999", None),
        ("9" * 20, None),
        ("0001-01-01T00:00:00+14:00", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_instants_come_in_many_forms(value: str | None, expected: datetime | None) -> None:
    """ISO 8601 with or without zone, a day, milliseconds; all else is None."""
    assert instant(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("3", "3"),
        ("3.0", "3"),
        ("1E+3", "1000"),
        ("1200.50", "1200.5"),
        ("0.00", "0"),
        ("-2", "-2"),
        ("many", "many"),
        ("NaN", "NaN"),
        ("1e999999", "1e999999"),
    ],
)
def test_numbers_are_plain(value: str, expected: str) -> None:
    """No exponent, no trailing zeros, so that equal numbers are equal texts."""
    assert plain_number(value) == expected


@pytest.mark.parametrize("value", ["", "NaN", "Infinity", "1e999999", "a lot"])
def test_what_is_no_amount_is_none(value: str) -> None:
    """Only finite numbers of sensible size are money."""
    assert amount(value) is None


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("spiral_stage", "unheard_of", "unheard_of"),
        ("spiral_do_not_ask", "True", "true"),
        ("spiral_rated_on", "1789257600000", "2026-09-13"),
        ("spiral_rated_on", "yesterday", "yesterday"),
        ("spiral_contact_consent", "fax; email;phone;;email", "phone;email;fax"),
        ("spiral_referral_value", "1200.50", "1200.5"),
        ("spiral_referrer_name", " Erika ", " Erika "),
        ("spiral_rating", "", ""),
    ],
)
def test_values_take_the_manifests_form(key: str, value: str, expected: str) -> None:
    """Each type has one form; what people typed passes as it is."""
    assert from_property(manifest().field(key), value) == expected
