"""Plain text and the HTML that editors keep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.rich_text import to_html, to_text


@given(st.text(st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" \n<>&;")))
def test_text_comes_back_as_it_went(text: str) -> None:
    """But for white space around it."""
    assert to_text(to_html(text)).strip() == text.strip()


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("plain [spiral:repair:1]", "plain [spiral:repair:1]"),
        ("a<br>b<br />c", "a\nb\nc"),
        ("<div>a</div><div><b>b</b></div>", "a\nb"),
        ("<ul><li>a</li><li>b &amp; c&nbsp;d</li></ul>", "a\nb & c d"),
        ("a <![odd b]> c", "a \n c"),
    ],
)
def test_what_an_editor_made_becomes_lines(markup: str, text: str) -> None:
    """Blocks and breaks end lines; markup nobody knows goes."""
    assert to_text(markup) == text
