"""What the plugin adds to a HubSpot account: a group of properties and a pair of labels.

https://developers.hubspot.com/docs/api-reference/latest/crm/properties/guide
https://developers.hubspot.com/docs/api-reference/latest/crm/associations/associations-schema/guide

A property is ours if it has our name, lies in our group and is of our type. Options that people
added stay; what people typed stays unless told otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from adapters.hubspot.api import CONTACTS, USER_DEFINED, VERSION, Api
from adapters.hubspot.reading import LABEL_TYPE
from adapters.plans import create_each, fields_to, removal
from adapters.values import options_of
from plugin.errors import CrmRejected, CrmUnauthorized, RecordGone
from plugin.manifest import LANGUAGES, Field, FieldType, Text, manifest
from plugin.ports import AccountLink, PlanAction, PlanStep
from schemas.hubspot import (
    AssociationType,
    GroupList,
    GroupListSchema,
    LabelLimitList,
    LabelLimitListSchema,
    LabelList,
    LabelListSchema,
    Property,
    PropertyLimits,
    PropertyLimitsSchema,
    PropertyList,
    PropertyListSchema,
)

log = logging.getLogger(__name__)

PROPERTIES = f"/crm/properties/{VERSION}/{CONTACTS}"
LABELS = f"/crm/associations/{VERSION}/{CONTACTS}/{CONTACTS}/labels"
CONTACT_TYPE = "0-1"
INVERSE_LABEL_TYPE = "inverse_label_type_id"
"""Key in ``AccountLink.facts``: the type of the label's other direction."""
CONFLICT = 409

TYPES = {
    FieldType.ENUM: ("enumeration", "select"),
    FieldType.MULTI_ENUM: ("enumeration", "checkbox"),
    FieldType.TEXT: ("string", "textarea"),
    FieldType.LINE: ("string", "text"),
    FieldType.DATE: ("date", "date"),
    FieldType.NUMBER: ("number", "number"),
    FieldType.MONEY: ("number", "number"),
    FieldType.BOOL: ("bool", "booleancheckbox"),
}
"""Our type → HubSpot's type and form field."""

_LISTED = PropertyListSchema()
_GROUPS = GroupListSchema()
_LIMITS = PropertyLimitsSchema()
_LABELS = LabelListSchema()
_LABEL_LIMITS = LabelLimitListSchema()


