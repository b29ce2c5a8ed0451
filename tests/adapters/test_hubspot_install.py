"""Installing and removing: a plan first, nothing of others touched, nothing typed lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.hubspot.project import project_files
from plugin.errors import CrmRejected, CrmUnauthorized
from plugin.manifest import Field, FieldType, manifest
from plugin.ports import PlanAction, PlanStep
from tests.adapters.conftest import Connect, Reply, Wire, problem

PROPERTIES = "/crm/properties/2026-09/contacts"
LIST = f"GET {PROPERTIES}"
CREATE = f"POST {PROPERTIES}"
GROUPS = f"GET {PROPERTIES}/groups"
CREATE_GROUP = f"POST {PROPERTIES}/groups"
LIMITS = "GET /crm/limits/2026-09/custom-properties"
LABEL_LIMITS = "GET /crm/limits/2026-09/associations/labels"
LABELS_PATH = "/crm/associations/2026-09/contacts/contacts/labels"
LABELS = f"GET {LABELS_PATH}"
CREATE_LABEL = f"POST {LABELS_PATH}"

FIELDS = manifest().fields
LABEL = "label:spiral_referral"
CREATE_ALL = [PlanStep(action=PlanAction.CREATE, what=field.key) for field in FIELDS]
FACTS = {"label_type_id": "37", "inverse_label_type_id": "38"}

WIRE_TYPES = {
    FieldType.ENUM: ("enumeration", "select"),
    FieldType.MULTI_ENUM: ("enumeration", "checkbox"),
    FieldType.TEXT: ("string", "textarea"),
    FieldType.LINE: ("string", "text"),
    FieldType.DATE: ("date", "date"),
    FieldType.NUMBER: ("number", "number"),
    FieldType.MONEY: ("number", "number"),
    FieldType.BOOL: ("bool", "booleancheckbox"),
}


def option(value: str, label: str, at: int) -> Any:
    return {"value": value, "label": label, "displayOrder": at, "hidden": False}


def prop(key: str, **more: Any) -> Any:
    """A property as an earlier installation left it."""
    field: Field = manifest().field(key)
    kind, form_field = WIRE_TYPES[field.type]
    options = [option(o.value, o.label.de, at) for at, o in enumerate(field.options)]
    if field.type is FieldType.BOOL:
        options = [option("true", "Ja", 0), option("false", "Nein", 1)]
    return {
        "name": key,
        "label": field.label.de,
        "description": field.description.de,
        "groupName": "spiral",
        "type": kind,
        "fieldType": form_field,
        "options": options,
        **more,
    }


def limits(room: int, *, overall: int = 1000) -> Any:
    usage = {"objectTypeId": "0-1", "singularLabel": "Contact", "pluralLabel": "Contacts"}
    return {
        "byObjectType": [{**usage, "limit": 10, "usage": 10 - room, "percentage": 50.0}],
        "overallLimit": overall,
        "overallUsage": 0,
        "overallPercentage": 0.0,
    }


def label(type_id: int, text: str | None, category: str = "USER_DEFINED") -> Any:
    return {"category": category, "typeId": type_id, "label": text}


PAIR = [
    label(449, None, "HUBSPOT_DEFINED"),
    label(38, "Empfohlen"),
    label(37, "Empfehlungsgeber"),
    label(12, "Chef"),
]


def account(
    wire: Wire,
    *properties: Any,
    room: Any = None,
    labels: list[Any] | None = None,
    label_room: Any = None,
) -> None:
    """An account with these properties and labels."""
    wire.answers(LIST, {"results": list(properties)}, always=True)
    wire.answers(LIMITS, room or limits(100, overall=1000), always=True)
    wire.answers(LABELS, {"results": labels or []}, always=True)
    wire.answers(LABEL_LIMITS, label_room or {"results": []}, always=True)


def taking(wire: Wire) -> None:
    """Every property is created."""
    wire.answers(GROUPS, {"results": []}, always=True)
    wire.answers(
        CREATE_GROUP, {"name": "spiral", "label": "x", "archived": False}, status=201, always=True
    )
    wire.answers(CREATE, lambda body: Reply(201, {"options": [], **body}), always=True)


def steps(plan: tuple[PlanStep, ...]) -> dict[str, PlanAction]:
    return {step.what: step.action for step in plan}


# ------------------------------------------------------------------------------- planning


def test_an_empty_account_gets_everything(wire: Wire, connect: Connect) -> None:
    """All fields in the manifest's order, and the label."""
    account(wire)

    assert connect().plan_install() == (
        *CREATE_ALL,
        PlanStep(action=PlanAction.CREATE, what=LABEL),
    )


