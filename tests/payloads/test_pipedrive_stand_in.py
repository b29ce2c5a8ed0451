"""The stand-in company speaks as Pipedrive's OpenAPI files say, and is strict as Pipedrive is."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
import requests

from adapters.pipedrive import PipedriveAdapter
from plugin.errors import PayloadError
from plugin.ports import Event, EventKind, Received
from tests.payloads.pipedrive import spec
from tests.payloads.pipedrive.api import ROUTES
from tests.payloads.pipedrive.stand_in import Crm
from tests.stand_in import Fault, Seen

AT = datetime(2026, 11, 20, 9, 15, 56, 57000, tzinfo=UTC)
TARGET = "https://spiral.example.com/webhooks/pipedrive/unguessable"
RATING = "Empfehlungsspirale: Zufriedenheit"
LABELS = ("Verärgert", "Unzufrieden", "Zufrieden", "Begeistert")


@pytest.fixture
def crm() -> Iterator[Crm]:
    made = Crm()
    made.clock = lambda: AT
    with made.serving():
        yield made


def call(crm: Crm, method: str, path: str, body: Any = None, **headers: str) -> Any:
    """Status and JSON; both must be what the official files describe, where they are there."""
    if spec.AVAILABLE and "x-api-token" not in headers:
        known = method, path, body
        response = _send(crm, *known, **headers)
        spec.check_answer(method, path, response.status_code, response.json())
        return response.status_code, response.json()
    response = _send(crm, method, path, body, **headers)
    return response.status_code, response.json()


def _send(crm: Crm, method: str, path: str, body: Any, **headers: str) -> requests.Response:
    sent = {"x-api-token": crm.token} | headers
    return requests.request(method, crm.url + path, json=body, headers=sent, timeout=20)


def rating_field(crm: Crm) -> Any:
    """Our rating field, made by the API: code and option ids."""
    options = [{"label": label} for label in LABELS]
    body = {"field_name": RATING, "field_type": "enum", "options": options}
    status, made = call(crm, "POST", "/api/v2/personFields", body)
    assert status == 200
    return made["data"]["field_code"], [one["id"] for one in made["data"]["options"]]


def subscribe(crm: Crm, event: str = "*", entity: str = "*") -> Any:
    body = {
        "subscription_url": TARGET, "event_action": event, "event_object": entity,
        "name": f"Spiral: {entity}", "version": "2.0", "http_auth_user": "spiral",
        "http_auth_password": "correct horse",
    }  # fmt: skip
    return call(crm, "POST", "/api/v1/webhooks", body)


def sent(crm: Crm) -> list[Any]:
    """The bodies of the webhooks since the last look."""
    bodies = [json.loads(one.body) for one in crm.deliveries]
    crm.deliveries.clear()
    return bodies


# ------------------------------------------------------------------------ as described


def test_every_call_costs_what_the_files_say() -> None:
    """And every path the stand-in knows is in them."""
    spec.need_specs()
    paths = {
        one: f"/api/v{one.version}{one.template}".replace("{id}", "1").replace("{field_code}", "x")
        for one in ROUTES
    }

    assert {path: one.cost for one, path in paths.items()} == {
        path: spec.find(one.method, path).cost for one, path in paths.items()
    }


READS = (
    "/api/v2/persons/1041", "/api/v2/persons?ids=1041,1042&include_fields=open_deals_count",
    "/api/v2/persons?updated_since=2026-11-20T00:00:00Z&sort_by=update_time&limit=1",
    "/api/v2/persons?deal_id=213971", "/api/v2/deals/213971", "/api/v2/deals?person_id=1041",
    "/api/v2/deals?ids=213971&include_fields=participants_count,first_won_time",
    "/api/v2/deals?status=deleted", "/api/v2/deals/archived", "/api/v2/organizations?ids=301",
    "/api/v2/organizations/301", "/api/v2/activities?person_id=1041&done=false",
    "/api/v2/activities/5101", "/api/v2/personFields?limit=500", "/api/v2/pipelines",
    "/api/v2/personFields?include_fields=ui_visibility", "/api/v2/stages?pipeline_id=1",
    "/api/v2/activityFields",
    "/api/v1/webhooks", "/api/v1/users", "/api/v1/users/me", "/api/v1/users/16219013",
    "/api/v1/activityTypes", "/api/v1/currencies", "/api/v1/deals/213971/participants",
)  # fmt: skip


@pytest.mark.parametrize("path", READS)
def test_reads_are_asked_and_answered_as_described(crm: Crm, path: str) -> None:
    """With records of every kind there."""
    spec.need_specs()
    code, (*_, delighted) = rating_field(crm)
    ana = crm.contact("Ana", "Ruiz", email="ana@example.com", phone="+34600", company="Bakery")
    luis = crm.contact("Luis", "Soto")
    crm.change(ana, spiral_rating="delighted")
    crm.deal(ana, luis)
    task = {
        "subject": "Ask",
        "type": "task",
        "participants": [{"person_id": 1041, "primary": True}],
    }
    assert call(crm, "POST", "/api/v2/activities", task)[0] == 200
    assert subscribe(crm)[0] == 201

    spec.check_request("GET", path)
    assert call(crm, "GET", path)[0] == 200
    assert call(crm, "GET", f"/api/v2/persons/{ana}")[1]["data"]["custom_fields"] == {
        code: delighted
    }


def test_writes_are_answered_as_described(crm: Crm) -> None:
    """Every write the stand-in knows."""
    code, (angry, *_) = rating_field(crm)
    ana, luis = crm.contact("Ana", "Ruiz"), crm.contact("Luis", "Soto")
    calls: list[tuple[str, str, Any]] = [
        ("PATCH", f"/api/v2/persons/{ana}", {"custom_fields": {code: angry}}),
        ("POST", f"/api/v2/personFields/{code}/options", [{"label": "Neu"}]),
        ("PATCH", f"/api/v2/personFields/{code}/options", [{"id": angry, "label": "Wütend"}]),
        ("DELETE", f"/api/v2/personFields/{code}/options", [{"id": angry}]),
        ("PATCH", f"/api/v2/personFields/{code}", {"field_name": "Rating"}),
        ("DELETE", f"/api/v2/personFields/{code}", None),
        ("POST", "/api/v2/activities", {"subject": "Ask", "type": "task", "owner_id": 16219014}),
        ("PATCH", "/api/v2/activities/5101", {"done": True}),
        ("DELETE", "/api/v2/activities/5101", None),
        ("PUT", f"/api/v1/persons/{luis}/merge", {"merge_with_id": int(ana)}),
        ("DELETE", f"/api/v2/persons/{ana}", None),
    ]

    for method, path, body in calls:
        if spec.AVAILABLE:
            spec.check_request(method, path, body)
        assert call(crm, method, path, body)[0] == 200, path


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({"id": "1041"}, "is not of type"),
        ({"id": 1041, "nickname": "Ana"}, "nickname"),
        ({"id": 1041, "org_id": None, "name": None}, "data.name"),
    ],
)
def test_the_referee_sees_what_is_not_as_described(data: Any, fault: str) -> None:
    """Wrong types, keys no schema names, and nulls that nobody has seen."""
    spec.need_specs()

    with pytest.raises(AssertionError, match=fault):
        spec.check_answer("GET", "/api/v2/persons/1041", 200, {"success": True, "data": data})


# ------------------------------------------------------------------------------- strict


def test_a_bad_token_is_refused_by_both_versions(crm: Crm) -> None:
    """With the body of the file of version 1."""
    answer = {"success": False, "error": "unauthorized access", "errorCode": 401}

    for path in ("/api/v1/users/me", "/api/v2/persons"):
        assert call(crm, "GET", path, **{"x-api-token": "wrong"}) == (401, answer)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"{code}": 16}, "{code}: Parameter '{code}' is not allowed for this request"),
        (
            {"custom_fields": {"{code}": "17"}},
            "custom_fields: Expected 'number' as value for single option custom field '{code}'",
        ),
        (
            {"custom_fields": {"{code}": 4}},
            "custom_fields: Expected 'number' as value for single option custom field '{code}'",
        ),
        (
            {"first_name": "Eva"},
            "first_name: Parameter 'first_name' is not allowed for this request",
        ),
    ],
)  # fmt: skip
def test_what_version_2_does_not_know_is_a_schema_error(crm: Crm, body: Any, error: str) -> None:
    """Field codes at the root, option ids as text, unknown options, unknown keys."""
    code, _ = rating_field(crm)
    ana = crm.contact("Ana", "Ruiz")
    body = json.loads(json.dumps(body).replace("{code}", code))

    status, answer = call(crm, "PATCH", f"/api/v2/persons/{ana}", body)

    assert (status, answer["code"]) == (400, "ERR_SCHEMA_VALIDATION_FAILED")
    assert answer["error"] == "Validation failed: " + error.replace("{code}", code)


@pytest.mark.parametrize(
    "body",
    [
        {"subject": "Ask", "person_id": 1041},
        {"subject": "Ask", "type": "unheard of"},
        {"subject": "Ask", "done": "true"},
        {"subject": "Ask", "due_date": "20.11.2026"},
        {"subject": "Ask", "owner_id": 16219015},
        {"subject": "Ask", "participants": [{"person_id": 4711, "primary": True}]},
        {"subject": "Ask", "user_id": 16219013},
        {"subject": "Ask", "priority": 1},
    ],
)
def test_an_activity_is_read_strictly(crm: Crm, body: Any) -> None:
    """No read-only person, no unknown type, owner, participant or key, no other types."""
    crm.contact("Ana", "Ruiz")

    status, answer = call(crm, "POST", "/api/v2/activities", body)

    assert (status, answer["code"]) == (400, "ERR_SCHEMA_VALIDATION_FAILED")
    assert crm.tasks() == []


@pytest.mark.parametrize(
    "query",
    [
        "limit=501", "limit=0", "ids=" + ",".join(map(str, range(1, 102))), "ids=", "type=task",
        "updated_since=2026-11-20", "cursor=nonsense", "include_fields=weather",
        "custom_fields=" + ",".join("abcdefghijklmnop"), "sort_by=name",
    ],
)  # fmt: skip
def test_a_list_is_asked_strictly(crm: Crm, query: str) -> None:
    """Limits of pages and ids, times with their zone, known names only."""
    crm.contact("Ana", "Ruiz")

    assert call(crm, "GET", f"/api/v2/persons?{query}")[0] == 400


def test_pages_follow_the_cursor_to_the_end(crm: Crm) -> None:
    """None is skipped or told twice, although all were saved in the same second."""
    ids = [int(crm.contact("Ana", str(number))) for number in range(7)]
    found, path = list[int](), "/api/v2/persons?limit=3&sort_by=update_time"
    answer = call(crm, "GET", path)[1]
    while True:
        found += [one["id"] for one in answer["data"]]
        cursor = answer["additional_data"]["next_cursor"]
        if cursor is None:
            break
        answer = call(crm, "GET", f"{path}&cursor={cursor}")[1]

    assert found == ids


def test_lists_leave_out_the_deleted_and_the_archived(crm: Crm) -> None:
    """A deleted person is still there by its id; a deleted deal by its status."""
    ana, luis = crm.contact("Ana", "Ruiz"), crm.contact("Luis", "Soto")
    kept, gone, archived = crm.deal(ana), crm.deal(ana), crm.deal(ana)
    crm.delete(luis)
    crm.delete_deal(gone)
    crm.archive(archived)

    def ids(path: str) -> list[str]:
        return [str(one["id"]) for one in call(crm, "GET", path)[1]["data"]]

    assert ids(f"/api/v2/persons?ids={ana},{luis}") == [ana]
    assert call(crm, "GET", f"/api/v2/persons/{luis}")[1]["data"]["is_deleted"] is True
    assert ids("/api/v2/deals") == [kept]
    assert ids("/api/v2/deals?status=deleted") == [gone]
    assert ids("/api/v2/deals/archived") == [archived]


def test_persons_count_their_deals_apart_by_part(crm: Crm) -> None:
    """Those they lead and those they only take part in."""
    ana, luis = crm.contact("Ana", "Ruiz"), crm.contact("Luis", "Soto")
    crm.win(crm.deal(ana, luis))
    crm.deal(ana)
    names = [f"{one}_deals_count" for one in ("open", "won", "closed", "participant_open")]
    names.append("participant_closed_deals_count")

    def counts(contact: str) -> list[int]:
        path = f"/api/v2/persons/{contact}?include_fields={','.join(names)}"
        data = call(crm, "GET", path)[1]["data"]
        return [data[name] for name in names]

    assert counts(ana) == [1, 1, 1, 0, 0]
    assert counts(luis) == [0, 0, 0, 0, 1]


# ----------------------------------------------------------------------------- webhooks


def test_credentials_are_answered_encrypted_and_sent_in_the_clear(crm: Crm) -> None:
    """They cannot be read back; each delivery carries them."""
    _, made = subscribe(crm)
    crm.contact("Ana", "Ruiz")

    assert made["data"]["http_auth_user"].startswith("v1u:")
    assert made["data"]["http_auth_password"].startswith("v1u:")
    (delivery,) = crm.deliveries
    assert delivery.url == TARGET
    assert (
        delivery.headers["authorization"]
        == "Basic " + base64.b64encode(b"spiral:correct horse").decode()
    )


def test_one_save_is_one_webhook_with_what_was_before(crm: Crm) -> None:
    """``previous`` has the changed fields alone, custom ones as objects with their type."""
    code, (*_, delighted) = rating_field(crm)
    ana = crm.contact("Ana", "Ruiz")
    subscribe(crm)
    crm.change(ana, spiral_rating="delighted")

    (body,) = sent(crm)
    assert body["previous"] == {"custom_fields": {code: None}}
    assert body["data"]["custom_fields"] == {code: {"id": delighted, "type": "enum"}}
    assert body["meta"] == {
        "action": "change", "entity": "person", "entity_id": ana, "company_id": "6083095",
        "correlation_id": body["meta"]["correlation_id"], "id": body["meta"]["id"],
        "is_bulk_edit": False, "timestamp": "2026-11-20T09:15:56.057Z", "type": "general",
        "user_id": "16219013", "version": "2.0", "webhook_id": body["meta"]["webhook_id"],
        "webhook_owner_id": "12941358", "change_source": "app",
        "permitted_user_ids": ["12941358", "16219013", "16219014", "16219015"], "attempt": 1,
        "host": "acme-sandbox.pipedrive.com",
    }  # fmt: skip


def test_our_own_writes_come_back_even_where_they_change_nothing(crm: Crm) -> None:
    """Undocumented, so the harder way: it can be switched off."""
    code, (angry, *_) = rating_field(crm)
    ana = crm.contact("Ana", "Ruiz")
    subscribe(crm)
    write = "PATCH", f"/api/v2/persons/{ana}", {"custom_fields": {code: angry}}
    call(crm, *write)
    call(crm, *write)
    crm.company.noop_saves_send = False
    call(crm, *write)

    first, second = sent(crm)
    assert [one["meta"]["change_source"] for one in (first, second)] == ["api", "api"]
    assert first["previous"] == {"custom_fields": {code: None}}
    assert second["previous"] == {}


@pytest.mark.parametrize("survivor_first", [False, True])
def test_a_merge_is_told_by_both_sides(crm: Crm, survivor_first: bool) -> None:
    """A delete of the one and a change of the other, in no promised order."""
    ana, same = crm.contact("Ana", "Ruiz"), crm.contact("A.", "Ruiz", email="ana@example.com")
    deal = crm.deal(same)
    crm.company.survivor_first = survivor_first
    subscribe(crm)
    crm.merge(ana, same)

    bodies = sorted(sent(crm), key=lambda one: str(one["meta"]["action"]))
    change, delete = bodies
    assert (change["meta"]["entity_id"], change["meta"]["merged_from_id"]) == (ana, same)
    assert (delete["meta"]["entity_id"], delete["meta"]["merged_to_id"]) == (same, ana)
    assert (delete["data"], delete["previous"]["id"]) == (None, int(same))
    assert call(crm, "GET", f"/api/v2/deals/{deal}")[1]["data"]["person_id"] == int(ana)


def test_a_won_deal_tells_what_the_capture_tells(crm: Crm) -> None:
    """Status and times in one webhook, and a stage move with nothing beside it."""
    ana = crm.contact("Ana", "Ruiz")
    deal = crm.deal(ana)
    subscribe(crm, entity="deal")
    crm.move(deal, 2)
    crm.clock = lambda: AT + timedelta(minutes=1)
    crm.win(deal)

    moved, won = sent(crm)
    assert moved["previous"] == {"stage_id": 1}
    assert won["data"]["status"] == "won"
    assert won["previous"] == {
        "status": "open", "close_time": None, "won_time": None,
        "update_time": "2026-11-20T09:15:56Z",
    }  # fmt: skip


def test_webhooks_go_to_whom_they_are_for(crm: Crm) -> None:
    """By object and action; none once they are deleted or switched off."""
    subscribe(crm, "delete", "person")
    ana, luis = crm.contact("Ana", "Ruiz"), crm.contact("Luis", "Soto")
    crm.delete(ana)
    crm.switch_subscriptions_off()
    crm.delete(luis)

    assert [one["meta"]["entity_id"] for one in sent(crm)] == [ana]
    assert (len(crm.company.webhooks), crm.subscriptions()) == (1, [])
    crm.drop_subscriptions()
    assert call(crm, "GET", "/api/v1/webhooks")[1]["data"] == []


def test_there_is_room_for_forty_webhooks(crm: Crm) -> None:
    """The 41st is refused with 422, a wrong one with 400, a gone one with 404."""
    for _ in range(40):
        subscribe(crm)

    assert subscribe(crm)[0] == 422
    assert call(crm, "POST", "/api/v1/webhooks", {"subscription_url": "ftp://x"})[0] == 400
    assert call(crm, "DELETE", "/api/v1/webhooks/1")[0] == 404


def test_a_delivery_that_failed_comes_again_as_the_same_event(crm: Crm) -> None:
    """Only ``attempt`` differs."""
    subscribe(crm)
    crm.contact("Ana", "Ruiz")
    (first,) = crm.deliveries
    again = json.loads(crm.again(first).body)

    assert again["meta"]["attempt"] == 2
    again["meta"]["attempt"] = 1
    assert again == json.loads(first.body)


# ------------------------------------------------------------------------------- budget


def test_a_day_has_its_tokens_and_no_more(crm: Crm) -> None:
    """Then 429 until the day ends, with headers that say so."""
    crm.daily_limit = 12
    first = _send(crm, "GET", "/api/v2/persons", None)
    second = _send(crm, "GET", "/api/v2/persons", None)
    crm.clock = lambda: AT + timedelta(days=1)
    third = _send(crm, "GET", "/api/v2/persons", None)

    assert [one.status_code for one in (first, second, third)] == [200, 429, 200]
    assert first.headers["x-daily-ratelimit-token-limit"] == "12"
    assert first.headers["x-daily-ratelimit-token-remaining"] == "2"
    assert 0 < int(second.headers["retry-after"]) <= 86_400
    assert [one.cost for one in crm.calls] == [10, 10, 10]


def test_the_budget_can_be_left_untold(crm: Crm) -> None:
    """The headers are undocumented; those of the burst limit are documented and stay."""
    crm.tells_budget = False
    headers = _send(crm, "GET", "/api/v2/persons", None).headers

    assert "x-daily-ratelimit-token-limit" not in headers
    assert (headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == ("480", "479")


def test_a_firewall_page_is_no_json(crm: Crm) -> None:
    """What Cloudflare answers to who ignores 429."""
    crm.faults.append(Fault(status=403, body=b"<html>", headers={"Content-Type": "text/html"}))
    answer = _send(crm, "GET", "/api/v2/persons", None)

    assert (answer.status_code, answer.text) == (403, "<html>")


# ------------------------------------------------------------------------- what is seen


def test_a_task_is_seen_as_the_editor_shows_it(crm: Crm) -> None:
    """Notes are HTML; a time of day is UTC and may be the next day for people."""
    ana, luis = crm.contact("Ana", "Ruiz"), crm.contact("Luis", "Soto")
    body = {
        "subject": "Ask", "type": "task", "owner_id": 16219014, "due_date": "2026-11-23",
        "due_time": "23:30", "note": "One &amp; two<br>[spiral:x:y]",
        "participants": [
            {"person_id": int(luis), "primary": False}, {"person_id": int(ana), "primary": True},
        ],
    }  # fmt: skip
    _, made = call(crm, "POST", "/api/v2/activities", body)
    crm.complete(str(made["data"]["id"]))

    assert made["data"]["note"] == "One &amp; two<br />[spiral:x:y]"
    assert crm.tasks() == [
        Seen(
            crm_id="5101", subject="Ask", body="One & two\n[spiral:x:y]",
            contact_ids=(ana, luis), owner_id="16219014", due_on="2026-11-24", done=True,
        )
    ]  # fmt: skip


def test_our_fields_are_found_by_label_and_type(crm: Crm) -> None:
    """A field of the same name and another type is somebody else's."""
    crm.make_foreign_field("spiral_rating")
    with pytest.raises(LookupError):
        crm.take_field_away("spiral_rating")
    rating_field(crm)
    ana = crm.contact("Ana", "Ruiz")
    crm.change(ana, spiral_rating="angry", last="Soto")

    assert crm.value(ana, "spiral_rating") == "angry"
    assert crm.foreign(ana)["name"] == "Ana Soto"
    crm.take_field_away("spiral_rating")
    assert [field[1] for field in crm.schema().values()] == ["varchar"]  # type: ignore[index]


