"""Lists told page by page, by a CRM that may never come to an end."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import TypeVar

from plugin.errors import CrmUnavailable
from plugin.ports import Page

T = TypeVar("T")
PlaceT = TypeVar("PlaceT", bound=Hashable)

MOST_PAGES = 5_000
"""Of a list that is read in one go: with 200 records on each, a million."""
MOST_TURNS = 100_000
"""Pages of a list that is read over many turns."""

_COUNTED = re.compile(r"([0-9]{1,6})/(.*)", re.DOTALL)


class Places:
    """Where the pages of one list begin; ``operation`` is what asks for them."""

    def __init__(self, crm: str, operation: str, *, most: int = MOST_PAGES) -> None:
        self._crm = crm
        self._operation = operation
        self._most = most
        self._told: set[Hashable] = set()

    def then(self, place: PlaceT | None) -> PlaceT | None:
        """The next page's place, None after the last. Raises ``CrmUnavailable`` where the list
        comes back to a place where it has been, or has more pages than anybody's."""
        if place is not None:
            if place in self._told or len(self._told) >= self._most:
                raise endless(self._crm, self._operation)
            self._told.add(place)
        return place


def one_page(
    read: Callable[[str | None], Page[T]], cursor: str | None, *, crm: str, operation: str
) -> Page[T]:
    """One page of a list that is read over many turns. The cursor is ``<n>/<the CRM's own>``: it
    counts the pages. Raises ``CrmUnavailable`` where the list does not get on, or does not end."""
    counted = _COUNTED.fullmatch(cursor or "")
    number, place = (int(counted[1]), counted[2]) if counted else (0, cursor)
    page = read(place)
    if page.cursor is None:
        return page
    if page.cursor == place or number >= MOST_TURNS:
        raise endless(crm, operation)
    return replace(page, cursor=f"{number + 1}/{page.cursor}")


def endless(crm: str, operation: str) -> CrmUnavailable:
    """A list that does not end."""
    return CrmUnavailable(
        f"the list that answers {operation} does not end", crm=crm, operation=operation
    )
