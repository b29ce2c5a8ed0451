"""Records over HubSpot's wire: single, in batches, in lists."""

from __future__ import annotations

import pytest

from tests.sandbox.conftest import Crm

CONTACTS = "/crm/objects/2026-09/contacts"
DEALS = "/crm/objects/2026-09/deals"
TASKS = "/crm/objects/2026-09/tasks"


def test_a_contact_is_created_and_read(crm: Crm) -> None:
    """What was written is read back as text, with ids and dates."""
    crm.travel("2026-11-21T10:00:00Z")
    made = crm.call(
        "POST", CONTACTS, {"properties": {"firstname": "Ana", "email": "Ana@Example.com"}}
    )
    read = crm.call("GET", f"{CONTACTS}/{made.body['id']}?properties=firstname,email,phone")
    assert (made.status, read.status) == (201, 200)
    assert read.body["properties"] == {
        "createdate": "2026-11-21T10:00:00.001Z",
        "email": "ana@example.com",
        "firstname": "Ana",
        "hs_object_id": made.body["id"],
        "lastmodifieddate": "2026-11-21T10:00:00.001Z",
        "phone": None,
    }
    assert read.body["updatedAt"] == "2026-11-21T10:00:00.001Z"


def test_without_names_a_few_properties_are_read(crm: Crm) -> None:
    """Where no properties are asked for HubSpot answers its own choice."""
    contact = crm.contact(firstname="Ana", phone="1")
    assert sorted(crm.read(f"contacts/{contact}")) == [
        "createdate",
        "email",
        "firstname",
        "hs_object_id",
        "lastmodifieddate",
        "lastname",
    ]


def test_unknown_names_are_left_out_of_a_read(crm: Crm) -> None:
    """A property nobody defined is not an error when reading."""
    contact = crm.contact(firstname="Ana")
    assert "spiral_stage" not in crm.read(f"contacts/{contact}", "spiral_stage")


def test_an_update_changes_and_empties(crm: Crm) -> None:
    """An empty text empties a property."""
    contact = crm.contact(firstname="Ana", city="Bremen")
    body = {"properties": {"city": "", "firstname": "Anna"}}
    assert crm.call("PATCH", f"{CONTACTS}/{contact}", body).status == 200
    read = crm.read(f"contacts/{contact}", "firstname", "city")
    assert (read["firstname"], read["city"]) == ("Anna", None)


def test_what_does_not_change_leaves_no_trace(crm: Crm) -> None:
    """Writing the present value changes neither the date nor the history, and tells nobody."""
    contact = crm.contact(city="Bremen")
    before, told = crm.read(f"contacts/{contact}"), len(crm.changes())
    crm.call("PATCH", f"{CONTACTS}/{contact}", {"properties": {"city": "Bremen"}})
    assert (crm.read(f"contacts/{contact}"), len(crm.changes())) == (before, told)


def test_a_deleted_record_is_gone_but_readable_as_archived(crm: Crm) -> None:
    """The recycling bin is asked for by ``archived=true``."""
    contact = crm.contact(firstname="Ana")
    assert crm.call("DELETE", f"{CONTACTS}/{contact}").status == 204
    assert crm.call("GET", f"{CONTACTS}/{contact}").status == 404
    archived = crm.call("GET", f"{CONTACTS}/{contact}?archived=true").body
    assert (archived["archived"], "archivedAt" in archived) == (True, True)


def test_deleting_twice_is_no_fault(crm: Crm) -> None:
    """DELETE of what is gone answers as if it had been there."""
    assert crm.call("DELETE", f"{CONTACTS}/1").status == 204


def test_a_contact_is_found_by_email(crm: Crm) -> None:
    """``idProperty=email`` reads by e-mail, whatever its case."""
    contact = crm.contact(email="ana@example.com")
    found = crm.call("GET", f"{CONTACTS}/ANA@example.com?idProperty=email")
    assert found.body["id"] == contact


def test_an_email_belongs_to_one_contact(crm: Crm) -> None:
    """A second contact with it is a conflict that names the first in its text only."""
    contact = crm.contact(email="ana@example.com")
    answer = crm.call("POST", CONTACTS, {"properties": {"email": "ana@example.com"}})
    assert (answer.status, answer.body["category"]) == (409, "CONFLICT")
    assert answer.body["message"] == f"Contact already exists. Existing ID: {contact}"


