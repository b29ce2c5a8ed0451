"""Values of ours that all CRMs keep: numbers, choices, texts, as the manifest writes them.

What a CRM writes in a way of its own is in that CRM's ``values``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

from plugin.manifest import Field, FieldType, Option, Text
from schemas.fields import storable

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands in where a CRM does not tell when a record was made."""

REFERRER = "spiral_referrer"
"""The field that leads to the referrer."""
TOLD_FIELDS = ("spiral_rating", "spiral_rated_on", "spiral_referrer_name")
"""In fields of which every change counts: told by events, and by a contact's history."""

SCORE = re.compile(r"[0-9]{1,3}(\.[0-9]{1,4})?")
"""What may be a score where the mapped NPS or CSAT field is not known. Small plain numbers only: a
phone number in digits is not to travel further than it must."""

LONGEST_NUMBER = 60
"""Characters of a number."""
_CURRENCY = re.compile(r"[A-Za-z0-9]{2,8}")

YES_NO = (Option("true", Text("Ja", "Yes")), Option("false", Text("Nein", "No")))
"""The choice that stands in for yes/no where a CRM has no such field, or wants its labels."""


# ----------------------------------------------------------------------------- texts


def clean(value: object) -> str:
    """A plain value as text; "" for None and for what holds others. What is no text for a database
    is left out."""
    return "" if value is None or isinstance(value, list | dict) else storable(str(value))


def currency_code(value: str | None) -> str | None:
    """A currency's code; None from anything else."""
    return value if value and _CURRENCY.fullmatch(value) else None


def zone_name(name: str | None) -> str | None:
    """The time zone, if Python knows it by this name."""
    try:
        return ZoneInfo(name).key if name else None
    except (ValueError, OSError, KeyError):
        return None


# ----------------------------------------------------------------------------- times


def believable(at: datetime | None) -> datetime | None:
    """An instant that a record may tell, in UTC; None from what no CRM can have seen. Days near the
    ends of the calendar do not even exist in all time zones."""
    try:
        found = at.astimezone(UTC) if at else None
    except OverflowError:
        return None
    return found if found and 1970 <= found.year < 2100 else None


# --------------------------------------------------------------------------- numbers


def amount(value: str | None) -> Decimal | None:
    """A finite number of sane length; None from anything else."""
    try:
        found = Decimal(value or "") if len(value or "") <= LONGEST_NUMBER else Decimal("NaN")
    except InvalidOperation:
        return None
    return found if found.is_finite() and abs(found.adjusted()) < 20 else None


def plain_number(value: str) -> str:
    """A number without exponent and trailing zeros; what is no number stays as it is."""
    found = amount(value)
    if found is None:
        return value
    return f"{found.normalize():f}" if found else "0"


def json_number(value: str) -> int | float:
    """A number of ours as JSON has it: whole ones without a fraction."""
    found = Decimal(value)
    return int(found) if found == found.to_integral_value() else float(found)


# --------------------------------------------------------------------------- choices


def options_of(field: Field) -> tuple[Option, ...]:
    """What can be chosen in a field; yes and no where the CRM makes that a choice, too."""
    return YES_NO if field.type is FieldType.BOOL else field.options


def parts_of(value: str) -> list[str]:
    """The values in ``a;b``."""
    return [part.strip() for part in value.split(";") if part.strip()]


def in_order(field: Field, chosen: Iterable[str]) -> str:
    """Several choices as ``a;b``, each once, in the manifest's order; unknown ones at the end."""
    order = {option.value: at for at, option in enumerate(field.options)}
    return ";".join(sorted(set(chosen), key=lambda one: (order.get(one, len(order)), one)))
