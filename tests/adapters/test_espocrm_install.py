"""Fields and webhooks of an EspoCRM: made by an administrator's login, or said by hand."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pytest

from adapters.espocrm import ADAPTER
from adapters.espocrm.values import given_name, possible_names
from plugin.errors import ConfigurationError, CrmRejected, CrmUnauthorized
from plugin.manifest import FieldType, manifest
from plugin.ports import LinkUpdate, PlanAction, PlanStep
from tests.adapters.conftest import Wire
from tests.adapters.espocrm import (
    ADMIN,
    API,
    ERIKA,
    HANS,
    KEY,
    invalid,
    listed,
    plan,
    refusal,
    session,
)

MANAGER = "/Admin/fieldManager/Contact"
FIELDS = manifest().fields
TYPES = {
    FieldType.ENUM: "enum", FieldType.MULTI_ENUM: "multiEnum", FieldType.TEXT: "text",
    FieldType.LINE: "varchar", FieldType.DATE: "date", FieldType.NUMBER: "int",
    FieldType.MONEY: "currency", FieldType.BOOL: "bool",
}  # fmt: skip


def whole(*, prefix: bool = True) -> dict[str, dict[str, Any]]:
    """All of our fields as the metadata tells them, beside one of EspoCRM's own."""
    found: dict[str, dict[str, Any]] = {"lastName": {"type": "varchar", "required": True}}
    for field in FIELDS:
        name = possible_names(field.key)[0 if prefix else 1]
        if field.key == "spiral_referrer":
            found[name] = {"type": "link"}
            continue
        values = [option.value for option in field.options]
        empty = [""] if field.type is FieldType.ENUM else []
        options = {"options": [*empty, *values]} if values else {}
        found[name] = {"type": TYPES[field.type], "isCustom": True, **options}
    return found


def steps(*keys: str, action: PlanAction = PlanAction.CREATE) -> list[PlanStep]:
    return [PlanStep(action=action, what=key) for key in keys]


def step_of(found: tuple[PlanStep, ...], key: str) -> PlanStep:
    return next(step for step in found if step.what == key)


