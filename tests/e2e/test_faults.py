"""What goes wrong at the CRM delays or parks only what it must, is said in ``status``, and ends."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from adapters.client import Client
from plugin.pipeline import absorb, reconcile
from plugin.pipeline.turn import Turn
from plugin.referral.model import Case
from plugin.sandbox import objects
from plugin.sandbox.portal import CONTACTS
from plugin.sandbox.records import Sandbox
from plugin.sandbox.refusals import Refused
from plugin.sandbox.webhooks import Source
from plugin.storage.hints import LOOKS
from tests.databases import Databases, contents
from tests.e2e.plant import Plant, lock
from tests.e2e.side_by_side import two_portals

READ = "/contacts/batch/read"
UPDATE = "/contacts/batch/update"
CREATE = "/tasks/batch/create"


@pytest.fixture(autouse=True)
def _no_second_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client itself tries some calls again; here every fault reaches the worker."""
    monkeypatch.setattr("adapters.client.ATTEMPTS", 1)


def state(plant: Plant) -> str:
    found = re.search(r"state +(.+)", plant.call("status").stdout)
    assert found
    return found[1]


def waiting(plant: Plant) -> str:
    """Why the account waits, without the time."""
    return re.sub(r"waiting until [0-9-]+ [0-9:]+: ", "", state(plant))


def bought(plant: Plant, name: str = "Anna") -> str:
    contact_id = plant.contact(name, "Sommer", spiral_origin="web_search")
    plant.bought(contact_id)
    return contact_id


# --------------------------------------------------------------- the whole account waits


FAULTS: Mapping[str, tuple[dict[str, Any], str]] = {
    "429": (
        {"status": 429, "headers": {"Retry-After": "20"}},
        "HubSpot answered 429 RATE_LIMIT TEN_SECONDLY_ROLLING to POST",
    ),
    "500": ({"status": 500}, "HubSpot answered 500 UNAVAILABLE to POST"),
    "no answer": ({"drop": True}, "HubSpot did not answer POST"),
    "too slow": ({"delay": 1.0}, "HubSpot did not answer POST"),
}


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        *((READ, fault) for fault in FAULTS),
        *((call, fault) for call in (UPDATE, CREATE) for fault in ("500", "no answer")),
    ],
)
def test_a_passing_fault_delays_the_account_and_says_so(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, fault: str, call: str
) -> None:
    """Whichever call it hits: the reason is shown, nothing is lost, nothing is made twice."""
    monkeypatch.setattr("adapters.client.TIMEOUT", (1.0, 0.3))
    what, reason = FAULTS[fault]
    plant.settle()
    plant.fault(path=call, **what)
    anna = bought(plant)
    plant.rate(anna, "angry")
    plant.settle()

    assert waiting(plant).startswith(reason)
    plant.wait(minutes=1)
    plant.settle()

    assert state(plant) == "working"
    assert plant.stage(anna) == "negative"
    assert plant.tasks() == [("repair", "open")]


def test_repeated_faults_are_met_with_longer_and_longer_waits(plant: Plant) -> None:
    """Never with a storm of calls; at most ten minutes."""
    plant.settle()
    for _ in range(12):
        plant.fault(status=503)
    anna = bought(plant)
    plant.deliver()
    waits = []
    for _ in range(12):
        plant.work()
        until = plant.account().blocked_until or 0
        waits.append((until - plant.now_ms()) / 1000)
        plant.wait(minutes=waits[-1] / 60 + 0.001)
    plant.work()

    for wait, plain in zip(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600, 600, 600],
                           strict=True):  # fmt: skip
        assert plain * 0.7 < wait < plain * 1.25
    assert (plant.stage(anna), state(plant)) == ("experience", "working")