class Installer:
    """Plans and does the changes to one account."""

    def __init__(self, api: Api, link: AccountLink) -> None:
        self._api = api
        self._language = link.language

    # -- installing

    def plan(self) -> tuple[PlanStep, ...]:
        """One step per field, in the manifest's order, and one for the label."""
        present = self._properties()
        room = self._room()
        steps: list[PlanStep] = []
        for field in manifest().fields:
            step = self._step(field, present.get(field.key), room)
            steps.append(step)
            if room is not None and step.action is PlanAction.CREATE:
                room -= 1
        return (*steps, self._label_step())

    def install(self, steps: Iterable[PlanStep]) -> dict[str, str]:
        """Carry out a plan; returns the facts to keep.

        A single property that HubSpot refuses is left out, as the next plan will show; raises
        ``CrmRejected`` where it refuses all of them.
        """
        steps = list(steps)
        if new := fields_to(PlanAction.CREATE, steps):
            self._ensure_group()
            create_each(new, self._create)
        if repair := fields_to(PlanAction.REPAIR, steps):
            present = self._properties()
            for field in repair:
                self._repair(field, present.get(field.key))
        label = next((step.action for step in steps if step.what == _label_name()), None)
        return self._labels_installed(label)

    def installed_fields(self) -> frozenset[str]:
        """Keys of our fields that exist and are ours."""
        present = self._properties()
        return frozenset(
            field.key
            for field in manifest().fields
            if field.key in present and _is_ours(field, present[field.key])
        )

    def _step(self, field: Field, present: Property | None, room: int | None) -> PlanStep:
        if present is None:
            if room == 0:
                why = "The account has no room for more custom properties."
                return PlanStep(action=PlanAction.DOES_NOT_FIT, what=field.key, why=why)
            return PlanStep(action=PlanAction.CREATE, what=field.key)
        if foreign := _foreign(field, present):
            return PlanStep(action=PlanAction.FOREIGN, what=field.key, why=foreign)
        missing = list(self._changes(field, present))
        if missing:
            why = f"It has lost its {', '.join(missing)}."
            return PlanStep(action=PlanAction.REPAIR, what=field.key, why=why)
        return PlanStep(action=PlanAction.KEEP, what=field.key)

    def _changes(self, field: Field, present: Property) -> dict[str, Any]:
        """What is missing of a property of ours. Wording and options people gave it stay."""
        changes: dict[str, Any] = {}
        if not present["label"]:
            changes["label"] = field.label[self._language]
        if not present["description"]:
            changes["description"] = field.description[self._language]
        known = {option["value"] for option in present["options"]}
        lacking = [option for option in self._options(field) if option["value"] not in known]
        if lacking:
            # HubSpot replaces the whole list, so theirs are sent along.
            theirs = [
                {
                    "value": option["value"],
                    "label": option["label"],
                    "displayOrder": option["display_order"],
                    "hidden": option["hidden"],
                }
                for option in present["options"]
            ]
            changes["options"] = theirs + lacking
        return changes

    def _create(self, field: Field) -> CrmRejected | None:
        """Create a property; the refusal if there was one. One that is there by now is no fault."""
        kind, form_field = TYPES[field.type]
        body: dict[str, Any] = {
            "name": field.key,
            "label": field.label[self._language],
            "description": field.description[self._language],
            "groupName": manifest().group_key,
            "type": kind,
            "fieldType": form_field,
            "formField": False,
            "hasUniqueValue": False,
        }
        if options := self._options(field):
            body["options"] = options
        try:
            self._api.send("POST", PROPERTIES, body=body)
        except CrmRejected as error:
            if error.status == CONFLICT:
                return None
            log.warning("HubSpot did not take the property %s: %s", field.key, error)
            return error
        return None

    def _repair(self, field: Field, present: Property | None) -> None:
        if present is None or not _is_ours(field, present):
            return
        if changes := self._changes(field, present):
            self._api.send("PATCH", f"{PROPERTIES}/{field.key}", body=changes)

    def _options(self, field: Field) -> list[dict[str, Any]]:
        return [
            {
                "value": option.value,
                "label": option.label[self._language],
                "displayOrder": at,
                "hidden": False,
            }
            for at, option in enumerate(options_of(field))
        ]

    def _ensure_group(self) -> None:
        groups: GroupList = self._api.send("GET", f"{PROPERTIES}/groups", schema=_GROUPS)
        key = manifest().group_key
        if any(group["name"] == key for group in groups["results"]):
            return
        label = manifest().group_label[self._language]
        body = {"name": key, "label": label, "displayOrder": -1}
        try:
            self._api.send("POST", f"{PROPERTIES}/groups", body=body)
        except CrmRejected as error:
            if error.status != CONFLICT:
                raise

    def _properties(self) -> dict[str, Property]:
        """All properties of contacts, by name."""
        found: PropertyList = self._api.send("GET", PROPERTIES, schema=_LISTED)
        return {one["name"]: one for one in found["results"]}

    def _room(self) -> int | None:
        """How many more custom properties fit; None where HubSpot does not tell."""
        path = f"/crm/limits/{VERSION}/custom-properties"
        try:
            limits: PropertyLimits = self._api.send("GET", path, schema=_LIMITS)
        except (CrmUnauthorized, CrmRejected, RecordGone):
            return None
        rooms = [limits["overall_limit"] - limits["overall_usage"]]
        rooms += [
            one["limit"] - one["usage"]
            for one in limits["by_object"]
            if one["object_type_id"] == CONTACT_TYPE
        ]
        return max(0, min(rooms))

    # -- the label between referrer and referred

    def _label_step(self) -> PlanStep:
        try:
            if self._label_types():
                return PlanStep(action=PlanAction.KEEP, what=_label_name())
        except (CrmUnauthorized, CrmRejected, RecordGone):
            return self._no_labels("HubSpot does not show this account's labels")
        if not self._label_fits():
            return self._no_labels("The account has no room for a pair of association labels")
        return PlanStep(action=PlanAction.CREATE, what=_label_name())

    def _no_labels(self, reason: str) -> PlanStep:
        why = f"{reason} (they need a Professional plan); the referrer is kept as text."
        return PlanStep(action=PlanAction.DOES_NOT_FIT, what=_label_name(), why=why)

    def _label_fits(self) -> bool:
        """HubSpot lists a limit only where labels exist; no limit named means: try."""
        path = f"/crm/limits/{VERSION}/associations/labels"
        params = {"fromObjectTypeId": CONTACT_TYPE, "toObjectTypeId": CONTACT_TYPE}
        try:
            found: LabelLimitList = self._api.send("GET", path, params=params, schema=_LABEL_LIMITS)
        except (CrmUnauthorized, CrmRejected, RecordGone):
            return True
        return all(one["usage"] < one["limit"] for one in found["results"])

    def _labels_installed(self, action: PlanAction | None) -> dict[str, str]:
        """The facts about the label; none where the account cannot have it."""
        if action not in (PlanAction.CREATE, PlanAction.KEEP):
            return {}
        try:
            types = self._label_types()
            if not types and action is PlanAction.CREATE:
                types = self._create_label()
        except (CrmUnauthorized, CrmRejected, RecordGone) as error:
            log.warning("HubSpot did not take the association label: %s", error)
            return {}
        return types

    def _create_label(self) -> dict[str, str]:
        words = manifest()
        body = {
            "name": words.association_key,
            "label": words.association_label[self._language],
            "inverseLabel": words.association_inverse_label[self._language],
        }
        created: LabelList = self._api.send("POST", LABELS, body=body, schema=_LABELS)
        return _types(created["results"])

    def _label_types(self) -> dict[str, str]:
        """The label as facts; none unless both directions are there."""
        found = self._labels()
        return found if len(found) == 2 else {}

    def _labels(self) -> dict[str, str]:
        found: LabelList = self._api.send("GET", LABELS, schema=_LABELS)
        return _types(found["results"])

    # -- uninstalling

    def plan_removal(self, *, delete_data: bool) -> tuple[PlanStep, ...]:
        """What would go; fields with what people typed only where ``delete_data`` says so."""
        present = self._properties()
        steps = [
            removal(field, foreign=_foreign(field, present[field.key]), delete_data=delete_data)
            for field in manifest().fields
            if field.key in present
        ]
        try:
            labelled = bool(self._label_types())
        except (CrmUnauthorized, CrmRejected, RecordGone):
            labelled = False
        if labelled:
            steps.append(PlanStep(action=PlanAction.REMOVE, what=_label_name()))
        return tuple(steps)

    def uninstall(self, steps: Iterable[PlanStep]) -> None:
        """Remove what the plan says; what is gone already is no fault.

        Goes on where HubSpot refuses one, and raises that ``CrmRejected`` at the end.
        """
        steps = list(steps)
        paths = [f"{PROPERTIES}/{field.key}" for field in fields_to(PlanAction.REMOVE, steps)]
        refusals = [error for path in paths if (error := self._delete(path))]
        if any(s.what == _label_name() and s.action is PlanAction.REMOVE for s in steps):
            while found := self._labels():
                # Deleting one of the pair may delete both, so they are read again.
                if error := self._delete(f"{LABELS}/{next(iter(found.values()))}"):
                    refusals.append(error)
                    break
        group = manifest().group_key
        if not any(one["group"] == group for one in self._properties().values()):
            self._delete(f"{PROPERTIES}/groups/{group}")
        if refusals:
            raise refusals[0]

    def _delete(self, path: str) -> CrmRejected | None:
        """The refusal if there was one."""
        try:
            self._api.send("DELETE", path)
        except RecordGone:
            log.info("already gone: %s", path)
        except CrmRejected as error:
            log.warning("HubSpot did not remove %s: %s", path, error)
            return error
        return None


