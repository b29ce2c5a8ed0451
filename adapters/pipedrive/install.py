"""What the plugin adds to a Pipedrive company: custom fields of persons.

https://developers.pipedrive.com/docs/api/v1/PersonFields
https://pipedrive.readme.io/docs/core-api-concepts-custom-fields

Pipedrive gives each field a code of 40 hex digits, and nothing in a field says who made it. A
field is ours if it has the code that we remember, or else our name in one of our languages; and
our type. Its name may be changed afterwards, options that people added stay, and what people
typed stays unless told otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from adapters.pipedrive import tasks
from adapters.pipedrive.api import (
    ADD_OPTIONS,
    CREATE_FIELD,
    DELETE_FIELD,
    LIST_ACTIVITY_FIELDS,
    LIST_ACTIVITY_TYPES,
    LIST_FIELDS,
    Api,
)
from adapters.pipedrive.events import OUR_USER
from adapters.pipedrive.fields import all_fields
from adapters.pipedrive.reading import me
from adapters.pipedrive.values import OurFields
from adapters.plans import create_each, fields_to, removal
from adapters.values import REFERRER, options_of
from plugin.errors import CrmRejected, CrmUnauthorized, RecordGone
from plugin.manifest import LANGUAGES, Field, FieldType, Option, manifest
from plugin.ports import AccountLink, PlanAction, PlanStep
from plugin.referral.model import Priority
from schemas.pipedrive import (
    ActivityTypeList,
    ActivityTypeListSchema,
    FieldSpec,
)

log = logging.getLogger(__name__)

TYPES = {
    FieldType.ENUM: "enum",
    FieldType.MULTI_ENUM: "set",
    FieldType.TEXT: "text",
    FieldType.LINE: "varchar",
    FieldType.DATE: "date",
    FieldType.NUMBER: "double",
    # Not "monetary": that wants a currency with each value, and the value is the account's own.
    FieldType.MONEY: "double",
    # Persons can have no yes/no fields.
    FieldType.BOOL: "enum",
}
NEAREST_TYPES = {
    FieldType.BOOL: "single option (yes, no)",
    FieldType.MONEY: "numerical",
}
PEOPLE = "people"

PRIORITY_WORDS = {
    Priority.HIGH: ("high", "hoch"),
    Priority.MEDIUM: ("medium", "mittel"),
    Priority.LOW: ("low", "niedrig"),
}
"""Labels of Pipedrive's own priorities; in other languages tasks have none."""

_ACTIVITY_TYPES = ActivityTypeListSchema()


def name_of(field: Field, language: str) -> str:
    """What the field is called in Pipedrive, always with our title in front: Pipedrive has no
    groups of fields, and a company's own "Referrer" must never be taken for ours."""
    title, label = manifest().title[language], field.label[language]
    return label if label.startswith(title) else f"{title}: {label}"


