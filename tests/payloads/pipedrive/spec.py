"""Pipedrive's official OpenAPI files as a referee of calls and of their answers.

The files lie beside the repository (``../shared/specs/pipedrive``), not in it. ``need_specs``
skips a test without them, or fails it where they are demanded (``CI=true`` or
``REQUIRE_SPECS=1``). The referee is stricter than a plain validator (a key no schema names is
refused) and milder where Pipedrive's own examples, or answers seen live, contradict the files:
every such place is named below.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml  # type: ignore[import-untyped]
from openapi_schema_validator import OAS30Validator

Schema = dict[str, Any]

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "specs" / "pipedrive"
AVAILABLE = FOLDER.is_dir()
"""Whether the official files are there to judge by."""

NULLABLE = frozenset(
    {"owner_id", "org_id", "person_id", "picture_id", "last_name", "stage_change_time"}
    | {"won_time", "lost_time", "expected_close_date", "deal_id", "lead_id", "project_id"}
    | {"due_time", "duration", "location", "marked_as_done_time", "priority", "note"}
    | {"conference_meeting_client", "conference_meeting_url", "conference_meeting_id"}
    | {"public_description", "postal_address", "next_cursor", "address", "first_won_time"}
)
"""Answers hold ``null`` for these where there is none, and the files do not say so: an open deal
has no ``won_time``. https://pipedrive.readme.io/docs/core-api-concepts-pagination for cursors."""

IN_EXAMPLES = {
    "/deals": {"creator_user_id": "integer", "archive_time": "string"},
    "/personFields": {"description": "string"},
    "/deals/{id}/participants": {"pagination": "object"},
}
"""Template → keys that the files' own examples have and their schemas have not."""

ERROR: Schema = {
    "type": "object",
    "required": ["success", "error"],
    "properties": {
        "success": {"type": "boolean", "enum": [False]},
        "error": {"type": "string"},
        "error_info": {"type": "string"},
        "code": {"type": "string"},
        "errorCode": {"type": "integer"},
    },
    "additionalProperties": False,
}
"""The files describe few errors; the words are those of
https://pipedrive.readme.io/docs/pipedrive-api-v2-migration-guide."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One method on one path template of one file."""

    version: int
    template: str
    described: Mapping[str, Any]

    @property
    def cost(self) -> int:
        """In tokens of the daily budget."""
        return int(self.described["x-token-cost"])


def need_specs() -> None:
    """Skip the calling test where the files are absent; fail it where they are demanded."""
    if AVAILABLE:
        return
    message = f"Pipedrive's OpenAPI files are not at {FOLDER}: nothing to compare with"
    if os.environ.get("CI") == "true" or os.environ.get("REQUIRE_SPECS") == "1":
        pytest.fail(message)
    pytest.skip(message)


def check_request(method: str, path: str, body: Any = None) -> None:
    """Raises ``AssertionError`` unless the files allow this call; ``path`` may have a query."""
    operation = find(method, path)
    parameters = operation.described.get("parameters", ())
    known = {one["name"]: one["schema"] for one in parameters if one["in"] == "query"}
    for name, value in parse_qsl(urlsplit(path).query, keep_blank_values=True):
        assert name in known, f"{method} {path}: no parameter {name}"
        choices = known[name].get("enum")
        for word in value.split(","):
            assert not choices or word in choices, f"{method} {path}: {name} cannot be {word}"
    content = operation.described.get("requestBody", {}).get("content", {})
    if not content:
        assert body is None, f"{method} {path}: takes no body"
        return
    assert body is not None, f"{method} {path}: wants a body"
    schema = _closed(operation, content["application/json"]["schema"], {}, answer=False)
    _judge(f"request {method} {path}", body, schema)


def check_answer(method: str, path: str, status: int, body: Any) -> None:
    """Raises ``AssertionError`` unless the files allow this answer to that call."""
    operation = find(method, path)
    described = operation.described["responses"].get(str(status))
    if described is None or "content" not in described:
        assert status >= 400, f"{method} {path}: no answer {status} is described"
        _judge(f"answer {status} to {method} {path}", body, ERROR)
        return
    more = {name: {"type": kind, "nullable": True} for name, kind in _more(operation).items()}
    schema = described["content"]["application/json"]["schema"]
    closed = _closed(operation, schema, more, answer=True)
    _judge(f"answer {status} to {method} {path}", body, closed)


def find(method: str, path: str) -> Operation:
    """The operation meant by a concrete path below ``/api/v1`` or ``/api/v2``."""
    found = re.fullmatch(r"/api/v([12])(/.*)", urlsplit(path).path)
    assert found, f"{path} is of no version"
    version, rest = int(found[1]), found[2]
    methods = {
        template: _file(version)["paths"][template]
        for template in _file(version)["paths"]
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), rest)
    }
    assert methods, f"{path} is not in version {version}"
    template = min(methods, key=lambda one: one.count("{"))
    described = methods[template].get(method.lower())
    assert described, f"{method} {path} is not in version {version}"
    return Operation(version=version, template=template, described=described)


def _more(operation: Operation) -> dict[str, str]:
    """Keys beside those of the schema: optional fields that were asked for, and examples'."""
    asked = (
        name
        for one in operation.described.get("parameters", ())
        if one["name"] == "include_fields"
        for name in one["schema"]["enum"]
    )
    more = {name: "array" if name == "attendees" else "integer" for name in asked}
    more |= {name: "string" for name in more if name.endswith("_time")}
    place = operation.template
    for named in (place, place.removesuffix("/{id}"), place.removesuffix("/archived")):
        more |= IN_EXAMPLES.get(named, {})
    return more


def _judge(what: str, body: Any, schema: Schema) -> None:
    faults = [
        f"  {error.json_path}: {error.message[:300]}"
        for error in OAS30Validator(schema).iter_errors(body)
    ]
    assert not faults, "\n".join([f"{what} is not as described:", *faults])


def _closed(operation: Operation, schema: Schema, more: Schema, *, answer: bool) -> Schema:
    """The schema in one piece, with no room for keys it does not name."""
    if "$ref" in schema:
        target: Any = _file(operation.version)
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return _closed(operation, target, more, answer=answer)
    made: Schema = {key: value for key, value in schema.items() if key not in ("allOf", "enum")}
    if "enum" in schema:
        made["enum"] = schema["enum"]
    properties = dict(schema.get("properties", {}))
    for part in schema.get("allOf", ()):
        whole = _closed(operation, part, {}, answer=answer)
        properties |= whole.get("properties", {})
        made = {**whole, **made}
    if "items" in schema:
        made["items"] = _closed(operation, schema["items"], more, answer=answer)
    if properties:
        made["properties"] = {
            name: _property(operation, name, one, more, answer=answer)
            for name, one in properties.items()
        }
        if answer and ("id" in properties or "start" in properties or "field_code" in properties):
            made["properties"] = {**more, **made["properties"]}
        made.setdefault("additionalProperties", False)
    return made


def _property(
    operation: Operation, name: str, schema: Schema, more: Schema, *, answer: bool
) -> Schema:
    closed = _closed(operation, schema, more, answer=answer)
    return {**closed, "nullable": True} if answer and name in NULLABLE else closed


@cache
def _file(version: int) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = (FOLDER / f"v{version}-openapi.yaml").read_text("utf-8")
    found: dict[str, Any] = yaml.load(text, loader)  # noqa: S506 (both loaders are safe ones)
    return found
