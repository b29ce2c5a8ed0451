"""The one place where commands print: what comes from a CRM steers no terminal."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console

from plugin.plain import plain


def say(text: str, *, err: bool = False) -> None:
    """Print lines."""
    click.echo(plain(text), err=err)


class PlainConsole(Console):
    """rich's console, for texts that hold words from outside. Of these, put into markup, each has
    to pass through ``rich.markup.escape``."""

    def print(self, *objects: Any, **more: Any) -> None:
        super().print(*(plain(one) if isinstance(one, str) else one for one in objects), **more)
