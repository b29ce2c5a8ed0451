"""What BottleCRM refuses, in its own words, and what it makes of what it takes."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from tests.payloads.bottlecrm.records import CONTACT_TEXTS, STAGES, Body, Refused

REQUIRED = "This field is required."
BLANK = "This field may not be blank."
NULL = "This field may not be null."
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
PHONE = re.compile(r"[\d\s\-().+]{7,25}")
SLUG = re.compile(r"[a-z][a-z0-9_]*")


def refuse_if(problems: Body) -> None:
    if problems:
        raise Refused(400, {"error": True, "errors": problems})


def lacking(told: Body, names: Iterable[str]) -> Body:
    return {name: [REQUIRED] for name in names if name not in told}


def too_long(told: Body, limits: Mapping[str, int]) -> Body:
    problems: Body = {}
    for name, longest in limits.items():
        value = told.get(name)
        if isinstance(value, (bool, list, dict)):
            problems[name] = ["Not a valid string."]
        elif value is not None and len(str(value).strip()) > longest:
            problems[name] = [f"Ensure this field has no more than {longest} characters."]
    return problems


def trimmed(value: Any) -> Any:
    """Texts lose the white space around them."""
    return value.strip() if isinstance(value, str) else value


def same(text: str | None, other: Any) -> bool:
    return bool(text) and isinstance(other, str) and str(text).lower() == other.lower()


def contact_values(told: Body) -> Body:
    values = {name: trimmed(told[name]) for name in CONTACT_TEXTS if name in told}
    return values | {name: told[name] for name in ("do_not_call",) if name in told}


def bad_day(told: Body, name: str) -> Body:
    value = told.get(name)
    try:
        if value is not None:
            date.fromisoformat(value)
    except (TypeError, ValueError):
        message = "Date has wrong format. Use one of these formats instead: YYYY-MM-DD."
        return {name: [message]}
    return {}


def amount_of(told: Any) -> str | None:
    if told is None:
        return None
    try:
        amount = Decimal(str(told))
    except InvalidOperation:
        raise ValueError("A valid number is required.") from None
    exponent = amount.as_tuple().exponent
    if not amount.is_finite():
        raise ValueError("A valid number is required.")
    if isinstance(exponent, int) and exponent < -2:
        raise ValueError("Ensure that there are no more than 2 decimal places.")
    return f"{amount:.2f}"


def probability_in(stage: str) -> int:
    return next(probability for code, _, _, _, probability in STAGES if code == stage)


def bad_options(field_type: str, options: Any) -> Body:
    if field_type != "dropdown":
        wrong = options not in (None, [], {})
        return {"options": ["options is only valid for dropdown fields"]} if wrong else {}
    if not isinstance(options, list) or not options:
        message = "Dropdown fields require a non-empty list of {value, label} pairs"
        return {"options": [message]}
    seen: set[str] = set()
    for number, one in enumerate(options):
        for part in ("value", "label"):
            if not isinstance(one.get(part), str) or not one[part]:
                return {"options": [f"Entry {number} is missing a non-empty string {part}"]}
        if one["value"] in seen:
            return {"options": [f"Duplicate dropdown value: {one['value']!r}"]}
        seen.add(one["value"])
    return {}


def coerced(definition: Body, raw: Any) -> Any:
    """The value as it is kept, None where it empties. Raises ``ValueError``."""
    if raw is None or raw == "":
        return None
    match definition["field_type"]:
        case "number":
            try:
                return float("not" if isinstance(raw, bool) else str(raw))
            except ValueError:
                raise ValueError("must be a number") from None
        case "checkbox":
            words = {"true": True, "1": True, "yes": True, "on": True,
                     "false": False, "0": False, "no": False, "off": False}  # fmt: skip
            if isinstance(raw, bool):
                return raw
            if isinstance(raw, str) and raw.strip().lower() in words:
                return words[raw.strip().lower()]
            raise ValueError("must be a boolean")
        case "date":
            try:
                return date.fromisoformat(raw).isoformat()
            except (TypeError, ValueError):
                raise ValueError("must be a YYYY-MM-DD date") from None
        case "dropdown":
            allowed = sorted(option["value"] for option in definition["options"])
            if str(raw) not in allowed:
                raise ValueError(f"must be one of {allowed}")
            return str(raw)
        case _:
            return str(raw)


def usual_id(text: str) -> str | None:
    """In its usual form; None where it is no such id."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def ids_in(told: Body, name: str) -> set[str]:
    """Ids of a list, of one id alone, or of objects with ids; a malformed one is refused."""
    value = told.get(name)
    if value in (None, ""):
        return set()
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise Refused(400, {name: [f"{name} must be a list of ids."]})
    found: set[str] = set()
    for one in (item.get("id") if isinstance(item, dict) else item for item in value):
        if one in (None, ""):
            continue
        usual = usual_id(str(one))
        if usual is None:
            raise Refused(400, {name: [f"'{one}' is not a valid id."]})
        found.add(usual)
    return found
