"""Writing fields and links: one bad record does not spoil the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import requests

from plugin.errors import CrmRateLimited, CrmUnavailable, RecordGone
from plugin.ports import Failure, FieldUpdate, LinkUpdate
from tests.adapters.conftest import (
    Connect,
    Reply,
    Wire,
    batch,
    part_error,
    problem,
    record,
    refused_value,
)

UPDATE = "POST /crm/objects/2026-09/contacts/batch/update"
READ = "POST /crm/objects/2026-09/contacts/batch/read"
LABEL = "POST /crm/associations/2026-09/contacts/contacts/batch/create"
UNLABEL = "POST /crm/associations/2026-09/contacts/contacts/batch/labels/archive"
LABELLED = {"label_type_id": "37", "inverse_label_type_id": "38"}


def updates(*contact_ids: str, **values: str) -> list[FieldUpdate]:
    return [
        FieldUpdate(contact_id=one, values=values or {"spiral_stage": "loyalty"})
        for one in contact_ids
    ]


def written(body: Any) -> Any:
    return batch([record(one["id"], one["properties"]) for one in body["inputs"]])


def refusing(*bad: str, status: int, answer: Any) -> Callable[[Any], Any]:
    """HubSpot as it is: any of the bad ones spoils its whole batch."""

    def respond(body: Any) -> Any:
        spoiled = any(one["id"] in bad for one in body["inputs"])
        return Reply(status, answer) if spoiled else written(body)

    return respond


def written_ids(wire: Wire, bad: Sequence[str]) -> list[str]:
    """Who was in a batch that HubSpot took."""
    batches = [[one["id"] for one in body["inputs"]] for body in wire.bodies(UPDATE)]
    return sorted(one for ids in batches if not set(bad) & set(ids) for one in ids)


# --------------------------------------------------------------------------------- fields


def test_fields_are_written_in_one_call(wire: Wire, connect: Connect) -> None:
    """A hundred contacts cost one call; empty empties."""
    wire.answers(UPDATE, written, always=True)
    ids = [str(n) for n in range(1000, 1100)]

    failures = connect().write_fields(updates(*ids, spiral_stage="loyalty", spiral_referrer=""))

    assert failures == ()
    (body,) = wire.bodies(UPDATE)
    assert body["inputs"][0] == {
        "id": "1000",
        "objectWriteTraceId": "1000",
        "properties": {"spiral_stage": "loyalty", "spiral_referrer": ""},
    }
    assert len(body["inputs"]) == 100


def test_more_than_a_hundred_go_in_batches(wire: Wire, connect: Connect) -> None:
    """HubSpot takes a hundred at a time."""
    wire.answers(UPDATE, written, always=True)

    connect().write_fields(updates(*(str(n) for n in range(250))))

    assert [len(body["inputs"]) for body in wire.bodies(UPDATE)] == [100, 100, 50]


def test_two_updates_of_one_contact_are_one(wire: Wire, connect: Connect) -> None:
    """HubSpot wants each record once in a batch; the later value counts."""
    wire.answers(UPDATE, written)

    connect().write_fields(
        [
            *updates("1", spiral_stage="loyalty", spiral_referrals_given="2"),
            *updates("1", spiral_stage="negative"),
        ]
    )

    (one,) = wire.bodies(UPDATE)[0]["inputs"]
    assert one["properties"] == {"spiral_stage": "negative", "spiral_referrals_given": "2"}


def test_fields_an_account_does_not_have_are_left_out(wire: Wire, connect: Connect) -> None:
    """Where not all fields fitted, the rest is written; where nothing is left, nobody is asked."""
    wire.answers(UPDATE, written)
    session = connect(fields=frozenset({"spiral_stage"}))

    session.write_fields(updates("1", spiral_stage="loyalty", spiral_advocate_tier="super"))
    session.write_fields(updates("1", spiral_advocate_tier="super"))

    assert [body["inputs"][0]["properties"] for body in wire.bodies(UPDATE)] == [
        {"spiral_stage": "loyalty"}
    ]


def test_a_field_that_is_not_ours_is_never_written(wire: Wire, connect: Connect) -> None:
    """It is a fault of the caller, found before anything is sent."""
    with pytest.raises(ValueError, match="email"):
        connect().write_fields(updates("1", email="erika@example.com"))

    assert wire.calls == []


def test_of_a_partial_answer_each_failure_is_named(wire: Wire, connect: Connect) -> None:
    """207: who failed, why in codes, and whether the record is gone; the rest is written."""
    errors = [
        part_error("VALIDATION_ERROR", {"objectWriteTraceId": ["2"]}),
        part_error("OBJECT_NOT_FOUND", {"objectWriteTraceId": ["3"], "ids": ["3"]}),
    ]
    wire.answers(UPDATE, batch([record("1")], errors), status=207)

    assert connect().write_fields(updates("1", "2", "3")) == (
        Failure(item="2", reason="VALIDATION_ERROR"),
        Failure(item="3", reason="OBJECT_NOT_FOUND", gone=True),
    )


def test_an_error_that_names_nobody_falls_on_those_not_written(
    wire: Wire, connect: Connect
) -> None:
    """Who is neither in the results nor named has failed, for the reason that was given."""
    wire.answers(UPDATE, batch([record("1")], [part_error("CONFLICT", {})]), status=207)

    assert connect().write_fields(updates("1", "2")) == (Failure(item="2", reason="CONFLICT"),)


def test_silence_is_no_success(wire: Wire, connect: Connect) -> None:
    """A 200 that leaves somebody out did not write them."""
    wire.answers(UPDATE, batch([record("1")]))

    assert connect().write_fields(updates("1", "2")) == (
        Failure(item="2", reason="HubSpot did not confirm the change"),
    )


def test_a_merged_record_is_written_under_its_new_id(wire: Wire, connect: Connect) -> None:
    """HubSpot forwards the write and answers with the surviving id: that is a success."""
    wire.answers(UPDATE, batch([record("77"), record("2")]))

    assert connect().write_fields(updates("1", "2")) == ()


def test_a_passing_error_in_part_is_raised(wire: Wire, connect: Connect) -> None:
    """What may work later is not counted as refused for good."""
    error = part_error("RATE_LIMITS", {"objectWriteTraceId": ["2"]})
    wire.answers(UPDATE, batch([record("1")], [error]), status=207)

    with pytest.raises(CrmUnavailable, match="RATE_LIMITS"):
        connect().write_fields(updates("1", "2"))


def test_one_poisoned_contact_does_not_spoil_ninety_nine(wire: Wire, connect: Connect) -> None:
    """The batch is halved until the bad one is alone; all others are written once."""
    answer = refused_value("spiral_stage")
    wire.answers(UPDATE, refusing("1042", status=400, answer=answer), always=True)
    ids = [str(n) for n in range(1000, 1100)]

    failures = connect().write_fields(updates(*ids))

    assert failures == (
        Failure(
            item="1042",
            reason=f"HubSpot answered 400 VALIDATION_ERROR to {UPDATE}: "
            "spiral_stage INVALID_OPTION",
        ),
    )
    assert written_ids(wire, ["1042"]) == [one for one in ids if one != "1042"]
    assert len(wire.calls) <= 15


def test_several_poisoned_ones_are_all_found(wire: Wire, connect: Connect) -> None:
    """Wherever they stand."""
    bad = ("1000", "1050", "1051", "1099")
    answer = refused_value("spiral_stage")
    wire.answers(UPDATE, refusing(*bad, status=400, answer=answer), always=True)
    ids = [str(n) for n in range(1000, 1100)]

    failures = connect().write_fields(updates(*ids))

    assert sorted(failure.item for failure in failures) == sorted(bad)
    assert written_ids(wire, bad) == sorted(set(ids) - set(bad))


def test_a_property_that_vanished_is_not_searched_for(wire: Wire, connect: Connect) -> None:
    """Who has the unknown property fails at once, the others are written: two calls in all."""
    unknown = refused_value("spiral_referrer", "PROPERTY_DOESNT_EXIST")
    wire.answers(UPDATE, unknown, status=400)
    wire.answers(UPDATE, written)
    ids = [str(n) for n in range(60)]

    failures = connect().write_fields(
        [*updates(*ids, spiral_referrer="Otto (5)"), *updates("99", spiral_stage="loyalty")]
    )

    assert [failure.item for failure in failures] == ids
    assert [len(body["inputs"]) for body in wire.bodies(UPDATE)] == [61, 1]


@pytest.mark.parametrize(("there", "gone"), [(False, True), (True, False)])
def test_gone_is_said_only_after_a_look(
    wire: Wire, connect: Connect, there: bool, gone: bool
) -> None:
    """A 404 may also mean a wrong address, so the record itself is asked for."""
    wire.answers(UPDATE, refusing("2", status=404, answer=problem("OBJECT_NOT_FOUND")), always=True)
    wire.answers(READ, batch([record("2")] if there else []))

    failures = connect().write_fields(updates("1", "2"))

    assert [(failure.item, failure.gone) for failure in failures] == [("2", gone)]


def test_a_wrong_address_is_not_a_mass_deletion(wire: Wire, connect: Connect) -> None:
    """Where nothing answers at all, an error is raised and nobody is called gone."""
    wire.answers(UPDATE, b"not found", status=404, always=True, official=False)
    wire.answers(READ, b"not found", status=404, always=True, official=False)

    with pytest.raises(RecordGone):
        connect().write_fields(updates("1", "2", "3"))


def test_a_lost_answer_is_asked_for_again(wire: Wire, connect: Connect) -> None:
    """Writing the same value twice is the same, so a reset is tried again."""
    wire.answers(UPDATE, requests.exceptions.ChunkedEncodingError())
    wire.answers(UPDATE, written)

    assert connect().write_fields(updates("1")) == ()
    assert len(wire.calls) == 2


def test_the_rate_limit_is_raised(wire: Wire, connect: Connect) -> None:
    """Waiting is the worker's decision."""
    limited = problem("RATE_LIMITS", errorType="RATE_LIMIT", policyName="SECONDLY")
    wire.answers(UPDATE, limited, status=429)

    with pytest.raises(CrmRateLimited):
        connect().write_fields(updates("1"))