class TestPlanning:
    def test_all_is_to_be_made_where_nothing_is(self, wire: Wire) -> None:
        """With a login of an administrator; the metadata is read with the key."""
        plan(wire, "GET /Metadata", {"lastName": {"type": "varchar"}})

        found = session(admin=ADMIN).plan_install()

        assert found == tuple(steps(*(field.key for field in FIELDS)))
        assert wire.calls[0].query == {"key": "entityDefs.Contact.fields"}
        assert wire.calls[0].headers["X-Api-Key"] == KEY
        assert "Authorization" not in wire.calls[0].headers

    def test_without_an_administrator_it_is_said_what_to_make_where(self, wire: Wire) -> None:
        """Type, name, label and options of each, as EspoCRM's own form asks for them."""
        plan(wire, "GET /Metadata", {})

        found = session(language="en").plan_install()

        assert {step.action for step in found} == {PlanAction.BY_HAND}
        start = "Administration > Entity Manager > Contact > "
        assert step_of(found, "spiral_rating").why == (
            f"{start}Fields > Add Field > Enum: Name spiralRating, Label Referral spiral: rating, "
            "Options an empty one, angry (Angry), dissatisfied (Dissatisfied), satisfied "
            "(Satisfied), delighted (Delighted)."
        )
        assert step_of(found, "spiral_contact_consent").why == (
            f"{start}Fields > Add Field > Multi-Enum: Name spiralContactConsent, Label Consent to "
            "be contacted, Options phone (Phone), email (E-mail)."
        )
        assert step_of(found, "spiral_referrer_name").why == (
            f"{start}Fields > Add Field > Varchar: Name spiralReferrerName, Label Recommended by, "
            "Max Length 255."
        )
        assert step_of(found, "spiral_referrer").why == (
            f"{start}Relationships > Create Link: Link Type Many-to-One, Foreign Entity Contact, "
            "Link spiralReferrerContact, Label Referrer, Foreign Link spiralReferredContacts, "
            "Foreign Label Referred."
        )

    @pytest.mark.parametrize("prefix", [True, False])
    def test_what_is_there_stays(self, wire: Wire, prefix: bool) -> None:
        """Prefixed or not; the names become facts."""
        plan(wire, "GET /Metadata", whole(prefix=prefix), always=True)
        crm = session(admin=ADMIN)

        found = crm.plan_install()
        facts = crm.install(found)

        assert {step.action for step in found} == {PlanAction.KEEP}
        at = 0 if prefix else 1
        assert facts == {field.key: possible_names(field.key)[at] for field in FIELDS}
        assert crm.installed_fields() == {field.key for field in FIELDS}
        assert {call.method for call in wire.calls} == {"GET"}

    def test_a_field_of_another_type_is_foreign(self, wire: Wire) -> None:
        """It is not ours, and never written."""
        defs = {**whole(), "cSpiralStage": {"type": "url"}}
        plan(wire, "GET /Metadata", defs, always=True)
        crm = session(admin=ADMIN)

        step = step_of(crm.plan_install(), "spiral_stage")

        assert step.action is PlanAction.FOREIGN
        assert step.why == "A field cSpiralStage of another type exists (url)."
        assert "spiral_stage" not in crm.installed_fields()

    @pytest.mark.parametrize(
        ("admin", "action", "start"),
        [
            (ADMIN, PlanAction.REPAIR, "It has lost options: "),
            (
                "",
                PlanAction.BY_HAND,
                "Administration > Entity Manager > Contact > "
                "Fields > cSpiralRating: add the options ",
            ),
        ],
    )
    def test_lost_options_are_missed(
        self, wire: Wire, admin: str, action: PlanAction, start: str
    ) -> None:
        """The empty one, too: without it the field could not be emptied. Others' options stay."""
        rating = {"type": "enum", "options": ["angry", "satisfied", "delighted", "euphoric"]}
        plan(wire, "GET /Metadata", {**whole(), "cSpiralRating": rating})

        step = step_of(session(admin=admin).plan_install(), "spiral_rating")

        why = f"{start}the empty one, dissatisfied."
        assert step == PlanStep(action=action, what="spiral_rating", why=why)

    def test_a_role_without_contacts_is_missing_rights(self, wire: Wire) -> None:
        """Then the metadata has no such part."""
        wire.answers(f"GET {API}/Metadata", b"null", official=False)

        with pytest.raises(CrmUnauthorized, match="no access to contacts"):
            session().plan_install()


