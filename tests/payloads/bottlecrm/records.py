"""What BottleCRM keeps, how it names things, and how it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

Body = dict[str, Any]

ZONE = ZoneInfo("Europe/Berlin")
CURRENCY = "EUR"
CURRENCIES = (
    "USD", "EUR", "GBP", "INR", "CAD", "AUD", "JPY", "CNY", "CHF", "SGD", "AED", "BRL", "MXN",
)  # fmt: skip
TARGETS = ("Account", "Case", "Contact", "Lead", "Opportunity", "Task")
FIELD_TYPES = ("text", "textarea", "number", "dropdown", "date", "checkbox")
STATUSES = ("New", "In Progress", "Completed")
PRIORITIES = ("Low", "Medium", "High")
STAGES = (
    ("PROSPECTING", "Prospecting", "open", 14, 10),
    ("QUALIFICATION", "Qualification", "open", 14, 25),
    ("PROPOSAL", "Proposal", "open", 10, 50),
    ("NEGOTIATION", "Negotiation", "open", 10, 75),
    ("CLOSED_WON", "Closed Won", "won", None, 100),
    ("CLOSED_LOST", "Closed Lost", "lost", None, 0),
)
"""Code, label, kind, expected days, the probability a deal takes on there if it has none."""
KINDS = {code: kind for code, _, kind, _, _ in STAGES}
LABELS = {code: label for code, label, *_ in STAGES}

CONTACT_TEXTS: Mapping[str, tuple[int, str | None]] = {
    "first_name": (255, None), "last_name": (255, None), "email": (254, None), "phone": (25, None),
    "source": (255, ""), "source_detail": (100, ""), "source_ref": (255, ""),
    "organization": (255, None), "title": (255, None), "department": (255, None),
    "linkedin_url": (200, None), "address_line": (255, None), "city": (255, None),
    "state": (255, None), "postcode": (64, None), "country": (3, None),
    "description": (1_000_000, None),
}  # fmt: skip
"""Name → longest text, and what is there before anybody wrote it."""


class Refused(Exception):
    """An answer in place of the work."""

    def __init__(self, status: int, body: Any, **headers: str) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body
        self.headers = headers


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """A member of the organisation. Owner fields hold ``id``, authorship ``user_id``."""

    id: str
    user_id: str
    name: str
    email: str
    role: str
    active: bool
    created_at: datetime


@dataclass(kw_only=True, slots=True)
class Row:
    """A contact, deal or task. ``number`` counts all rows in the order they were made."""

    id: str
    number: int
    created_at: datetime
    updated_at: datetime
    created_by: Profile
    values: dict[str, Any]
    custom: dict[str, Any] = field(default_factory=dict)
    assigned: set[str] = field(default_factory=set)
    contacts: set[str] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What was asked, and by whom."""

    query: Mapping[str, str]
    body: Body
    by: Profile


def api_time(at: datetime) -> str:
    """In the organisation's zone."""
    return at.astimezone(ZONE).isoformat()


def event_time(at: datetime) -> str:
    """UTC, milliseconds where there are any."""
    spec = "milliseconds" if at.microsecond else "seconds"
    return at.astimezone(UTC).isoformat(timespec=spec).replace("+00:00", "Z")
