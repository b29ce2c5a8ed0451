"""What a CRM answered, taken at its word: forms that fit, codes without data, refusals."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from marshmallow import Schema, ValidationError

from adapters.client import Dialect
from plugin.errors import CrmRejected, CrmUnavailable, RecordGone
from plugin.ports import Failure

log = logging.getLogger(__name__)

ROOT = "_schema"
"""Where marshmallow puts what is wrong with an object as a whole."""

_WORD = re.compile(r"[A-Za-z0-9_.-]{1,100}")


def understood(
    schema: Schema, answer: Any, dialect: Dialect, operation: str, *, repeat: bool = True
) -> Any:
    """What ``schema`` makes of an answer.

    Raises ``CrmRejected`` where single records in it are odd, which asking again does not mend,
    and ``CrmUnavailable`` where it does not fit as a whole. ``repeat=False``: the call has made
    something, and it is not known what; always ``CrmUnavailable``.
    """
    try:
        return schema.load(answer)
    except ValidationError as error:
        keys = ", ".join(sorted(map(str, error.messages_dict)))
        said = f"the answer of {dialect.title} to {operation}"
        if repeat and _of_single_records(error.messages_dict, answer):
            raise CrmRejected(
                f"{said} holds a record of an unknown form: {keys}",
                crm=dialect.crm,
                operation=operation,
            ) from error
        raise CrmUnavailable(
            f"{said} has an unknown form: {keys}", crm=dialect.crm, operation=operation
        ) from error


def readable(
    schema: Schema, answered: Sequence[object], dialect: Dialect, operation: str
) -> list[Any]:
    """What ``schema`` makes of the records on a page of a list. One that is odd is left out, with a
    line in the log: it must not keep us from all that come after it.

    Raises ``CrmUnavailable`` where none of several can be read: then it is not the records' fault.
    """
    records: list[Any] = []
    odd: dict[str, None] = {}
    for one in answered:
        try:
            records.append(schema.load(one))  # type: ignore[arg-type]
        except ValidationError as error:
            odd |= dict.fromkeys(map(str, error.messages_dict))
    if not odd:
        return records
    keys = ", ".join(sorted(odd))
    if not records and len(answered) > 1:
        raise CrmUnavailable(
            f"the answer of {dialect.title} to {operation} has an unknown form: {keys}",
            crm=dialect.crm,
            operation=operation,
        )
    left_out = len(answered) - len(records)
    log.warning("%s odd records of %s are left out: %s", left_out, operation, keys)
    return records


def _of_single_records(faults: Mapping[str, Any], answer: Any) -> bool:
    """Whether all else can be read: the only record asked for, or some of a list, is odd."""
    if ROOT in faults or not isinstance(answer, dict):
        return False
    return all(_of_records(why, answer.get(key)) for key, why in faults.items())


def _of_records(why: Any, part: Any) -> bool:
    if not isinstance(why, dict) or ROOT in why:
        return False
    if isinstance(part, list):
        return len(why) < len(part) or len(part) == 1
    return isinstance(part, dict)


def word(value: object) -> str:
    """A code or a name; "" for all else, which may be a quoted value and so somebody's data."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""


def failure(item: str, error: CrmRejected | RecordGone) -> Failure:
    """What stood against one item of several."""
    return Failure(item=item, reason=str(error), gone=isinstance(error, RecordGone))