class TestInstalling:
    def test_fields_are_made_with_labels_and_help(self, wire: Wire) -> None:
        """By the administrator; everything else is done with the key."""
        plan(wire, f"POST {MANAGER}", {"type": "enum"}, always=True)
        plan(wire, "GET /Metadata", whole(), always=True)

        session(admin=ADMIN, language="de").install(
            steps("spiral_advocate_tier", "spiral_referrer_name", "spiral_referral_value")
        )

        login = base64.b64encode(ADMIN.encode()).decode()
        posts = [call for call in wire.calls if call.method == "POST"]
        assert {call.headers.get("Authorization") for call in posts} == {f"Basic {login}"}
        assert [call.headers.get("X-Api-Key") for call in posts] == [None] * 3
        assert wire.bodies(f"POST {API}{MANAGER}") == [
            {
                "name": "spiralReferrerName",
                "type": "varchar",
                "label": "Empfohlen von",
                "tooltip": True,
                "tooltipText": manifest().field("spiral_referrer_name").description["de"],
                "maxLength": 255,
            },
            {
                "name": "spiralAdvocateTier",
                "type": "enum",
                "label": "Empfehler",
                "tooltip": True,
                "tooltipText": manifest().field("spiral_advocate_tier").description["de"],
                "options": ["", "none", "one_time", "repeat", "super"],
                "translatedOptions": {
                    "none": "Noch keine Empfehlung",
                    "one_time": "Einmalempfehler",
                    "repeat": "Mehrfachempfehler",
                    "super": "Superempfehler",
                },
            },
            {
                "name": "spiralReferralValue",
                "type": "currency",
                "label": "Wert der Empfehlungen",
                "tooltip": True,
                "tooltipText": manifest().field("spiral_referral_value").description["de"],
                "onlyDefaultCurrency": True,
            },
        ]

    def test_the_referrer_becomes_a_link_from_contact_to_contact(self, wire: Wire) -> None:
        """Many have one referrer; the other side is called, too."""
        plan(wire, "POST /EntityManager/action/createLink", True)
        plan(wire, "GET /Metadata", whole())

        facts = session(admin=ADMIN, language="en").install(steps("spiral_referrer"))

        assert facts["spiral_referrer"] == "cSpiralReferrerContact"
        assert wire.bodies(f"POST {API}/EntityManager/action/createLink") == [
            {
                "entity": "Contact",
                "link": "spiralReferrerContact",
                "label": "Referrer",
                "linkType": "manyToOne",
                "entityForeign": "Contact",
                "linkForeign": "spiralReferredContacts",
                "labelForeign": "Referred",
                "relationName": None,
            }
        ]

    def test_the_links_name_takes_no_field_its_own(self) -> None:
        """A link has an attribute ``…Name`` and one ``…Id``: no field may be called so."""
        link = given_name("spiral_referrer")
        fields = {given_name(field.key) for field in FIELDS}

        assert {f"{link}Name", f"{link}Id"} & fields == set()
        assert len(fields) == len(FIELDS)

    def test_what_is_there_by_now_is_no_fault(self, wire: Wire) -> None:
        """409."""
        plan(wire, f"POST {MANAGER}", status=409)
        plan(wire, "GET /Metadata", whole())

        assert "spiral_stage" in session(admin=ADMIN).install(steps("spiral_stage"))

    def test_one_refused_field_is_left_out(self, wire: Wire) -> None:
        """All of them refused is an error."""
        defs = whole()
        del defs["cSpiralStage"]
        plan(wire, f"POST {MANAGER}", status=400)
        plan(wire, f"POST {MANAGER}", {})
        plan(wire, "GET /Metadata", defs)

        facts = session(admin=ADMIN).install(steps("spiral_stage", "spiral_rating"))

        assert ("spiral_stage" in facts, "spiral_rating" in facts) == (False, True)
        plan(wire, f"POST {MANAGER}", status=400)
        with pytest.raises(CrmRejected):
            session(admin=ADMIN).install(steps("spiral_stage"))

    def test_lost_options_are_put_behind_those_that_are_there(self, wire: Wire) -> None:
        """The rest of the definition goes back as it came."""
        kept = {"type": "enum", "options": ["", "euphoric", "angry"], "label": "Urteil"}
        plan(wire, "GET /Metadata", {**whole(), "cSpiralRating": kept}, always=True)
        plan(wire, f"GET {MANAGER}/cSpiralRating", {**kept, "audited": True})
        plan(wire, f"PUT {MANAGER}/cSpiralRating", kept)

        session(admin=ADMIN).install(steps("spiral_rating", action=PlanAction.REPAIR))

        assert wire.bodies(f"PUT {API}{MANAGER}/cSpiralRating") == [
            {
                "type": "enum",
                "label": "Urteil",
                "audited": True,
                "options": ["", "euphoric", "angry", "dissatisfied", "satisfied", "delighted"],
            }
        ]

    def test_steps_by_hand_make_nothing(self, wire: Wire) -> None:
        """The facts are those of what is there."""
        plan(wire, "GET /Metadata", {"cSpiralStage": {"type": "enum"}})

        facts = session().install(steps("spiral_rating", action=PlanAction.BY_HAND))

        assert facts == {"spiral_stage": "cSpiralStage"}

    def test_making_without_an_administrator_is_a_mistake(self, wire: Wire) -> None:
        """It names the setting."""
        with pytest.raises(ConfigurationError, match="ESPOCRM_ADMIN"):
            session().install(steps("spiral_stage"))
        assert wire.calls == []

    @pytest.mark.parametrize("admin", ["admin", "admin:", ":not-a-real-password"])
    def test_half_a_login_is_never_tried(self, wire: Wire, admin: str) -> None:
        """EspoCRM would count it, and keep everybody at this address out after ten of them."""
        with pytest.raises(ConfigurationError, match="ESPOCRM_ADMIN is not in the form"):
            session(admin=admin)
        assert wire.calls == []

    def test_a_wrong_password_is_tried_once(self, wire: Wire) -> None:
        """It does not go on to the next field."""
        plan(wire, f"POST {MANAGER}", status=401)

        with pytest.raises(CrmUnauthorized):
            session(admin=ADMIN).install(steps("spiral_stage", "spiral_rating"))
        assert len(wire.calls) == 1