def test_a_body_of_version_1_is_no_delivery_to_us() -> None:
    """It has no ``meta.version``, and says everything elsewhere:
    https://pipedrive.readme.io/docs/webhooks-v2-migration-guide."""
    old = {
        "v": 1, "matches_filters": {"current": []}, "event": "updated.person", "retry": 0,
        "meta": {"v": 1, "action": "updated", "object": "person", "id": 1042},
        "current": {"id": 1042, "name": "Ana Ruiz"}, "previous": {"id": 1042, "name": "Ana"},
    }  # fmt: skip
    received = Received(body=json.dumps(old).encode(), received_at=AT, account_crm_id="6083095")

    with pytest.raises(PayloadError, match=r"meta\.version"):
        PipedriveAdapter().parse(received)


# -------------------------------------------------------------------------- undocumented

HABITS: dict[str, Callable[[Crm], None]] = {
    "as it comes": lambda _crm: None,
    "saves that change nothing are silent": lambda crm: _set(crm.company, noop_saves_send=False),
    "counters touch nobody": lambda crm: _set(crm.company, counters_touch_persons=False),
    "the survivor is told first": lambda crm: _set(crm.company, survivor_first=True),
    "empty fields are left out": lambda crm: _set(crm.company, empty_fields_sent=False),
    "contact sync": lambda crm: _set(crm.company, contact_sync=True),
    "lists tell the deleted": lambda crm: _set(crm.api.habits, person_lists_tell_deleted=True),
    "no budget is told": lambda crm: _set(crm, tells_budget=False),
}
"""What Pipedrive does not say, one way or the other."""


