"""EspoCRM's attributes ↔ the manifest's own form, and what our fields are called there.

https://docs.espocrm.com/administration/fields/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from adapters.values import REFERRER, believable, clean, in_order, json_number, plain_number
from plugin.manifest import Field, FieldType, manifest
from schemas.espocrm import RECORD_ID

TYPES = {
    FieldType.ENUM: "enum",
    FieldType.MULTI_ENUM: "multiEnum",
    FieldType.TEXT: "text",
    FieldType.LINE: "varchar",
    FieldType.DATE: "date",
    FieldType.NUMBER: "int",
    FieldType.MONEY: "currency",
    FieldType.BOOL: "bool",
}
"""Our type → EspoCRM's."""

_INSTANT = "%Y-%m-%d %H:%M:%S"


# ---------------------------------------------------------------------------- names


def given_name(key: str) -> str:
    """What a field or link is called when it is made: ``spiral_rated_on`` → ``spiralRatedOn``.

    The link has a name of its own: as ``spiralReferrer`` its attribute ``cSpiralReferrerName``
    would be that of the text field, and EspoCRM refuses such a pair.
    """
    if key == REFERRER:
        return "spiralReferrerContact"
    first, *rest = key.split("_")
    return first + "".join(map(str.capitalize, rest))


def possible_names(key: str) -> tuple[str, str]:
    """What EspoCRM may have stored it as: prefixed, unless the configuration says
    ``customPrefixDisabled``."""
    name = given_name(key)
    return f"c{name[0].upper()}{name[1:]}", name


def names(facts: Mapping[str, str]) -> dict[str, str]:
    """Our field key → its name in an account, as ``install`` found it; else the usual one. The
    referrer's is the name of the link."""
    return {
        field.key: facts.get(field.key) or possible_names(field.key)[0]
        for field in manifest().fields
    }


# --------------------------------------------------------------------------- reading


def text(record: Mapping[str, Any], name: str) -> str:
    """An attribute as text; "" where it is empty, does not exist or is no plain value."""
    value = record.get(name)
    if isinstance(value, list | dict):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return clean(value)


def link(record: Mapping[str, Any], name: str) -> str | None:
    """The id of the record an attribute leads to; None where it leads nowhere, or is no id."""
    found = record.get(name)
    return found if isinstance(found, str) and RECORD_ID.fullmatch(found) else None


def contacts_of(deal: Mapping[str, Any]) -> tuple[str, ...]:
    """The contacts a deal names, the primary one first. What is no id is left out."""
    several = deal.get("contactsIds")
    told = [deal.get("contactId"), *(several if isinstance(several, list) else ())]
    ids = (one for one in told if isinstance(one, str) and RECORD_ID.fullmatch(one))
    return tuple(dict.fromkeys(ids))


def instant(value: str) -> datetime | None:
    """An instant: EspoCRM writes UTC without saying so. None from anything else."""
    try:
        return believable(datetime.strptime(value[:19], _INSTANT).replace(tzinfo=UTC))
    except ValueError:
        return None


def noon(value: str) -> datetime | None:
    """A day as an instant: noon in UTC lies on that day nearly everywhere on earth."""
    try:
        return believable(datetime.strptime(value[:10], "%Y-%m-%d").replace(hour=12, tzinfo=UTC))
    except ValueError:
        return None


def from_attribute(field: Field, record: Mapping[str, Any], name: str) -> str:
    """One of our fields in the manifest's own form; unknown options pass as they are."""
    if field.type is FieldType.MULTI_ENUM:
        value = record.get(name)
        chosen = value if isinstance(value, list) else ()
        return in_order(field, (one for one in chosen if isinstance(one, str)))
    value = text(record, name)
    if value and field.type in (FieldType.NUMBER, FieldType.MONEY):
        return plain_number(value)
    return value


# --------------------------------------------------------------------------- writing


def to_attribute(field: Field, value: str) -> object:
    """A value of ours as EspoCRM takes it; empty ones are null."""
    match field.type:
        case FieldType.MULTI_ENUM:
            return [one for one in value.split(";") if one]
        case FieldType.BOOL:
            return value == "true"
        case FieldType.NUMBER | FieldType.MONEY if value:
            return json_number(value)
        case _:
            return value or None


def moment(at: datetime) -> str:
    """An instant as EspoCRM writes it."""
    return at.astimezone(UTC).strftime(_INSTANT)


def one_line(value: str, length: int = 255) -> str:
    """A text as names of records may be: EspoCRM's pattern ``noBadCharacters`` forbids ``<>=``,
    and the column ends."""
    return re.sub(r"\s+", " ", re.sub(r"[<>=]", " ", value)).strip()[:length]