def test_what_is_there_is_kept(wire: Wire, connect: Connect) -> None:
    """A second plan after an installation changes nothing."""
    account(wire, *(prop(field.key) for field in FIELDS), labels=PAIR)

    assert set(steps(connect().plan_install()).values()) == {PlanAction.KEEP}


@pytest.mark.parametrize("room", [limits(4), limits(100, overall=4)])
def test_where_not_all_fit_the_first_ones_win(wire: Wire, connect: Connect, room: Any) -> None:
    """Existing ones take no room; of the rest the most important are made."""
    account(wire, prop("spiral_stage"), room=room)

    plan = steps(connect().plan_install())

    assert [plan[field.key] for field in FIELDS] == [
        PlanAction.KEEP,
        *[PlanAction.CREATE] * 4,
        *[PlanAction.DOES_NOT_FIT] * (len(FIELDS) - 5),
    ]


@pytest.mark.parametrize("status", [403, 404, 400])
def test_limits_nobody_tells_do_not_stop_the_plan(
    wire: Wire, connect: Connect, status: int
) -> None:
    """Without the limits it is simply tried."""
    account(wire)
    wire.planned["GET", "/crm/limits/2026-09/custom-properties"].clear()
    wire.planned["GET", "/crm/limits/2026-09/associations/labels"].clear()
    wire.answers(LIMITS, problem("X"), status=status)
    wire.answers(LABEL_LIMITS, problem("X"), status=status)

    assert set(steps(connect().plan_install()).values()) == {PlanAction.CREATE}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"label": ""}, "It has lost its label."),
        ({"description": ""}, "It has lost its description."),
        ({"options": [option("angry", "Wütend", 0)]}, "It has lost its options."),
        ({"label": "", "options": []}, "It has lost its label, options."),
    ],
)
def test_what_is_missing_is_repaired(
    wire: Wire, connect: Connect, change: dict[str, Any], why: str
) -> None:
    """A property of ours that lost something is repaired."""
    account(wire, prop("spiral_rating", **change), labels=PAIR)

    plan = {step.what: step for step in connect().plan_install()}

    assert plan["spiral_rating"] == PlanStep(
        action=PlanAction.REPAIR, what="spiral_rating", why=why
    )


def test_what_people_changed_is_kept(wire: Wire, connect: Connect) -> None:
    """Another wording, further options, another look: theirs to decide."""
    changed = prop("spiral_rating", label="Stimmung", description="!", fieldType="radio")
    changed["options"].append(option("puzzled", "Ratlos", 9))
    account(wire, changed)

    assert steps(connect().plan_install())["spiral_rating"] is PlanAction.KEEP


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            {"type": "string", "fieldType": "text"},
            "A property of this name exists with another type (string).",
        ),
        (
            {"fieldType": "checkbox"},
            "A property of this name exists with another type (enumeration).",
        ),
        (
            {"groupName": "contactinformation"},
            "A property of this name lies in the group contactinformation, not in ours.",
        ),
    ],
)
def test_what_is_not_ours_is_left_alone(
    wire: Wire, connect: Connect, change: dict[str, Any], why: str
) -> None:
    """Our name alone does not make it ours; neither plan touches it, and it is not installed."""
    account(wire, prop("spiral_rating", **change))
    session = connect()
    foreign = PlanStep(action=PlanAction.FOREIGN, what="spiral_rating", why=why)

    assert foreign in session.plan_install()
    assert session.plan_uninstall(delete_data=True) == (foreign,)
    assert session.installed_fields() == frozenset()


def test_what_is_ours_is_installed(wire: Wire, connect: Connect) -> None:
    """By name, group and type."""
    account(wire, prop("spiral_rating"), prop("spiral_stage"), prop("spiral_origin", name="x"))

    assert connect().installed_fields() == {"spiral_rating", "spiral_stage"}


def test_labels_that_are_not_to_be_had_do_not_fit(wire: Wire, connect: Connect) -> None:
    """Where the plan of the account has no labels left, the text field does."""
    full = {
        "results": [
            {
                "limit": 0,
                "usage": 0,
                "percentage": 0.0,
                "allLabels": [],
                "fromObjectType": kind,
                "toObjectType": kind,
            }
            for kind in [{"objectTypeId": "0-1", "singularLabel": "C", "pluralLabel": "Cs"}]
        ]
    }
    account(wire, label_room=full)

    step = connect().plan_install()[-1]

    assert (step.action, step.what) == (PlanAction.DOES_NOT_FIT, LABEL)
    assert "the referrer is kept as text" in step.why