def test_an_email_given_up_is_free(crm: Crm) -> None:
    """Changing or deleting a contact frees its e-mail."""
    first = crm.contact(email="ana@example.com")
    crm.ui("PATCH", f"contacts/{first}", {"properties": {"email": "old@example.com"}})
    second = crm.contact(email="ana@example.com")
    crm.ui("DELETE", f"contacts/{second}")
    assert crm.contact(email="ana@example.com")


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("nope", "x", "PROPERTY_DOESNT_EXIST"),
        ("email", "nonsense", "INVALID_EMAIL"),
        ("hubspot_owner_id", "1", "INVALID_OWNER_ID"),
        ("hs_object_id", "1", "READ_ONLY_VALUE"),
        ("city", "x" * 65_537, "PROPERTY_VALUE_TOO_LONG"),
    ],
)
def test_a_value_that_is_not_valid_is_refused(crm: Crm, name: str, value: str, code: str) -> None:
    """400 with HubSpot's code and the property's name."""
    answer = crm.call("POST", CONTACTS, {"properties": {name: value}})
    assert (answer.status, answer.body["category"]) == (400, "VALIDATION_ERROR")
    (error,) = answer.body["errors"]
    assert (error["code"], error["context"]) == (code, {"propertyName": [name]})


@pytest.mark.parametrize(
    ("kind", "bad", "code", "good", "stored"),
    [
        ("number", "many", "INVALID_LONG", "-1.5", "-1.5"),
        ("date", "2026-02-30", "INVALID_DATE", "1787788800000", "2026-08-27"),
        ("date", "1787788800001", "INVALID_DATE", "2026-02-28", "2026-02-28"),
        ("datetime", "soon", "INVALID_DATE", "1787843156000", "2026-08-27T15:05:56.000Z"),
    ],
)
def test_values_follow_their_type(
    crm: Crm, kind: str, bad: str, code: str, good: str, stored: str
) -> None:
    """Numbers, days and instants are checked, and stored in one form."""
    crm.property("extra", type=kind, fieldType="number" if kind == "number" else "date")
    refused = crm.call("POST", CONTACTS, {"properties": {"extra": bad}})
    taken = crm.call("POST", CONTACTS, {"properties": {"extra": good}})
    assert (refused.body["errors"][0]["code"], taken.status) == (code, 201)
    assert taken.body["properties"]["extra"] == stored


def test_a_text_must_be_a_text(crm: Crm) -> None:
    """A JSON number is not taken for a property."""
    answer = crm.call("POST", CONTACTS, {"properties": {"city": 5}}, well_formed=False)
    assert (answer.status, answer.body["errors"][0]["code"]) == (400, "INVALID_STRING")


@pytest.mark.parametrize("body", [None, [], {}, {"properties": "x"}])
def test_a_body_that_is_no_record_is_refused(crm: Crm, body: object) -> None:
    """400, never an error of our own."""
    assert crm.call("POST", CONTACTS, body, well_formed=False).status == 400


def test_an_unknown_object_type_is_refused(crm: Crm) -> None:
    """The stand-in knows contacts, deals and tasks."""
    answer = crm.client.get(
        "/crm/objects/2026-09/companies",
        headers={"Authorization": f"Bearer {crm.state.portal.token}"},
    )
    assert answer.status_code == 400


def test_a_list_is_paged_by_id(crm: Crm) -> None:
    """Pages follow each other and the last one names no next."""
    ids = [crm.contact(firstname=str(n)) for n in range(5)]
    crm.ui("DELETE", f"contacts/{ids[1]}")
    first = crm.call("GET", f"{CONTACTS}?limit=3").body
    second = crm.call("GET", f"{CONTACTS}?limit=3&after={first['paging']['next']['after']}").body
    assert [r["id"] for r in first["results"]] == [ids[0], ids[2], ids[3]]
    assert ([r["id"] for r in second["results"]], "paging" in second) == ([ids[4]], False)


