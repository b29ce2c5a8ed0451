"""Pipedrive's webhooks v2: one delivery tells one save of one record.

https://pipedrive.readme.io/docs/guide-for-webhooks-v2
https://pipedrive.readme.io/docs/webhooks-v2-migration-guide

``data`` is the whole record, ``previous`` what changed as it was before. One save may change
several fields that count by themselves: each gives an event.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from marshmallow import ValidationError

from adapters.payloads import REDACTED, event_key, from_json, loaded, redacted, scrubbed
from adapters.pipedrive.heard import Heard
from adapters.pipedrive.values import OurFields, bare, instant, record_id
from adapters.values import SCORE, TOLD_FIELDS, clean, plain_number
from plugin.errors import PayloadError
from plugin.manifest import Direction, manifest
from plugin.ports import Event, EventKind, Parsed, Received
from plugin.referral.model import FieldChange
from schemas.fields import RecordNumber
from schemas.pipedrive import DeliveryPayload, DeliverySchema, Meta

VERSION = "2.0"
PERSON = "person"
DEAL = "deal"
ACTIONS = ("create", "change", "delete")
OUR_USER = "user"
"""Key in ``AccountLink.facts``: whose token we write with."""

CUSTOM = "custom_fields"
PERSON_KEYS = frozenset(
    {"name", "first_name", "last_name", "emails", "phones", "owner_id", "org_id"}
    | {"postal_address", "is_deleted", "active_flag"}
)
DEAL_KEYS = frozenset(
    {"title", "person_id", "owner_id", "pipeline_id", "status", "value", "currency"}
    | {"add_time", "close_time", "won_time", "lost_time", "is_deleted", "is_archived"}
    | {"participants", "participants_count"}
)
"""Keys whose change matters to us; a deal's step within its pipeline, for one, does not."""

CODE = re.compile(r"[0-9a-f]{40}")
KEPT = frozenset({"id", "add_time", "update_time"})
"""Keys of a person that stay when all else has to go."""
STRUCTURE = frozenset(
    {"version", "entity", "action", "entity_id", "company_id", "user_id", "timestamp", "host"}
    | {"change_source", "merged_to_id", "merged_from_id", "type", "status", "currency"}
    | {"add_time", "update_time", "close_time", "won_time", "lost_time"}
)
"""Keys whose text never tells of a person."""

_DELIVERY = DeliverySchema()
_RECORD_ID = RecordNumber()


# ---------------------------------------------------------------------------- reading


@dataclass(frozen=True, kw_only=True, slots=True)
class _Save:
    """One delivery, read."""

    meta: Meta
    record_id: str
    at: datetime
    data: Mapping[str, Any]
    previous: Mapping[str, Any]
    tells_what_changed: bool
    fields: OurFields
    by_our_user: bool

    @property
    def account_crm_id(self) -> str:
        return self.meta["company_id"]


def parse(received: Received, heard: Heard) -> Parsed:
    """Raises ``PayloadError`` where the body is not a webhook of version 2.

    Which deals stand on whom is also kept in ``heard``, unless another company tells it.
    """
    raw = _object(received.body)
    if not _is_for_us(raw):
        return Parsed(ignored=1)
    save = _save(loaded(_DELIVERY, raw), received)
    if save.account_crm_id == received.account_crm_id:
        _remember(save, heard)
    is_person = save.meta["entity"] == PERSON
    events = tuple(_person_events(save, heard) if is_person else _deal_events(save))
    return Parsed(events=events, ignored=int(not events))


def _object(body: bytes) -> dict[str, Any]:
    content = from_json(body)
    if not isinstance(content, dict) or not isinstance(content.get("meta"), dict):
        raise PayloadError("the body is not an object with meta")
    if content["meta"].get("version") != VERSION:
        raise PayloadError(f"meta.version: not {VERSION}")
    return content


