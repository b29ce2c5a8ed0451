"""HubSpot's search over the stand-in's records: filters, order, pages and their limits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from plugin.sandbox.portal import ObjectType, object_type
from plugin.sandbox.properties import instant
from plugin.sandbox.records import Record, Sandbox
from plugin.sandbox.refusals import bad_input

PAGE = 200
REACH = 10_000
"""No search looks further than this, whatever it found."""
LONGEST_BODY = 3000
GROUPS, FILTERS, ALL_FILTERS = 5, 6, 18

Filter = Mapping[str, Any]
Comparable = tuple[int, Decimal | datetime | str]


def search(sandbox: Sandbox, of: ObjectType, body: Mapping[str, Any]) -> tuple[int, list[Record]]:
    """(how many there are, this page of them). Raises ``Refused`` past a limit."""
    groups: list[list[Filter]] = [g.get("filters", []) for g in body.get("filterGroups", [])]
    counts = [len(group) for group in groups]
    if len(groups) > GROUPS or max(counts, default=0) > FILTERS or sum(counts) > ALL_FILTERS:
        raise bad_input("Too many filters or filter groups")
    start, limit = page_of(body)
    found = [
        record
        for record in sandbox.all(of)
        if _asked(record, body.get("query", "")) and _in_a_group(sandbox, record, groups)
    ]
    found.sort(key=_order(sandbox, of, body), reverse=_descending(body))
    return len(found), found[start : start + limit]


def page_of(body: Mapping[str, Any]) -> tuple[int, int]:
    """(offset, limit) that a search asks for."""
    after, limit = str(body.get("after", "") or "0"), body.get("limit", 10)
    if not after.isdecimal() or not isinstance(limit, int) or not 0 < limit <= PAGE:
        raise bad_input(f"limit must be between 1 and {PAGE}, after a number")
    if int(after) + limit > REACH:
        raise bad_input(f"Search can only return the first {REACH} results")
    return int(after), limit


def _asked(record: Record, query: str) -> bool:
    text = " ".join(record.values.get(name, "") for name in record.type.searched).lower()
    return all(word in text for word in query.lower().split())


def _in_a_group(sandbox: Sandbox, record: Record, groups: list[list[Filter]]) -> bool:
    return not groups or any(all(_meets(sandbox, record, f) for f in group) for group in groups)


def _meets(sandbox: Sandbox, record: Record, wanted: Filter) -> bool:
    name, operator = str(wanted.get("propertyName", "")), str(wanted.get("operator", ""))
    if name.startswith("associations."):
        return _is_linked(sandbox, record, object_type(name.split(".", 1)[1]).plural, wanted)
    prop = sandbox.properties.find(record.type.plural, name)
    if prop is None or operator not in OPERATORS:
        raise bad_input(f"Cannot filter by {name!r} {operator!r}")
    present = record.values.get(name)
    if operator == "HAS_PROPERTY":
        return present is not None
    if operator == "NOT_HAS_PROPERTY":
        return present is None
    if present is None:
        return operator.startswith("N")
    return OPERATORS[operator](
        lambda raw: _comparable(prop.type, str(raw)), _comparable(prop.type, present), wanted
    )


def _is_linked(sandbox: Sandbox, record: Record, to: str, wanted: Filter) -> bool:
    linked = {end_id for end_id, _ in sandbox.associations.of(record.ref, to)}
    return bool(linked & {str(wanted.get("value")), *map(str, wanted.get("values", ()))})


def _comparable(kind: str, raw: str) -> Comparable:
    """A value as it is compared: by number, time or text, whatever its type is."""
    try:
        if kind == "number":
            return (0, Decimal(raw))
        if kind in ("date", "datetime"):
            return (0, instant(raw))
    except (InvalidOperation, ValueError, OverflowError):
        raise bad_input(f"{raw!r} is not a {kind}") from None
    return (1, raw.lower())


Reader = Callable[[object], Comparable]


def _token(_: Reader, present: Comparable, wanted: Filter) -> bool:
    pattern = ".*".join(re.escape(part) for part in str(wanted.get("value", "")).lower().split("*"))
    return any(re.fullmatch(pattern, token) for token in re.split(r"[\s@.;,-]+", str(present[1])))


OPERATORS: Mapping[str, Callable[[Reader, Comparable, Filter], bool]] = {
    "EQ": lambda read, present, wanted: present == read(wanted.get("value")),
    "NEQ": lambda read, present, wanted: present != read(wanted.get("value")),
    "LT": lambda read, present, wanted: present < read(wanted.get("value")),
    "LTE": lambda read, present, wanted: present <= read(wanted.get("value")),
    "GT": lambda read, present, wanted: present > read(wanted.get("value")),
    "GTE": lambda read, present, wanted: present >= read(wanted.get("value")),
    "BETWEEN": lambda read, present, wanted: (
        read(wanted.get("value")) <= present <= read(wanted.get("highValue"))
    ),
    "IN": lambda read, present, wanted: present in [read(v) for v in wanted.get("values", ())],
    "NOT_IN": lambda read, present, wanted: (
        present not in [read(v) for v in wanted.get("values", ())]
    ),
    "HAS_PROPERTY": lambda *_: True,
    "NOT_HAS_PROPERTY": lambda *_: False,
    "CONTAINS_TOKEN": _token,
    "NOT_CONTAINS_TOKEN": lambda read, present, wanted: not _token(read, present, wanted),
}
"""How a present value meets a filter."""


def _order(
    sandbox: Sandbox, of: ObjectType, body: Mapping[str, Any]
) -> Callable[[Record], tuple[bool, Comparable, int]]:
    name = _sort(body)[0] or "hs_object_id"
    prop = sandbox.properties.find(of.plural, name)
    if prop is None:
        raise bad_input(f"Cannot sort by {name!r}")

    def key(record: Record) -> tuple[bool, Comparable, int]:
        present = record.values.get(name)
        empty: Comparable = (0, "")
        return (
            present is not None,
            empty if present is None else _comparable(prop.type, present),
            int(record.id),
        )

    return key


def _descending(body: Mapping[str, Any]) -> bool:
    return _sort(body)[1] == "DESCENDING"


def _sort(body: Mapping[str, Any]) -> tuple[str, str]:
    """(property, direction) of the one sort a search may have."""
    sorts = body.get("sorts") or [{}]
    if len(sorts) > 1:
        raise bad_input("Only one sort is supported")
    first = sorts[0]
    if isinstance(first, str):
        return first.removeprefix("-"), "DESCENDING" if first.startswith("-") else "ASCENDING"
    return first.get("propertyName", ""), first.get("direction", "ASCENDING")
