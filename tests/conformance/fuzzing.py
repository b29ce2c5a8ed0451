"""Bytes and values that no CRM would send on purpose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

GARBAGE = [
    b"", b" ", b"{", b"\xff\xfe", b"\xef\xbb\xbf{", b"[" * 100_000, b'{"a":' * 50_000, b"nul",
    "{}".encode("utf-16"), b"<html>", b"[" + b"9" * 10_000 + b"]", b'{"a":1}{"b":2}', b"NaN",
    b"null", b"true", b"1", b'"x"', b"[]", b"{}", b"[[]]", b"[null]", b"[{}]", b'{"":{}}',
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def thorough(examples: int) -> settings:
    """The same examples in every run, as many as asked for."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def places(value: Any) -> int:
    """How many values stand in it, itself included."""
    if isinstance(value, list | dict):
        parts = value if isinstance(value, list) else value.values()
        return 1 + sum(map(places, parts))
    return 1


def replaced(value: Any, at: int, other: Any) -> Any:
    """The same, with the value at this place (counted around) being another one."""
    at %= places(value)
    if at == 0:
        return other
    at -= 1
    parts: Mapping[Any, Any] = dict(enumerate(value)) if isinstance(value, list) else value
    changed = dict(parts)
    for key, part in parts.items():
        size = places(part)
        if at < size:
            changed[key] = replaced(part, at, other)
            break
        at -= size
    return list(changed.values()) if isinstance(value, list) else changed


def objects(value: Any) -> list[dict[str, Any]]:
    """Every object that stands in it, itself included, to be changed in place."""
    if isinstance(value, list | dict):
        parts = value if isinstance(value, list) else list(value.values())
        own = [value] if isinstance(value, dict) else []
        return own + [found for part in parts for found in objects(part)]
    return []


def leaves(value: Any) -> Iterator[str]:
    """Every text and number that stands in it, as text."""
    if isinstance(value, list | dict):
        for part in value if isinstance(value, list) else value.values():
            yield from leaves(part)
    elif value is not None:
        yield str(value)
