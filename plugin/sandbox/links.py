"""Associations over the wire: joining and parting records, and the labels of joining."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from plugin.sandbox.associations import LinkType, plain
from plugin.sandbox.portal import OBJECT_TYPES, ObjectType
from plugin.sandbox.records import Record, Sandbox
from plugin.sandbox.refusals import Refused, bad_input
from plugin.sandbox.wire import (
    Body,
    Result,
    batch_answer,
    inputs_of,
    paging,
    sent,
    sent_object,
    spec_of,
    text_of,
)

BATCH = 2000
READ_BATCH = 1000
"""Inputs of one batch."""


def _kinds(sandbox: Sandbox, start: ObjectType, end: ObjectType, raw: Any) -> list[LinkType]:
    """The types a call names, checked."""
    pair = (start.plural, end.plural)
    plain(pair)
    if not isinstance(raw, list) or not all(isinstance(one, dict) for one in raw):
        raise bad_input("Some required fields were not set: [types]")
    return [
        sandbox.associations.type(
            pair, one.get("associationTypeId", 0), one.get("associationCategory", "")
        )
        for one in raw
    ]


def links_of(
    sandbox: Sandbox, of: ObjectType, raw: Sequence[Body]
) -> list[tuple[ObjectType, str, list[LinkType]]]:
    """What a record is joined to at its creation; the other's type follows from the type id."""
    links = []
    for one in raw:
        for end in OBJECT_TYPES:
            try:
                kinds = _kinds(sandbox, of, end, one.get("types"))
            except Refused:
                continue
            if kinds:
                links.append((end, text_of(one.get("to", {})), kinds))
                break
        else:
            raise bad_input(f"No association type of {of.plural} fits {one.get('types')}")
    return links


def _pair_body(start: Record, end: Record, kinds: Sequence[LinkType]) -> Body:
    return {
        "fromObjectTypeId": start.type.type_id,
        "fromObjectId": start.id,
        "toObjectTypeId": end.type.type_id,
        "toObjectId": end.id,
        "labels": [kind.label for kind in kinds if kind.label],
    }


def _join(
    sandbox: Sandbox, start: ObjectType, start_id: str, end: ObjectType, end_id: str, raw: Any
) -> Body:
    """Without types nothing is joined, and the answer is good all the same: so does HubSpot."""
    one, two = sandbox.get(start, start_id), sandbox.get(end, end_id)
    kinds = _kinds(sandbox, start, end, raw)
    if kinds:
        sandbox.associate(one, two, kinds, sandbox.app)
    return _pair_body(one, two, kinds)


def put(sandbox: Sandbox, start: ObjectType, start_id: str, end: ObjectType, end_id: str) -> Result:
    return 201, _join(sandbox, start, start_id, end, end_id, sent())


def delete(
    sandbox: Sandbox, start: ObjectType, start_id: str, end: ObjectType, end_id: str
) -> Result:
    one, two = sandbox.find(start, start_id), sandbox.find(end, end_id)
    if one and two:
        sandbox.part(one, two, sandbox.app)
    return 204, None


def list_of(sandbox: Sandbox, start: ObjectType, start_id: str, end: ObjectType) -> Result:
    limit, after = paging(500, 500)
    results, more = _link_page(sandbox, sandbox.get(start, start_id), end, after, limit)
    return 200, {"results": results, **more}


def _link_page(
    sandbox: Sandbox, record: Record, end: ObjectType, after: str, limit: int
) -> tuple[list[Body], Body]:
    """(a page of a record's associations, ``paging`` where there is more)."""
    found = [link for link in sandbox.linked(record, end) if int(link[0].id) > int(after or 0)]
    page = found[:limit]
    results = [
        {"toObjectId": linked.id, "associationTypes": [spec_of(kind) for kind in kinds]}
        for linked, kinds in page
    ]
    more = {"paging": {"next": {"after": page[-1][0].id}}} if len(found) > limit else {}
    return results, more


def batch_read(sandbox: Sandbox, start: ObjectType, end: ObjectType) -> Result:
    plain((start.plural, end.plural))
    results: list[Body] = []
    errors: list[Body] = []
    for one in inputs_of(sent_object(), READ_BATCH):
        record = sandbox.find(start, text_of(one))
        after, limit = str(one.get("after", "")), sandbox.portal.association_page
        page, more = _link_page(sandbox, record, end, after, limit) if record else ([], {})
        if page:
            results.append({"from": {"id": text_of(one)}, "to": page, **more})
        else:
            errors.append(_unlinked(start, text_of(one), end).as_entry(None))
    return batch_answer(sandbox, results, errors)


def _unlinked(start: ObjectType, start_id: str, end: ObjectType) -> Refused:
    return Refused(
        404,
        "OBJECT_NOT_FOUND",
        f"No {end.singular} is associated with {start.singular} {start_id}.",
        context={
            "fromObjectId": [start_id],
            "fromObjectType": [start.singular],
            "toObjectType": [end.singular],
        },
    )


def batch_create(sandbox: Sandbox, start: ObjectType, end: ObjectType) -> Result:
    results: list[Body] = []
    errors: list[Body] = []
    for one in inputs_of(sent_object(), BATCH):
        start_id, end_id = text_of(one.get("from", {})), text_of(one.get("to", {}))
        try:
            results.append(_join(sandbox, start, start_id, end, end_id, one.get("types")))
        except Refused as refused:
            errors.append(refused.as_entry(None))
    return batch_answer(sandbox, results, errors, good=201)


def batch_archive(sandbox: Sandbox, start: ObjectType, end: ObjectType) -> Result:
    for one in inputs_of(sent_object(), BATCH):
        for to in one.get("to", []):
            delete(sandbox, start, text_of(one.get("from", {})), end, text_of(to))
    return batch_answer(sandbox, [])


def batch_archive_labels(sandbox: Sandbox, start: ObjectType, end: ObjectType) -> Result:
    for one in inputs_of(sent_object(), BATCH):
        first = (start.plural, text_of(one.get("from", {})))
        second = (end.plural, text_of(one.get("to", {})))
        kinds = _kinds(sandbox, start, end, one.get("types"))
        sandbox.associations.remove_types(first, second, kinds)
    return batch_answer(sandbox, [])


def labels(sandbox: Sandbox, start: ObjectType, end: ObjectType) -> Result:
    kinds = sandbox.associations.types((start.plural, end.plural))
    return 200, {"results": [spec_of(kind) for kind in kinds]}


def create_label(sandbox: Sandbox, start: ObjectType, end: ObjectType) -> Result:
    body = sent_object()
    if not sandbox.portal.labels:
        raise Refused(
            403, "MISSING_SCOPES", "Association labels are not part of this account's tier"
        )
    pair = (start.plural, end.plural)
    present = [kind for kind in sandbox.associations.types(pair) if kind.label]
    if len(present) >= sandbox.portal.label_limit:
        raise bad_input(f"The limit of {sandbox.portal.label_limit} labels is reached")
    made = sandbox.associations.add_label(
        pair,
        name=text_of(body, "name"),
        label=text_of(body, "label"),
        inverse_label=body.get("inverseLabel"),
    )
    return 200, {"results": [spec_of(kind) for kind in made]}


def delete_label(sandbox: Sandbox, start: ObjectType, end: ObjectType, type_id: str) -> Result:
    if not type_id.isdecimal():
        raise bad_input(f"{type_id} is no association type")
    sandbox.associations.remove_label((start.plural, end.plural), int(type_id))
    return 204, None
