"""What Pipedrive's webhooks become, beyond the payloads of the folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from plugin.errors import PayloadError
from plugin.ports import Event, EventKind, FieldUpdate, LinkUpdate, Parsed, Received
from tests.adapters.pipedrive import NOON, Company, company


@pytest.fixture
def acme() -> Iterator[Company]:
    """With our fields, and webhooks that lead to us."""
    with company() as opened:
        opened.install()
        yield opened


@pytest.fixture
def erika(acme: Company) -> str:
    """A contact whose making is past."""
    one = acme.crm.contact("Erika", "Muster")
    acme.deliver()
    acme.later(seconds=2)
    return one


def events(acme: Company) -> list[Event]:
    return [event for parsed in acme.deliver() for event in parsed.events]


def bodies(acme: Company) -> list[bytes]:
    waiting, acme.crm.deliveries[:] = list(acme.crm.deliveries), []
    return [one.body for one in waiting]


def changed(body: bytes, **meta: Any) -> bytes:
    """The same with other ``meta``."""
    content = json.loads(body)
    content["meta"] |= meta
    return json.dumps(content).encode()


# --------------------------------------------------------------------------- our own writes


def test_our_own_writes_are_ours(acme: Company, erika: str) -> None:
    """Values and the link; what a person does next is not."""
    other = acme.crm.contact("Otto", "Beispiel")
    acme.deliver()
    session = acme.session()

    session.write_fields([FieldUpdate(contact_id=erika, values={"spiral_stage": "loyalty"})])
    session.link_referrers([LinkUpdate(contact_id=erika, referrer_id=other)])
    assert [event.ours for event in events(acme)] == [True, True]
    acme.crm.change(erika, spiral_stage="negative")
    assert [event.ours for event in events(acme)] == [False]


def test_a_name_that_we_had_to_take_away_is_ours(acme: Company, erika: str) -> None:
    """People fill that field, and we empty it when a name has to be forgotten."""
    acme.crm.change(erika, spiral_referrer_name="Frau Dr. Meyer")
    acme.deliver()
    update = FieldUpdate(contact_id=erika, values={"spiral_referrer_name": ""})

    acme.session().write_fields([update])
    assert [event.ours for event in events(acme)] == [True]
    acme.crm.change(erika, spiral_referrer_name="Herr Maier")
    assert [event.ours for event in events(acme)] == [False]


def test_our_users_other_programs_are_not_us(acme: Company, erika: str) -> None:
    """The token may be a person's who also lets others fill what people fill."""
    acme.crm.change(erika, spiral_rating="angry")
    (body,) = bodies(acme)

    (event,) = acme.parse(changed(body, change_source="api", user_id="12941358")).events
    assert not event.ours
    assert event.change is not None


def test_a_save_that_also_changes_something_else_is_not_ours(acme: Company, erika: str) -> None:
    """We never write names: another program of our user did."""
    acme.session().write_fields([FieldUpdate(contact_id=erika, values={"spiral_stage": "loyalty"})])
    content = json.loads(bodies(acme)[0])
    content["previous"]["last_name"] = "Neumann"

    (event,) = acme.parse(json.dumps(content).encode()).events
    assert not event.ours


def test_before_installing_nobody_is_us(acme: Company, erika: str) -> None:
    """Without facts no user is known to be ours, and none of the fields."""
    acme.crm.change(erika, spiral_rating="angry", last="Neumann")
    (body,) = bodies(acme)

    received = Received(body=body, received_at=NOON, account_crm_id="6083095")
    (event,) = acme.adapter.parse(received).events
    assert (event.kind, event.change, event.ours) == (EventKind.CONTACT_CHANGED, None, False)


# -------------------------------------------------------------------------------- merges


@pytest.mark.parametrize("survivor_first", [False, True])
def test_both_halves_of_a_merge_are_one_fact(
    acme: Company, erika: str, survivor_first: bool
) -> None:
    """Whichever comes first."""
    other = acme.crm.contact("E.", "Muster")
    acme.deliver()
    acme.crm.company.survivor_first = survivor_first
    acme.crm.merge(erika, other)

    found = events(acme)
    assert [(one.kind, one.record_id, one.merged_ids) for one in found] == [
        (EventKind.CONTACT_MERGED, erika, (other,))
    ] * 2
    assert len({one.key for one in found}) == 1


# ---------------------------------------------------------------------------------- keys


def test_sent_again_a_fact_keeps_its_key(acme: Company, erika: str) -> None:
    """Whatever Pipedrive counts up or makes anew for the next attempt."""
    acme.crm.change(erika, spiral_rating="angry")
    (body,) = bodies(acme)
    again = changed(body, attempt=3, id="another", correlation_id="another", webhook_id="7")

    assert acme.parse(again).events == acme.parse(body).events


def test_several_changes_of_one_save_are_several_facts(acme: Company, erika: str) -> None:
    """A rating and its day, each with a key of its own."""
    acme.crm.change(erika, spiral_rating="angry", spiral_rated_on="2026-09-01", last="Neumann")

    found = events(acme)
    assert sorted((e.change.field, e.change.value) for e in found if e.change) == [
        ("spiral_rated_on", "2026-09-01"), ("spiral_rating", "angry"),
    ]  # fmt: skip
    assert len({event.key for event in found}) == 2