def test_labels_that_may_not_be_seen_do_not_fit(wire: Wire, connect: Connect) -> None:
    """No right to see them is no fault of the installation."""
    account(wire)
    wire.planned["GET", LABELS_PATH].clear()
    wire.answers(LABELS, problem("MISSING_SCOPES"), status=403, always=True)

    assert steps(connect().plan_install())[LABEL] is PlanAction.DOES_NOT_FIT
    assert connect().plan_uninstall(delete_data=True) == ()


# ----------------------------------------------------------------------------- installing


def test_an_installation_makes_group_properties_and_label(wire: Wire, connect: Connect) -> None:
    """One call each, in the manifest's order; the label's types are the facts to keep."""
    account(wire)
    taking(wire)
    wire.answers(CREATE_LABEL, {"results": [label(38, "Empfohlen"), label(37, "Empfehlungsgeber")]})
    session = connect()

    facts = session.install(session.plan_install())

    assert facts == FACTS
    assert wire.bodies(CREATE_GROUP) == [
        {"name": "spiral", "label": "Empfehlungsspirale", "displayOrder": -1}
    ]
    assert [body["name"] for body in wire.bodies(CREATE)] == [field.key for field in FIELDS]
    assert wire.bodies(CREATE_LABEL) == [
        {"name": "spiral_referral", "label": "Empfehlungsgeber", "inverseLabel": "Empfohlen"}
    ]


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.key)
def test_a_property_is_made_as_the_manifest_says(
    wire: Wire, connect: Connect, field: Field
) -> None:
    """Name, wording, type and options: in the account's language."""
    taking(wire)

    connect(language="en").install([PlanStep(action=PlanAction.CREATE, what=field.key)])

    kind, form_field = WIRE_TYPES[field.type]
    options = [option(o.value, o.label.en, at) for at, o in enumerate(field.options)]
    if field.type is FieldType.BOOL:
        options = [option("true", "Yes", 0), option("false", "No", 1)]
    expected = {
        "name": field.key,
        "label": field.label.en,
        "description": field.description.en,
        "groupName": "spiral",
        "type": kind,
        "fieldType": form_field,
        "formField": False,
        "hasUniqueValue": False,
    }
    assert wire.bodies(CREATE) == [expected | ({"options": options} if options else {})]


def test_a_group_that_is_there_is_used(wire: Wire, connect: Connect) -> None:
    """It is not made twice; one that appears meanwhile is no fault, and neither is a property."""
    group = {"name": "spiral", "label": "Spirale", "archived": False}
    wire.answers(GROUPS, {"results": [group]})
    wire.answers(GROUPS, {"results": []})
    wire.answers(CREATE_GROUP, problem("OBJECT_ALREADY_EXISTS"), status=409)
    wire.answers(CREATE, problem("OBJECT_ALREADY_EXISTS"), status=409, always=True)
    session = connect()

    assert session.install(CREATE_ALL[:1]) == {}
    assert session.install(CREATE_ALL[:1]) == {}
    assert len(wire.bodies(CREATE_GROUP)) == 1


def test_a_group_that_is_refused_stops_the_installation(wire: Wire, connect: Connect) -> None:
    """Without the group nothing could be told to be ours."""
    wire.answers(GROUPS, {"results": []})
    wire.answers(CREATE_GROUP, problem("VALIDATION_ERROR"), status=400)

    with pytest.raises(CrmRejected):
        connect().install(CREATE_ALL)

    assert wire.bodies(CREATE) == []


def test_a_repair_adds_our_options_and_keeps_theirs(wire: Wire, connect: Connect) -> None:
    """HubSpot replaces the list, so all are sent; wording that people gave stays."""
    theirs = [option("angry", "Wütend", 0), option("puzzled", "Ratlos", 1)]
    account(wire, prop("spiral_rating", options=theirs, label="Stimmung"))
    path = f"PATCH {PROPERTIES}/spiral_rating"
    wire.answers(path, prop("spiral_rating"))

    connect().install([PlanStep(action=PlanAction.REPAIR, what="spiral_rating")])

    assert wire.bodies(path) == [
        {
            "options": [
                *theirs,
                option("dissatisfied", "Unzufrieden", 1),
                option("satisfied", "Zufrieden", 2),
                option("delighted", "Begeistert", 3),
            ]
        }
    ]


def test_a_repair_looks_again_first(wire: Wire, connect: Connect) -> None:
    """What was repaired, removed or taken over meanwhile is left alone."""
    account(wire, prop("spiral_rating"), prop("spiral_stage", groupName="theirs", label=""))

    connect().install(
        [
            PlanStep(action=PlanAction.REPAIR, what=key)
            for key in ("spiral_rating", "spiral_stage", "spiral_origin")
        ]
    )

    assert wire.sent == [LIST]