class TestUninstalling:
    def test_what_people_typed_stays(self, wire: Wire) -> None:
        """Unless told otherwise."""
        plan(wire, "GET /Metadata", whole(), always=True)
        crm = session(admin=ADMIN)

        careful = crm.plan_uninstall(delete_data=False)
        thorough = crm.plan_uninstall(delete_data=True)

        kept = {step.what for step in careful if step.action is PlanAction.FOREIGN}
        assert kept == set(manifest().keys_in)
        assert {step.action for step in thorough} == {PlanAction.REMOVE}

    def test_fields_and_link_are_removed_by_name(self, wire: Wire) -> None:
        """What is gone by then is no fault."""
        plan(wire, "GET /Metadata", whole())
        plan(wire, f"DELETE {MANAGER}/cSpiralStage", status=404)
        plan(wire, "POST /EntityManager/action/removeLink", True)

        session(admin=ADMIN).uninstall(
            steps("spiral_stage", "spiral_referrer", action=PlanAction.REMOVE)
        )

        assert wire.bodies(f"POST {API}/EntityManager/action/removeLink") == [
            {"entity": "Contact", "link": "cSpiralReferrerContact"}
        ]
        assert wire.sent[1] == f"DELETE {API}{MANAGER}/cSpiralStage"

    def test_without_an_administrator_it_is_said_what_to_remove(self, wire: Wire) -> None:
        """Link and fields stand in different places."""
        plan(wire, "GET /Metadata", whole())

        found = session().plan_uninstall(delete_data=False)

        assert step_of(found, "spiral_stage") == PlanStep(
            action=PlanAction.BY_HAND,
            what="spiral_stage",
            why="Administration > Entity Manager > Contact > Fields > cSpiralStage: remove it.",
        )
        assert "Relationships > cSpiralReferrerContact" in step_of(found, "spiral_referrer").why


