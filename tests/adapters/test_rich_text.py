"""Plain text and the HTML that editors keep."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.markers import last_marker
from adapters.rich_text import to_html, to_text

MARKER = "[spiral:repair:k1]"
SCRAPS = [
    "<a ", "<a", "<p a=", '<p a="', "<a b='", "</a ", "</", "<", "<!--", "<!-- >", "<!",
    "<![CDATA[", "<?", "<a '\"", "<a b=\"' c='", "<p>", "<br>", "<a =", "=", "&", "&#", "&#9",
    "\xa0", " ", "[spiral:", "[spiral:a", "[spiral:a:", "[spiral:a:b", "[spiral:a:b]",
]  # fmt: skip
"""Beginnings of what then does not end."""


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


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("3 <b and more", "3 <b and more"),
        ("a<br>b <!-- c<br>d", "a\nb <!-- c\nd"),
        ('a <a href="x>b</a> c', "a \nb\n c"),
        ("<p title='a>b'>c</p><p title='d>e", "c\n\ne"),
        ("a </ b", "a </ b"),
        ("a < b <3 &lt;c&gt;", "a < b <3 <c>"),
        ("a &#" + "9" * 5000 + "; b", "a \ufffd b"),
    ],
)
def test_what_is_broken_keeps_its_words(markup: str, text: str) -> None:
    """A tag or comment without an end hides nothing that stands behind it."""
    assert to_text(markup) == text


@given(st.lists(st.sampled_from(SCRAPS) | st.text(max_size=5)).map("".join))
def test_a_marker_is_found_behind_anything(markup: str) -> None:
    """Whatever somebody left above it."""
    assert last_marker(to_text(markup + MARKER)) == MARKER


@pytest.mark.parametrize("scrap", SCRAPS)
@pytest.mark.parametrize("read", [to_text, last_marker])
def test_a_body_eight_times_as_long_takes_about_eight_times_as_long(
    read: Callable[[str], object], scrap: str
) -> None:
    """Not 64 times: whoever leaves such a body in a CRM would keep a worker for minutes."""

    def seconds(characters: int) -> float:
        body = scrap * (characters // len(scrap))
        started = time.thread_time()
        read(body)
        return time.thread_time() - started

    short = min(seconds(4_000) for _ in range(3))
    assert min(seconds(32_000) for _ in range(3)) < 24 * max(short, 0.001)
