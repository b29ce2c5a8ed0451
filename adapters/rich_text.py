"""Plain text ↔ the HTML that a CRM's editor for notes and tasks keeps."""

from __future__ import annotations

import html
import re

BLOCKS = frozenset({"p", "div", "li", "ul", "ol", "tr", "blockquote", "h1", "h2", "h3", "h4"})
"""Tags that begin and end a line."""

# Each piece takes all that was looked at for it, and what has no end takes the rest: one pass,
# where ``html.parser`` looks through all that follows from each such tag anew.
_PIECE = re.compile(
    r"""
      (?P<text> [^<]++ | <(?![a-z/!?]) )
    | </?(?P<tag> [a-z][^\s/>]*+ ) (?: [^>=]++ | =\s*+ (?: "[^"]*+" | '[^']*+' | (?!["']) ) )* >
    | <!--.*?-->
    | <(?: (?P<odd> !(?!--) ) | \? | /(?![a-z]) ) [^>]*+ >
    | (?P<broken> .++ )
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_TAG = re.compile(r"<[^<>]*+>")
_NO_CHARACTER = re.compile(r"&#[0-9]{8,};?")
"""A number that Python may refuse to read, longer than that of any character."""


def to_html(text: str) -> str:
    """What looks like a tag stays text, lines stay lines."""
    return html.escape(text, quote=False).replace("\n", "<br>")


def to_text(markup: str) -> str:
    """The words, with what people added in the editor; what stands behind a tag or comment that
    has no end, too."""
    if "<" not in markup and "&" not in markup:
        return markup
    parts = [""]
    for piece in _PIECE.finditer(markup):
        match piece.lastgroup:
            case "text":
                parts.append(_unescaped(piece[0]))
            case "broken":
                parts.append(_unescaped(_TAG.sub("\n", piece[0])))
            case "tag" if piece["tag"].lower() == "br":
                parts.append("\n")
            case "tag" if piece["tag"].lower() in BLOCKS and not parts[-1].endswith("\n"):
                parts.append("\n")
            case "odd":
                parts.append("\n")
    return "".join(parts).replace("\xa0", " ").strip()


def _unescaped(text: str) -> str:
    return html.unescape(_NO_CHARACTER.sub("\ufffd", text))
