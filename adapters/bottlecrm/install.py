"""What the plugin adds to a BottleCRM organisation: custom fields of contacts.

Facts are read from the package itself (``common/views/custom_field_views.py``,
``common/custom_fields.py``): https://pypi.org/project/django-crm/1.35.0/

A field is ours if it has our key and our type: key and type can never be changed there. Deleting
one only switches it off and keeps every value, so values are emptied first.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from adapters.bottlecrm.api import CONTACTS, Api
from adapters.bottlecrm.reading import TIME_ZONE, Reader
from adapters.bottlecrm.values import TYPES, is_ours, options
from adapters.plans import create_each, fields_to, removal
from plugin.errors import CrmRejected, RecordGone
from plugin.manifest import Field, manifest
from plugin.ports import AccountLink, PlanAction, PlanStep
from schemas.bottlecrm import Definition, DefinitionList, DefinitionListSchema

log = logging.getLogger(__name__)

FIELDS = "/api/custom-fields/"
TARGET = "Contact"

_LISTED = DefinitionListSchema()


class Installer:
    """Plans and does the changes to one account."""

    def __init__(self, api: Api, link: AccountLink) -> None:
        self._api = api
        self._link = link

    # -- installing

    def plan(self) -> tuple[PlanStep, ...]:
        """One step per field, in the manifest's order."""
        present = self._definitions()
        return tuple(self._step(field, present.get(field.key)) for field in manifest().fields)

    def install(self, steps: Iterable[PlanStep]) -> dict[str, str]:
        """Carry out a plan; returns the facts to keep.

        A single field that BottleCRM refuses is left out, as the next plan will show; raises
        ``CrmRejected`` where it refuses all of them.
        """
        steps = list(steps)
        present = self._definitions()
        new = fields_to(PlanAction.CREATE, steps)
        create_each(new, lambda field: self._create(field, present))
        for field in fields_to(PlanAction.REPAIR, steps):
            if field.key in present:
                self._repair(field, present[field.key])
        zone = Reader(self._api, self._link).account().time_zone
        return {TIME_ZONE: zone} if zone else {}

    def installed_fields(self) -> frozenset[str]:
        """Keys of our fields that exist, are ours and take values."""
        present = self._definitions()
        return frozenset(
            field.key
            for field in manifest().fields
            if (one := present.get(field.key)) and is_ours(field, one) and one["is_active"]
        )

    def _step(self, field: Field, present: Definition | None) -> PlanStep:
        if present is None:
            return PlanStep(action=PlanAction.CREATE, what=field.key)
        if foreign := _foreign(field, present):
            return PlanStep(action=PlanAction.FOREIGN, what=field.key, why=foreign)
        if not present["is_active"]:
            why = "It was switched off there, and is switched on again."
            return PlanStep(action=PlanAction.CREATE, what=field.key, why=why)
        if self._lacking(field, present):
            why = "It has lost its options."
            return PlanStep(action=PlanAction.REPAIR, what=field.key, why=why)
        return PlanStep(action=PlanAction.KEEP, what=field.key)

    def _create(self, field: Field, present: Mapping[str, Definition]) -> CrmRejected | None:
        """Create a field; the refusal if there was one. One that is there by now is no fault."""
        if definition := present.get(field.key):
            self._repair(field, definition)
            return None
        body: dict[str, Any] = {
            "target_model": TARGET,
            "key": field.key,
            "label": field.label[self._link.language],
            "field_type": TYPES[field.type],
            "display_order": manifest().fields.index(field),
        }
        if choices := options(field, self._link.language):
            body |= {"options": choices, "is_filterable": True}
        try:
            self._api.send("POST", FIELDS, body=body)
        except CrmRejected as error:
            if field.key in self._definitions():
                return None
            log.warning("BottleCRM did not take the field %s: %s", field.key, error)
            return error
        return None

    def _repair(self, field: Field, present: Definition) -> None:
        """Wording and options people gave it stay."""
        if not is_ours(field, present):
            return
        body: dict[str, Any] = {"is_active": True}
        if lacking := self._lacking(field, present):
            body["options"] = [*present["options"], *lacking]
        self._api.send("PUT", f"{FIELDS}{present['id']}/", body=body)

    def _lacking(self, field: Field, present: Definition) -> list[dict[str, str]]:
        known = {option["value"] for option in present["options"]}
        return [one for one in options(field, self._link.language) if one["value"] not in known]

    def _definitions(self) -> dict[str, Definition]:
        """All custom fields of contacts by key, switched-off ones too."""
        params = {"target_model": TARGET, "include_counts": "false"}
        found: DefinitionList = self._api.send("GET", FIELDS, params=params, schema=_LISTED)
        return {one["key"]: one for one in found["definitions"]}

    # -- uninstalling

    def plan_removal(self, *, delete_data: bool) -> tuple[PlanStep, ...]:
        """What would go; fields with what people typed only where ``delete_data`` says so."""
        present = self._definitions()
        return tuple(
            removal(field, foreign=_foreign(field, one), delete_data=delete_data)
            for field in manifest().fields
            if (one := present.get(field.key)) and one["is_active"]
        )

    def uninstall(self, steps: Iterable[PlanStep]) -> None:
        """Empty and switch off what the plan says; what is gone already is no fault.

        Goes on where BottleCRM refuses one, and raises that ``CrmRejected`` at the end.
        """
        ours = [field.key for field in fields_to(PlanAction.REMOVE, steps)]
        if not ours:
            return
        refusals = self._empty(ours)
        present = self._definitions()
        for key in ours:
            if key in present and (error := self._send("DELETE", f"{FIELDS}{present[key]['id']}/")):
                refusals.append(error)
        if refusals:
            raise refusals[0]

    def _empty(self, keys: Sequence[str]) -> list[CrmRejected]:
        """Empty these fields on every contact that has one filled."""
        refusals = []
        for contact in self._api.all_contacts():
            filled = [key for key in keys if key in (contact["custom_fields"] or {})]
            if not filled:
                continue
            body = {"custom_fields": dict.fromkeys(filled)}
            if error := self._send("PATCH", f"{CONTACTS}{contact['id']}/", body):
                refusals.append(error)
        return refusals

    def _send(self, method: str, path: str, body: object = None) -> CrmRejected | None:
        """The refusal if there was one."""
        try:
            self._api.send(method, path, body=body)
        except RecordGone:
            log.info("already gone: %s", path)
        except CrmRejected as error:
            log.warning("BottleCRM refused %s %s: %s", method, path, error)
            return error
        return None


def _foreign(field: Field, present: Definition) -> str:
    """Why a field with our key is not ours; "" where it is."""
    if is_ours(field, present):
        return ""
    return f"A field with this key exists with another type ({present['field_type']})."
