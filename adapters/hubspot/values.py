"""HubSpot's texts ↔ values: every property comes as text, whatever its type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from plugin.manifest import Field, FieldType

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TOLD_FIELDS = ("spiral_rating", "spiral_rated_on", "spiral_referrer_name")
"""In fields of which every change counts: told by events, and by the history of a contact."""


def text(properties: Mapping[str, Any], name: str) -> str:
    """A property's value; "" where it is empty or does not exist. What is no text for a database
    (half a surrogate pair, NUL) is left out."""
    value = properties.get(name)
    if value is None:
        return ""
    return str(value).replace("\x00", "").encode("utf-8", "ignore").decode("utf-8")


def instant(value: str | None) -> datetime | None:
    """An instant from ISO 8601 or from milliseconds; None from anything else."""
    if not value:
        return None
    try:
        if re.fullmatch(r"-?[0-9]{1,14}", value):
            return from_milliseconds(int(value))
        found = datetime.fromisoformat(value)
        if found.tzinfo is None:
            found = found.replace(tzinfo=UTC)
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def amount(value: str) -> Decimal | None:
    """A finite number; None from anything else."""
    try:
        found = Decimal(value)
    except InvalidOperation:
        return None
    return found if found.is_finite() and abs(found.adjusted()) < 20 else None


def plain_number(value: str) -> str:
    """A number without exponent and trailing zeros; what is no number stays as it is."""
    found = amount(value)
    if found is None:
        return value
    return f"{found.normalize():f}" if found else "0"


def from_property(field: Field, value: str) -> str:
    """A property's value in the manifest's own form; unknown options pass as they are."""
    if not value:
        return ""
    match field.type:
        case FieldType.DATE:
            # Usually "2026-09-14", but midnight UTC in milliseconds in webhooks and histories.
            found = instant(value)
            return found.date().isoformat() if found else value
        case FieldType.BOOL:
            return value.lower()
        case FieldType.NUMBER | FieldType.MONEY:
            return plain_number(value)
        case FieldType.MULTI_ENUM:
            order = {option.value: at for at, option in enumerate(field.options)}
            chosen = {part.strip() for part in value.split(";")} - {""}
            return ";".join(sorted(chosen, key=lambda part: (order.get(part, len(order)), part)))
        case _:
            return value


def milliseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)


def from_milliseconds(value: int) -> datetime:
    return EPOCH + timedelta(milliseconds=value)


def iso(at: datetime) -> str:
    """An instant as HubSpot writes it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
