"""HubSpot's official OpenAPI files as a referee of what we send and what the stand-in answers.

The files lie beside the repository (``../shared/specs/hubspot``), not in it. ``AVAILABLE`` says
whether they are there; ``need_specs`` skips a test without them, or fails it where they are
demanded (``CI=true`` or ``REQUIRE_SPECS=1``).

Which files speak for version 2026-09 is told by their ``SOURCES.txt``: for objects and
associations the ``2026-09-beta`` ones with the version put in, for the rest the ``2026-09``
ones. The referee is stricter than a plain validator (a key no schema names is refused) and
milder where HubSpot's own documentation contradicts the files: every such place is named below.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import pytest
from openapi_schema_validator import OAS30Validator, oas30_format_checker

Schema = dict[str, Any]
Side = Literal["request", "answer"]

FOLDER = Path(__file__).resolve().parent.parent.parent / "shared" / "specs" / "hubspot"
AVAILABLE = FOLDER.is_dir()
"""Whether the official files are there to judge by."""

VERSION = "2026-09"
FILES = (
    "associations.2026-09-beta.json",
    "contacts.2026-09-beta.json",
    "tasks.2026-09-beta.json",
    "associationsSchema.2026-09.json",
    "properties.2026-09.json",
    "crmOwners.2026-09.json",
    "limitsTracking.2026-09.json",
    "accountInfo.2026-09.json",
    "oauth.2026-09.json",
    "appUninstalls.2026-09.json",
)
"""In order of precedence where two describe one path. ``deals.2026-09-beta.json`` only knows
``0-3``; ``/deals`` is the ``{objectType}`` of the first file."""

WITHOUT_SPEC = ("/crm/pipelines/2026-09/{objectType}",)
"""Paths HubSpot documents and no file describes. Checked to be absent, so that the list shrinks."""

WITHOUT_ANSWER = ("/oauth/2026-09/token", "/oauth/2026-09/token/revoke")
"""Paths whose file lists no successful answer."""

OBJECT_TYPES = frozenset(
    {"contact", "contacts", "0-1", "company", "companies", "0-2", "deal", "deals", "0-3"}
    | {"task", "tasks", "0-27"}
)
"""What we may put for ``{objectType}``; the files allow any word."""

NOT_REQUIRED_IN_REQUESTS: Mapping[str, frozenset[str]] = {
    "SimplePublicObjectInputForCreate": frozenset({"associations"}),
    "SimplePublicObjectBatchInputForCreate": frozenset({"associations"}),
    "BatchReadInputSimplePublicObjectId": frozenset({"propertiesWithHistory"}),
    "PublicObjectSearchRequest": frozenset(
        {"after", "filterGroups", "limit", "properties", "sorts"}
    ),
}
"""Schema → keys its file requires and HubSpot's own examples leave out."""


# Where live HubSpot differs from its files: schema name → how.


def _sorts_may_be_objects(search: Schema) -> None:
    """The file says strings; every example of HubSpot sends objects."""
    sort = {
        "type": "object",
        "required": ["propertyName"],
        "properties": {
            "propertyName": {"type": "string"},
            "direction": {"type": "string", "enum": ["ASCENDING", "DESCENDING"]},
        },
        "additionalProperties": False,
    }
    sorts = search["properties"]["sorts"]
    sorts["items"] = {"anyOf": [sorts["items"], sort]}


def _empty_properties_are_null(record: Schema) -> None:
    """The file says strings; HubSpot answers ``null`` for what was asked for and is empty."""
    record["properties"]["properties"]["additionalProperties"]["nullable"] = True


def _a_label_may_be_null(spec: Schema) -> None:
    """The file says string; HubSpot answers ``null`` for a type without a label."""
    spec["properties"]["label"]["nullable"] = True


def _errors_say_more(error: Schema) -> None:
    """Live error bodies also say ``status``; those about the rate limit say ``errorType`` and
    ``policyName`` in place of ``category``."""
    more = {name: {"type": "string"} for name in ("status", "errorType", "policyName")}
    error["properties"] |= more
    error["required"] = ["message", "correlationId"]
    error["anyOf"] = [{"required": ["category"]}, {"required": ["errorType", "policyName"]}]