def test_one_refused_property_does_not_stop_the_others(wire: Wire, connect: Connect) -> None:
    """A free account takes ten: what it took stays, and the next plan shows the rest."""
    taking(wire)
    wire.planned["POST", PROPERTIES].clear()
    for _ in range(10):
        wire.answers(CREATE, lambda body: Reply(201, {"options": [], **body}))
    wire.answers(CREATE, problem("VALIDATION_ERROR"), status=400, always=True)

    assert connect().install(CREATE_ALL) == {}
    assert len(wire.bodies(CREATE)) == len(FIELDS)


def test_a_refusal_of_all_is_raised(wire: Wire, connect: Connect) -> None:
    """The admin has to know."""
    taking(wire)
    wire.planned["POST", PROPERTIES].clear()
    wire.answers(CREATE, problem("VALIDATION_ERROR"), status=400, always=True)

    with pytest.raises(CrmRejected):
        connect().install(CREATE_ALL)


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_refused_label_leaves_the_text(wire: Wire, connect: Connect, status: int) -> None:
    """Plans without labels refuse them: the installation goes on, without the facts."""
    account(wire)
    wire.answers(CREATE_LABEL, problem("MISSING_SCOPES"), status=status)

    assert connect().install([PlanStep(action=PlanAction.CREATE, what=LABEL)]) == {}


@pytest.mark.parametrize("action", [PlanAction.KEEP, PlanAction.CREATE])
def test_a_label_that_is_there_gives_the_facts(
    wire: Wire, connect: Connect, action: PlanAction
) -> None:
    """In any of our languages; it is not made twice."""
    account(wire, labels=[label(37, "Referrer"), label(38, "Empfohlen")])

    assert connect().install([PlanStep(action=action, what=LABEL)]) == FACTS


def test_half_a_label_is_none(wire: Wire, connect: Connect) -> None:
    """Both directions are needed."""
    account(wire, labels=[label(37, "Empfehlungsgeber")])

    assert connect().install([PlanStep(action=PlanAction.KEEP, what=LABEL)]) == {}


def test_a_wrong_token_stops_the_installation(wire: Wire, connect: Connect) -> None:
    """401 is not mistaken for a plan without features."""
    wire.answers(GROUPS, problem("INVALID_AUTHENTICATION"), status=401)

    with pytest.raises(CrmUnauthorized):
        connect().install(CREATE_ALL)


# --------------------------------------------------------------------------- uninstalling


def test_what_people_typed_stays(wire: Wire, connect: Connect) -> None:
    """Out fields and the label go; in fields only where the admin says so."""
    account(wire, *(prop(field.key) for field in FIELDS), labels=PAIR)
    session = connect()

    kept = steps(session.plan_uninstall(delete_data=False))
    gone = steps(session.plan_uninstall(delete_data=True))

    assert {key for key, action in kept.items() if action is PlanAction.FOREIGN} == set(
        manifest().keys_in
    )
    assert {key for key, action in kept.items() if action is PlanAction.REMOVE} == {
        *manifest().keys_out,
        LABEL,
    }
    assert set(gone.values()) == {PlanAction.REMOVE}


def test_what_is_not_there_needs_no_removal(wire: Wire, connect: Connect) -> None:
    """An account that was never installed has an empty plan."""
    account(wire)

    assert connect().plan_uninstall(delete_data=True) == ()


REMOVAL = [
    PlanStep(action=PlanAction.REMOVE, what="spiral_stage"),
    PlanStep(action=PlanAction.FOREIGN, what="spiral_rating"),
    PlanStep(action=PlanAction.REMOVE, what="email"),
    PlanStep(action=PlanAction.REMOVE, what=LABEL),
]


@pytest.mark.parametrize("both_at_once", [True, False])
def test_a_removal_takes_only_what_is_ours(
    wire: Wire, connect: Connect, both_at_once: bool
) -> None:
    """Field, label and the empty group; a name from outside the manifest is never deleted."""
    left = [] if both_at_once else PAIR[:2]
    wire.answers(f"DELETE {PROPERTIES}/spiral_stage", status=204)
    wire.answers(LABELS, {"results": PAIR})
    wire.answers(f"DELETE {LABELS_PATH}/37", status=204)
    wire.answers(LABELS, {"results": left})
    wire.answers(f"DELETE {LABELS_PATH}/38", status=204)
    wire.answers(LABELS, {"results": []}, always=True)
    wire.answers(LIST, {"results": []})
    wire.answers(f"DELETE {PROPERTIES}/groups/spiral", status=204)

    connect().uninstall(REMOVAL)

    deleted = [path for path in wire.sent if path.startswith("DELETE")]
    assert deleted == [
        f"DELETE {PROPERTIES}/spiral_stage",
        f"DELETE {LABELS_PATH}/37",
        *([] if both_at_once else [f"DELETE {LABELS_PATH}/38"]),
        f"DELETE {PROPERTIES}/groups/spiral",
    ]


