"""JSON that somebody else wrote: what comes out of it is small enough and made of plain values."""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_ITEMS = 500_000
"""Values of one text; one may take fifty times the memory of the two bytes that stand for it."""
MAX_DEPTH = 100
MAX_DIGITS = 30
"""Of a number; no id and no amount has as many."""

_ODD = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def read_json(content: bytes) -> Any:
    """The value; None where there is nothing. Of a key that comes twice the last one counts.

    Half a surrogate pair and NUL, which no database takes, become U+FFFD. Raises ``ValueError``
    for what is no JSON in UTF-8, has more than ``MAX_ITEMS`` values, is nested deeper than
    ``MAX_DEPTH``, or holds numbers that are none or that nobody can handle.
    """
    if not content.strip():
        return None
    if content.count(b",") + content.count(b"[") + content.count(b"{") > MAX_ITEMS:
        raise ValueError("too many values")
    text = content.decode("utf-8-sig")
    try:
        value = json.loads(text, parse_int=_integer, parse_float=_number, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("too deep") from None
    _check_depth(value)
    return _storable(value) if _ODD.search(content) else value


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("a number too long")
    return int(digits)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number too large")
    return number


def _no_number(_name: str) -> float:
    """``NaN`` and ``Infinity``, which Python reads and JSON does not know."""
    raise ValueError("not a number")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            part
            for one in level
            if isinstance(one, dict | list)
            for part in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return
    raise ValueError("too deep")


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_storable(one) for one in value]
    if isinstance(value, dict):
        return {_storable(key): _storable(one) for key, one in value.items()}
    return value
