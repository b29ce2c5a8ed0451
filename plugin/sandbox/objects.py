"""Records over the wire: one at a time, in batches, by search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from flask import request

from plugin.sandbox import search as searching
from plugin.sandbox.links import links_of
from plugin.sandbox.portal import ObjectType, object_type
from plugin.sandbox.records import Record, Sandbox
from plugin.sandbox.refusals import Refused, bad_input, not_found
from plugin.sandbox.wire import (
    Body,
    Result,
    batch_answer,
    inputs_of,
    listed,
    paging,
    properties_of,
    sent_object,
    shape,
    text_of,
)

BATCH = 100
HISTORY_BATCH = 50
"""Inputs of one batch; fewer where histories are read too."""


def get(sandbox: Sandbox, of: ObjectType, record_id: str) -> Result:
    archived = request.args.get("archived") == "true"
    by = request.args.get("idProperty")
    record = (
        sandbox.by_property(of, by, record_id)
        if by
        else sandbox.find(of, record_id, archived=archived)
    )
    if record is None:
        raise Refused(404, "OBJECT_NOT_FOUND", "resource not found")
    return 200, _with_associations(sandbox, record)


def _with_associations(sandbox: Sandbox, record: Record) -> Body:
    names = listed("properties") or record.type.shown
    body = shape(sandbox, record, names, listed("propertiesWithHistory"))
    links = {}
    for end in map(object_type, listed("associations")):
        found = [
            {"id": linked.id, "type": f"{record.type.singular}_to_{end.singular}"}
            for linked, _ in sandbox.linked(record, end)
        ]
        if found:
            links[end.plural] = {"results": found}
    return {**body, "associations": links} if links else body


def list_page(sandbox: Sandbox, of: ObjectType) -> Result:
    limit, after = paging(100, 10)
    archived = request.args.get("archived") == "true"
    found = list(islice(sandbox.all(of, after=after, archived=archived), limit + 1))
    page = found[:limit]
    body: Body = {"results": [_with_associations(sandbox, record) for record in page]}
    if len(found) > limit:
        body["paging"] = {"next": {"after": page[-1].id}}
    return 200, body


def create(sandbox: Sandbox, of: ObjectType) -> Result:
    body = sent_object()
    record = sandbox.create(
        of,
        properties_of(body),
        sandbox.app,
        links=links_of(sandbox, of, body.get("associations", [])),
    )
    return 201, shape(sandbox, record)


def update(sandbox: Sandbox, of: ObjectType, record_id: str) -> Result:
    properties = properties_of(sent_object())
    record = sandbox.update(sandbox.get(of, record_id), properties, sandbox.app)
    return 200, shape(sandbox, record, list(properties))


def archive(sandbox: Sandbox, of: ObjectType, record_id: str) -> Result:
    record = sandbox.find(of, record_id)
    if record:
        sandbox.archive(record, sandbox.app)
    return 204, None


def merge(sandbox: Sandbox, of: ObjectType) -> Result:
    body = sent_object()
    primary = sandbox.get(of, text_of(body, "primaryObjectId"))
    other = sandbox.get(of, text_of(body, "objectIdToMerge"))
    return 200, shape(sandbox, sandbox.merge(primary, other, sandbox.app))


def erase(sandbox: Sandbox, of: ObjectType) -> Result:
    body = sent_object()
    record_id = text_of(body, "objectId")
    if by := body.get("idProperty"):
        record = sandbox.by_property(of, by, record_id)
        record_id = record.id if record else record_id
    sandbox.erase(of, record_id, sandbox.app)
    return 204, None


def search(sandbox: Sandbox, of: ObjectType) -> Result:
    if len(request.get_data()) > searching.LONGEST_BODY:
        raise bad_input(f"The search body may have {searching.LONGEST_BODY} characters")
    body = sent_object()
    total, page = searching.search(sandbox, of, body)
    names = body.get("properties") or of.shown
    answer: Body = {"total": total, "results": [shape(sandbox, one, names) for one in page]}
    end = int(body.get("after") or 0) + len(page)
    if end < total:
        answer["paging"] = {"next": {"after": str(end)}}
    return 200, answer


def batch_read(sandbox: Sandbox, of: ObjectType) -> Result:
    body = sent_object()
    with_history = body.get("propertiesWithHistory", [])
    inputs = inputs_of(body, HISTORY_BATCH if with_history else BATCH)
    archived = request.args.get("archived") == "true"
    by = body.get("idProperty")
    found: dict[str, Record] = {}
    missing: list[str] = []
    for one in map(text_of, inputs):
        record = (
            sandbox.by_property(of, by, one) if by else sandbox.find(of, one, archived=archived)
        )
        if record:
            found[record.id] = record
        else:
            missing.append(one)
    names = body.get("properties") or of.shown
    results = [shape(sandbox, found[one], names, with_history) for one in sorted(found)]
    errors = [not_found(of.singular.upper(), missing).as_entry(None)] if missing else []
    return batch_answer(sandbox, results, errors)


def batch_create(sandbox: Sandbox, of: ObjectType) -> Result:
    def write(one: Body) -> Record:
        links = links_of(sandbox, of, one.get("associations", []))
        return sandbox.create(of, properties_of(one), sandbox.app, links=links)

    def check(one: Body) -> None:
        links_of(sandbox, of, one.get("associations", []))
        sandbox.check(of, properties_of(one))

    return _batch_write(sandbox, inputs_of(sent_object(), BATCH), check, write, good=201)


def batch_update(sandbox: Sandbox, of: ObjectType) -> Result:
    inputs = inputs_of(sent_object(), BATCH)
    ids = [text_of(one) for one in inputs]
    if len(set(ids)) < len(ids):
        twice = sorted({one for one in ids if ids.count(one) > 1})
        raise bad_input(f"Duplicate IDs found in batch input: {twice}. IDs must be unique")

    def check(one: Body) -> None:
        if record := sandbox.find(of, text_of(one)):
            sandbox.check(of, properties_of(one), record)

    def write(one: Body) -> Record:
        return sandbox.update(sandbox.get(of, text_of(one)), properties_of(one), sandbox.app)

    return _batch_write(sandbox, inputs, check, write, good=200)


def _batch_write(
    sandbox: Sandbox,
    inputs: Sequence[Body],
    check: Callable[[Body], None],
    write: Callable[[Body], Record],
    *,
    good: int,
) -> Result:
    """Each for itself where all inputs are told apart by a trace id, else all or nothing."""
    traces = [one.get("objectWriteTraceId") for one in inputs]
    if not all(traces) or len(set(traces)) < len(traces):
        for one in inputs:
            check(one)
    results: list[Body] = []
    errors: list[Body] = []
    for one, trace in zip(inputs, traces, strict=True):
        try:
            record = write(one)
        except Refused as refused:
            errors.append(refused.as_entry(trace))
        else:
            names = None if good == 201 else list(properties_of(one))
            results.append(shape(sandbox, record, names, trace=trace))
    return batch_answer(sandbox, results[::-1], errors, good=good)


def batch_archive(sandbox: Sandbox, of: ObjectType) -> Result:
    for one in inputs_of(sent_object(), BATCH):
        archive(sandbox, of, text_of(one))
    return 204, None