# ---------------------------------------------------------------------------------- links


def labelled(*pairs: tuple[str, str], labels: Sequence[str] = ("Empfehlungsgeber",)) -> Any:
    return batch(
        [
            {
                "fromObjectId": source,
                "toObjectId": target,
                "fromObjectTypeId": "0-1",
                "toObjectTypeId": "0-1",
                "labels": list(labels),
            }
            for source, target in pairs
        ]
    )


def pair(source: str, target: str) -> Any:
    return {
        "from": {"id": source},
        "to": {"id": target},
        "types": [{"associationCategory": "USER_DEFINED", "associationTypeId": 37}],
    }


def test_a_link_is_moved(wire: Wire, connect: Connect) -> None:
    """The old label goes, the new one comes; other labels between the two stay."""
    wire.answers(UNLABEL, batch([]))
    wire.answers(LABEL, labelled(("1", "5")), status=201)

    failures = connect(facts=LABELLED).link_referrers(
        [
            LinkUpdate(contact_id="1", referrer_id="5", remove=("4",)),
            LinkUpdate(contact_id="2", referrer_id=None, remove=("4", "6")),
        ]
    )

    assert failures == ()
    assert wire.sent == [UNLABEL, LABEL]
    assert wire.bodies(UNLABEL)[0]["inputs"] == [pair("1", "4"), pair("2", "4"), pair("2", "6")]
    assert wire.bodies(LABEL)[0]["inputs"] == [pair("1", "5")]


