"""Bodies of webhook deliveries: read without trust, named for good, and made to forget.

Faults become ``PayloadError`` and say which keys are wrong and how, never their values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from marshmallow import Schema, ValidationError

from plugin.errors import PayloadError

T = TypeVar("T")

REDACTED = "REDACTED"
"""Stands in place of a value that had to go."""


# ---------------------------------------------------------------------------- reading


def from_json(body: bytes) -> Any:
    """Raises ``PayloadError`` where the body is not JSON in UTF-8."""
    try:
        return json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"the body is not JSON: {type(error).__name__}") from error


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
    of these contacts or has one of the words.
    """
    folded = [word.casefold() for word in words if word.strip()]
    try:
        content = read(body)
        kept = without(content, folded)
        return None if kept == content else json.dumps(kept).encode("ascii")
    except (PayloadError, RecursionError):
        said = body.decode("utf-8", "replace").casefold()
        return b"" if any(word in said for word in (*contact_ids, *folded)) else None


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
