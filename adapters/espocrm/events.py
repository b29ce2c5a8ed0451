"""EspoCRM's webhook deliveries: an array of records, all of one event.

https://docs.espocrm.com/administration/webhooks/
Which event it is stands in the address only (``…/Contact.update``). An update holds the changed
attributes, without old values, time or version. So every event is dated by its arrival, and the
same change made twice cannot be told from one sent twice: both have the same key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from marshmallow import ValidationError

from adapters.espocrm.values import contacts_of, from_attribute, names
from adapters.payloads import REDACTED, array, event_key, redacted, scrubbed
from adapters.values import SCORE, TOLD_FIELDS
from plugin.errors import PayloadError
from plugin.manifest import manifest
from plugin.ports import Event, EventKind, Parsed, Received
from plugin.referral.model import FieldChange
from schemas.espocrm import Record, RecordSchema

KINDS = {
    "Contact.create": EventKind.CONTACT_CHANGED,
    "Contact.update": EventKind.CONTACT_CHANGED,
    "Contact.delete": EventKind.CONTACT_DELETED,
    "Opportunity.create": EventKind.DEAL_CHANGED,
    "Opportunity.update": EventKind.DEAL_CHANGED,
    "Opportunity.delete": EventKind.DEAL_DELETED,
}
CONTACTS = "Contact."

_ITEM = RecordSchema()


# ---------------------------------------------------------------------------- reading


def parse(received: Received) -> Parsed:
    """Raises ``PayloadError`` where the body is not an array in JSON, or too long."""
    items = array(received.body)
    if received.topic not in KINDS:
        return Parsed(ignored=len(items))
    ours = names(received.facts)
    events: list[Event] = []
    unreadable: list[tuple[int, str]] = []
    for at, raw in enumerate(items):
        try:
            events += list(_events(received, _read(raw), ours))
        except PayloadError as error:
            unreadable.append((at, str(error)))
        except RecursionError:
            unreadable.append((at, "nested too deeply"))
    return Parsed(events=tuple(events), unreadable=tuple(unreadable))


def _read(raw: object) -> Record:
    if not isinstance(raw, dict):
        raise PayloadError("not an object")
    try:
        _ITEM.load(raw)
    except ValidationError as error:
        raise PayloadError("id: missing or not a record id") from error
    return raw  # in its own order, which loading would lose


def _events(received: Received, item: Record, ours: Mapping[str, str]) -> Iterator[Event]:
    """One event for each change it tells; one without where it tells none."""
    kind = KINDS[received.topic]
    changes: list[FieldChange | None] = [None]
    if kind is EventKind.CONTACT_CHANGED:
        changes = [*_changes(received, item, ours)] or changes
    for change in changes:
        yield Event(
            key=event_key(
                [received.account_crm_id, received.topic, change.field if change else "", item]
            ),
            kind=kind,
            account_crm_id=received.account_crm_id,
            record_id=item["id"],
            occurred_at=received.received_at,
            change=change,
            contact_ids=contacts_of(item) if kind is EventKind.DEAL_CHANGED else (),
        )


def _changes(received: Received, item: Record, ours: Mapping[str, str]) -> Iterator[FieldChange]:
    """Ratings, the referrer's name, and numbers that may be a mapped score. A new contact was
    rated only where it has a value; in an update an empty one counts as emptied."""
    known = {name: key for key, name in ours.items()}
    new = received.topic == "Contact.create"
    for name, value in item.items():
        key = known.get(name)
        if key in TOLD_FIELDS:
            told = from_attribute(manifest().field(key), item, name)
            if told or not new:
                yield FieldChange(field=key, value=told, at=received.received_at)
        elif key is None and _may_be_a_score(value):
            yield FieldChange(field=f"score:{name}", value=str(value), at=received.received_at)


def _may_be_a_score(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    return SCORE.fullmatch(str(value)) is not None


# -------------------------------------------------------------------------- forgetting


def redact(
    received: Received, *, account_crm_id: str, contact_ids: frozenset[str], words: Sequence[str]
) -> bytes | None:
    """The body without what it tells of these contacts and without the words; None: nothing to do.

    What cannot be read as records goes as a whole where it may tell of them.
    """
    if received.account_crm_id != account_crm_id:
        return None
    about = contact_ids if received.topic.startswith(CONTACTS) else frozenset()

    def without(content: list[Any], folded: Sequence[str]) -> list[Any]:
        return [_without(item, about, contact_ids, folded) for item in content]

    return redacted(received.body, array, without, contact_ids=contact_ids, words=words)


def _without(
    item: Any, about: frozenset[str], contact_ids: frozenset[str], words: Sequence[str]
) -> Any:
    """Of a contact in ``about`` only the id stays."""
    if isinstance(item, dict) and isinstance(item.get("id"), str) and item["id"] in about:
        return {"id": item["id"]}
    return scrubbed(_unnamed(item, contact_ids), words, structure=frozenset({"id"}))


def _unnamed(value: Any, contact_ids: frozenset[str]) -> Any:
    """Without names that stand beside a contact's id (``contactsNames``)."""
    if isinstance(value, list):
        return [_unnamed(part, contact_ids) for part in value]
    if isinstance(value, dict):
        return {
            key: REDACTED
            if (key in contact_ids or _names_one(key, value, contact_ids)) and isinstance(part, str)
            else _unnamed(part, contact_ids)
            for key, part in value.items()
        }
    return value


def _names_one(key: str, item: Mapping[str, Any], contact_ids: frozenset[str]) -> bool:
    """Whether ``key`` is the name beside an id of one of the contacts: ``contactName`` beside
    ``contactId``."""
    stem = key.removesuffix("Name")
    beside = item.get(f"{stem}Id")
    return stem != key and isinstance(beside, str) and beside in contact_ids