@pytest.mark.parametrize("query", ["limit=101", "limit=0", "limit=x", "after=x"])
def test_a_page_has_limits(crm: Crm, query: str) -> None:
    """At most 100 records a page."""
    assert crm.call("GET", f"{CONTACTS}?{query}").status == 400


def test_associations_come_with_a_record(crm: Crm) -> None:
    """``associations=contacts`` names the joined records."""
    contact = crm.contact(firstname="Ana")
    deal = crm.deal(contact, dealname="Roof")
    crm.deal(dealname="Alone")
    results = crm.call("GET", f"{DEALS}?associations=contacts").body["results"]
    assert [r.get("associations") for r in results] == [
        {"contacts": {"results": [{"id": contact, "type": "deal_to_contact"}]}},
        None,
    ]
    assert results[0]["id"] == deal


# --------------------------------------------------------------------------- batches


def test_a_batch_read_names_what_is_missing(crm: Crm) -> None:
    """207 with the records there are and one error for all others."""
    contact = crm.contact(firstname="Ana")
    answer = crm.call(
        "POST",
        f"{CONTACTS}/batch/read",
        {"properties": ["firstname"], "inputs": [{"id": "7"}, {"id": contact}, {"id": "8"}]},
    )
    assert answer.status == 207
    assert [r["properties"]["firstname"] for r in answer.body["results"]] == ["Ana"]
    assert answer.body["numErrors"] == 1
    (error,) = answer.body["errors"]
    assert (error["category"], error["context"]) == ("OBJECT_NOT_FOUND", {"ids": ["7", "8"]})


@pytest.mark.parametrize(("history", "most"), [([], 100), (["city"], 50)])
def test_a_batch_read_has_a_size(crm: Crm, history: list[str], most: int) -> None:
    """100 inputs, 50 with histories."""
    body = {"properties": [], "propertiesWithHistory": history}
    fits = [{"id": str(n)} for n in range(most)]
    good = crm.call("POST", f"{CONTACTS}/batch/read", {**body, "inputs": fits})
    bad = crm.call("POST", f"{CONTACTS}/batch/read", {**body, "inputs": [*fits, {"id": "x"}]})
    assert (good.status, bad.status) == (207, 400)


def test_a_batch_read_tells_the_history(crm: Crm) -> None:
    """Newest first, with who changed it."""
    crm.travel("2026-11-21T10:00:00Z")
    contact = crm.contact(city="Bremen")
    crm.call("PATCH", f"{CONTACTS}/{contact}", {"properties": {"city": "Kiel"}})
    body = {"properties": [], "propertiesWithHistory": ["city"], "inputs": [{"id": contact}]}
    (record,) = crm.call("POST", f"{CONTACTS}/batch/read", body).body["results"]
    assert record["propertiesWithHistory"] == {
        "city": [
            {
                "value": "Kiel",
                "timestamp": "2026-11-21T10:00:00.002Z",
                "sourceType": "INTEGRATION",
                "sourceId": "50780459",
            },
            {
                "value": "Bremen",
                "timestamp": "2026-11-21T10:00:00.001Z",
                "sourceType": "CRM_UI",
                "sourceId": "userId:882761034",
                "updatedByUserId": 882761034,
            },
        ]
    }


def test_a_traced_batch_is_taken_in_parts(crm: Crm) -> None:
    """With a trace id each, good inputs are written and bad ones named by it."""
    inputs = [
        {"objectWriteTraceId": "good", "properties": {"firstname": "Ana"}, "associations": []},
        {"objectWriteTraceId": "bad", "properties": {"nope": "1"}, "associations": []},
    ]
    answer = crm.call("POST", f"{CONTACTS}/batch/create", {"inputs": inputs})
    assert answer.status == 207
    assert [r["objectWriteTraceId"] for r in answer.body["results"]] == ["good"]
    (error,) = answer.body["errors"]
    assert (error["category"], error["context"]) == (
        "VALIDATION_ERROR",
        {"objectWriteTraceId": ["bad"]},
    )