# ------------------------------------------------------------------------ what is no event


@pytest.mark.parametrize("previous", [{}, {"update_time": "2026-09-14T11:00:00Z"},
                                      {"label_ids": [5], "next_activity_id": 7}])  # fmt: skip
def test_what_does_not_matter_is_ignored(
    acme: Company, erika: str, previous: dict[str, object]
) -> None:
    """Counters, labels, times, or nothing at all."""
    acme.crm.change(erika, last="Neumann")
    content = json.loads(bodies(acme)[0]) | {"previous": previous}

    assert acme.parse(json.dumps(content).encode()) == Parsed(ignored=1)


def test_a_change_that_says_nothing_of_itself_is_looked_at(acme: Company, erika: str) -> None:
    """Without ``previous`` anything may have changed."""
    acme.crm.change(erika, last="Neumann")
    content = json.loads(bodies(acme)[0]) | {"previous": None}

    (event,) = acme.parse(json.dumps(content).encode()).events
    assert (event.kind, event.record_id) == (EventKind.CONTACT_CHANGED, erika)


def test_a_deals_step_within_its_pipeline_is_ignored(acme: Company, erika: str) -> None:
    """Reps move deals all day long."""
    deal = acme.crm.deal(erika)
    acme.deliver()
    acme.crm.move(deal, 4)

    assert events(acme) == []


def test_both_persons_of_a_moved_deal_are_named(acme: Company, erika: str) -> None:
    """Now and before."""
    other = acme.crm.contact("Otto", "Beispiel")
    deal = acme.crm.deal(erika)
    bodies(acme)
    acme.crm.win(deal)
    content = json.loads(bodies(acme)[0])
    content["data"]["person_id"], content["previous"] = int(other), {"person_id": int(erika)}

    (event,) = acme.parse(json.dumps(content).encode()).events
    assert (event.kind, event.contact_ids) == (EventKind.DEAL_CHANGED, (other, erika))


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({"version": "1.0"}, r"^meta\.version: not 2\.0$"),
        ({"entity_id": None}, r"^meta\.entity_id: missing or not a record id$"),
        ({"entity_id": "a1b2"}, r"^meta\.entity_id: missing or not a record id$"),
        ({"company_id": "Bäckerei"}, r"^meta\.company_id: Not a record id\.$"),
        ({"entity": 7}, r"^meta\.entity, meta\.action: missing or not a text$"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named_without_its_value(
    acme: Company, erika: str, meta: dict[str, object], said: str
) -> None:
    """The old version, too: it says all of it elsewhere."""
    acme.crm.change(erika, last="Neumann")
    (body,) = bodies(acme)

    with pytest.raises(PayloadError, match=said):
        acme.parse(changed(body, **meta))


@pytest.mark.parametrize("timestamp", [None, "gestern", 10**18, True, {}])
def test_without_a_time_the_save_says_when(acme: Company, erika: str, timestamp: object) -> None:
    """And without that, the time at which it came."""
    acme.crm.change(erika, last="Neumann")
    body = changed(bodies(acme)[0], timestamp=timestamp)
    (saved,) = acme.parse(body).events
    content = json.loads(body)
    del content["data"]["update_time"]
    (came,) = acme.parse(json.dumps(content).encode(), received_after=3).events

    assert saved.occurred_at == acme.now
    assert (came.occurred_at - acme.now).total_seconds() == 3


@pytest.mark.parametrize("scale", [1, 1000])
def test_a_time_may_come_as_a_number(acme: Company, erika: str, scale: int) -> None:
    """Of seconds or milliseconds; the guide shows texts and speaks of ten characters."""
    acme.crm.change(erika, last="Neumann")
    timestamp = (int(NOON.timestamp()) + 7) * scale

    (event,) = acme.parse(changed(bodies(acme)[0], timestamp=timestamp)).events
    assert event.occurred_at == NOON.replace(second=7)


# ------------------------------------------------------------------------------ forgetting


def test_a_forgotten_person_is_taken_out_of_what_was_stored(acme: Company) -> None:
    """Nothing else was kept of what it told."""
    one = acme.crm.contact("Erika", "Muster")
    (body,) = bodies(acme)
    received = Received(body=body, received_at=acme.now, account_crm_id="6083095")

    left = acme.adapter.redact(
        received, account_crm_id="6083095", contact_ids=frozenset({one}), words=[]
    )
    assert left is not None
    assert b"Erika" not in left


def test_a_redacted_delivery_tells_no_values(acme: Company, erika: str) -> None:
    """It still says that a rating changed."""
    acme.crm.change(erika, spiral_rating="angry", spiral_referrer_name="Otto Beispiel")
    (body,) = bodies(acme)
    received = Received(body=body, received_at=acme.now, account_crm_id="6083095", facts=acme.facts)
    about = acme.adapter.redact(
        received, account_crm_id="6083095", contact_ids=frozenset({erika}), words=[]
    )
    word = acme.adapter.redact(
        received, account_crm_id="6083095", contact_ids=frozenset(), words=["beispiel"]
    )
    assert about is not None
    assert word is not None

    left = acme.adapter.parse(replace(received, body=about)).events
    assert [(one.record_id, one.change) for one in left] == [(erika, None)] * 2
    acme.adapter.parse(replace(received, body=word))
    assert b"Beispiel" not in word
    assert b"Erika" in word
