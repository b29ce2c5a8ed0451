"""What a CRM answered, taken at its word: forms that fit, codes without data, refusals."""

from __future__ import annotations

import re
from typing import Any

from marshmallow import Schema, ValidationError

from adapters.client import Dialect
from plugin.errors import CrmRejected, CrmUnavailable, RecordGone
from plugin.ports import Failure

_WORD = re.compile(r"[A-Za-z0-9_.-]{1,100}")


def understood(schema: Schema, answer: Any, dialect: Dialect, operation: str) -> Any:
    """What ``schema`` makes of an answer. Raises ``CrmUnavailable`` where it does not fit."""
    try:
        return schema.load(answer)
    except ValidationError as error:
        keys = ", ".join(sorted(map(str, error.messages_dict)))
        raise CrmUnavailable(
            f"the answer of {dialect.title} to {operation} has an unknown form: {keys}",
            crm=dialect.crm,
            operation=operation,
        ) from error


def word(value: object) -> str:
    """A code or a name; "" for all else, which may be a quoted value and so somebody's data."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""


def failure(item: str, error: CrmRejected | RecordGone) -> Failure:
    """What stood against one item of several."""
    return Failure(item=item, reason=str(error), gone=isinstance(error, RecordGone))