class TestReferrers:
    def test_a_referrer_is_a_contacts_id(self, wire: Wire) -> None:
        """Null removes it."""
        plan(wire, f"PUT /Contact/{ERIKA}", {})
        plan(wire, f"PUT /Contact/{HANS}", {})
        updates = [
            LinkUpdate(contact_id=ERIKA, referrer_id=HANS, remove=("6b022d2f225d0eaba",)),
            LinkUpdate(contact_id=HANS, referrer_id=None, remove=(ERIKA,)),
        ]

        failures = session(facts={"spiral_referrer": "cSponsor"}).link_referrers(updates)

        assert failures == ()
        assert [call.body for call in wire.calls] == [{"cSponsorId": HANS}, {"cSponsorId": None}]

    def test_a_referrer_that_is_gone_does_not_spoil_the_others(self, wire: Wire) -> None:
        """EspoCRM answers 403, which else means missing rights."""
        reason = "Can't relate with non-existing record. entity type: Contact, link: x."
        plan(wire, f"PUT /Contact/{ERIKA}", status=403, headers=refusal(reason))
        plan(wire, f"PUT /Contact/{HANS}", {})
        updates = [LinkUpdate(contact_id=one, referrer_id="6b0") for one in (ERIKA, HANS)]

        failures = session().link_referrers(updates)

        assert [(one.item, one.gone) for one in failures] == [(ERIKA, False)]

    def test_without_the_link_nothing_is_written(self, wire: Wire) -> None:
        """An account may have the other fields only."""
        update = LinkUpdate(contact_id=ERIKA, referrer_id=HANS)

        assert session(fields=frozenset({"spiral_stage"})).link_referrers([update]) == ()
        assert wire.calls == []


TARGET = "https://spiral.example.com/webhooks/espocrm/token"
EVENTS = ADAPTER.declaration.event_types


def webhook(event: str, crm_id: str = "", **more: Any) -> Mapping[str, Any]:
    return {
        "id": crm_id or f"id{EVENTS.index(event)}",
        "event": event,
        "url": f"{TARGET}/{event}",
        "isActive": True,
        "skipOwn": True,
        "secretKey": "0123456789abcdef0123456789abcdef",
        **more,
    }


