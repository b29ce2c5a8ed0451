"""Reading HubSpot's calls and shaping its answers: what all endpoints share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask import request

from plugin.sandbox.associations import LinkType
from plugin.sandbox.properties import iso
from plugin.sandbox.records import Record, Sandbox
from plugin.sandbox.refusals import bad_input

Body = dict[str, Any]
Result = tuple[int, Any]
"""Status and JSON body; None: no body."""


def sent() -> Any:
    """The call's JSON."""
    body = request.get_json(silent=True)
    if body is None:
        raise bad_input("Invalid input JSON on line 1, column 1")
    return body


def sent_object() -> Body:
    """The call's JSON, an object."""
    body = sent()
    if not isinstance(body, dict):
        raise bad_input("Invalid input JSON: an object was expected")
    return body


def inputs_of(body: Body, most: int) -> list[Body]:
    """The inputs of a batch call."""
    inputs = body.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(one, dict) for one in inputs):
        raise bad_input("Some required fields were not set: [inputs]")
    if len(inputs) > most:
        raise bad_input(f"The maximum number of inputs supported in a batch request is {most}")
    return inputs


def text_of(of: Mapping[str, Any], key: str = "id") -> str:
    """A required text of a call."""
    value = of.get(key)
    if not isinstance(value, str):
        raise bad_input(f"Some required fields were not set: [{key}]")
    return value


def properties_of(one: Mapping[str, Any]) -> dict[str, object]:
    """The values a call writes."""
    properties = one.get("properties")
    if not isinstance(properties, dict):
        raise bad_input("Some required fields were not set: [properties]")
    return properties


def listed(name: str) -> list[str]:
    """A query parameter that is a list, in one piece with commas or given several times."""
    return [word for part in request.args.getlist(name) for word in part.split(",") if word]


def paging(most: int, usual: int) -> tuple[int, str]:
    """(limit, after) of a list."""
    limit, after = request.args.get("limit", str(usual)), request.args.get("after", "")
    if not limit.isdecimal() or not 0 < int(limit) <= most or (after and not after.isdecimal()):
        raise bad_input(f"limit must be between 1 and {most}, after a cursor")
    return int(limit), after


def shape(
    sandbox: Sandbox,
    record: Record,
    names: Sequence[str] | None = None,
    with_history: Sequence[str] = (),
    trace: str | None = None,
) -> Body:
    """A record as HubSpot answers it. ``names`` None: everything that has a value."""
    plural = record.type.plural
    if names is None:
        names = [name for name in record.values if sandbox.properties.find(plural, name)]
    chosen = sorted({*names, *with_history, *record.type.always})
    body: Body = {
        "id": record.id,
        "properties": {
            name: record.values.get(name)
            for name in chosen
            if sandbox.properties.find(plural, name)
        },
        "createdAt": iso(record.created_at),
        "updatedAt": iso(record.updated_at),
        "archived": record.archived_at is not None,
        "url": f"{request.host_url}contacts/{sandbox.portal.portal_id}"
        f"/record/{record.type.type_id}/{record.id}",
    }
    if record.archived_at:
        body["archivedAt"] = iso(record.archived_at)
    if with_history:
        body["propertiesWithHistory"] = {
            name: _history(record, name)
            for name in with_history
            if sandbox.properties.find(plural, name)
        }
    if trace:
        body["objectWriteTraceId"] = trace
    return body


def _history(record: Record, name: str) -> list[Body]:
    return [
        {
            "value": version.value,
            "timestamp": iso(version.at),
            "sourceType": version.source.type,
            "sourceId": version.source.id,
            **({"updatedByUserId": version.source.user_id} if version.source.user_id else {}),
        }
        for version in record.history.get(name, ())
    ]


def batch_answer(
    sandbox: Sandbox,
    results: Sequence[Any],
    errors: Sequence[Body] = (),
    *,
    good: int = 200,
) -> Result:
    """A batch answer: ``good`` without errors, else 207."""
    at = iso(sandbox.clock.now())
    body: Body = {
        "status": "COMPLETE",
        "results": list(results),
        "startedAt": at,
        "completedAt": at,
    }
    if errors:
        return 207, {**body, "numErrors": len(errors), "errors": list(errors)}
    return good, body


def spec_of(kind: LinkType) -> Body:
    """An association type as answers name it."""
    return {"category": kind.category, "typeId": kind.type_id, "label": kind.label}
