"""How a missed target is told."""

from __future__ import annotations

import pytest

from bench.targets import Target


@pytest.mark.parametrize(
    ("unit", "bound", "value", "says"),
    [
        ("ms", 1, 0.9, "met"),
        ("ms", 1, 1.5, "missed by 50 %"),
        ("ms", 1, 1.001, "missed by 1 %"),
        ("ms", 0, 2, "missed by 2.00 ms"),
        ("%", 0.2, 0.76, "missed by 56 points"),
        ("%", 0.2, 0.201, "missed by 1 point"),
    ],
)
def test_a_target_says_by_how_much_it_is_missed(
    unit: str, bound: float, value: float, says: str
) -> None:
    """In per cent of the target; where that is a percentage itself, in points."""
    target = Target(
        name="x", part="x", what="x", bound=bound, at_most=True, unit=unit, measured=lambda _: value
    )
    assert target.verdict(value) == says