def _label_name() -> str:
    return f"label:{manifest().association_key}"


def _is_ours(field: Field, present: Property) -> bool:
    return present["group"] == manifest().group_key and _has_type(field, present)


def _has_type(field: Field, present: Property) -> bool:
    kind, _ = TYPES[field.type]
    several = present["field_type"] == "checkbox"
    return present["type"] == kind and (
        kind != "enumeration" or several == (field.type is FieldType.MULTI_ENUM)
    )


def _foreign(field: Field, present: Property) -> str:
    """Why a property with our name is not ours; "" where it is."""
    if _is_ours(field, present):
        return ""
    if _has_type(field, present):
        return f"A property of this name lies in the group {present['group']}, not in ours."
    return f"A property of this name exists with another type ({present['type']})."


def _types(labels: Iterable[AssociationType]) -> dict[str, str]:
    """Facts from labels worded as ours in any language: HubSpot does not show their names.

    A label says what the record it leads to is: from the referred contact, "Referrer".
    """
    ours: Mapping[str, Text] = {
        LABEL_TYPE: manifest().association_label,
        INVERSE_LABEL_TYPE: manifest().association_inverse_label,
    }
    return {
        fact: str(label["type_id"])
        for fact, words in ours.items()
        for label in labels
        if label["category"] == USER_DEFINED and label["label"] in [words[x] for x in LANGUAGES]
    }
