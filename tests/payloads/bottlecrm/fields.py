"""BottleCRM's custom fields: their definitions, and the values below records."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from tests.payloads.bottlecrm.checking import (
    SLUG,
    bad_options,
    coerced,
    lacking,
    refuse_if,
    too_long,
)
from tests.payloads.bottlecrm.records import (
    FIELD_TYPES,
    TARGETS,
    Body,
    Refused,
    Request,
    Row,
    api_time,
)


class Fields:
    """All definitions of an organisation. ``rows``: the records of a target, to be counted."""

    def __init__(
        self,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        rows: Mapping[str, Mapping[str, Row]],
    ) -> None:
        self._clock = clock
        self._new_id = new_id
        self._rows = rows
        self._fields: dict[str, Body] = {}

    def active(self, target: str) -> list[Body]:
        """The active ones, as they stand below a record."""
        found = [o for o in self._fields.values() if o["target_model"] == target]
        active = [dict(one) for one in found if one["is_active"]]
        return sorted(active, key=lambda one: (one["display_order"], one["label"]))

    def get(self, target: str, key: str) -> Body:
        return next(
            one for one in self._fields.values()
            if one["target_model"] == target and one["key"] == key
        )  # fmt: skip

    def checked(self, target: str, told: Any, existing: Body) -> Body:
        """The values to keep. Keys left out stay, unknown ones are dropped in silence, empty
        ones are taken out."""
        if isinstance(told, str):
            try:
                told = json.loads(told)
            except ValueError:
                told = None
        told = told or {}
        if not isinstance(told, dict):
            refuse_if({"custom_fields": {"custom_fields": "must be an object"}})
        known = {o["key"]: o for o in self._fields.values() if o["target_model"] == target}
        active = {key: one for key, one in known.items() if one["is_active"]}
        kept = {
            key: value for key, value in existing.items()
            if key in known and (key not in told or key not in active)
        }  # fmt: skip
        problems: Body = {}
        for key in told.keys() & active.keys():
            if key in existing and told[key] == existing[key]:
                kept[key] = existing[key]
                continue
            try:
                value = coerced(active[key], told[key])
            except ValueError as error:
                problems[key] = str(error)
                continue
            if value is not None:
                kept[key] = value
        for key, one in active.items():
            if one["is_required"] and key not in kept:
                problems.setdefault(key, "is required")
        refuse_if({"custom_fields": problems} if problems else {})
        return kept

    def of(self, target: str) -> list[Body]:
        """The switched-off ones, too."""
        return [dict(one) for one in self._fields.values() if one["target_model"] == target]

    # ---------------------------------------------------------------------- over the wire

    def list_all(self, request: Request) -> tuple[int, Any]:
        target = request.query.get("target_model")
        found = [
            dict(one)
            for one in self._fields.values()
            if target in (None, "", one["target_model"])
            and (one["is_active"] or request.query.get("active_only") != "true")
        ]
        found.sort(key=lambda one: (one["target_model"], one["display_order"], one["label"]))
        if request.query.get("include_counts") == "false":
            return 200, {"definitions": found, "totals": None}
        for one in found:
            one["records_missing_value"] = self._missing(one)
        return 200, {"definitions": found, "totals": self._field_totals()}

    def create(self, request: Request) -> tuple[int, Any]:
        told = request.body
        problems = lacking(told, ("target_model", "key", "label", "field_type"))
        problems |= too_long(told, {"key": 64, "label": 128})
        for name, choices in (("target_model", TARGETS), ("field_type", FIELD_TYPES)):
            if name not in problems and told[name] not in choices:
                problems[name] = [f'"{told[name]}" is not a valid choice.']
        if "key" not in problems and not SLUG.fullmatch(told["key"]):
            problems["key"] = ["key must be a lowercase slug starting with a letter (a-z, 0-9, _)"]
        refuse_if(problems)
        refuse_if(bad_options(told["field_type"], told.get("options")))
        if any(one["target_model"] == told["target_model"] and one["key"] == told["key"]
               for one in self._fields.values()):  # fmt: skip
            message = f"a {told['target_model']} field with key {told['key']!r} already exists"
            refuse_if({"key": [message]})
        now = api_time(self._clock())
        made = {
            "id": self._new_id(),
            **{name: told[name] for name in ("target_model", "key", "label", "field_type")},
            "options": told.get("options"), "is_required": told.get("is_required", False),
            "is_filterable": told.get("is_filterable", False),
            "display_order": told.get("display_order", 0),
            "is_active": told.get("is_active", True), "created_at": now, "updated_at": now,
        }  # fmt: skip
        self._fields[made["id"]] = made
        return 201, dict(made)

    def show(self, request: Request, field_id: str) -> tuple[int, Any]:
        return 200, dict(self._field(field_id))

    def update(self, request: Request, field_id: str) -> tuple[int, Any]:
        """Only what is given changes; key, target and type never do."""
        kept, told = self._field(field_id), request.body
        refuse_if(too_long(told, {"label": 128}))
        for frozen in ("key", "target_model", "field_type"):
            if told.get(frozen, kept[frozen]) != kept[frozen]:
                refuse_if({frozen: [f"{frozen} cannot be changed after creation"]})
        refuse_if(bad_options(kept["field_type"], told.get("options", kept["options"])))
        writable = (
            "label", "options", "is_required", "is_filterable", "display_order", "is_active",
        )  # fmt: skip
        kept |= {name: told[name] for name in writable if name in told}
        kept["updated_at"] = api_time(self._clock())
        return 200, dict(kept)

    def switch_off(self, request: Request, field_id: str) -> tuple[int, Any]:
        self._field(field_id)["is_active"] = False
        return 200, {"error": False, "message": "Custom field deactivated"}

    def _field(self, field_id: str) -> Body:
        if field_id not in self._fields:
            raise Refused(404, {"error": True, "errors": "Custom field not found"})
        return self._fields[field_id]

    def _field_totals(self) -> Body:
        active = [one for one in self._fields.values() if one["is_active"]]
        return {
            "count": len(self._fields),
            "active": len(active),
            "models_extended": len({one["target_model"] for one in active}),
            "required_with_gaps": 0,
        }

    def _missing(self, definition: Body) -> int:
        of = self._rows.get(definition["target_model"], {})
        return sum(definition["key"] not in row.custom for row in of.values())
