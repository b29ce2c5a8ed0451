"""BottleCRM's lists: filters, order, pages. No filter and no order goes by the last change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from tests.payloads.bottlecrm.checking import ids_in
from tests.payloads.bottlecrm.records import KINDS, STATUSES, ZONE, Refused, Row

PAGE = 10


def newest_first(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row.created_at, row.number), reverse=True)


def page_of(rows: Sequence[Any], query: Mapping[str, str]) -> tuple[Sequence[Any], int]:
    """The page asked for, and where it starts. What is no number counts as not given."""
    limit, offset = natural(query.get("limit")) or PAGE, natural(query.get("offset")) or 0
    return rows[offset : offset + limit], offset


def natural(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def odd_offset(rows: Sequence[Any], page: Sequence[Any]) -> int | None:
    """``offset`` in an answer says nothing of where the page starts or ends: it counts the rows
    whose id is not below that of the page's last."""
    if not page:
        return 0
    above = sum(row.id >= page[-1].id for row in rows)
    return None if above == len(rows) else above


def fits_contact(row: Row, query: Mapping[str, str]) -> bool:
    values = row.values
    whole = [values[name] for name in ("first_name", "last_name", "email", "phone")]
    return (
        _fits(row, query)
        and any(_holds(text, query.get("name", "")) for text in whole[:2])
        and any(_holds(text, query.get("search", "")) for text in whole)
        and all(_holds(values[name], query.get(name, "")) for name in ("city", "phone", "email"))
    )


def fits_deal(row: Row, query: Mapping[str, str]) -> bool:
    stage, closed_on = row.values["stage"], row.values["closed_on"] or ""
    since, until = _day_asked(query, "closed_on__gte"), _day_asked(query, "closed_on__lte")
    return (
        _fits(row, query)
        and _holds(row.values["name"], query.get("name", ""))
        and _holds(row.values["name"], query.get("search", ""))
        and query.get("stage", "") in stage
        and (query.get("open") != "true" or KINDS[stage] == "open")
        and (since is None or closed_on >= since.isoformat())
        and (until is None or "" < closed_on <= until.isoformat())
    )


def fits_task(row: Row, query: Mapping[str, str]) -> bool:
    values, due = row.values, row.values["due_date"] or ""
    since, until = _day_asked(query, "due_date__gte"), _day_asked(query, "due_date__lte")
    return (
        _fits(row, query)
        and _holds(values["title"], query.get("title", ""))
        and _holds(values["title"], query.get("search", ""))
        and (query.get("status") not in STATUSES or values["status"] == query["status"])
        and query.get("priority", "") in ("", values["priority"])
        and query.get("opportunity", "") in ("", values["opportunity"])
        and (since is None or due >= since.isoformat())
        and (until is None or "" < due <= until.isoformat())
    )


def _fits(row: Row, query: Mapping[str, str]) -> bool:
    """Filters that all three lists have. A filter for the last change is not among them."""
    day = row.created_at.astimezone(ZONE).date()
    since, until = _day_asked(query, "created_at__gte"), _day_asked(query, "created_at__lte")
    owner = query.get("assigned_to")
    return (
        (since is None or day >= since)
        and (until is None or day <= until)
        and (not owner or bool(ids_in({"assigned_to": owner}, "assigned_to") & row.assigned))
        and all(
            row.custom.get(name[3:]) == value
            for name, value in query.items()
            if name.startswith("cf_") and value
        )
    )


def _holds(text: str | None, part: str) -> bool:
    return part.lower() in (text or "").lower()


def _day_asked(query: Mapping[str, str], name: str) -> date | None:
    """A day, or a time of which only the day counts."""
    text = query.get(name)
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        message = f"'{text}' is not a valid date. Use YYYY-MM-DD."
        raise Refused(400, {name: [message]}) from None
    return (at.astimezone(ZONE) if at.tzinfo else at).date()