@pytest.mark.parametrize("traces", [(None, None), ("same", "same"), ("one", None)])
def test_an_untraced_batch_is_all_or_nothing(
    crm: Crm, traces: tuple[str | None, str | None]
) -> None:
    """Without trace ids of their own one bad input refuses all."""
    contact = crm.contact(firstname="Ana")
    other = crm.contact(firstname="Bo")
    inputs = [
        {"id": contact, "properties": {"city": "Kiel"}},
        {"id": other, "properties": {"nope": "1"}},
    ]
    for one, trace in zip(inputs, traces, strict=True):
        if trace:
            one["objectWriteTraceId"] = trace
    answer = crm.call("POST", f"{CONTACTS}/batch/update", {"inputs": inputs})
    assert (answer.status, crm.read(f"contacts/{contact}", "city")["city"]) == (400, None)


def test_a_batch_update_names_what_is_missing(crm: Crm) -> None:
    """A record that is gone is an error entry with its id and trace."""
    contact = crm.contact(firstname="Ana")
    inputs = [
        {"id": contact, "objectWriteTraceId": "a", "properties": {"city": "Kiel"}},
        {"id": "9", "objectWriteTraceId": "b", "properties": {"city": "Kiel"}},
    ]
    answer = crm.call("POST", f"{CONTACTS}/batch/update", {"inputs": inputs})
    assert (answer.status, answer.body["results"][0]["properties"]["city"]) == (207, "Kiel")
    assert answer.body["errors"][0]["context"] == {"objectWriteTraceId": ["b"], "ids": ["9"]}


def test_a_batch_update_has_no_id_twice(crm: Crm) -> None:
    """The same record twice is refused."""
    contact = crm.contact(firstname="Ana")
    inputs = [{"id": contact, "properties": {"city": city}} for city in ("Kiel", "Bremen")]
    assert crm.call("POST", f"{CONTACTS}/batch/update", {"inputs": inputs}).status == 400


def test_results_of_a_batch_come_in_no_promised_order(crm: Crm) -> None:
    """Who relies on the order of inputs is found out."""
    inputs = [{"objectWriteTraceId": t, "properties": {}, "associations": []} for t in "abc"]
    answer = crm.call("POST", f"{CONTACTS}/batch/create", {"inputs": inputs})
    assert answer.status == 201
    assert [r["objectWriteTraceId"] for r in answer.body["results"]] == ["c", "b", "a"]


def test_a_batch_is_archived(crm: Crm) -> None:
    """204, also for ids that are gone."""
    contact = crm.contact(firstname="Ana")
    body = {"inputs": [{"id": contact}, {"id": "9"}]}
    assert crm.call("POST", f"{CONTACTS}/batch/archive", body).status == 204
    assert crm.call("GET", f"{CONTACTS}/{contact}").status == 404


def test_a_batch_may_be_empty(crm: Crm) -> None:
    """Nothing in, nothing out."""
    answer = crm.call("POST", f"{CONTACTS}/batch/read", {"properties": [], "inputs": []})
    assert (answer.status, answer.body["results"]) == (200, [])


# --------------------------------------------------------------------------- deals and tasks


def test_a_deal_knows_whether_it_is_won(crm: Crm) -> None:
    """Closed, won and probability follow the stage; a close date comes with closing."""
    crm.travel("2026-11-21T10:00:00Z")
    deal = crm.deal(dealname="Roof", amount="1000")
    names = ("hs_is_closed", "hs_is_closed_won", "closedate", "hs_closed_won_date")
    opened = [crm.read(f"deals/{deal}", *names)[name] for name in names]
    crm.travel("2026-12-24T10:00:00Z")
    crm.ui("PATCH", f"deals/{deal}", {"properties": {"dealstage": "closedwon"}})
    won = [crm.read(f"deals/{deal}", *names)[name] for name in names]
    crm.ui("PATCH", f"deals/{deal}", {"properties": {"dealstage": "closedlost"}})
    lost = [crm.read(f"deals/{deal}", *names)[name] for name in names]
    at = "2026-12-24T10:00:00.00"
    assert opened == ["false", "false", "2026-11-30T12:00:00.000Z", None]
    assert won == ["true", "true", f"{at}1Z", f"{at}1Z"]
    assert lost == ["true", "false", f"{at}2Z", None]