def _is_for_us(raw: Mapping[str, Any]) -> bool:
    entity, action = raw["meta"].get("entity"), raw["meta"].get("action")
    if not isinstance(entity, str) or not isinstance(action, str):
        raise PayloadError("meta.entity, meta.action: missing or not a text")
    return entity in (PERSON, DEAL) and action in ACTIONS


def _save(payload: DeliveryPayload, received: Received) -> _Save:
    meta, previous = payload["meta"], payload["previous"]
    data = payload["data"] or {}
    try:
        entity_id = _RECORD_ID.deserialize(meta["entity_id"])
    except ValidationError as error:
        raise PayloadError("meta.entity_id: missing or not a record id") from error
    return _Save(
        meta=meta,
        record_id=str(entity_id),
        at=instant(meta["timestamp"]) or instant(data.get("update_time")) or received.received_at,
        data=data,
        previous=previous or {},
        tells_what_changed=meta["action"] == "change" and previous is not None,
        fields=OurFields.of(received.facts),
        by_our_user=meta["change_source"] == "api"
        and meta["user_id"] == received.facts.get(OUR_USER),
    )


def _person_events(save: _Save, heard: Heard) -> Iterator[Event]:
    meta, one = save.meta, save.record_id
    if survivor := meta["merged_to_id"]:
        yield _event(save, EventKind.CONTACT_MERGED, survivor, merged_ids=(one,))
    elif merged := meta["merged_from_id"]:
        yield _event(save, EventKind.CONTACT_MERGED, one, merged_ids=(merged,))
    elif meta["action"] == "delete":
        yield _event(save, EventKind.CONTACT_DELETED, one)
    else:
        yield from _changed_person(save, heard)


def _changed_person(save: _Save, heard: Heard) -> Iterator[Event]:
    """An event for each change that counts by itself, else one for all others, else none."""
    kind, one = EventKind.CONTACT_CHANGED, save.record_id
    codes = _changed_codes(save)
    keys = PERSON_KEYS & save.previous.keys()
    ours = bool(codes) and not keys and _is_ours(save, codes, heard)
    told = [code for code in sorted(codes) if _is_told(save, code)]
    for code in told:
        yield _event(save, kind, one, code=code, change=_change(save, code), ours=ours)
    if not told and (codes or keys or not save.tells_what_changed):
        yield _event(save, kind, one, ours=ours)


def _changed_codes(save: _Save) -> frozenset[str]:
    """Custom fields that matter to us and have changed; of a new person, that are filled."""
    changed = _custom(save.previous if save.tells_what_changed else save.data)
    return frozenset(
        code
        for code, value in changed.items()
        if (save.tells_what_changed or bare(value) not in (None, "", []))
        and (code in save.fields.codes.values() or _may_be_score(save, code))
    )


def _is_ours(save: _Save, codes: frozenset[str], heard: Heard) -> bool:
    """Written with our token, and nothing that only people fill; unless we know that we did, as
    when an erased name had to go. Our user may be a person with other programs of its own."""
    out, now = save.fields.codes_of(Direction.OUT), _custom(save.data)
    return save.by_our_user and all(
        code in out or heard.is_written(save.record_id, code, bare(now.get(code))) for code in codes
    )


def _is_told(save: _Save, code: str) -> bool:
    key = save.fields.key_of(code)
    return key in TOLD_FIELDS or key is None


def _change(save: _Save, code: str) -> FieldChange | None:
    """What the delivery itself tells of a rating, a referrer's name or a possible score."""
    now, key = _custom(save.data), save.fields.key_of(code)
    if now.get(code) == REDACTED:
        return None
    if key:
        value = save.fields.text(manifest().field(key), now)
        return FieldChange(field=key, value=value, at=save.at)
    return FieldChange(field=f"score:{code}", value=_score(now.get(code)) or "", at=save.at)


def _may_be_score(save: _Save, code: str) -> bool:
    value = _custom(save.data).get(code)
    return CODE.fullmatch(code) is not None and (value == REDACTED or _score(value) is not None)


