"""What is read from EspoCRM, in how many calls, and what its refusals mean."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest

from adapters.client import Client
from adapters.recent import Recent
from plugin.errors import CrmRateLimited, CrmRejected, CrmUnauthorized, CrmUnavailable
from plugin.ports import (
    AccountFacts,
    ContactCard,
    ContactSnapshot,
    DealSnapshot,
    FieldUpdate,
    LinkUpdate,
    Loaded,
    Page,
    User,
)
from tests.adapters.conftest import Time, Wire
from tests.adapters.espocrm import (
    API,
    BASE,
    DEAL,
    ERIKA,
    HANS,
    KEY,
    USER,
    invalid,
    listed,
    plan,
    refusal,
    session,
)

CREATED = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
CONTACT: Mapping[str, Any] = {
    "id": ERIKA,
    "firstName": "Erika",
    "lastName": "Muster",
    "emailAddress": "erika@example.com",
    "phoneNumber": "+4930123456",
    "accountName": "Muster GmbH",
    "addressCity": "Berlin",
    "assignedUserId": USER,
    "createdAt": "2026-01-05 09:30:00",
    "cSpiralRating": "delighted",
    "cSpiralContactConsent": ["email", "phone"],
    "cSpiralDoNotAsk": False,
    "cSpiralReferralValue": 1200.5,
    "cSpiralStage": None,
    "cSpiralReferrerContactId": HANS,
    "cNps": 9,
}
STAGES = {
    "type": "enum",
    "options": ["Prospecting", "Sold", "Rejected", "Parked"],
    "probabilityMap": {"Prospecting": 10, "Sold": 100, "Rejected": 0, "Gone": 100},
}


def deal(crm_id: str = DEAL, stage: str = "Sold", **more: Any) -> Mapping[str, Any]:
    return {
        "id": crm_id,
        "name": "Küche",
        "createdAt": "2026-02-01 08:00:00",
        "closeDate": "2026-03-01",
        "stage": stage,
        "amount": 1200,
        "amountCurrency": "CHF",
        "amountConverted": 1300.25,
        "assignedUserId": USER,
        "contactId": None,
        "contactsIds": [ERIKA, HANS],
        **more,
    }


class TestContacts:
    def test_contacts_come_with_deals_and_referrer_in_two_calls(self, wire: Wire) -> None:
        """And one more, once, for what the stages mean."""
        plan(wire, "GET /Contact", listed(CONTACT))
        plan(wire, "GET /Opportunity", listed(deal()))
        plan(wire, "GET /Metadata", STAGES)
        fields = {
            "spiral_rating", "spiral_contact_consent", "spiral_do_not_ask",
            "spiral_referral_value", "spiral_stage", "spiral_referrer",
        }  # fmt: skip
        crm = session(fields=frozenset(fields), rating_property="cNps")

        loaded = crm.load([ERIKA, HANS], history=False, known_deals={})

        assert loaded == Loaded(
            contacts=(
                ContactSnapshot(
                    card=ContactCard(
                        crm_id=ERIKA,
                        first_name="Erika",
                        last_name="Muster",
                        email="erika@example.com",
                        phones=("+4930123456",),
                        company="Muster GmbH",
                        city="Berlin",
                        owner_id=USER,
                        created_at=CREATED,
                    ),
                    values={
                        "spiral_rating": "delighted",
                        "spiral_contact_consent": "phone;email",
                        "spiral_do_not_ask": "false",
                        "spiral_referral_value": "1200.5",
                        "spiral_stage": "",
                    },
                    deals=(
                        DealSnapshot(
                            crm_id=DEAL,
                            name="Küche",
                            created_at=datetime(2026, 2, 1, 8, tzinfo=UTC),
                            won=True,
                            lost=False,
                            closed_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
                            won_at=None,
                            pipeline="",
                            amount=Decimal(1200),
                            currency="CHF",
                            home_amount=Decimal("1300.25"),
                            owner_id=USER,
                            contact_ids=(ERIKA, HANS),
                        ),
                    ),
                    score="9",
                    referrer_ids=(HANS,),
                ),
            ),
            missing=frozenset({HANS}),
        )
        assert wire.sent == [f"GET {API}/Contact", f"GET {API}/Opportunity", f"GET {API}/Metadata"]
        assert crm.calls == 3

    def test_questions_are_asked_in_phps_form(self, wire: Wire) -> None:
        """Ids by number, what is wanted by name; the key in a header of its own."""
        plan(wire, "GET /Contact", listed(CONTACT))
        plan(wire, "GET /Opportunity", listed())

        session(fields=frozenset()).load([ERIKA, HANS, ERIKA], history=False, known_deals={})

        contacts, deals = wire.calls
        assert contacts.query == {
            "select": "firstName,lastName,emailAddress,phoneNumber,accountName,addressCity,"
            "assignedUserId,createdAt",
            "maxSize": "200",
            "offset": "0",
            "orderBy": "createdAt",
            "order": "asc",
            "where[0][type]": "in",
            "where[0][attribute]": "id",
            "where[0][value][0]": ERIKA,
            "where[0][value][1]": HANS,
        }
        asked = {k: v for k, v in deals.query.items() if k.startswith("where")}
        assert asked == {
            "where[0][type]": "linkedWith",
            "where[0][attribute]": "contacts",
            "where[0][value][0]": ERIKA,
        }
        assert "contactsIds" in deals.query["select"].split(",")
        assert contacts.headers["X-Api-Key"] == KEY
        assert "Authorization" not in contacts.headers

    @pytest.mark.parametrize(
        ("told", "value"),
        [({"cSpiralStage": None}, {"spiral_stage": ""}), ({}, {})],
    )
    def test_a_field_that_may_not_be_read_is_not_an_empty_one(
        self, wire: Wire, told: Mapping[str, Any], value: Mapping[str, str]
    ) -> None:
        """A role may hide it for a while; what people typed is still there."""
        plan(wire, "GET /Contact", listed({"id": ERIKA, **told}))
        plan(wire, "GET /Opportunity", listed())

        loaded = session(fields=frozenset({"spiral_stage"})).load(
            [ERIKA], history=False, known_deals={}
        )

        assert loaded.contacts[0].values == value

    def test_every_type_of_field_may_be_empty(self, wire: Wire) -> None:
        """Null, and the empty list of a choice of several."""
        fields = {
            "spiral_rating", "spiral_contact_consent", "spiral_do_not_ask", "spiral_rated_on",
            "spiral_referral_value", "spiral_referrals_given", "spiral_referrer_name",
        }  # fmt: skip
        names = {
            "cSpiralRating", "cSpiralContactConsent", "cSpiralDoNotAsk", "cSpiralRatedOn",
            "cSpiralReferralValue", "cSpiralReferralsGiven", "cSpiralReferrerName",
        }  # fmt: skip
        empty: dict[str, Any] = {"id": ERIKA, **dict.fromkeys(names)}
        plan(
            wire, "GET /Contact", listed(empty, {**empty, "id": HANS, "cSpiralContactConsent": []})
        )
        plan(wire, "GET /Opportunity", listed())

        loaded = session(fields=frozenset(fields)).load(
            [ERIKA, HANS], history=False, known_deals={}
        )

        assert [one.values for one in loaded.contacts] == [dict.fromkeys(fields, "")] * 2

    def test_many_deals_come_page_by_page(self, wire: Wire) -> None:
        """Two hundred a call."""
        many = [deal(f"{n:017x}") for n in range(200)]
        plan(wire, "GET /Contact", listed(CONTACT))
        plan(wire, "GET /Opportunity", listed(*many))
        plan(wire, "GET /Opportunity", listed(deal()))
        plan(wire, "GET /Metadata", STAGES)

        loaded = session().load([ERIKA], history=False, known_deals={})

        assert len(loaded.contacts[0].deals) == 201
        assert [call.query["offset"] for call in wire.calls[1:3]] == ["0", "200"]

    def test_all_ids_fit_into_addresses(self, wire: Wire) -> None:
        """Eighty a call, and even UUIDs stay below 8 kB."""
        ids = [f"01890a5d-ac96-774b-bcce-{n:012x}" for n in range(161)]
        plan(wire, "GET /Contact", listed(), always=True)
        crm = session()

        assert crm.existing(ids) == frozenset()
        assert [len(urlencode(call.query)) < 7_000 for call in wire.calls] == [True] * 3

    def test_contacts_of_deals_are_read_at_once(self, wire: Wire) -> None:
        """The primary one first; deals without any are absent."""
        lonely = deal("6b022d2f408367c98", contactsIds=[])
        plan(wire, "GET /Opportunity", listed(deal(contactId=HANS), lonely))

        found = session().deal_contacts([DEAL, lonely["id"], "6b022d2f408367c99"])

        assert found == {DEAL: (HANS, ERIKA)}


class TestLists:
    def test_a_full_page_goes_on_at_its_last_second(self, wire: Wire) -> None:
        """Anew from there, so that nothing is missed when others come and go."""
        page = [
            {"id": f"{n:017x}", "createdAt": f"2026-01-01 00:00:{n // 4:02}"} for n in range(200)
        ]
        plan(wire, "GET /Contact", listed(*page))
        plan(wire, "GET /Contact", listed())
        crm = session()

        first = crm.list_contacts(None)
        second = crm.list_contacts(first.cursor)

        assert (len(first.items), first.cursor) == (200, "1/2026-01-01 00:00:49|0")
        assert second == Page(items=(), cursor=None)
        begun, gone_on = wire.calls
        assert [name for name in begun.query if name.startswith("where")] == []
        assert gone_on.query["where[0][type]"] == "after"
        assert gone_on.query["where[0][value]"] == "2026-01-01 00:00:48"

    def test_a_page_of_one_second_is_stepped_over(self, wire: Wire) -> None:
        """An import may make thousands at once. By less than a page: those behind move up where
        others are changed or deleted meanwhile."""
        page = [{"id": f"{n:017x}", "modifiedAt": "2026-01-01 00:00:00"} for n in range(200)]
        plan(wire, "GET /Opportunity", listed(*page), always=True)
        since = datetime(2026, 1, 1, tzinfo=UTC)

        first = session().deals_changed_since(since, None)
        second = session().deals_changed_since(since, first.cursor)

        assert first.cursor == "1/2026-01-01 00:00:00|180"
        assert second.cursor == "2/2026-01-01 00:00:00|360"
        assert [call.query["offset"] for call in wire.calls] == ["0", "180"]
        assert {call.query["orderBy"] for call in wire.calls} == {"modifiedAt"}


class TestStages:
    @pytest.mark.parametrize(
        ("stage", "won", "lost"),
        [
            ("Sold", True, False),
            ("Rejected", False, True),
            ("Prospecting", False, False),
            ("Parked", False, False),
            ("Gone", False, False),
        ],
    )
    def test_the_map_of_probabilities_decides(
        self, wire: Wire, stage: str, won: bool, lost: bool
    ) -> None:
        """As in EspoCRM's own filters: one without, or not among the options, is neither."""
        plan(wire, "GET /Contact", listed(CONTACT))
        plan(wire, "GET /Opportunity", listed(deal(stage=stage, probability=100)))
        plan(wire, "GET /Metadata", STAGES, always=True)

        (found,) = session().load([ERIKA], history=False, known_deals={}).contacts[0].deals

        assert (found.won, found.lost) == (won, lost)

    def test_a_new_stage_is_understood_at_once(self, wire: Wire) -> None:
        """What the stages mean is read again for it, and for the same one only once."""
        plan(wire, "GET /Contact", listed(CONTACT), always=True)
        plan(wire, "GET /Opportunity", listed(deal()))
        plan(wire, "GET /Opportunity", listed(deal(stage="Gewonnen"), deal(HANS, "Erased")))
        plan(wire, "GET /Opportunity", listed(deal(stage="Gewonnen"), deal(HANS, "Erased")))
        plan(wire, "GET /Metadata", STAGES)
        more = {"options": ["Gewonnen"], "probabilityMap": {"Gewonnen": 100}}
        plan(wire, "GET /Metadata", more, always=True)
        crm = session()

        won = [
            [one.won for one in crm.load([ERIKA], history=False, known_deals={}).contacts[0].deals]
            for _ in range(3)
        ]

        assert won == [[True], [True, False], [True, False]]
        assert wire.sent.count(f"GET {API}/Metadata") == 3

    def test_what_stages_mean_is_read_again_after_an_hour(
        self, wire: Wire, time: Time, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An administrator may have changed it."""
        assert Recent.__init__.__kwdefaults__ is not None
        monkeypatch.setitem(Recent.__init__.__kwdefaults__, "clock", time.clock)
        plan(wire, "GET /Contact", listed(CONTACT), always=True)
        plan(wire, "GET /Opportunity", listed(deal()), always=True)
        plan(wire, "GET /Metadata", STAGES)
        plan(wire, "GET /Metadata", {**STAGES, "probabilityMap": {"Sold": 90}})
        crm = session()

        won = []
        for seconds in (0, 3599, 1):
            time.sleep(seconds)
            (found,) = crm.load([ERIKA], history=False, known_deals={}).contacts[0].deals
            won.append(found.won)

        assert won == [True, True, False]

    def test_php_may_write_an_empty_map_as_a_list(self, wire: Wire) -> None:
        """Then nothing is won or lost."""
        plan(wire, "GET /Contact", listed(CONTACT))
        plan(wire, "GET /Opportunity", listed(deal()))
        plan(wire, "GET /Metadata", {"options": ["Sold"], "probabilityMap": []})

        (found,) = session().load([ERIKA], history=False, known_deals={}).contacts[0].deals

        assert (found.won, found.lost) == (False, False)


class TestAccount:
    @pytest.mark.parametrize(
        ("base_url", "crm_id", "shown"),
        [
            (BASE, "crm.example.com", "https://crm.example.com"),
            (f"{BASE}/api/v1", "crm.example.com", "https://crm.example.com"),
            ("https://CRM.example.com:8080/espo/", "crm.example.com:8080/espo", None),
        ],
    )
    def test_an_account_is_named_by_its_address(
        self, wire: Wire, base_url: str, crm_id: str, shown: str | None
    ) -> None:
        """Its own, where it tells one, is how people get to a contact."""
        path = "/espo/api/v1/App/user" if "espo" in base_url else f"{API}/App/user"
        settings = {"timeZone": "Europe/Berlin", "defaultCurrency": "EUR", "siteUrl": shown}
        told = {"user": {"id": USER}, "settings": settings}
        wire.answers(f"GET {path}", told, official=False)

        found = session(base_url=base_url).account()

        assert found == AccountFacts(
            crm_id=crm_id,
            name=f"EspoCRM {crm_id}",
            time_zone="Europe/Berlin",
            currency="EUR",
            record_url=f"{shown or 'https://CRM.example.com:8080/espo'}/#Contact/view/{{id}}",
        )

    def test_settings_that_are_not_shown_are_not_known(self, wire: Wire) -> None:
        """Nor are zones that Python does not know."""
        told = {"user": {"id": USER}, "settings": {"timeZone": "Berlin"}}
        plan(wire, "GET /App/user", told)

        found = session().account()

        assert (found.time_zone, found.currency) == (None, None)
        assert found.record_url == f"{BASE}/#Contact/view/{{id}}"

    def test_only_people_are_users(self, wire: Wire) -> None:
        """Neither programs nor visitors of a portal."""
        people: list[Mapping[str, Any]] = [
            {"id": USER, "name": "Erika Verkauf", "type": "regular", "isActive": True},
            {"id": HANS, "name": None, "userName": "admin", "type": "admin", "isActive": False},
            {"id": ERIKA, "name": "plugin", "type": "api", "isActive": True},
            {"id": DEAL, "name": "Kunde", "type": "portal", "isActive": True},
        ]
        plan(wire, "GET /User", listed(*people))

        assert session().users() == (
            User(crm_id=USER, name="Erika Verkauf", email=""),
            User(crm_id=HANS, name="admin", email="", active=False),
        )


class TestRefusals:
    def test_a_bad_key_is_tried_once(self, wire: Wire) -> None:
        """More than ten in a minute would keep everybody at this address out."""
        plan(wire, "GET /App/user", status=401)

        with pytest.raises(CrmUnauthorized):
            session().account()
        assert len(wire.calls) == 1

    def test_being_kept_out_is_waited_for(self, wire: Wire) -> None:
        """A minute; the reason quotes an address, the error does not."""
        reason = "Max failed login attempts exceeded for IP address 192.0.2.7."
        plan(wire, "GET /App/user", status=403, headers=refusal(reason))

        with pytest.raises(CrmRateLimited) as caught:
            session().account()
        assert caught.value.retry_after == 60.0
        assert "192.0.2.7" not in str(caught.value)

    @pytest.mark.parametrize(
        "reason", ["", "No access to 'Contact'.", "Max size should not exceed 200."]
    )
    def test_missing_rights_stop_the_account(self, wire: Wire, reason: str) -> None:
        """Any other 403."""
        plan(wire, "GET /Contact", status=403, headers=refusal(reason))

        with pytest.raises(CrmUnauthorized):
            session().existing([ERIKA])

    def test_a_contact_that_goes_while_it_is_read_is_no_missing_right(
        self, wire: Wire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """EspoCRM refuses a filter that names it; the next reading does not name it any more."""
        assert Client.__init__.__kwdefaults__ is not None
        monkeypatch.setitem(Client.__init__.__kwdefaults__, "sleep", lambda _seconds: None)
        reason = f"Record 'Contact' `{ERIKA}` not found."
        plan(wire, "GET /Contact", listed(CONTACT))
        plan(wire, "GET /Opportunity", status=403, headers=refusal(reason), always=True)

        with pytest.raises(CrmUnavailable):
            session().load([ERIKA], history=False, known_deals={})

    def test_an_answer_in_another_form_is_not_taken_for_an_empty_one(self, wire: Wire) -> None:
        """Nobody is taken for deleted because of it."""
        plan(wire, "GET /Contact", {"list": [{"name": "no id"}, {"name": "nor here"}]})

        with pytest.raises(CrmUnavailable, match="an unknown form: list"):
            session().existing([ERIKA])

    @pytest.mark.parametrize("others", [[], [CONTACT]])
    def test_one_odd_record_is_that_records_fault(
        self, wire: Wire, others: list[Mapping[str, Any]]
    ) -> None:
        """Asked for in ever smaller batches, it is found and left alone."""
        plan(wire, "GET /Contact", listed({"id": "not an id"}, *others))

        with pytest.raises(CrmRejected, match="a record of an unknown form: list"):
            session().existing([ERIKA])


class TestWriting:
    def test_values_are_written_in_their_own_types(self, wire: Wire) -> None:
        """One call per contact; the referrer is no text, and what is not installed stays out."""
        plan(wire, f"PUT /Contact/{ERIKA}", CONTACT)
        values = {
            "spiral_stage": "loyalty",
            "spiral_readiness": "",
            "spiral_stage_since": "2026-09-14",
            "spiral_referrals_given": "3",
            "spiral_referral_value": "1200.50",
            "spiral_contact_consent": "",
            "spiral_do_not_ask": "true",
            "spiral_referrer": "Hans (1)",
            "spiral_explanation": "Because.",
        }
        crm = session(fields=frozenset(values) - {"spiral_explanation"})

        failures = crm.write_fields([FieldUpdate(contact_id=ERIKA, values=values)])

        assert failures == ()
        assert wire.bodies(f"PUT {API}/Contact/{ERIKA}") == [
            {
                "cSpiralStage": "loyalty",
                "cSpiralReadiness": None,
                "cSpiralStageSince": "2026-09-14",
                "cSpiralReferralsGiven": 3,
                "cSpiralReferralValue": 1200.5,
                "cSpiralContactConsent": [],
                "cSpiralDoNotAsk": True,
            }
        ]

    def test_a_refused_contact_does_not_spoil_the_others(self, wire: Wire) -> None:
        """It is said which field, and whether the contact is gone."""
        plan(wire, f"PUT /Contact/{ERIKA}", invalid("cSpiralStage", "valid"), status=400)
        plan(wire, f"PUT /Contact/{HANS}", status=404)
        plan(wire, f"PUT /Contact/{DEAL}", {})
        updates = [
            FieldUpdate(contact_id=one, values={"spiral_stage": "loyalty"})
            for one in (ERIKA, HANS, DEAL)
        ]

        failures = session().write_fields(updates)

        assert [(one.item, one.gone) for one in failures] == [(ERIKA, False), (HANS, True)]
        assert failures[0].reason.endswith("cSpiralStage valid")

    def test_a_field_of_others_is_a_mistake(self) -> None:
        """It never gets as far as the CRM."""
        with pytest.raises(ValueError, match="not fields of ours"):
            session().write_fields([FieldUpdate(contact_id=ERIKA, values={"title": "x"})])

    def test_an_unfit_assignment_says_what_the_role_lacks(self, wire: Wire) -> None:
        """It is one record's fault, and stops nothing."""
        reason = "Assignment failure: assigned user or team not allowed."
        plan(wire, f"PUT /Contact/{ERIKA}", status=403, headers=refusal(reason))

        (failure,) = session().write_fields(
            [FieldUpdate(contact_id=ERIKA, values={"spiral_stage": "loyalty"})]
        )

        assert "Assignment Permission 'all'" in failure.reason

    @pytest.mark.parametrize("reason", ["No edit access.", "No 'edit' access.", ""])
    @pytest.mark.parametrize(
        "acl",
        [None, {"table": {"Contact": {"edit": "team"}}}, {"table": {"Contact": True}}],
    )
    def test_a_contact_that_may_not_be_edited_does_not_spoil_the_others(
        self, wire: Wire, reason: str, acl: object
    ) -> None:
        """403 is what EspoCRM answers for a single record, too; the role is looked at once."""
        me = {"user": {"id": USER}, "settings": {}, "acl": acl}
        plan(wire, f"PUT /Contact/{ERIKA}", status=403, headers=refusal(reason), always=True)
        plan(wire, f"PUT /Contact/{HANS}", {})
        plan(wire, "GET /App/user", me)
        crm = session()

        failures = crm.write_fields(
            [FieldUpdate(contact_id=one, values={"spiral_stage": ""}) for one in (ERIKA, HANS)]
        )
        again = crm.link_referrers([LinkUpdate(contact_id=ERIKA, referrer_id=HANS)])

        assert [(one.item, one.gone) for one in failures] == [(ERIKA, False)]
        assert again == failures
        assert failures[0].reason == (
            f"EspoCRM answered 403 to PUT {API}/Contact/{ERIKA}: "
            "the API user may not do that to this record"
        )

    @pytest.mark.parametrize("table", [{}, {"Contact": False}, {"Contact": {"edit": "no"}}])
    def test_a_role_that_may_edit_no_contact_stops_the_account(
        self, wire: Wire, table: Mapping[str, object]
    ) -> None:
        """EspoCRM uses the same words; the rights of the API user tell."""
        me = {"user": {"id": USER}, "settings": {}, "acl": {"table": table}}
        plan(wire, f"PUT /Contact/{ERIKA}", status=403, headers=refusal("No edit access."))
        plan(wire, "GET /App/user", me)

        with pytest.raises(CrmUnauthorized, match="does not allow to edit any Contact"):
            session().write_fields([FieldUpdate(contact_id=ERIKA, values={"spiral_stage": ""})])

    def test_what_is_written_is_no_duplicate(self, wire: Wire) -> None:
        """An administrator may have EspoCRM look for duplicates at every change."""
        plan(wire, f"PUT /Contact/{ERIKA}", {})

        session().write_fields([FieldUpdate(contact_id=ERIKA, values={"spiral_stage": ""})])

        assert wire.calls[0].headers["X-Skip-Duplicate-Check"] == "true"
