"""HubSpot's webhook deliveries: an array of events, each about one record or one property.

https://developers.hubspot.com/docs/api-reference/latest/webhooks/guide
The same fact comes as a classic type (``contact.creation``) or as a generic one
(``object.creation`` with ``objectTypeId``), whichever the app subscribed to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from adapters.hubspot.values import from_milliseconds, from_property
from adapters.payloads import REDACTED, array, event_key, loaded, redacted, scrubbed
from adapters.values import SCORE, TOLD_FIELDS
from plugin.errors import PayloadError
from plugin.manifest import manifest
from plugin.ports import Event, EventKind, Parsed
from plugin.referral.model import FieldChange
from schemas.hubspot import EventPayload, EventSchema

CONTACT = "contact"
DEAL = "deal"
OBJECT_TYPES = {"0-1": CONTACT, "0-3": DEAL}
"""https://developers.hubspot.com/docs/guides/crm/understanding-the-crm#object-type-ids"""

KINDS = {
    (CONTACT, "creation"): EventKind.CONTACT_CHANGED,
    (CONTACT, "restore"): EventKind.CONTACT_CHANGED,
    (CONTACT, "propertyChange"): EventKind.CONTACT_CHANGED,
    (CONTACT, "deletion"): EventKind.CONTACT_DELETED,
    (CONTACT, "privacyDeletion"): EventKind.CONTACT_ERASED,
    (DEAL, "creation"): EventKind.DEAL_CHANGED,
    (DEAL, "restore"): EventKind.DEAL_CHANGED,
    (DEAL, "propertyChange"): EventKind.DEAL_CHANGED,
    (DEAL, "deletion"): EventKind.DEAL_DELETED,
}
"""(object, what happened) → our kind. Merges and associations have functions of their own."""

STRUCTURE = frozenset(
    {"subscriptionType", "eventType", "objectTypeId", "propertyName", "changeSource", "changeFlag"}
    | {"sourceId", "associationType", "fromObjectTypeId", "toObjectTypeId", "associationCategory"}
)
"""Keys of an event whose text never tells of a person."""

_EVENT = EventSchema()


# ---------------------------------------------------------------------------- reading


_PORTAL = re.compile(rb'"portalId"\s*:\s*([0-9]{1,20})')
_LOOKED_AT = 2_000  # bytes


def sender(body: bytes) -> str:
    """The portal of the first event."""
    found = _PORTAL.search(body, 0, _LOOKED_AT)
    return found[1].decode("ascii") if found else ""


def parse(body: bytes) -> Parsed:
    """Raises ``PayloadError`` where the body is not an array in JSON, or too long."""
    events: list[Event] = []
    unreadable: list[tuple[int, str]] = []
    ignored = 0
    for at, raw in enumerate(array(body)):
        try:
            found = list(_events(raw))
        except PayloadError as error:
            unreadable.append((at, str(error)))
            continue
        events += found
        ignored += not found
    return Parsed(events=tuple(events), unreadable=tuple(unreadable), ignored=ignored)


def _events(raw: object) -> Iterator[Event]:
    """Our events for one of theirs; none for a type we did not ask for."""
    if not isinstance(raw, dict):
        raise PayloadError("not an object")
    # HubSpot's table of fields says eventType, its deliveries say subscriptionType.
    subscription = raw.get("subscriptionType") or raw.get("eventType")
    if not isinstance(subscription, str):
        raise PayloadError("subscriptionType: missing or not a text")
    prefix, _, happened = subscription.partition(".")
    if prefix not in (CONTACT, DEAL, "object"):
        return
    if happened == "associationChange":
        yield from _association(subscription, _read(raw))
        return
    name = prefix if prefix != "object" else _object_name(raw)
    if name and happened == "merge":
        yield from _merge(subscription, name, _read(raw))
    elif kind := KINDS.get((name, happened)):
        yield _plain(subscription, kind, _read(raw))


def _object_name(raw: Mapping[str, Any]) -> str:
    object_type = raw.get("objectTypeId")
    if not isinstance(object_type, str):
        raise PayloadError("objectTypeId: missing or not a text")
    return OBJECT_TYPES.get(object_type, "")


def _read(raw: object) -> EventPayload:
    payload: EventPayload = loaded(_EVENT, raw)
    return payload


def _plain(subscription: str, kind: EventKind, payload: EventPayload) -> Event:
    record_id = _required(payload["object_id"], "objectId")
    change = None
    if kind is EventKind.CONTACT_CHANGED and payload["property_name"]:
        change = _change(payload["property_name"], payload)
    return _event(subscription, kind, record_id, payload, change=change)


def _change(name: str, payload: EventPayload) -> FieldChange | None:
    """What the event itself tells of a rating, a referrer's name or a possible score."""
    value = payload["property_value"] or ""
    # HubSpot writes the same word in place of a sensitive value.
    if value == REDACTED or payload["is_sensitive"] is True:
        return None
    at = from_milliseconds(payload["occurred_at"])
    if name in TOLD_FIELDS:
        return FieldChange(field=name, value=from_property(manifest().field(name), value), at=at)
    if not name.startswith("spiral_") and SCORE.fullmatch(value):
        return FieldChange(field=f"score:{name}", value=value, at=at)
    return None