def test_a_close_date_given_is_kept(crm: Crm) -> None:
    """Closing does not overwrite the date set in the same edit."""
    deal = crm.deal(dealname="Roof")
    values = {"dealstage": "closedwon", "closedate": "2026-01-05T12:00:00Z"}
    crm.ui("PATCH", f"deals/{deal}", {"properties": values})
    assert crm.read(f"deals/{deal}", "closedate")["closedate"] == "2026-01-05T12:00:00.000Z"


@pytest.mark.parametrize(
    ("values", "home"),
    [
        ({"amount": "1000"}, "1000"),
        ({"amount": "100.50", "deal_currency_code": "USD"}, "90.45"),
        ({}, None),
    ],
)
def test_a_deal_tells_its_amount_at_home(
    crm: Crm, values: dict[str, str], home: str | None
) -> None:
    """In the account's own currency, by the account's rates."""
    deal = crm.deal(dealname="Roof", **values)
    name = "amount_in_home_currency"
    assert crm.read(f"deals/{deal}", name)[name] == home


def test_a_stage_belongs_to_a_pipeline(crm: Crm) -> None:
    """Moving to a stage of another pipeline needs that pipeline too."""
    deal = crm.deal(dealname="Roof")
    stage = {"dealstage": "renewal_won"}
    path = f"{DEALS}/{deal}"
    assert crm.call("PATCH", path, {"properties": stage}).status == 400
    assert crm.call("PATCH", path, {"properties": {**stage, "pipeline": "renewals"}}).status == 200


def test_a_task_needs_a_due_date(crm: Crm) -> None:
    """``hs_timestamp`` is required."""
    answer = crm.call("POST", TASKS, {"properties": {"hs_task_subject": "Call"}})
    assert (answer.status, answer.body["errors"][0]["code"]) == (400, "REQUIRED_FIELD")


def test_a_task_is_created_on_its_records(crm: Crm) -> None:
    """Types 204 and 216 join it to a contact and a deal."""
    contact = crm.contact(firstname="Ana")
    deal = crm.deal(contact, dealname="Roof")
    types = [
        {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": type_id}
        for type_id in (204, 216)
    ]
    one = {
        "objectWriteTraceId": "t1",
        "properties": {"hs_timestamp": "2026-11-24T15:00:00Z", "hs_task_subject": "Thank"},
        "associations": [
            {"to": {"id": contact}, "types": types[:1]},
            {"to": {"id": deal}, "types": types[1:]},
        ],
    }
    answer = crm.call("POST", f"{TASKS}/batch/create", {"inputs": [one]})
    (task,) = answer.body["results"]
    read = crm.call("GET", f"{TASKS}/{task['id']}?associations=contacts,deals").body
    assert read["associations"] == {
        "contacts": {"results": [{"id": contact, "type": "task_to_contact"}]},
        "deals": {"results": [{"id": deal, "type": "task_to_deal"}]},
    }


def test_a_task_on_nobody_is_refused_alone(crm: Crm) -> None:
    """A task for a contact that is gone is an error entry; the others are made."""
    contact = crm.contact(firstname="Ana")
    kinds = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 204}]
    inputs = [
        {
            "objectWriteTraceId": one,
            "properties": {"hs_timestamp": "2026-11-24T15:00:00Z"},
            "associations": [{"to": {"id": one}, "types": kinds}],
        }
        for one in (contact, "9")
    ]
    answer = crm.call("POST", f"{TASKS}/batch/create", {"inputs": inputs})
    assert (answer.status, answer.body["results"][0]["objectWriteTraceId"]) == (207, contact)
    assert answer.body["errors"][0]["context"] == {"objectWriteTraceId": ["9"], "ids": ["9"]}


def test_a_task_completed_says_when(crm: Crm) -> None:
    """The completion date is set by completing and cleared by reopening."""
    crm.travel("2026-11-21T10:00:00Z")
    task = crm.task(hs_task_subject="Call")
    name = "hs_task_completion_date"
    crm.ui("POST", f"tasks/{task}/complete")
    done = crm.read(f"tasks/{task}", name)[name]
    crm.call("PATCH", f"{TASKS}/{task}", {"properties": {"hs_task_status": "NOT_STARTED"}})
    assert (done, crm.read(f"tasks/{task}", name)[name]) == ("2026-11-21T10:00:00.002Z", None)


# --------------------------------------------------------------------------- merge, erase