class TestWebhooks:
    def test_each_event_gets_a_webhook_of_its_own(self, wire: Wire) -> None:
        """The event is the last part of its address; our own changes are not sent."""
        plan(wire, "GET /Webhook", listed())
        for event in EVENTS:
            plan(wire, "POST /Webhook", webhook(event), status=201)

        secrets = session().subscribe(TARGET, ("a-random-one-of-ours",))

        assert secrets == tuple(
            f"{event}:id{at}:0123456789abcdef0123456789abcdef" for at, event in enumerate(EVENTS)
        )
        assert wire.bodies(f"POST {API}/Webhook") == [
            {"event": event, "url": f"{TARGET}/{event}", "isActive": True, "skipOwn": True}
            for event in EVENTS
        ]

    def test_what_works_stays(self, wire: Wire) -> None:
        """Others' webhooks too; the switch for the legacy header is kept."""
        foreign = webhook(EVENTS[0], "foreign", url="https://other.example.com/hook")
        plan(wire, "GET /Webhook", listed(foreign, *map(webhook, EVENTS)))

        secrets = session().subscribe(TARGET, ("signature-only", "Contact.update:old:key"))

        assert secrets[0] == "signature-only"
        assert len(secrets) == 1 + len(EVENTS)
        assert [call.method for call in wire.calls] == ["GET"]

    @pytest.mark.parametrize(
        "fault",
        [
            {"isActive": False},
            {"skipOwn": False},
            {"skipOwn": None},
            {"secretKey": None},
            {"event": "Contact.delete"},
            {"url": f"https://former.example.com/webhooks/espocrm/token/{EVENTS[0]}"},
        ],
    )
    def test_what_does_not_work_is_made_anew(self, wire: Wire, fault: Mapping[str, Any]) -> None:
        """The new one first, then the old one goes."""
        old = {**webhook(EVENTS[0], "old"), **fault}
        plan(wire, "GET /Webhook", listed(old, *map(webhook, EVENTS[1:])))
        plan(wire, "POST /Webhook", webhook(EVENTS[0], "new"), status=201)
        plan(wire, "DELETE /Webhook/old", True)

        secrets = session().subscribe(TARGET, ())

        assert secrets[0].split(":")[:2] == [EVENTS[0], "new"]
        assert wire.sent[1:] == [f"POST {API}/Webhook", f"DELETE {API}/Webhook/old"]

    def test_a_version_that_cannot_skip_our_own_changes_keeps_its_webhooks(
        self, wire: Wire
    ) -> None:
        """EspoCRM 9.0 and 9.1 do not tell ``skipOwn``: a new one would not know it either."""
        old = [{k: v for k, v in webhook(one).items() if k != "skipOwn"} for one in EVENTS]
        plan(wire, "GET /Webhook", listed(*old))

        assert len(session().subscribe(TARGET, ())) == len(EVENTS)
        assert [call.method for call in wire.calls] == ["GET"]

    @pytest.mark.parametrize("former", ["/crm", ""])
    def test_webhooks_are_ours_whatever_path_the_plugin_was_reached_at(
        self, wire: Wire, former: str
    ) -> None:
        """Else those of the former address would go on for ever."""
        moved = TARGET.replace("/webhooks", "/plugin/webhooks")
        old = [
            {
                **webhook(one),
                "url": f"https://spiral.example.com{former}/webhooks/espocrm/token/{one}",
            }
            for one in EVENTS
        ]
        plan(wire, "GET /Webhook", listed(*old))
        for event in EVENTS:
            plan(wire, "POST /Webhook", webhook(event, "new"), status=201)
        for one in old:
            plan(wire, f"DELETE /Webhook/{one['id']}", True)

        session().subscribe(moved, ())

        assert sorted(wire.sent[1:]) == sorted(
            [f"POST {API}/Webhook"] * len(EVENTS)
            + [f"DELETE {API}/Webhook/{one['id']}" for one in old]
        )

    def test_of_two_that_work_one_stays(self, wire: Wire) -> None:
        """Else everything would come twice."""
        double = webhook(EVENTS[0], "double")
        plan(wire, "GET /Webhook", listed(*map(webhook, EVENTS), double))
        plan(wire, "DELETE /Webhook/double", status=404)

        secrets = session().subscribe(TARGET, ())

        assert secrets[0].split(":")[1] == "id0"

    def test_a_refused_address_names_the_setting_of_espocrm(self, wire: Wire) -> None:
        """Since 9.3.2 internal ones are refused."""
        plan(wire, "GET /Webhook", listed())
        plan(wire, "POST /Webhook", invalid("url", "NotInternal"), status=400)

        with pytest.raises(CrmRejected, match="webhookAllowedAddressList"):
            session().subscribe(TARGET, ())

    def test_unsubscribing_removes_ours_only(self, wire: Wire) -> None:
        """All that lead below our path, whatever the host."""
        other = webhook(EVENTS[0], "other", url=f"{TARGET}-other/{EVENTS[0]}")
        former = webhook(EVENTS[1], "former", url="https://x.example.com/webhooks/espocrm/token/a")
        plan(wire, "GET /Webhook", listed(other, former, webhook(EVENTS[2], "ours")))
        plan(wire, "DELETE /Webhook/former", True)
        plan(wire, "DELETE /Webhook/ours", True)

        session().unsubscribe(TARGET)

        assert wire.sent[1:] == [f"DELETE {API}/Webhook/former", f"DELETE {API}/Webhook/ours"]

    def test_unsubscribing_needs_no_address_of_ours(self, wire: Wire) -> None:
        """The setting may be gone by then, and the path may have been another."""
        below = TARGET.replace("/webhooks", "/plugin/webhooks")
        plan(wire, "GET /Webhook", listed(webhook(EVENTS[0], "ours", url=f"{below}/{EVENTS[0]}")))
        plan(wire, "DELETE /Webhook/ours", True)

        session().unsubscribe("/webhooks/espocrm/token")

        assert wire.sent[1:] == [f"DELETE {API}/Webhook/ours"]

    def test_the_guide_says_what_webhooks_need(self) -> None:
        """And where they lead to."""
        guide = ADAPTER.guide(TARGET)

        assert TARGET in guide
        assert "Process Webhook Queue" in guide
        assert "webhookAllowedAddressList" in guide