def test_a_group_with_something_in_it_stays(wire: Wire, connect: Connect) -> None:
    """What is gone already is no fault; what people typed keeps its group."""
    wire.answers(f"DELETE {PROPERTIES}/spiral_stage", problem("OBJECT_NOT_FOUND"), status=404)
    wire.answers(LIST, {"results": [prop("spiral_rating")]})

    connect().uninstall(REMOVAL[:1])

    assert wire.sent == [f"DELETE {PROPERTIES}/spiral_stage", LIST]


def test_a_refused_removal_is_told_at_the_end(wire: Wire, connect: Connect) -> None:
    """A property in use (in a workflow, say) stays; the others go, and the admin is told."""
    wire.answers(f"DELETE {PROPERTIES}/spiral_stage", problem("VALIDATION_ERROR"), status=400)
    wire.answers(f"DELETE {PROPERTIES}/spiral_readiness", status=204)
    wire.answers(LABELS, {"results": PAIR})
    wire.answers(f"DELETE {LABELS_PATH}/37", problem("VALIDATION_ERROR"), status=400)
    wire.answers(LIST, {"results": [prop("spiral_stage")]})

    with pytest.raises(CrmRejected, match="spiral_stage"):
        connect().uninstall([*REMOVAL, PlanStep(action=PlanAction.REMOVE, what="spiral_readiness")])

    assert f"DELETE {PROPERTIES}/spiral_readiness" in wire.sent


# ------------------------------------------------------------------------------ app project


def files(*ratings: str, url: str = "https://spiral.example.com/") -> dict[str, Any]:
    made = project_files(public_url=url, rating_properties=ratings)
    return {path: json.loads(content) for path, content in made.items()}


def test_the_project_has_three_files() -> None:
    """Project, app and webhooks, where HubSpot's tooling looks for them."""
    made = files()

    assert made["hsproject.json"] == {
        "name": "referral-spiral",
        "srcDir": "src",
        "platformVersion": "2026.03",
    }
    assert sorted(made) == [
        "hsproject.json",
        "src/app/app-hsmeta.json",
        "src/app/webhooks/webhooks-hsmeta.json",
    ]


def test_the_app_is_private_with_a_static_token() -> None:
    """The scopes are the manifest's and no more."""
    app = files()["src/app/app-hsmeta.json"]

    assert (app["type"], app["config"]["distribution"]) == ("app", "private")
    assert app["config"]["auth"] == {
        "type": "static",
        "requiredScopes": list(manifest().crms["hubspot"].scopes),
        "optionalScopes": [],
        "conditionallyRequiredScopes": [],
    }


def test_webhooks_go_to_the_public_url() -> None:
    """With or without a slash at its end."""
    for url in ("https://spiral.example.com", "https://spiral.example.com/"):
        webhooks = files(url=url)["src/app/webhooks/webhooks-hsmeta.json"]

        assert webhooks["config"]["settings"] == {
            "targetUrl": "https://spiral.example.com/webhooks/hubspot",
            "maxConcurrentRequests": 10,
        }


def test_each_subscription_stands_in_its_list_once() -> None:
    """Generic types, classic types and privacy deletions; never a field that we write."""
    lists = files("nps", "csat", "email")["src/app/webhooks/webhooks-hsmeta.json"]["config"][
        "subscriptions"
    ]

    assert lists["hubEvents"] == [{"subscriptionType": "contact.privacyDeletion", "active": True}]
    assert lists["legacyCrmObjects"] == [
        {"subscriptionType": kind, "active": True}
        for kind in ("deal.associationChange", "contact.merge", "deal.merge")
    ]
    properties = [
        one["propertyName"]
        for one in lists["crmObjects"]
        if one["objectType"] == "contact" and "propertyName" in one
    ]
    assert len(properties) == len(set(properties))
    assert {"nps", "csat", "email", *manifest().keys_in} <= set(properties)
    assert not set(manifest().keys_out) & set(properties)
    assert {"subscriptionType": "object.creation", "objectType": "deal", "active": True} in lists[
        "crmObjects"
    ]
