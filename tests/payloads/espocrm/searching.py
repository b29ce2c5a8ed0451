"""How EspoCRM's lists are asked for: parameters in PHP's form, ``where`` items, order, pages.

https://docs.espocrm.com/development/api-search-params/ and ``Core/Select/Where`` of its source.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import request

MAX_SIZE = 200
Record = dict[str, Any]


class Refused(Exception):
    """An answer that is not 2xx: the reason goes into a header, the body is mostly empty."""

    def __init__(
        self,
        status: int,
        reason: str = "",
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.body = body
        self.headers = {"X-Status-Reason": reason} if headers is None else headers


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a list is asked for."""

    where: list[Mapping[str, Any]] = field(default_factory=list)
    select: tuple[str, ...] = ()
    order_by: str = "createdAt"
    descending: bool = True
    offset: int = 0
    max_size: int = MAX_SIZE
    count: bool = True


def search_of(query: Mapping[str, str], headers: Mapping[str, str]) -> Search:
    """Raises ``Refused`` (403) where more is asked for than one list gives."""
    asked = _nested(query)
    asked.update(json.loads(asked.pop("searchParams", "{}")))
    select = asked.get("attributeSelect", asked.get("select", ()))
    where = asked.get("whereGroup", asked.get("where", []))
    max_size = int(asked.get("maxSize") or MAX_SIZE)
    if max_size > MAX_SIZE:
        raise Refused(403, f"Max size should not exceed {MAX_SIZE}. Use offset and limit.")
    return Search(
        where=_listed(where),
        select=tuple(select.split(",") if isinstance(select, str) else select),
        order_by=asked.get("orderBy", "createdAt"),
        descending=asked.get("order", "asc" if "orderBy" in asked else "desc") == "desc",
        offset=int(asked.get("offset") or 0),
        max_size=max_size,
        count=headers.get("x-no-total") != "true",
    )


def _nested(query: Mapping[str, str]) -> dict[str, Any]:
    """``where[0][value][]=a`` as PHP reads it: keys in brackets nest."""
    found: dict[str, Any] = {}
    for name in query:
        path = name.rstrip("]").replace("][", "[").split("[")
        repeated = path[-1] == ""
        at = found
        for step in path[: -2 if repeated else -1]:
            at = at.setdefault(step, {})
        if repeated:
            at[path[-2]] = request.args.getlist(name)
        else:
            at[path[-1]] = query[name]
    return found


def _listed(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, Mapping) else list(value)


def _text(value: Any) -> str:
    return str(value).casefold()


def _is(value: Any, wanted: Any) -> bool:
    """Databases compare without regard to case; PHP's parameters are all text."""
    if isinstance(value, bool):
        return value == (wanted in (True, "true", "1", 1))
    return value is not None and _text(value) == _text(wanted)


def _compared(how: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def test(value: Any, wanted: Any) -> bool:
        if value is None:
            return False
        if isinstance(value, int | float):
            return how(float(value), float(wanted))
        return how(str(value), str(wanted))

    return test


TESTS: Mapping[str, Callable[[Any, Any], bool]] = {
    "equals": _is,
    "notEquals": lambda value, wanted: not _is(value, wanted),
    "in": lambda value, wanted: any(_is(value, one) for one in _listed(wanted)),
    "notIn": lambda value, wanted: not any(_is(value, one) for one in _listed(wanted)),
    "contains": lambda value, wanted: value is not None and _text(wanted) in _text(value),
    "notContains": lambda value, wanted: value is None or _text(wanted) not in _text(value),
    "startsWith": lambda value, wanted: (
        value is not None and _text(value).startswith(_text(wanted))
    ),
    "endsWith": lambda value, wanted: value is not None and _text(value).endswith(_text(wanted)),
    "after": _compared(lambda value, wanted: value > wanted),
    "before": _compared(lambda value, wanted: value < wanted),
    "greaterThan": _compared(lambda value, wanted: value > wanted),
    "lessThan": _compared(lambda value, wanted: value < wanted),
    "greaterThanOrEquals": _compared(lambda value, wanted: value >= wanted),
    "lessThanOrEquals": _compared(lambda value, wanted: value <= wanted),
    "on": lambda value, wanted: value is not None and str(value).startswith(str(wanted)),
    "isNull": lambda value, _: value is None,
    "isNotNull": lambda value, _: value is not None,
    "isTrue": lambda value, _: value is True,
    "isFalse": lambda value, _: value is not True,
}
LINK_TESTS = {"linkedWith", "notLinkedWith", "isLinked", "isNotLinked"}


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Judges records of one type. ``value``: an attribute of a record; ``linked``: the ids a
    link of a record leads to; ``exists``: whether a link's other side has that record."""

    attributes: frozenset[str]
    links: frozenset[str]
    value: Callable[[Record, str], Any]
    linked: Callable[[Record, str], Iterable[str]]
    exists: Callable[[str, str], bool]

    def fits(self, record: Record, item: Mapping[str, Any]) -> bool:
        kind, value = item.get("type"), item.get("value")
        if kind in ("and", "or"):
            parts = [self.fits(record, one) for one in _listed(value)]
            return all(parts) if kind == "and" else any(parts)
        attribute = str(item.get("attribute", ""))
        if kind in LINK_TESTS:
            return self._linked(record, str(kind), attribute, value)
        return TESTS[str(kind)](self.value(record, attribute), value)

    def check(self, item: Mapping[str, Any]) -> None:
        """Items are checked before any record is looked at. Raises ``Refused``."""
        kind, value = item.get("type"), item.get("value")
        if not kind:
            raise Refused(400, "Bad where item. No 'type'.")
        if kind in ("and", "or"):
            for one in _listed(value):
                self.check(one)
            return
        attribute = str(item.get("attribute", ""))
        if kind in LINK_TESTS:
            self._check_link(attribute, value)
        elif attribute not in self.attributes:
            raise Refused(400, f"Not existing attribute '{attribute}' in where.")
        elif kind not in TESTS:
            raise Refused(400, f"Unknown where item type '{kind}'.")

    def _check_link(self, link: str, value: Any) -> None:
        """An id that is not there refuses the whole list."""
        if link not in self.links:
            raise Refused(400, f"Not existing relation '{link}' in where.")
        for one in _ids(value):
            if not self.exists(link, one):
                raise Refused(403, f"Record `{one}` not found.")

    def _linked(self, record: Record, kind: str, link: str, value: Any) -> bool:
        ids = set(self.linked(record, link))
        found = bool(ids & set(_ids(value))) if kind.endswith("ith") else bool(ids)
        return found if kind in ("linkedWith", "isLinked") else not found


def _ids(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else _listed(value)


def paged(
    records: list[Record], search: Search, value: Callable[[Record, str], Any]
) -> tuple[int, list[Record]]:
    """How many there are, and one page in order (ties by id); -1 and -2 stand for "more" and "no
    more" where nobody wanted them counted."""

    def place(record: Record) -> tuple[bool, float, str, str]:
        """Empty values come first."""
        found = value(record, search.order_by)
        if isinstance(found, int | float):
            return True, found, "", record["id"]
        return found is not None, 0, str(found), record["id"]

    ordered = sorted(records, key=place, reverse=search.descending)
    end = search.offset + search.max_size
    more = -1 if len(ordered) > end else -2
    return len(ordered) if search.count else more, ordered[search.offset : end]
