"""Circles: a referral chain never bites its own tail."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from graphlib import TopologicalSorter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugin.referral.circles import Edge, refused

PLAIN = settings(max_examples=300, derandomize=True, deadline=None)
START = datetime(2026, 1, 1, tzinfo=UTC)


def said(minute: int, sentence: str) -> Edge:
    """``A sent B``, said at that minute."""
    referrer_id, _, referred_id = sentence.split()
    return Edge(
        referred_id=referred_id,
        referrer_id=referrer_id,
        said_at=START + timedelta(minutes=minute),
        key=referrer_id.lower(),
    )


@pytest.mark.parametrize(
    ("edges", "closing"),
    [
        pytest.param([], set(), id="nothing said"),
        pytest.param([said(1, "A sent B"), said(2, "B sent C")], set(), id="a chain"),
        pytest.param([said(1, "A sent A")], {("A", "a")}, id="oneself"),
        pytest.param([said(1, "A sent B"), said(2, "B sent A")], {("A", "b")}, id="two"),
        pytest.param([said(2, "A sent B"), said(1, "B sent A")], {("B", "a")}, id="said first"),
        pytest.param(
            [said(1, "A sent B"), said(2, "B sent C"), said(3, "C sent A")],
            {("A", "c")},
            id="three",
        ),
        pytest.param(
            [said(1, "A sent D"), said(2, "B sent D"), said(3, "D sent B"), said(4, "D sent C")],
            {("B", "d")},
            id="several referrers",
        ),
        pytest.param(
            [said(1, "A sent B"), said(1, "A sent C"), said(1, "B sent D"), said(1, "C sent D")],
            set(),
            id="two ways down are no circle",
        ),
        pytest.param(
            [said(1, "A sent B"), said(2, "B sent A"), said(3, "C sent A"), said(4, "A sent C")],
            {("A", "b"), ("C", "a")},
            id="what was refused leads nowhere",
        ),
        pytest.param([said(1, "A sent B"), said(1, "B sent A")], {("B", "a")}, id="at once"),
    ],
)
def test_the_link_that_closes_a_circle_is_refused(
    edges: list[Edge], closing: set[tuple[str, str]]
) -> None:
    """What was said first stands; of things said at once, the one about the smaller id."""
    assert closing == refused(edges)


def test_a_chain_longer_than_the_stack_is_walked() -> None:
    """Ten thousand referrals in a row, closed by one more."""
    chain = [said(number, f"{number} sent {number + 1}") for number in range(10_000)]

    assert {("0", "10000")} == refused([*chain, said(10_001, "10000 sent 0")])


CONTACTS = st.sampled_from("ABCDE")
EDGES = st.lists(
    st.builds(
        lambda minute, one, other: said(minute, f"{one} sent {other}"),
        st.integers(0, 5),
        CONTACTS,
        CONTACTS,
    ),
    unique_by=lambda edge: (edge.referred_id, edge.key),
)


@PLAIN
@given(EDGES.flatmap(lambda edges: st.tuples(st.just(edges), st.permutations(edges))))
def test_the_order_of_the_edges_does_not_matter(lists: tuple[list[Edge], list[Edge]]) -> None:
    """The same referrals are refused however they are listed."""
    edges, shuffled = lists

    assert refused(edges) == refused(shuffled)


@PLAIN
@given(EDGES)
def test_what_is_left_has_no_circle(edges: list[Edge]) -> None:
    """Without the refused referrals everybody comes after whoever sent them."""
    closing = refused(edges)
    referrers: defaultdict[str, set[str]] = defaultdict(set)
    for edge in edges:
        if (edge.referred_id, edge.key) not in closing:
            referrers[edge.referred_id].add(edge.referrer_id)

    TopologicalSorter(referrers).prepare()  # raises CycleError


@PLAIN
@given(EDGES)
def test_a_later_word_undoes_no_earlier_one(edges: list[Edge]) -> None:
    """What stands today stands whatever is said tomorrow."""
    told = sorted(edges, key=lambda edge: (edge.said_at, edge.referred_id, edge.key))
    earlier = told[: len(told) // 2]

    assert refused(earlier) == refused(told) & {(edge.referred_id, edge.key) for edge in earlier}
