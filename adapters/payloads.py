"""Bodies of webhook deliveries: read without trust, named for good, and made to forget.

Faults become ``PayloadError`` and say which keys are wrong and how, never their values.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from marshmallow import Schema, ValidationError

from plugin.errors import PayloadError

T = TypeVar("T")

_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")

MAX_EVENTS = 5_000
"""In one delivery. HubSpot sends up to 100, EspoCRM 50 unless its administrator changes that."""
MAX_DIGITS = 4_000
"""Of an integer: a little less than Python reads at all."""
REDACTED = "REDACTED"
"""Stands in place of a value that had to go."""


class OwnAddress:
    """For an adapter whose accounts each have an address of their own: a body need not tell whose
    it is."""

    def sender(self, body: bytes) -> str:  # noqa: ARG002 (``plugin.ports.Adapter``)
        return ""


# ---------------------------------------------------------------------------- reading


def from_json(body: bytes) -> Any:
    """Raises ``PayloadError`` where the body is not JSON in UTF-8; a byte order mark is no part of
    it."""
    try:
        return json.loads(body.decode("utf-8-sig"), parse_int=_integer)
    except RecursionError as error:
        raise PayloadError("the body is nested too deeply") from error
    except ValueError as error:
        raise PayloadError(f"the body is not JSON: {type(error).__name__}") from error


def array(body: bytes) -> list[Any]:
    """The events of a delivery that brings several. Raises ``PayloadError`` where the body is not
    an array in JSON, and for more than ``MAX_EVENTS``."""
    content = from_json(body)
    if not isinstance(content, list):
        raise PayloadError("the body is not an array")
    if len(content) > MAX_EVENTS:
        raise PayloadError(f"{len(content)} events in one delivery; {MAX_EVENTS} are taken at most")
    return content


def _integer(digits: str) -> int | float:
    """Infinite where Python would refuse to read it, so that only the event it stands in is odd."""
    return int(digits) if len(digits) <= MAX_DIGITS else math.inf


def loaded(schema: Schema, raw: Any) -> Any:
    """What ``schema`` makes of an event. Raises ``PayloadError`` where it does not fit."""
    try:
        return schema.load(raw)
    except ValidationError as error:
        raise PayloadError("; ".join(_faults(error.messages_dict))) from error


def _faults(messages: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Which keys are wrong and how, without their values."""
    for key, why in sorted(messages.items()):
        if isinstance(why, dict) and all(isinstance(part, str) for part in why):
            yield from _faults(why, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}: {_first(why)}"


def _first(why: Any) -> str:
    """The first sentence of marshmallow's messages, which lie in lists or by position."""
    while not isinstance(why, str):
        why = next(iter(why.values() if isinstance(why, dict) else why))
    return why


def event_key(facts: Sequence[object]) -> str:
    """Names a fact: all that tells it from others goes in, and not how often it was sent."""
    told = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(told.encode("ascii")).hexdigest()[:32]


# -------------------------------------------------------------------------- forgetting


def redacted(
    body: bytes,
    read: Callable[[bytes], T],
    without: Callable[[T, Sequence[str]], T],
    *,
    contact_ids: Iterable[str],
    words: Iterable[str],
) -> bytes | None:
    """The body as ``without`` leaves what ``read`` finds in it; None: nothing to do.

    ``without`` gets the words in lower case. What cannot be read goes as a whole where it may tell
    of these contacts or has one of the words, or is no text in which they could be looked for.
    """
    folded = [word.casefold() for word in words if word.strip()]
    try:
        content = read(body)
        kept = without(content, folded)
        return None if kept == content else json.dumps(kept).encode("ascii")
    except (PayloadError, RecursionError):
        return b"" if _may_tell(body, (*contact_ids, *folded)) else None


def _may_tell(body: bytes, words: Iterable[str]) -> bool:
    """Whether one of the words stands in a text. What is not in UTF-8 may tell of anybody; UTF-16
    without umlauts may look like it, but for its zeros."""
    try:
        said = _unescaped(body.decode("utf-8")).casefold()
    except UnicodeDecodeError:
        return True
    return "\0" in said or any(word in said for word in words)


def _unescaped(said: str) -> str:
    """Text in which JSON's escapes stand for what they mean: PHP and Python write umlauts so."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), said)


def scrubbed(value: Any, words: Sequence[str], *, structure: frozenset[str] = frozenset()) -> Any:
    """The value without texts that hold one of the words, at any depth.

    ``structure``: keys whose text never tells of a person and stays.
    """
    if isinstance(value, str):
        said = value.casefold()
        return REDACTED if any(word in said for word in words) else value
    if isinstance(value, list):
        return [scrubbed(part, words, structure=structure) for part in value]
    if isinstance(value, dict):
        return {
            key: part
            if key in structure and isinstance(part, str)
            else scrubbed(part, words, structure=structure)
            for key, part in value.items()
        }
    return value
