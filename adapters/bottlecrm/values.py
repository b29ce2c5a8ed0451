"""BottleCRM's custom-field values ↔ the manifest's own form.

It has six types: text, textarea, number, dropdown, date, checkbox (``CustomFieldDefinition`` in
``common/models.py`` of https://pypi.org/project/django-crm/1.35.0/). For several choices at once
we make a dropdown of every combination; money is a number without a currency.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from adapters.values import clean, in_order, parts_of, plain_number
from plugin.manifest import Field, FieldType
from schemas.bottlecrm import Definition

TYPES: Mapping[FieldType, str] = {
    FieldType.ENUM: "dropdown",
    FieldType.MULTI_ENUM: "dropdown",
    FieldType.TEXT: "textarea",
    FieldType.LINE: "text",
    FieldType.DATE: "date",
    FieldType.NUMBER: "number",
    FieldType.MONEY: "number",
    FieldType.BOOL: "checkbox",
}
NEAREST_TYPES: Mapping[FieldType, str] = {
    FieldType.MULTI_ENUM: "dropdown of every combination",
    FieldType.MONEY: "number",
}


def is_ours(field: Field, definition: Definition) -> bool:
    """Whether a custom field with our key is the one we would make: its type never changes."""
    return definition["field_type"] == TYPES[field.type]


def options(field: Field, language: str) -> list[dict[str, str]]:
    """The choices of a dropdown; none for the other types."""
    joined = " + " if len(field.options) > 1 else ""
    sizes = range(1, len(field.options) + 1) if field.type is FieldType.MULTI_ENUM else (1,)
    return [
        {
            "value": ";".join(option.value for option in chosen),
            "label": joined.join(option.label[language] for option in chosen),
        }
        for size in sizes
        for chosen in combinations(field.options, size)
    ]


def to_custom_field(field: Field, value: str) -> str | float | bool | None:
    """What to send; None empties."""
    if not value:
        return None
    match field.type:
        case FieldType.BOOL:
            return value == "true"
        case FieldType.NUMBER | FieldType.MONEY:
            return float(value)
        case FieldType.MULTI_ENUM:
            return in_order(field, parts_of(value))
        case _:
            return value


def from_custom_field(field: Field, value: Any) -> str:
    """A stored value in the manifest's own form; unknown options pass as they are."""
    if field.type is FieldType.MULTI_ENUM and isinstance(value, str):
        return in_order(field, parts_of(value))
    return plain(value)


def plain(value: Any) -> str:
    """Any value as text: numbers without exponent and trailing zeros."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return plain_number(str(value))
    return clean(value)