class Installer:
    """Plans and does the changes to one account."""

    def __init__(self, api: Api, link: AccountLink) -> None:
        self._api = api
        self._language = link.language
        self._ours = OurFields.of(link.facts)

    # -- installing

    def plan(self) -> tuple[PlanStep, ...]:
        """One step per field, in the manifest's order."""
        present = self._present()
        return tuple(self._step(field, present.get(field.key)) for field in manifest().fields)

    def install(self, steps: Iterable[PlanStep]) -> dict[str, str]:
        """Carry out a plan; returns the facts to keep.

        A single field that Pipedrive refuses is left out, as the next plan will show; raises
        ``CrmRejected`` where it refuses all of them.
        """
        steps = list(steps)
        present = self._present()
        new = [f for f in fields_to(PlanAction.CREATE, steps) if f.key not in present]
        create_each(new, self._create)
        for field in fields_to(PlanAction.REPAIR, steps):
            if field.key in present:
                self._repair(field, present[field.key])
        return {
            **self._installed(self._present()).facts(),
            OUR_USER: me(self._api)["id"],
            **self._activity_type(),
            **self._priorities(),
        }

    def installed_fields(self) -> frozenset[str]:
        """Keys of our fields that exist and are ours."""
        return frozenset(self._installed(self._present()).codes)

    def _step(self, field: Field, present: FieldSpec | None) -> PlanStep:
        if present is None:
            return PlanStep(action=PlanAction.CREATE, what=field.key)
        if foreign := _foreign(field, present):
            return PlanStep(action=PlanAction.FOREIGN, what=field.key, why=foreign)
        if lacking := self._lacking(field, present):
            labels = ", ".join(option.label[self._language] for option in lacking)
            why = f"It has lost options: {labels}."
            return PlanStep(action=PlanAction.REPAIR, what=field.key, why=why)
        return PlanStep(action=PlanAction.KEEP, what=field.key)

    def _create(self, field: Field) -> CrmRejected | None:
        """Create a field; the refusal if there was one."""
        body: dict[str, Any] = {
            "field_name": name_of(field, self._language),
            "field_type": _type_of(field),
            "ui_visibility": {"add_visible_flag": False, "details_visible_flag": True},
        }
        if options := options_of(field):
            body["options"] = [{"label": option.label[self._language]} for option in options]
        try:
            # Sent once: a second field of the same name would only confuse.
            self._api.send(CREATE_FIELD, body=body, repeat=False)
        except CrmRejected as error:
            log.warning("Pipedrive did not take the field %s: %s", field.key, error)
            return error
        return None

    def _repair(self, field: Field, present: FieldSpec) -> None:
        if _has_type(field, present) and (lacking := self._lacking(field, present)):
            body = [{"label": option.label[self._language]} for option in lacking]
            self._api.send(ADD_OPTIONS, id_=present["field_code"], body=body, repeat=False)

    def _lacking(self, field: Field, present: FieldSpec) -> list[Option]:
        return [o for o in options_of(field) if self._option_id(field, o, present) is None]

    def _option_id(self, field: Field, option: Option, present: FieldSpec) -> str | None:
        """The option that we remember, whatever it is called by now; else one with our label."""
        theirs = {str(one["id"]): one["label"] for one in present["options"] or ()}
        remembered = self._ours.options.get((field.key, option.value))
        if remembered in theirs:
            return remembered
        ours = {_folded(option.label[language]) for language in LANGUAGES}
        return next((one for one, label in theirs.items() if _folded(label) in ours), None)

    def _installed(self, present: Mapping[str, FieldSpec]) -> OurFields:
        codes: dict[str, str] = {}
        options: dict[tuple[str, str], str] = {}
        for field in manifest().fields:
            found = present.get(field.key)
            if found is None or not _has_type(field, found):
                continue
            codes[field.key] = found["field_code"]
            for option in options_of(field):
                if option_id := self._option_id(field, option, found):
                    options[field.key, option.value] = option_id
        return OurFields(codes=codes, options=options)

    def _present(self) -> dict[str, FieldSpec]:
        """Our key → the custom field that has our code or label. Of several with our label, one
        with our type."""
        custom = [one for one in all_fields(self._api, LIST_FIELDS) if one["is_custom_field"]]
        by_code = {one["field_code"]: one for one in custom}
        remembered = {
            key: by_code[code] for key, code in self._ours.codes.items() if code in by_code
        }
        taken = {one["field_code"] for one in remembered.values()}
        found: dict[str, FieldSpec] = {}
        for field in manifest().fields:
            labels = {_folded(name_of(field, language)) for language in LANGUAGES}
            named = [
                one
                for one in custom
                if _folded(one["field_name"]) in labels and one["field_code"] not in taken
            ]
            named.sort(key=lambda one, field=field: not _has_type(field, one))  # type: ignore[misc]
            if field.key in remembered or named:
                found[field.key] = remembered.get(field.key) or named[0]
        return found

    # -- what tasks need to know

    def _activity_type(self) -> dict[str, str]:
        """Admins may switch types off: ``task`` where it is on, else one that looks like it."""
        try:
            found: ActivityTypeList = self._api.send(LIST_ACTIVITY_TYPES, schema=_ACTIVITY_TYPES)
        except (CrmUnauthorized, CrmRejected, RecordGone) as error:
            log.warning("Pipedrive did not tell its activity types: %s", error)
            return {}
        active = [one for one in found["data"] if one["active_flag"]]
        active.sort(
            key=lambda one: (
                one["key_string"] != tasks.DEFAULT_TYPE,
                one["icon_key"] != tasks.DEFAULT_TYPE,
            )
        )
        return {tasks.ACTIVITY_TYPE: active[0]["key_string"]} if active else {}

    def _priorities(self) -> dict[str, str]:
        try:
            specs = all_fields(self._api, LIST_ACTIVITY_FIELDS)
        except (CrmUnauthorized, CrmRejected, RecordGone) as error:
            log.warning("Pipedrive did not tell its priorities: %s", error)
            return {}
        labelled = {
            _folded(option["label"]): str(option["id"])
            for one in specs
            if one["field_code"] == "priority"
            for option in one["options"] or ()
        }
        return {
            f"{tasks.PRIORITY_FACT}{ours}": labelled[word]
            for ours, words in PRIORITY_WORDS.items()
            for word in words
            if labelled.get(word, "").isdigit()
        }

    # -- uninstalling

    def plan_removal(self, *, delete_data: bool) -> tuple[PlanStep, ...]:
        """What would go; fields with what people typed only where ``delete_data`` says so."""
        present = self._present()
        return tuple(
            removal(field, foreign=_foreign(field, present[field.key]), delete_data=delete_data)
            for field in manifest().fields
            if field.key in present
        )

    def uninstall(self, steps: Iterable[PlanStep]) -> None:
        """Remove what the plan says; what is gone already is no fault.

        Goes on where Pipedrive refuses one, and raises that ``CrmRejected`` at the end.
        """
        remove = {step.what for step in steps if step.action is PlanAction.REMOVE}
        refusals: list[CrmRejected] = []
        for key, present in self._present().items():
            if key not in remove or not _has_type(manifest().field(key), present):
                continue
            try:
                self._api.send(DELETE_FIELD, id_=present["field_code"])
            except RecordGone:
                log.info("already gone: %s", key)
            except CrmRejected as error:
                log.warning("Pipedrive did not remove %s: %s", key, error)
                refusals.append(error)
        if refusals:
            raise refusals[0]


def _type_of(field: Field) -> str:
    return PEOPLE if field.key == REFERRER else TYPES[field.type]


def _has_type(field: Field, present: FieldSpec) -> bool:
    return present["field_type"] == _type_of(field)


def _folded(label: str) -> str:
    return label.strip().casefold()


def _foreign(field: Field, present: FieldSpec) -> str:
    """Why a field with our name is not ours; "" where it is."""
    if _has_type(field, present):
        return ""
    return f"A field of this name exists with another type ({present['field_type']})."
