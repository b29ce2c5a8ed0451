"""HubSpot's texts ↔ values: every property comes as text, whatever its type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.values import EPOCH, believable, clean, in_order, parts_of, plain_number
from plugin.manifest import Field, FieldType
from schemas.fields import RECORD_NUMBER


def text(properties: Mapping[str, Any], name: str) -> str:
    """A property's value; "" where it is empty or does not exist."""
    return clean(properties.get(name))


def owner(properties: Mapping[str, Any]) -> str | None:
    """Whose a record is; None where nobody's."""
    found = text(properties, "hubspot_owner_id")
    return found if RECORD_NUMBER.fullmatch(found) else None


def record_ids(properties: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The ids in ``1;2``; what is none is left out."""
    return tuple(one for one in parts_of(text(properties, name)) if RECORD_NUMBER.fullmatch(one))


def instant(value: str | None) -> datetime | None:
    """An instant from ISO 8601 or from milliseconds; None from anything else."""
    if not value:
        return None
    try:
        if re.fullmatch(r"-?[0-9]{1,14}", value):
            return believable(from_milliseconds(int(value)))
        found = datetime.fromisoformat(value)
        return believable(found.replace(tzinfo=UTC) if found.tzinfo is None else found)
    except (ValueError, OverflowError):
        return None


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
            return in_order(field, parts_of(value))
        case _:
            return value


def milliseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)


def from_milliseconds(value: int) -> datetime:
    return EPOCH + timedelta(milliseconds=value)


def iso(at: datetime) -> str:
    """An instant as HubSpot writes it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