@pytest.mark.parametrize("status", [401, 403])
def test_bad_credentials_stop_the_account_until_a_person_helps(plant: Plant, status: int) -> None:
    """Deliveries go on being kept; ``resume`` or connecting anew ends the wait at once."""
    plant.settle()
    portal = plant.crm.portal
    if status == 401:
        plant.crm.portal = replace(portal, token="another-token")
        said = "HubSpot answered 401 INVALID_AUTHENTICATION to POST"
    else:
        kept = {one for one in portal.scopes if not one.endswith("contacts.write")}
        plant.crm.portal = replace(portal, scopes=frozenset(kept))
        said = "HubSpot answered 403 MISSING_SCOPES to POST"
    anna = bought(plant)
    plant.settle()
    assert waiting(plant).startswith(said)
    calls = plant.crm.calls.total()
    plant.wait(minutes=30)
    plant.rate(anna, "satisfied")
    plant.settle()
    assert plant.crm.calls.total() == calls

    if status == 401:
        done = plant.call("connect", "hubspot", HUBSPOT_TOKEN="another-token")
        assert done.stdout.startswith("Reconnected HubSpot account 4711001")
    else:
        plant.crm.portal = portal
        assert plant.call("resume", "hubspot").stdout == "Resumed account 4711001.\n"
    plant.settle()

    assert (plant.stage(anna), state(plant)) == ("satisfaction", "working")


def test_another_account_is_not_slowed(databases: Databases) -> None:
    """Whatever is wrong with one portal: the other one's customers are not kept waiting."""
    with two_portals(databases) as (one, two):
        for plant in (one, two):
            for words in (("connect", "hubspot"), ("install", "hubspot", "--account",
                          str(plant.crm.portal.portal_id))):  # fmt: skip
                assert plant.call(*words).returncode == 0
        one.settle()
        for _ in range(50):
            one.fault(status=503)
        anna, zoe = bought(one), bought(two, "Zoe")
        two.deliver()
        one.settle()

        assert (one.stage(anna), two.stage(zoe)) == (None, "experience")
        assert [row[0] for row in one.rows("SELECT failures FROM account ORDER BY id")] == [1, 0]


@pytest.mark.parametrize(
    "bug", [ZeroDivisionError(), sa.exc.DataError("INSERT", {}, Exception("too long"))]
)
def test_a_bug_of_ours_sets_aside_one_account_and_no_other(
    databases: Databases, monkeypatch: pytest.MonkeyPatch, bug: Exception
) -> None:
    """Even what nobody foresaw, or what the database refuses of this account: it is tried again in
    a minute, and shown till then."""
    with two_portals(databases) as (one, two):
        for plant in (one, two):
            for words in (("connect", "hubspot"), ("install", "hubspot", "--account",
                          str(plant.crm.portal.portal_id))):  # fmt: skip
                assert plant.call(*words).returncode == 0
        one.settle()
        with monkeypatch.context() as patched:
            patched.setattr(Turn, "_deals", _stumble_over(1001, bug))
            anna, zoe = bought(one), bought(two, "Zoe")
            two.deliver()
            one.settle()
        assert (one.stage(anna), two.stage(zoe)) == (None, "experience")
        assert f"internal error: {type(bug).__name__}" in one.call("status").stdout
        one.wait(minutes=1.1)
        one.settle()

        assert one.stage(anna) == "experience"