def _merge(subscription: str, name: str, payload: EventPayload) -> Iterator[Event]:
    """The record that results may be a new one; ``objectId`` is not to be relied on here."""
    primary = payload["primary_object_id"]
    survivor = _required(payload["new_object_id"] or primary, "primaryObjectId")
    merged = dict.fromkeys(filter(None, (primary, *(payload["merged_object_ids"] or ()))))
    merged.pop(survivor, None)
    if name == CONTACT:
        yield _event(
            subscription, EventKind.CONTACT_MERGED, survivor, payload, merged_ids=tuple(merged)
        )
        return
    yield _event(subscription, EventKind.DEAL_CHANGED, survivor, payload)
    for gone in merged:
        yield _event(subscription, EventKind.DEAL_DELETED, gone, payload)


def _association(subscription: str, payload: EventPayload) -> Iterator[Event]:
    """Contacts of a deal changed, told from either side; all other pairs are not for us."""
    ends = _ends(payload)
    if ends not in ((DEAL, CONTACT), (CONTACT, DEAL)):
        return
    source = _required(payload["from_object_id"], "fromObjectId")
    target = _required(payload["to_object_id"], "toObjectId")
    deal, contact = (source, target) if ends == (DEAL, CONTACT) else (target, source)
    yield _event(subscription, EventKind.DEAL_CHANGED, deal, payload, contact_ids=(contact,))


def _ends(payload: EventPayload) -> tuple[str, str]:
    """What is associated with what; the generic type names object types, the classic one words."""
    source, target = payload["from_object_type_id"], payload["to_object_type_id"]
    if source and target:
        return OBJECT_TYPES.get(source, ""), OBJECT_TYPES.get(target, "")
    source, _, target = (payload["association_type"] or "").lower().partition("_to_")
    return source, target


def _required(value: str | None, key: str) -> str:
    if value is None:
        raise PayloadError(f"{key}: missing")
    return value


def _event(
    subscription: str,
    kind: EventKind,
    record_id: str,
    payload: EventPayload,
    *,
    change: FieldChange | None = None,
    merged_ids: tuple[str, ...] = (),
    contact_ids: tuple[str, ...] = (),
) -> Event:
    return Event(
        key=_key(subscription, kind, record_id, payload),
        kind=kind,
        account_crm_id=payload["account_id"],
        record_id=record_id,
        occurred_at=from_milliseconds(payload["occurred_at"]),
        change=change,
        merged_ids=merged_ids,
        contact_ids=contact_ids,
        ours=_is_ours(payload),
    )


def _key(subscription: str, kind: EventKind, record_id: str, payload: EventPayload) -> str:
    facts = [
        payload["account_id"],
        subscription,
        kind,
        record_id,
        payload["object_id"],
        payload["from_object_id"],
        payload["to_object_id"],
        payload["property_name"],
        payload["property_value"],
        payload["occurred_at"],
        payload["event_id"],
    ]
    return event_key(facts)


def _is_ours(payload: EventPayload) -> bool:
    # Documented nowhere, seen in every published delivery of an app's own write.
    return (
        payload["change_source"] == "INTEGRATION"
        and payload["app_id"] is not None
        and payload["source_id"] == payload["app_id"]
    )


# -------------------------------------------------------------------------- forgetting


def redact(
    body: bytes, *, account_crm_id: str, contact_ids: frozenset[str], words: Sequence[str]
) -> bytes | None:
    """The body without the values of these contacts and without the words; None: nothing to do.

    What cannot be read as events goes as a whole where it may tell of them.
    """

    def without(content: list[Any], folded: Sequence[str]) -> list[Any]:
        return [_without(raw, account_crm_id, contact_ids, folded) for raw in content]

    return redacted(body, array, without, contact_ids=contact_ids, words=words)


def _without(
    raw: Any, account_crm_id: str, contact_ids: frozenset[str], words: Sequence[str]
) -> Any:
    if not isinstance(raw, dict):
        return scrubbed(raw, words)
    if str(raw.get("portalId")) != account_crm_id:
        return raw
    kept = {key: v if key in STRUCTURE else scrubbed(v, words) for key, v in raw.items()}
    if _is_about(raw, contact_ids) and kept.get("propertyValue"):
        kept["propertyValue"] = REDACTED
    return kept


def _is_about(raw: Mapping[str, Any], contact_ids: frozenset[str]) -> bool:
    """Whether the event may be about one of the contacts: ids of contacts and deals may be equal.
    One that does not say what it is about counts as about them."""
    if str(raw.get("objectId")) not in contact_ids:
        return False
    subscription = raw.get("subscriptionType") or raw.get("eventType")
    prefix = subscription.partition(".")[0] if isinstance(subscription, str) else "object"
    if prefix == "object":
        return OBJECT_TYPES.get(str(raw.get("objectTypeId", "0-1"))) == CONTACT
    return prefix == CONTACT