@pytest.mark.parametrize("answer", [labelled(), labelled(("1", "5"), labels=())])
def test_a_success_that_made_nothing_is_a_failure(
    wire: Wire, connect: Connect, answer: Any
) -> None:
    """HubSpot may answer 2xx and create nothing; only what it names is there."""
    wire.answers(LABEL, answer, status=201)

    assert connect(facts=LABELLED).link_referrers(
        [LinkUpdate(contact_id="1", referrer_id="5")]
    ) == (Failure(item="1", reason="HubSpot answered but set no label"),)


def test_a_link_that_is_refused_spoils_no_other(wire: Wire, connect: Connect) -> None:
    """Links are halved like fields; a partial answer names its reason."""

    def respond(body: Any) -> Any:
        ends = [(one["from"]["id"], one["to"]["id"]) for one in body["inputs"]]
        if ("2", "5") in ends:
            return Reply(400, problem("VALIDATION_ERROR"))
        if ("3", "5") in ends:
            errors = [part_error("OBJECT_NOT_FOUND", {"toObjectId": ["5"]})]
            return Reply(207, labelled(*ends[:-1]) | {"numErrors": 1, "errors": errors})
        return Reply(201, labelled(*ends))

    wire.answers(LABEL, respond, always=True)

    failures = connect(facts=LABELLED).link_referrers(
        [LinkUpdate(contact_id=one, referrer_id="5") for one in ("1", "2", "4", "3")]
    )

    assert failures == (
        Failure(item="2", reason=f"HubSpot answered 400 VALIDATION_ERROR to {LABEL}"),
        Failure(item="3", reason="OBJECT_NOT_FOUND"),
    )


def test_a_label_that_is_gone_already_need_not_be_removed(wire: Wire, connect: Connect) -> None:
    """404 on removal is what was wanted; a refusal is told."""
    wire.answers(UNLABEL, problem("OBJECT_NOT_FOUND"), status=404)
    wire.answers(UNLABEL, problem("VALIDATION_ERROR"), status=400)
    session = connect(facts=LABELLED)
    update = [LinkUpdate(contact_id="1", referrer_id=None, remove=("4",))]

    assert session.link_referrers(update) == ()
    assert [failure.item for failure in session.link_referrers(update)] == ["1"]


def test_without_a_label_nothing_is_linked(wire: Wire, connect: Connect) -> None:
    """Accounts whose plan has no labels keep the referrer as text."""
    assert connect().link_referrers([LinkUpdate(contact_id="1", referrer_id="5")]) == ()
    assert wire.calls == []


def test_a_refusal_of_everything_is_not_repeated(wire: Wire, connect: Connect) -> None:
    """A single contact that is refused costs one call."""
    wire.answers(UPDATE, problem("VALIDATION_ERROR"), status=400)

    (failure,) = connect().write_fields(updates("1"))

    assert failure.item == "1"
    assert len(wire.calls) == 1