def test_a_database_that_is_away_sets_nobody_aside(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no account's fault: what was in hand is tried again at once."""
    plant.settle()
    whole = Turn._deals
    errors = iter([sa.exc.OperationalError("SELECT", {}, Exception("away"))])

    def deals(self: Turn) -> bool:
        if error := next(errors, None):
            raise error
        return whole(self)

    monkeypatch.setattr(Turn, "_deals", deals)
    anna = bought(plant)
    plant.settle()
    assert next(errors, None) is None
    assert plant.stage(anna) == "experience"


def _stumble_over(portal_id: int, bug: Exception) -> Callable[[Any], bool]:
    whole = Turn._deals

    def deals(self: Turn) -> bool:
        if self._account.crm_id == str(portal_id):
            raise bug
        return whole(self)

    return deals


# --------------------------------------------------------------- one contact among many


def crowd(plant: Plant) -> list[str]:
    """A hundred customers, all dirty at once, of whom nobody has heard."""
    plant.settle()
    plant.steer("webhooks/hold")
    ids = [bought(plant, f"Anna {n}") for n in range(12)]
    ids += [
        plant.crm.create(CONTACTS, {"lastname": f"Keller {n}"}, plant.crm.person()).id
        for n in range(88)
    ]
    plant.steer("webhooks/release")
    return ids


def stages(plant: Plant, ids: list[str]) -> list[str | None]:
    return [plant.stage(one) for one in ids]


def parked(plant: Plant) -> list[str]:
    return re.findall(r"parked +(.+)", plant.call("status").stdout)


ALL_FINE = ["experience"] * 12 + ["expectation"] * 88


def refuse_batch(monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    """A 400 to whatever batch holds this contact, for reading as for writing."""
    whole = objects.inputs_of

    def inputs_of(body: dict[str, Any], most: int) -> list[dict[str, Any]]:
        inputs = whole(body, most)
        if any(one.get("id") == bad for one in inputs):
            raise Refused(400, "VALIDATION_ERROR", "A poisoned record")
        return inputs

    monkeypatch.setattr(objects, "inputs_of", inputs_of)


def stumble(monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    """Its data meets a bug of ours."""
    whole = reconcile.decide

    def decide(case: Case, *rest: Any) -> Any:
        if case.crm_id == bad:
            raise KeyError("a bug of ours")
        return whole(case, *rest)

    monkeypatch.setattr(reconcile, "decide", decide)


_create = Sandbox.create


def refuse_tasks(self: Sandbox, of: Any, raw: Mapping[str, object], by: Source, **more: Any) -> Any:
    if "Anna" in str(raw.get("hs_task_subject")):
        raise Refused(400, "VALIDATION_ERROR", "No tasks for this one")
    return _create(self, of, raw, by, **more)


POISONS = {
    "refused alone": (lock, "VALIDATION_ERROR"),
    "refused with its batch": (refuse_batch, "HubSpot answered 400 VALIDATION_ERROR to POST"),
    "a bug of ours": (stumble, "internal error: KeyError"),
}


@pytest.mark.parametrize("poison", POISONS)
def test_one_poisoned_contact_is_parked_alone(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, poison: str
) -> None:
    """The ninety-nine others are brought in order; ``replay --parked`` gives it another chance."""
    ids = crowd(plant)
    bad = ids[3]
    apply, reason = POISONS[poison]

    with monkeypatch.context() as patched:
        apply(patched, bad)
        plant.settle()
    assert stages(plant, ids) == [*ALL_FINE[:3], None, *ALL_FINE[4:]]
    (said,) = parked(plant)
    assert said.startswith(f"contact {bad}: {reason}")
    assert state(plant) == "working"
    explained = plant.call("explain", "hubspot", bad).stdout
    assert f"Parked: {reason}" in explained

    assert plant.call("replay", "--parked").stdout == "1 parked records are looked at again.\n"
    plant.settle()

    assert stages(plant, ids) == ALL_FINE
    assert parked(plant) == []


def test_a_parked_contact_gets_another_chance_when_something_new_is_heard(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever corrects the record in the CRM need not know of the plugin."""
    anna = bought(plant)
    with monkeypatch.context() as patched:
        stumble(patched, anna)
        plant.settle()
    assert len(parked(plant)) == 1

    plant.change(anna, city="Kassel")
    plant.settle()

    assert (plant.stage(anna), parked(plant)) == ("experience", [])


def test_nobody_is_parked_because_the_database_is_away(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is no contact's fault, and over by itself: the batch is worked on once more."""
    plant.settle()
    anna = bought(plant)
    whole = absorb.absorb_deals
    away = iter([sa.exc.OperationalError("…", None, Exception("database is locked"))])

    def absorb_deals(*words: Any) -> None:
        for error in away:
            raise error
        whole(*words)

    monkeypatch.setattr(absorb, "absorb_deals", absorb_deals)
    plant.settle()

    assert next(away, None) is None
    assert (plant.stage(anna), parked(plant), state(plant)) == ("experience", [], "working")


def test_a_task_the_crm_refuses_is_shown_and_holds_nobody_up(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fields are written, the other tasks made; the reason stands in ``status``."""
    plant.settle()
    monkeypatch.setattr(Sandbox, "create", refuse_tasks)
    anna, bernd = plant.contact("Anna", "Sommer"), plant.contact("Bernd", "Keller")
    plant.bought(anna)
    plant.bought(bernd)
    plant.settle()

    assert stages(plant, [anna, bernd]) == ["experience", "experience"]
    assert (plant.tasks(anna), plant.tasks(bernd)) == ([], [("ask_origin", "open")])
    assert f"refused     task ask_origin on {anna}: VALIDATION_ERROR" in plant.call("status").stdout


def tell_oddly(
    monkeypatch: pytest.MonkeyPatch, path: str, spoil: Callable[[dict[str, Any]], None]
) -> None:
    """From now on HubSpot's answers to these calls are odd."""
    whole = Client.send

    def send(self: Client, method: str, at: str, **more: Any) -> Any:
        answer = whole(self, method, at, **more)
        if path in at and isinstance(answer, dict):
            for record in answer.get("results", ()):
                spoil(record)
        return answer

    monkeypatch.setattr(Client, "send", send)


def test_a_task_that_is_always_told_oddly_holds_nobody_up(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was made, but nobody can read the answers about it: it is shown, never made again, and
    all others are made."""
    plant.settle()

    def spoil(record: dict[str, Any]) -> None:
        if "Anna" in str(record.get("properties", {}).get("hs_task_subject")):
            record["id"] = None

    tell_oddly(monkeypatch, "/", spoil)
    anna, bernd, dora = (plant.contact(name, "Keller") for name in ("Anna", "Bernd", "Dora"))
    for one in (anna, bernd):
        plant.bought(one)
    plant.settle()
    plant.bought(dora)
    for _ in range(3):
        plant.wait(minutes=20)
        plant.settle()

    assert (plant.tasks(anna), plant.tasks(bernd), plant.tasks(dora)) == (
        [("ask_origin", "open")],
        [("ask_origin", "open")],
        [("ask_origin", "open")],
    )
    assert plant.rows("SELECT state FROM task ORDER BY id") == [("refused",), ("open",), ("open",)]
    assert f"refused     task ask_origin on {anna}: " in plant.call("status").stdout
    assert state(plant) == "working"


def test_a_deal_that_is_always_told_oddly_holds_nobody_up(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is shown, and all other deals are looked at."""
    plant.settle()
    plant.steer("webhooks/hold")
    anna, bernd = (plant.contact(name, "Keller") for name in ("Anna", "Bernd"))
    bad = plant.bought(anna)
    plant.bought(bernd)

    def spoil(record: dict[str, Any]) -> None:
        if record["from"]["id"] == bad:
            record["to"] = 7

    tell_oddly(monkeypatch, "deals/contacts", spoil)
    plant.steer("webhooks/release")
    plant.settle()
    look_again_at_odd(plant)

    (said,) = [one for one in parked(plant) if one.startswith("deal")]
    assert said.startswith(f"deal {bad}: ")
    assert (plant.tasks(bernd), state(plant)) == ([("ask_origin", "open")], "working")


def test_an_open_task_that_is_always_told_oddly_holds_nobody_up(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What became of the others is read; it is left as it is in the CRM, and shown where it would
    have to be closed."""
    plant.settle()
    anna, bernd = (plant.contact(name, "Keller") for name in ("Anna", "Bernd"))
    for one in (anna, bernd):
        plant.bought(one)
    plant.settle()

    def spoil(record: dict[str, Any]) -> None:
        if "Anna" in record["properties"]["hs_task_subject"]:
            record["id"] = None

    tell_oddly(monkeypatch, "tasks/batch/read", spoil)
    (of_bernd,) = (
        one
        for one, record in plant.task_records().items()
        if "Bernd" in str(record.value("hs_task_subject"))
    )
    plant.ui("POST", f"tasks/{of_bernd}/complete")
    plant.wait(hours=1.1)
    plant.settle()
    assert plant.rows("SELECT state FROM task ORDER BY id") == [("open",), ("done",)]
    assert (state(plant), parked(plant)) == ("working", [])

    plant.change(anna, spiral_origin="web_search")
    plant.settle()
    assert plant.rows("SELECT state FROM task ORDER BY id") == [("refused",), ("done",)]
    assert f"refused     task ask_origin on {anna}: " in plant.call("status").stdout
    assert state(plant) == "working"


def test_an_erasure_that_cannot_be_finished_holds_nobody_up(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who named the person is always told oddly: the erasure is shown, and finished once
    that is mended."""
    plant.settle()
    kaethe = plant.contact("Käthe", "Kollwitz")
    anna, bernd = (plant.contact(name, "Keller") for name in ("Anna", "Bernd"))
    plant.settle()
    plant.change(anna, spiral_referrer_name="Käthe Kollwitz")
    plant.settle()

    def spoil(record: dict[str, Any]) -> None:
        if record.get("id") == anna:
            record["properties"] = 7

    with monkeypatch.context() as patched:
        tell_oddly(patched, "contacts/batch/read", spoil)
        plant.erase(kaethe)
        plant.settle()
        plant.bought(bernd)
        plant.settle()
        look_again_at_odd(plant)
        said = [one.partition(":")[0] for one in parked(plant)]
        assert sorted(said) == [f"contact {anna}", f"erase {kaethe}"]
        assert (plant.tasks(bernd), state(plant)) == ([("ask_origin", "open")], "working")

    assert plant.call("replay", "--parked").returncode == 0
    plant.settle()
    assert parked(plant) == []
    assert b"Kollwitz" not in b"".join(contents(plant.parts.database).values())


def look_again_at_odd(plant: Plant) -> None:
    """Nothing is parked before it was told oddly for some minutes."""
    for _ in range(LOOKS):
        assert parked(plant) == []
        plant.wait(minutes=1)
        plant.settle()


def test_a_crm_in_disorder_for_a_moment_parks_nobody(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One alone is asked for, and told oddly: two minutes later it is not."""
    plant.settle()
    anna = plant.contact("Anna", "Keller")
    bad = plant.bought(anna)

    def spoil(record: dict[str, Any]) -> None:
        if record.get("id") == anna:
            record["properties"] = 7
        if record.get("from", {}).get("id") == bad:
            record["to"] = 7

    with monkeypatch.context() as patched:
        tell_oddly(patched, "contacts", spoil)
        plant.settle()
        plant.wait(minutes=1)
        plant.settle()
        assert plant.tasks(anna) == []
    look_again_at_odd(plant)
    assert (plant.tasks(anna), parked(plant)) == ([("ask_origin", "open")], [])


def test_a_refused_task_that_nobody_needs_any_more_is_not_shown(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reason has gone: there is nothing left to make, or to say."""
    plant.settle()
    with monkeypatch.context() as patched:
        patched.setattr(Sandbox, "create", refuse_tasks)
        anna = plant.contact("Anna", "Sommer")
        plant.bought(anna)
        plant.settle()
    assert "refused " in plant.call("status").stdout
    plant.change(anna, spiral_origin="web_search")
    plant.settle()

    assert "refused " not in plant.call("status").stdout
    assert plant.rows("SELECT kind, state FROM task") == [("ask_origin", "withdrawn")]
    assert plant.tasks(anna) == []


# -------------------------------------------------------------------------------- secrets


def test_the_token_is_nowhere_to_be_read(bare: Plant, caplog: pytest.LogCaptureFixture) -> None:
    """Not in logs, whatever goes wrong; not in ``status``; in the database only encrypted."""
    caplog.set_level(logging.DEBUG)
    token, secret = bare.environ["HUBSPOT_TOKEN"], bare.environ["HUBSPOT_CLIENT_SECRET"]
    bare.connect()
    for fault in ({"status": 401}, {"status": 500}, {"drop": True}, {"status": 400}):
        bare.fault(path=READ, **fault)
        bought(bare)
        bare.settle()
        bare.call("resume", "hubspot")
    bare.post(b"[]", secret="a-forged-secret")
    bare.settle()
    commands = [
        bare.call(*words.split())
        for words in ("status", "connect hubspot", "install hubspot --dry-run", "resume hubspot")
    ]

    said = caplog.text + "".join(f"{one.stdout}{one.stderr}" for one in commands)
    stored = b"".join(contents(bare.parts.database).values())
    assert [word for word in (token, secret, "Bearer") if word in said] == []
    assert [word for word in (token, secret) if word.lower().encode() in stored] == []
    assert bare.parts.vault.decrypt(bare.account().token) == token