DEVIATIONS: Mapping[Side, Mapping[str, Callable[[Schema], None]]] = {
    "request": {"PublicObjectSearchRequest": _sorts_may_be_objects},
    "answer": {
        "SimplePublicObject": _empty_properties_are_null,
        "SimplePublicObjectWithAssociations": _empty_properties_are_null,
        "AssociationSpecWithLabel": _a_label_may_be_null,
        "Error": _errors_say_more,
    },
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One method on one path template of one file."""

    file: str
    method: str
    template: str
    described: Mapping[str, Any]

    @property
    def parts(self) -> tuple[str, ...]:
        return _parts(self.template)


def need_specs() -> None:
    """Skip the calling test where the files are absent; fail it where they are demanded."""
    if AVAILABLE:
        return
    message = f"HubSpot's OpenAPI files are not at {FOLDER}: nothing to compare with"
    if os.environ.get("CI") == "true" or os.environ.get("REQUIRE_SPECS") == "1":
        pytest.fail(message)
    pytest.skip(message)


def check_request(method: str, path: str, body: Any = None) -> None:
    """Raises ``AssertionError`` unless HubSpot's files allow this call.

    ``path`` may be a whole URL and have a query; ``body`` is the parsed JSON or form, or None.
    """
    operation = _find(method, path)
    if operation is None:
        return
    known = {p["name"] for p in operation.described.get("parameters", ()) if p["in"] == "query"}
    unknown = {name for name, _ in parse_qsl(urlsplit(path).query, keep_blank_values=True)} - known
    assert not unknown, f"{method} {path}: {operation.template} has no parameter {sorted(unknown)}"
    content = operation.described.get("requestBody", {}).get("content", {})
    if not content:
        assert body is None, f"{method} {path}: {operation.template} takes no body, got {body!r}"
        return
    assert body is not None, f"{method} {path}: {operation.template} wants a body"
    (media,) = content.values()
    _judge(f"request {method} {path}", body, media["schema"], operation.file, "request")


def check_response(method: str, path: str, status: int, body: Any = None) -> None:
    """Raises ``AssertionError`` unless HubSpot's files allow this answer to that call.

    ``body`` is the parsed JSON, None where the answer has none.
    """
    operation = _find(method, path)
    if operation is None:
        return
    what = f"answer {status} to {method} {path}"
    described = operation.described["responses"].get(str(status))
    if described is None and status < 400:
        assert operation.template in WITHOUT_ANSWER, f"{what}: no such status in {operation.file}"
        return
    if described is None:
        _judge(what, body, {"$ref": "#/components/schemas/Error"}, operation.file, "answer")
    elif content := described.get("content"):
        (media,) = content.values()
        _judge(what, body, media["schema"], operation.file, "answer")
    else:
        assert body is None, f"{what}: has no body, got {body!r}"


def _judge(what: str, body: Any, schema: Schema, file: str, side: Side) -> None:
    validator = OAS30Validator(
        {**schema, "components": {"schemas": _schemas(file, side)}},
        format_checker=oas30_format_checker,
    )
    faults = [
        f"  {error.json_path}: {error.message[:300]}" for error in validator.iter_errors(body)
    ]
    assert not faults, "\n".join([f"{what} is not what {file} describes:", *faults])


def _find(method: str, path: str) -> Operation | None:
    """The operation meant by a concrete path; None for the named paths that have no file."""
    parts = _parts(urlsplit(path).path)
    found = [o for o in _operations() if o.method == method.upper() and _fits(o.parts, parts)]
    if found:
        return max(found, key=lambda o: [not part.startswith("{") for part in o.parts])
    for template in WITHOUT_SPEC:
        if _fits(_parts(template), parts):
            return None
    raise AssertionError(f"{method} {path} is in none of HubSpot's files")


def _fits(template: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    return len(template) == len(parts) and all(
        _stands_for(wanted, part) for wanted, part in zip(template, parts, strict=True)
    )


def _stands_for(wanted: str, part: str) -> bool:
    if not wanted.startswith("{"):
        return wanted == part
    return part in OBJECT_TYPES if wanted.lower().endswith("objecttype}") else bool(part)


def _parts(path: str) -> tuple[str, ...]:
    return tuple(path.strip("/").split("/"))


@cache
def _operations() -> tuple[Operation, ...]:
    found = tuple(_read_operations())
    for template in WITHOUT_SPEC:
        covered = [o for o in found if o.template == template]
        assert not covered, f"{template} has a file now ({covered[0].file}): check it"
    return found


def _read_operations() -> Iterator[Operation]:
    seen: set[tuple[str, str]] = set()
    for file in FILES:
        for path, methods in _spec(file)["paths"].items():
            template = path.replace(f"{VERSION}-beta", VERSION)
            for method, described in methods.items():
                key = (method.upper(), template)
                if key not in seen:
                    seen.add(key)
                    yield Operation(
                        file=file, method=key[0], template=template, described=described
                    )


@cache
def _spec(file: str) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads((FOLDER / file).read_text("utf-8"))
    return spec


@cache
def _schemas(file: str, side: Side) -> dict[str, Schema]:
    """The schemas of a file, closed, with the named deviations of one side."""
    schemas: dict[str, Schema] = json.loads(json.dumps(_spec(file)["components"]["schemas"]))
    for name, deviate in DEVIATIONS[side].items():
        if name in schemas:
            deviate(schemas[name])
    if side == "request":
        for name, keys in NOT_REQUIRED_IN_REQUESTS.items():
            if name in schemas:
                schemas[name]["required"] = sorted(set(schemas[name]["required"]) - keys)
    for schema in schemas.values():
        if schema.get("properties"):
            schema.setdefault("additionalProperties", False)
    return schemas
