"""BottleCRM's webhook deliveries: one event about one record each.

Facts are read from the package itself (``webhooks/events.py``, ``webhooks/emit.py``):
https://pypi.org/project/django-crm/1.35.0/
The body tells the record's plain fields, and nothing of custom fields, of a deal's contacts, of
what has changed or by whom. So an event is a hint and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from adapters.payloads import REDACTED, from_json, loaded, redacted, scrubbed
from plugin.errors import PayloadError
from plugin.ports import Event, EventKind, Parsed
from schemas.bottlecrm import EventPayload, EventSchema

CONTACT = "contact."
KINDS = {
    "contact.created": EventKind.CONTACT_CHANGED,
    "contact.updated": EventKind.CONTACT_CHANGED,
    "contact.deleted": EventKind.CONTACT_DELETED,
    "deal.created": EventKind.DEAL_CHANGED,
    "deal.updated": EventKind.DEAL_CHANGED,
    "deal.won": EventKind.DEAL_CHANGED,
    "deal.lost": EventKind.DEAL_CHANGED,
    "deal.deleted": EventKind.DEAL_DELETED,
}
"""A merge is told as the deletion of one contact and the change of the other."""

PERSONAL = frozenset({"first_name", "last_name", "email", "phone", "organization", "title"})
"""What a contact's event tells of the person."""
STRUCTURE = frozenset({"id", "event", "created_at", "org_id"})
"""Keys of an event that say what it is and never who."""

_EVENT = EventSchema()


# ---------------------------------------------------------------------------- reading


def parse(body: bytes, *, account_crm_id: str = "") -> Parsed:
    """Raises ``PayloadError`` where the body is no event, or one of another organisation than
    the one whose address was called."""
    content = _object(body)
    name = content.get("event")
    if not isinstance(name, str):
        if "text" in content:
            raise PayloadError("the webhook's format is Slack: choose JSON in BottleCRM")
        raise PayloadError("event: missing or not a text")
    kind = KINDS.get(name)
    if kind is None:
        return Parsed(ignored=1)
    payload: EventPayload = loaded(_EVENT, content)
    if account_crm_id and payload["org_id"] != account_crm_id:
        raise PayloadError("org_id: not the organisation this address belongs to")
    return Parsed(
        events=(
            Event(
                key=payload["id"],
                kind=kind,
                account_crm_id=payload["org_id"],
                record_id=payload["subject"]["id"],
                occurred_at=payload["occurred_at"].astimezone(UTC),
            ),
        )
    )


def _object(body: bytes) -> dict[str, Any]:
    content = from_json(body)
    if not isinstance(content, dict):
        raise PayloadError("the body is not an object")
    return content


# -------------------------------------------------------------------------- forgetting


def redact(
    body: bytes, *, account_crm_id: str, contact_ids: frozenset[str], words: Sequence[str]
) -> bytes | None:
    """The body without the values of these contacts and without the words; None: nothing to do.

    What cannot be read as an event goes as a whole where it may tell of them.
    """

    def without(content: dict[str, Any], folded: Sequence[str]) -> dict[str, Any]:
        if content.get("org_id", account_crm_id) != account_crm_id:
            return content
        return _without(content, contact_ids, folded)

    return redacted(body, _object, without, contact_ids=contact_ids, words=words)


def _without(
    content: dict[str, Any], contact_ids: frozenset[str], words: Sequence[str]
) -> dict[str, Any]:
    kept = {key: v if key in STRUCTURE else scrubbed(v, words) for key, v in content.items()}
    data = content.get("data")
    if not isinstance(data, dict):
        return kept
    kept["data"] |= {key: value for key, value in data.items() if key == "id"}
    if _is_about(content, data, contact_ids):
        kept["data"] |= {key: REDACTED for key in PERSONAL if data.get(key)}
    return kept


def _is_about(content: dict[str, Any], data: dict[str, Any], contact_ids: frozenset[str]) -> bool:
    """One that does not say what kind of record it is about counts as about a contact."""
    return str(content.get("event", CONTACT)).startswith(CONTACT) and (
        str(data.get("id")) in contact_ids
    )
