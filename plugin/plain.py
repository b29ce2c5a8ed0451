"""Words from outside, on their way to a terminal or a log: nothing in them steers either."""

from __future__ import annotations

import logging
import traceback
import unicodedata
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeAlias

_ExcInfo: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)
_STEERING = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
"""Categories of characters that move the cursor, colour, reorder, break lines, or show nothing."""

DEEPEST = 30
"""Places shown of one exception, the last ones."""


def plain(text: str) -> str:
    """The text with every character that is not to be seen written as an escape; lines stay."""
    if text.isprintable():
        return text
    return "".join(one if one == "\n" else _shown(one) for one in text)


def one_line(text: str) -> str:
    """The same in one line."""
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _STEERING:
        return character
    return character.encode("unicode_escape").decode("ascii")


class LogFormatter(logging.Formatter):
    """One line an entry, whatever stands in it; the lines of tracebacks and stacks are indented, so
    that none of them can be taken for an entry of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (its name there)
        return one_line(super().formatMessage(record))

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 (its name there)
        """Where and what, without the exceptions' own words: they may tell what customers said."""
        lines = ("Traceback (most recent call last):", *_places(ei[1])) if ei[1] else ()
        return _indented(lines)

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 (its name there)
        return _indented(stack_info.split("\n"))


def _indented(lines: Iterable[str]) -> str:
    return "\n".join(f"  {one_line(line)}" for line in lines)


def _places(error: BaseException) -> Iterator[str]:
    """Where an exception came through and what it is, after the one that led to it."""
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier is not None:
        yield from _places(earlier)
        yield "which led to"
    for frame in traceback.extract_tb(error.__traceback__, limit=-DEEPEST):
        yield f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}'
    yield f"{type(error).__module__}.{type(error).__qualname__}"
