"""Plain text ↔ the HTML that a CRM's editor for notes and tasks keeps."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser


def to_html(text: str) -> str:
    """What looks like a tag stays text, lines stay lines."""
    return html.escape(text, quote=False).replace("\n", "<br>")


def to_text(markup: str) -> str:
    """The words, with what people added in the editor."""
    if "<" not in markup and "&" not in markup:
        return markup
    reader = _TextReader()
    try:
        reader.feed(markup)
        reader.close()
    except AssertionError:  # Python's parser gives up on "<![anything unknown]>"
        reader.parts = [html.unescape(re.sub(r"<[^>]*>", "\n", markup))]
    return "".join(reader.parts).replace("\xa0", " ").strip()


class _TextReader(HTMLParser):
    """Collects text; blocks and line breaks become new lines."""

    BLOCKS = frozenset({"p", "div", "li", "ul", "ol", "tr", "blockquote", "h1", "h2", "h3", "h4"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag == "br":
            self.parts.append("\n")
        elif tag in self.BLOCKS:
            self._break()

    def handle_endtag(self, tag: str) -> None:
        if tag in self.BLOCKS:
            self._break()

    def _break(self) -> None:
        if self.parts and not self.parts[-1].endswith("\n"):
            self.parts.append("\n")
