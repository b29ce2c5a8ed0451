"""Reading a call's query and body as strictly as Pipedrive does, and how it words a refusal.

https://pipedrive.readme.io/docs/pipedrive-api-v2-migration-guide (strict types, RFC 3339 times)
and https://pipedrive.readme.io/docs/core-api-concepts-pagination.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit

from tests.payloads.pipedrive.company import Record

LIMIT, MOST = 100, 500
"""Records on a page: by default, and at most."""
OPTION_LENGTH = 255


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, body: Record) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def refused(status: int, error: str, code: str) -> Refused:
    """An error as version 2 words it."""
    info = "Please check developers.pipedrive.com for more information about Pipedrive API."
    return Refused(status, {"success": False, "error": error, "code": code, "error_info": info})


def invalid(what: str) -> Refused:
    """https://github.com/pipedrive/client-nodejs/issues/651 shows one of these live."""
    return refused(400, f"Validation failed: {what}", "ERR_SCHEMA_VALIDATION_FAILED")


def missing(what: str) -> Refused:
    return refused(404, f"{what} not found", "ERR_NOT_FOUND")


def unauthorized() -> Refused:
    return Refused(401, {"success": False, "error": "unauthorized access", "errorCode": 401})


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One call: what stood in its path, its query and its body."""

    arguments: Sequence[str]
    query: Mapping[str, str]
    body: Any

    @property
    def record_id(self) -> int:
        return int(self.arguments[0])


def allowed(query: Mapping[str, str], names: Collection[str]) -> None:
    """Version 2 refuses what it does not know."""
    for name in query:
        if name not in names:
            raise invalid(f"query: Parameter '{name}' is not allowed for this request")


def known(body: Record, keys: Collection[str]) -> None:
    for key in body:
        if key not in keys:
            raise invalid(f"{key}: Parameter '{key}' is not allowed for this request")


def as_object(value: Any, name: str = "body") -> Record:
    if not isinstance(value, dict):
        raise invalid(f"{name}: Expected 'object'")
    return value


def text(body: Record, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise invalid(f"{name}: Expected 'string'")
    return value


def labels(body: Any) -> list[str]:
    """Labels of options, in a list of objects."""
    if not isinstance(body, list) or not body:
        raise invalid("options: Expected a list that is not empty")
    found = [one.get("label") if isinstance(one, dict) else None for one in body]
    if any(not isinstance(one, str) or not 1 <= len(one) <= OPTION_LENGTH for one in found):
        raise invalid("options: Expected labels of 1 to 255 characters")
    if len(set(found)) < len(found):
        raise invalid("options: a label comes twice")
    return [str(one) for one in found]


def words(query: Mapping[str, str], name: str) -> list[str]:
    """A comma separated list; empty where nothing is asked."""
    return query[name].split(",") if query.get(name) else []


def numbers(query: Mapping[str, str], name: str) -> list[int]:
    found = words(query, name)
    if not found or any(not re.fullmatch("[0-9]+", one) for one in found):
        raise invalid(f"{name}: Expected 'number'")
    return [int(one) for one in found]


def number(query: Mapping[str, str], name: str) -> int:
    found = numbers(query, name)
    if len(found) > 1:
        raise invalid(f"{name}: Expected one 'number'")
    return found[0]


def one_of(query: Mapping[str, str], name: str, values: Collection[str], default: str) -> str:
    value = query.get(name, default)
    if value not in values:
        raise invalid(f"{name}: unknown value")
    return value


def instant(value: str, name: str) -> datetime:
    """An RFC 3339 time, with its zone."""
    if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", value) is None:
        raise invalid(f"{name}: Expected an RFC 3339 time")
    return datetime.fromisoformat(value)


def page(
    records: Sequence[Record], sort_by: str, query: Mapping[str, str]
) -> tuple[list[Record], str | None]:
    """One page, and the cursor that names the first record of the next one."""
    limit = number(query, "limit") if "limit" in query else LIMIT
    if not 1 <= limit <= MOST:
        raise invalid("limit: must be from 1 to 500")
    falling = one_of(query, "sort_direction", ("asc", "desc"), "asc") == "desc"
    ordered = sorted(records, key=lambda one: (one[sort_by], one["id"]), reverse=falling)
    if query.get("cursor"):
        first = _first(query["cursor"], sort_by)
        ordered = [
            one for one in ordered
            if (one[sort_by], one["id"]) == first
            or ((one[sort_by], one["id"]) > first) is not falling
        ]  # fmt: skip
    if len(ordered) <= limit:
        return ordered, None
    after = ordered[limit]
    marker = {"field": sort_by, "fieldValue": after[sort_by], "id": after["id"]}
    return ordered[:limit], base64.urlsafe_b64encode(json.dumps(marker).encode()).decode()


def _first(cursor: str, sort_by: str) -> tuple[Any, int]:
    try:
        marker = json.loads(base64.urlsafe_b64decode(cursor))
        told = marker["field"], marker["fieldValue"], marker["id"]
    except (binascii.Error, ValueError, TypeError, KeyError) as error:
        raise invalid("cursor: cannot be read") from error
    if told[0] != sort_by:
        raise invalid("cursor: is of another order")
    return told[1], told[2]


def is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_day(value: object) -> bool:
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        return False
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def is_address(value: object) -> bool:
    """A URL that a webhook could go to. The real one also wants it public, HTTPS and in reach."""
    return isinstance(value, str) and urlsplit(value).scheme in ("http", "https")
