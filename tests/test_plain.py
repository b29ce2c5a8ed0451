"""What a log holds, whoever wrote the words in it."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import pytest

from plugin.plain import DEEPEST, LogFormatter

FORGED = "x\n2026-01-01 00:00:00,000 CRITICAL plugin: all is lost\r\u2028y\x1b[31m"
ENTRY = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} "


def logged(message: str, *args: object, **more: Any) -> list[str]:
    """The lines of a log that holds this entry."""
    record = logging.getLogger("plugin").makeRecord(
        "plugin", logging.ERROR, "x.py", 1, message, args, more.get("exc_info"),
        sinfo=more.get("stack_info"),
    )  # fmt: skip
    return LogFormatter().format(record).split("\n")


@pytest.mark.parametrize(("message", "args"), [(FORGED, ()), ("%s", (FORGED,)), ("%r", (FORGED,))])
def test_an_entry_is_one_line_of_visible_characters(message: str, args: tuple[str, ...]) -> None:
    """Whether the words stand in the message or in what it is filled with."""
    (line,) = logged(message, *args)

    assert re.match(ENTRY + "ERROR plugin: '?x.{1,2}n2026-01-01 .+all is lost", line)
    assert line.isprintable()


def failing(*, hidden: bool = False) -> list[str]:
    """The lines of an entry with an exception that came from another one, both quoting a text."""
    try:
        try:
            int(FORGED)
        except ValueError as error:
            error.add_note(FORGED)
            raise KeyError(FORGED) from (None if hidden else error)
    except KeyError:
        return logged("it failed", exc_info=sys.exc_info())


def test_a_traceback_tells_where_and_what_and_no_words() -> None:
    """Neither those of the exception nor those of what led to it; indented, so that no line passes
    for an entry."""
    first, *lines = failing()

    assert re.fullmatch(ENTRY + "ERROR plugin: it failed", first)
    place = f'    File "{__file__}", line N, in failing'
    assert [re.sub(r"line \d+", "line N", line) for line in lines] == [
        "  Traceback (most recent call last):",
        place, "  builtins.ValueError",
        "  which led to",
        place, "  builtins.KeyError",
    ]  # fmt: skip


def test_a_suppressed_exception_stays_out() -> None:
    """As in Python's own tracebacks."""
    lines = failing(hidden=True)

    assert [line for line in lines if "builtins" in line] == ["  builtins.KeyError"]


def test_a_deep_traceback_is_cut_to_its_last_places() -> None:
    """Endless recursion does not fill a disk."""

    def deeper(left: int) -> None:
        if not left:
            raise ValueError
        deeper(left - 1)

    try:
        deeper(2 * DEEPEST)
    except ValueError:
        lines = logged("it failed", exc_info=sys.exc_info())

    assert len(lines) == DEEPEST + 3
    assert all("in deeper" in line for line in lines[2:-1])


def test_no_line_of_a_stack_passes_for_an_entry() -> None:
    """They are indented, too."""
    _, *lines = logged("here", stack_info=f"Stack (most recent call last):\n{FORGED}")

    assert lines[0] == "  Stack (most recent call last):"
    assert all(line.startswith("  ") and line.isprintable() for line in lines)
    assert len(lines) == 3
