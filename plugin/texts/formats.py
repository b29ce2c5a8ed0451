"""How single things are written in each language: days, money, names, labels, lists.

Everything that comes from the CRM passes through ``safe`` here before it stands in a text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache

from babel import Locale
from babel.dates import format_date
from babel.lists import format_list
from babel.numbers import format_currency

from plugin.manifest import Text, manifest

_GERMAN = Locale("de", "DE")
_ENGLISH = Locale("en", "GB")

_MARKER = re.compile(r"\[(?=\s*spiral\s*:)", re.IGNORECASE)
_LINK = re.compile(r"\](?=[(\[])")
"""Where a link of Markdown goes on, which some CRMs make of plain texts."""
_JOINERS = "\u200c\u200d"
"""Invisible, but letters of Persian names and of emoji hang together by them."""

_NAME = 60
"""The most characters of one name inside a text."""


def safe(text: str, limit: int = 200) -> str:
    """Words from the CRM, fit to stand in one line of ours.

    Line breaks and control characters become spaces, invisible formatting goes, what is longer
    than ``limit`` ends in "…", and nothing in it can be taken for the marker of a task, or for a
    link that says one thing and leads to another.
    """
    # Nothing beyond this can survive the cut, save for texts made of almost nothing but spaces.
    visible = text[: 20 * limit]
    if not visible.isprintable():
        visible = "".join(_visible(character) for character in visible)
    line = _LINK.sub("] ", _MARKER.sub("(", " ".join(visible.split())))
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _visible(character: str) -> str:
    match unicodedata.category(character):
        case "Cc" | "Cs" | "Zl" | "Zp":
            return " "
        case "Cf" if character not in _JOINERS:
            return ""
        case _:
            return character


@lru_cache(maxsize=4096)
def _written_day(day: date, locale: Locale) -> str:
    # Kept because texts are made for every contact that is touched, and full of the same days.
    return format_date(day, "medium", locale=locale)


@dataclass(frozen=True, slots=True)
class Voice:
    """One of our languages: ``en`` is British English, everything else German."""

    language: str

    @property
    def _locale(self) -> Locale:
        return _ENGLISH if self.language == "en" else _GERMAN

    def say(self, de: str, en: str) -> str:
        """The wording in this language."""
        return en if self.language == "en" else de

    def text(self, text: Text) -> str:
        return text[self.language]

    def day(self, day: date) -> str:
        """12.03.2025 or 12 Mar 2025."""
        return _written_day(day, self._locale)

    def on(self, day: date | None) -> str:
        """`` am 12.03.2025``, to be put behind a word; nothing where the day is not known."""
        return self.say(f" am {self.day(day)}", f" on {self.day(day)}") if day else ""

    def since(self, day: date | None) -> str:
        """`` seit dem 12.03.2025``, to be put behind a word; nothing where the day is not known."""
        return self.say(f" seit dem {self.day(day)}", f" since {self.day(day)}") if day else ""

    def money(self, amount: Decimal, currency: str) -> str:
        """12.345,60 € or €12,345.60. Spaces are plain: some CRMs change others."""
        text = format_currency(amount, safe(currency, 3), locale=self._locale)
        # CLDR sets letters apart from digits (CHF 500.00); Babel leaves that out.
        return re.sub(r"(?<=[A-Z])(?=\d)", " ", text.replace("\u00a0", " "))

    def person(self, name: str, limit: int = _NAME) -> str:
        """A name; one that is empty is said to be missing, in words that fit any sentence."""
        return safe(name, limit) or self.say("(ohne Namen)", "(no name)")

    def quote(self, words: str, limit: int = 200) -> str:
        """Words from the CRM in the language's own quotation marks."""
        return self._quoted(safe(words, limit))

    def deal(self, name: str) -> str:
        """`` „Küche“``, to be put behind a word; nothing where the deal has no name."""
        return f" {self.quote(name, _NAME)}" if safe(name) else ""

    def field(self, key: str) -> str:
        """The label of one of our fields, quoted."""
        return self._quoted(manifest().field(key).label[self.language])

    def option(self, key: str, value: str) -> str:
        """The label of a field's option, plain."""
        return manifest().field(key).option_label(value, self.language)

    def quoted_option(self, key: str, value: str) -> str:
        return self._quoted(self.option(key, value))

    def options(self, key: str) -> str:
        """All options of a field: „A“, „B“ oder „C“."""
        options = manifest().field(key).options
        return self.any_of(self._quoted(option.label[self.language]) for option in options)

    def all_of(self, things: Iterable[str]) -> str:
        """A, B und C."""
        return format_list(list(things), "standard", locale=self._locale)

    def any_of(self, things: Iterable[str]) -> str:
        """A, B oder C."""
        return format_list(list(things), "or", locale=self._locale)

    def _quoted(self, text: str) -> str:
        return self.say(f"„{text}“", f"“{text}”")