def _set(thing: object, **values: object) -> None:
    for name, value in values.items():
        assert hasattr(thing, name)
        setattr(thing, name, value)


@pytest.mark.parametrize("habit", HABITS)
def test_the_adapter_gets_on_with_every_habit(crm: Crm, habit: str) -> None:
    """Whatever is undocumented: a rating is told, a merge and a deletion are understood, and what
    is read is what there is."""
    HABITS[habit](crm)
    crm.clock = lambda: datetime.now(UTC)
    adapter = PipedriveAdapter()
    session = adapter.connect(crm.link())
    facts = session.install(session.plan_install())
    link = crm.link(facts=facts, fields=session.installed_fields())
    session = adapter.connect(link)
    session.subscribe(TARGET, ("a-random-secret-of-ours-0123456789",))

    def events() -> list[Event]:
        received = [
            Received(
                body=one.body, received_at=crm.clock(), account_crm_id=link.crm_id, facts=facts
            )
            for one in crm.deliveries
        ]
        crm.deliveries.clear()
        return [event for one in received for event in adapter.parse(one).events]

    ana, luis, gone = (crm.contact(name, "Muster") for name in ("Ana", "Luis", "Otto"))
    deal = crm.deal(luis)
    events()
    crm.change(ana, spiral_rating="delighted")
    (rated,) = events()
    crm.merge(ana, luis)
    crm.delete(gone)
    told = {(one.kind, one.record_id, one.merged_ids) for one in events()}
    loaded = session.load([ana, luis, gone], history=False, known_deals={})

    assert rated.change is not None
    assert (rated.change.field, rated.change.value) == ("spiral_rating", "delighted")
    assert told == {
        (EventKind.CONTACT_MERGED, ana, (luis,)), (EventKind.CONTACT_DELETED, gone, ()),
    }  # fmt: skip
    assert loaded.missing == {luis, gone}
    (left,) = loaded.contacts
    assert left.values["spiral_rating"] == "delighted"
    assert [(one.crm_id, one.contact_ids) for one in left.deals] == [(deal, (ana,))]
    if spec.AVAILABLE:
        for one in crm.calls:
            query = "&".join(f"{name}={value}" for name, value in one.query.items())
            spec.check_request(one.method, f"{one.path}?{quote(query, safe='=&,')}", one.body)
