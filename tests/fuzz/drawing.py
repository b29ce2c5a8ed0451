"""What fuzzing draws: bytes, JSON that no CRM writes, and recorded deliveries gone wrong.

Examples are few and the same in every run; with ``FUZZ_TIMES`` they are so many times as many, and
others in every run.
"""

from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.conformance.crms import Case, cases_of
from tests.conformance.fuzzing import places, replaced


def fuzzed(examples: int) -> settings:
    times = int(os.environ.get("FUZZ_TIMES", "0"))
    return settings(
        max_examples=examples * max(1, times),
        deadline=None,
        derandomize=not times,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


_ODD_TEXTS = st.sampled_from(
    [
        "", "\0", "\ud800", "../1", "1?x=", "1/2", "1\n2", "..", ".", "%2e%2e", "-1", "9" * 400,
        "٣", "{0}", "{name.__class__}", "%s", "true", "null", "NaN", "1e999", "REDACTED",
        "0001-01-01", "9999-12-31T23:59:59-14:00", "2026-02-30", "x" * 100_000, "person", "contact",
        "create", "delete", "[spiral:repair:aaaaaaaaaaaaaaaaaaaa]",
    ]
)  # fmt: skip
_ODD_NUMBERS = st.sampled_from(
    [
        0,
        -1,
        -0.0,
        1,
        2**31,
        2**63 - 1,
        2**63,
        10**18,
        10**400,
        1e308,
        1e-308,
        float("nan"),
        float("inf"),
        float("-inf"),
    ]
)
_NESTED = st.builds(
    lambda depth, array: _nest(depth, array=array),
    st.sampled_from([2, 50, 300, 900]),
    st.booleans(),
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | _ODD_TEXTS
    | _ODD_NUMBERS
    | _NESTED,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def _nest(depth: int, *, array: bool) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if array else {"a": value}
    return value


def raw(value: Any) -> bytes:
    """As bytes, with what only Python's JSON has (``NaN``) and halves of characters escaped."""
    return json.dumps(value).encode("ascii")


@st.composite
def gone_wrong(draw: st.DrawFn, crm: str) -> tuple[Case, Any]:
    """A recorded delivery with up to three of its values replaced, left out or doubled."""
    case = draw(st.sampled_from([one for one in cases_of(crm) if one.expected.events]))
    value: Any = json.loads(case.body)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, 400))
        match draw(st.sampled_from(["replace", "leave out", "double", "exchange"])):
            case "replace":
                value = replaced(value, at, draw(JSON))
            case "leave out":
                value = without(value, at)
            case "double":
                value = value * 2 if isinstance(value, list) else [value, value]
            case _:
                value = replaced(value, at, part(value, draw(st.integers(0, 400))))
    return case, value


def part(value: Any, at: int) -> Any:
    """The value at this place, counted around."""
    at %= places(value)
    if at == 0:
        return value
    at -= 1
    for inner in value if isinstance(value, list) else value.values():
        size = places(inner)
        if at < size:
            return part(inner, at)
        at -= size
    raise AssertionError("every place holds a value")


def without(value: Any, at: int) -> Any:
    """The same, with the value at this place left out of what holds it."""
    gone = object()
    return _swept(replaced(value, at, gone), gone)


def _swept(value: Any, gone: object) -> Any:
    if isinstance(value, list):
        return [_swept(one, gone) for one in value if one is not gone]
    if isinstance(value, dict):
        return {key: _swept(one, gone) for key, one in value.items() if one is not gone}
    return None if value is gone else value