def _score(value: object) -> str | None:
    """A value that may be a score; an option's id is none."""
    if isinstance(value, dict) and "value" not in value:
        return None
    found = bare(value)
    if not isinstance(found, str | int | float) or isinstance(found, bool):
        return None
    text = clean(plain_number(str(found)))
    return text if SCORE.fullmatch(text) else None


def _custom(record: Mapping[str, Any]) -> Mapping[str, Any]:
    found = record.get(CUSTOM)
    return found if isinstance(found, dict) else {}


def _deal_events(save: _Save) -> Iterator[Event]:
    meta, one = save.meta, save.record_id
    persons = _persons_of(save)
    if survivor := meta["merged_to_id"]:
        yield _event(save, EventKind.DEAL_CHANGED, survivor, contact_ids=persons)
    if meta["action"] == "delete":
        yield _event(save, EventKind.DEAL_DELETED, one, contact_ids=persons)
    elif meta["merged_from_id"] or not save.tells_what_changed or DEAL_KEYS & save.previous.keys():
        yield _event(save, EventKind.DEAL_CHANGED, one, contact_ids=persons)


def _persons_of(save: _Save) -> tuple[str, ...]:
    """Its person now and, where that changed, before."""
    found = [record_id(record.get("person_id")) for record in (save.data, save.previous)]
    return tuple(dict.fromkeys(filter(None, found)))


def _event(
    save: _Save,
    kind: EventKind,
    record: str,
    *,
    code: str = "",
    change: FieldChange | None = None,
    merged_ids: tuple[str, ...] = (),
    contact_ids: tuple[str, ...] = (),
    ours: bool = False,
) -> Event:
    # What is said, and not meta.id: nobody says that it stays the same when sent again.
    told = None if merged_ids else [save.meta["action"], save.data, save.previous]
    what = (change.field if change else code) or None
    facts = [save.account_crm_id, kind, record, merged_ids, what, told]
    return Event(
        key=event_key(facts),
        kind=kind,
        account_crm_id=save.account_crm_id,
        record_id=record,
        occurred_at=save.at,
        change=change,
        merged_ids=merged_ids,
        contact_ids=contact_ids,
        ours=ours,
    )


# ------------------------------------------------------------------------- remembering


def _remember(save: _Save, heard: Heard) -> None:
    meta = save.meta
    if meta["entity"] == DEAL:
        if person_id := record_id(save.data.get("person_id")):
            heard.deal(save.record_id, [person_id])
        return
    gone = [meta["merged_from_id"], save.record_id if meta["action"] == "delete" else None]
    if any(gone):
        heard.left(filter(None, gone))


# -------------------------------------------------------------------------- forgetting


def redact(
    received: Received,
    *,
    account_crm_id: str,
    contact_ids: frozenset[str],
    words: Sequence[str],
) -> bytes | None:
    """The body without the values of these contacts and without the words; None: nothing to do.

    What cannot be read goes as a whole where it may tell of them.
    """

    def without(raw: dict[str, Any], folded: Sequence[str]) -> dict[str, Any]:
        meta = raw["meta"]
        if str(meta.get("company_id")) != account_crm_id:
            return raw
        kept: dict[str, Any] = scrubbed(raw, folded, structure=STRUCTURE)
        if meta.get("entity") == PERSON and str(meta.get("entity_id")) in contact_ids:
            return _emptied(_save(loaded(_DELIVERY, kept), received), kept["meta"])
        return kept

    return redacted(received.body, _object, without, contact_ids=contact_ids, words=words)


def _emptied(save: _Save, meta: object) -> dict[str, Any]:
    """Only that a person changed, and which of the fields that matter to us."""
    gone = dict.fromkeys(sorted(_changed_codes(save)), REDACTED)
    keys = dict.fromkeys(sorted(PERSON_KEYS & save.previous.keys()), REDACTED)
    data = {key: save.data[key] for key in KEPT if key in save.data} | {CUSTOM: gone}
    return {
        "meta": meta,
        "data": data if save.meta["action"] != "delete" else None,
        "previous": {**keys, CUSTOM: gone} if save.tells_what_changed else None,
    }