def test_merged_contacts_become_a_new_one(crm: Crm) -> None:
    """A new id; the primary's values win, the other's fill up; the old ids are gone."""
    deal_of = {}
    first = crm.contact(firstname="Ana", city="Kiel")
    second = crm.contact(firstname="Anna", phone="040")
    deal_of[first] = crm.deal(first, dealname="Roof")
    deal_of[second] = crm.deal(second, dealname="Door")
    body = {"primaryObjectId": first, "objectIdToMerge": second}
    answer = crm.call("POST", f"{CONTACTS}/merge", body)
    merged = answer.body["id"]
    values = crm.read(f"contacts/{merged}", "firstname", "city", "phone", "hs_merged_object_ids")
    assert answer.status == 200
    assert [values[k] for k in ("firstname", "city", "phone", "hs_merged_object_ids")] == [
        "Ana",
        "Kiel",
        "040",
        f"{first};{second}",
    ]
    assert [crm.call("GET", f"{CONTACTS}/{old}").status for old in (first, second)] == [404, 404]
    linked = crm.call("GET", f"{CONTACTS}/{merged}/associations/deals").body["results"]
    assert [r["toObjectId"] for r in linked] == sorted(deal_of.values())


def test_a_merge_keeps_both_histories(crm: Crm) -> None:
    """What either contact was is still in the history, newest first."""
    crm.travel("2026-11-21T10:00:00Z")
    first, second = crm.contact(city="Kiel"), crm.contact(city="Bremen")
    merged = crm.ui("POST", f"contacts/{first}/merge", {"other": second})["id"]
    record = crm.call("GET", f"{CONTACTS}/{merged}?propertiesWithHistory=city").body
    history = [version["value"] for version in record["propertiesWithHistory"]["city"]]
    assert (history, record["properties"]["city"]) == (["Bremen", "Kiel"], "Kiel")


def test_a_merge_of_merged_names_all_earlier_ids(crm: Crm) -> None:
    """A second merge keeps the ids of the first."""
    a, b, c = (crm.contact(firstname=name) for name in "abc")
    ab = crm.ui("POST", f"contacts/{a}/merge", {"other": b})["id"]
    abc = crm.ui("POST", f"contacts/{ab}/merge", {"other": c})["id"]
    name = "hs_merged_object_ids"
    assert crm.read(f"contacts/{abc}", name)[name] == f"{a};{b};{ab};{c}"


def test_a_contact_is_not_merged_with_itself(crm: Crm) -> None:
    """400."""
    contact = crm.contact(firstname="Ana")
    body = {"primaryObjectId": contact, "objectIdToMerge": contact}
    assert crm.call("POST", f"{CONTACTS}/merge", body).status == 400


@pytest.mark.parametrize("by_email", [False, True])
def test_a_privacy_deletion_leaves_nothing(crm: Crm, *, by_email: bool) -> None:
    """The contact cannot be read, not even as archived; its deals stay."""
    contact = crm.contact(email="ana@example.com")
    deal = crm.deal(contact, dealname="Roof")
    body = {"objectId": contact}
    if by_email:
        body = {"objectId": "ana@example.com", "idProperty": "email"}
    assert crm.call("POST", f"{CONTACTS}/gdpr-delete", body).status == 204
    assert crm.call("GET", f"{CONTACTS}/{contact}?archived=true").status == 404
    assert crm.call("GET", f"{DEALS}/{deal}/associations/contacts").body["results"] == []


def test_a_restored_contact_is_whole_again(crm: Crm) -> None:
    """Out of the recycling bin with its values and associations."""
    contact = crm.contact(firstname="Ana", email="ana@example.com")
    deal = crm.deal(contact, dealname="Roof")
    crm.ui("DELETE", f"contacts/{contact}")
    hidden = crm.call("GET", f"{DEALS}/{deal}/associations/contacts").body["results"]
    crm.ui("POST", f"contacts/{contact}/restore")
    shown = crm.call("GET", f"{DEALS}/{deal}/associations/contacts").body["results"]
    assert (hidden, [r["toObjectId"] for r in shown]) == ([], [contact])
    assert crm.read(f"contacts/{contact}")["email"] == "ana@example.com"
