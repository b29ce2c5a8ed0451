"""The marker at the end of a task's body, by which a task of ours is found again."""

from __future__ import annotations

import re

START = "[spiral:"
"""How every marker begins: what a CRM may be asked to search for."""

# No part of it takes a "[": from each beginning the search goes up to the next one and no further.
_MARKER = re.compile(r"\[spiral:[a-z_]+:[^\[\]\s]+\]")


def last_marker(body: str | None) -> str | None:
    """The marker of a task, below whatever people wrote; None where the task is not ours."""
    found = _MARKER.findall(body or "")
    return found[-1] if found else None
