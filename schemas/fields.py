"""Kinds of fields that more than one CRM's schemas have, and what they say of bad values.

Messages name no value: they get into logs and to admins.
"""

from __future__ import annotations

import re
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields

RECORD_NUMBER = re.compile(r"[0-9]{1,19}")
"""A record's number written as text."""
MAX_ID = 2**63 - 1
"""The largest number that an id may be."""

NOT_A_RECORD_ID = "Not a record id."
NOT_A_TEXT = "Not a text."
NOT_IN_THIS_CENTURY = "Not between 2000 and 2100."


class Sent(Schema):
    """What a CRM sends or answers. Keys nobody asked for are left out."""

    class Meta:
        unknown = EXCLUDE


class RecordNumber(fields.Field[str]):
    """A record's number as text, whether the CRM writes it as a number or as text."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if isinstance(value, str) and RECORD_NUMBER.fullmatch(value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_ID:
            raise ValidationError(NOT_A_RECORD_ID)
        return str(value)


def optional_text(data_key: str | None = None) -> fields.String:
    """A text that may be missing or null: then it is None."""
    return fields.String(load_default=None, allow_none=True, data_key=data_key)


def storable(text: str) -> str:
    """Without what no database takes as text: NUL, and halves of surrogate pairs."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode("utf-8")
