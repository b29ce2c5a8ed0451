"""What the plugin adds to an EspoCRM: fields of contacts, and a link from contact to contact.

https://docs.espocrm.com/administration/fields/
https://docs.espocrm.com/administration/entity-manager/

Only administrators may make them, and an API user cannot be one. So there is either a login of an
administrator, or the plan says by hand what to make.

A field is ours if it has our name and is of our type. Options that people added stay; what people
typed stays unless told otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from adapters.espocrm.api import CONFLICT, CONTACT, Api
from adapters.espocrm.values import TYPES, given_name, possible_names
from adapters.plans import fields_to, removal
from adapters.values import REFERRER
from plugin.errors import CrmRejected, CrmUnauthorized, RecordGone
from plugin.manifest import Field, FieldType, manifest
from plugin.ports import AccountLink, PlanAction, PlanStep
from schemas.espocrm import (
    EntityFields,
    EntityFieldsSchema,
    FieldDefinition,
    FieldDefinitionSchema,
    FieldDefs,
)

log = logging.getLogger(__name__)

FIELDS = f"/Admin/fieldManager/{CONTACT}"
LINKS = "/EntityManager/action"
LINK_TYPE = "link"
REFERRED = "spiralReferredContacts"
"""The other end of the link: those whom a contact referred."""
LINE_LENGTH = 255
BY_HAND = "Administration > Entity Manager > Contact > "

KINDS = {
    FieldType.ENUM: "Enum",
    FieldType.MULTI_ENUM: "Multi-Enum",
    FieldType.TEXT: "Text",
    FieldType.LINE: "Varchar",
    FieldType.DATE: "Date",
    FieldType.NUMBER: "Integer",
    FieldType.MONEY: "Currency",
    FieldType.BOOL: "Boolean",
}
"""Our type → what EspoCRM's field manager calls it."""

_FIELDS = EntityFieldsSchema()
_DEFINITION = FieldDefinitionSchema()


class Installer:
    """Plans and does the changes to one account."""

    def __init__(self, api: Api, link: AccountLink) -> None:
        self._api = api
        self._language = link.language

    # -- installing

    def plan(self) -> tuple[PlanStep, ...]:
        """One step per field, in the manifest's order."""
        present = self._present()
        return tuple(self._step(field, present.get(field.key)) for field in manifest().fields)

    def install(self, steps: Iterable[PlanStep]) -> dict[str, str]:
        """Carry out a plan; returns the names of our fields as facts.

        A single field that EspoCRM refuses is left out, as the next plan will show; raises
        ``CrmRejected`` where it refuses all of them.
        """
        steps = list(steps)
        self._each(fields_to(PlanAction.CREATE, steps), self._create, all_refused=True)
        if repair := fields_to(PlanAction.REPAIR, steps):
            present = self._present()
            for field in repair:
                if field.key in present:
                    self._repair(field, *present[field.key])
        return self._ours()

    def installed_fields(self) -> frozenset[str]:
        """Keys of our fields that exist and are ours."""
        return frozenset(self._ours())

    def _ours(self) -> dict[str, str]:
        """Our field key → its name here."""
        present = self._present()
        return {
            field.key: present[field.key][0]
            for field in manifest().fields
            if field.key in present and _is_ours(field, present[field.key][1])
        }

    def _step(self, field: Field, found: tuple[str, FieldDefs] | None) -> PlanStep:
        if found is None:
            if self._api.has_admin:
                return PlanStep(action=PlanAction.CREATE, what=field.key)
            why = self._by_hand(field)
            return PlanStep(action=PlanAction.BY_HAND, what=field.key, why=why)
        name, present = found
        if foreign := _foreign(field, name, present):
            return PlanStep(action=PlanAction.FOREIGN, what=field.key, why=foreign)
        missing = _missing(field, present)
        if not missing:
            return PlanStep(action=PlanAction.KEEP, what=field.key)
        lost = ", ".join(one or "the empty one" for one in missing)
        if self._api.has_admin:
            why = f"It has lost options: {lost}."
            return PlanStep(action=PlanAction.REPAIR, what=field.key, why=why)
        why = f"{BY_HAND}Fields > {name}: add the options {lost}."
        return PlanStep(action=PlanAction.BY_HAND, what=field.key, why=why)

    def _by_hand(self, field: Field) -> str:
        """How an administrator makes it. EspoCRM itself puts the ``c`` before the name."""
        label = field.label[self._language]
        if field.key == REFERRER:
            words = manifest().association_inverse_label[self._language]
            return (
                f"{BY_HAND}Relationships > Create Link: Link Type Many-to-One, Foreign Entity "
                f"Contact, Link {given_name(field.key)}, Label {label}, Foreign Link {REFERRED}, "
                f"Foreign Label {words}."
            )
        more = ""
        if field.type is FieldType.LINE:
            more = f", Max Length {LINE_LENGTH}"
        if field.options:
            listed = ", ".join(
                f"{option.value} ({option.label[self._language]})" for option in field.options
            )
            empty = "an empty one, " if field.type is FieldType.ENUM else ""
            more = f", Options {empty}{listed}"
        named = f"Name {given_name(field.key)}, Label {label}"
        return f"{BY_HAND}Fields > Add Field > {KINDS[field.type]}: {named}{more}."

    # -- making

    def _create(self, field: Field) -> None:
        if field.key == REFERRER:
            self._admin("POST", f"{LINKS}/createLink", self._link_definition(field))
        else:
            self._admin("POST", FIELDS, self._definition(field))

    def _definition(self, field: Field) -> dict[str, Any]:
        body: dict[str, Any] = {
            "name": given_name(field.key),
            "type": TYPES[field.type],
            "label": field.label[self._language],
            "tooltip": True,
            "tooltipText": field.description[self._language],
        }
        if field.options:
            body["options"] = _options(field)
            body["translatedOptions"] = {
                option.value: option.label[self._language] for option in field.options
            }
        if field.type is FieldType.LINE:
            body["maxLength"] = LINE_LENGTH
        if field.type is FieldType.MONEY:
            body["onlyDefaultCurrency"] = True
        return body

    def _link_definition(self, field: Field) -> dict[str, Any]:
        return {
            "entity": CONTACT,
            "link": given_name(field.key),
            "label": field.label[self._language],
            "linkType": "manyToOne",
            "entityForeign": CONTACT,
            "linkForeign": REFERRED,
            "labelForeign": manifest().association_inverse_label[self._language],
            "relationName": None,
        }

    def _repair(self, field: Field, name: str, present: FieldDefs) -> None:
        """Put lost options back. The field manager wants the whole definition, as its own form
        sends it."""
        missing = _missing(field, present)
        if not _is_ours(field, present) or not missing:
            return
        told: FieldDefinition = self._api.send(
            "GET", f"{FIELDS}/{name}", schema=_DEFINITION, as_admin=True
        )
        options = [*(present["options"] or ()), *missing]
        self._admin("PUT", f"{FIELDS}/{name}", {**told["definition"], "options": options})

    def _each(
        self, fields: list[Field], act: Callable[[Field], None], *, all_refused: bool = False
    ) -> None:
        """Go on where EspoCRM refuses one; raise that at the end (with ``all_refused`` only where
        it refused all)."""
        refusals: list[CrmRejected] = []
        for field in fields:
            try:
                act(field)
            except CrmRejected as error:
                if error.status == CONFLICT:
                    continue  # there by now
                log.warning("EspoCRM did not take %s: %s", field.key, error)
                refusals.append(error)
        if refusals and (not all_refused or len(refusals) == len(fields)):
            raise refusals[0]

    def _admin(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> None:
        self._api.send(method, path, body=body, as_admin=True)

    def _present(self) -> dict[str, tuple[str, FieldDefs]]:
        """Fields with one of our names, by our key."""
        told: EntityFields = self._api.send(
            "GET", "/Metadata", params={"key": f"entityDefs.{CONTACT}.fields"}, schema=_FIELDS
        )
        defs = told["defs"]
        if defs is None:
            raise CrmUnauthorized(
                "the role of EspoCRM's API user gives no access to contacts",
                crm="espocrm",
                operation="GET /Metadata",
            )
        return {
            field.key: (name, defs[name])
            for field in manifest().fields
            for name in reversed(possible_names(field.key))
            if name in defs
        }

    # -- uninstalling

    def plan_removal(self, *, delete_data: bool) -> tuple[PlanStep, ...]:
        """What would go; fields with what people typed only where ``delete_data`` says so."""
        present = self._present()
        return tuple(
            self._removal(field, *present[field.key], delete_data=delete_data)
            for field in manifest().fields
            if field.key in present
        )

    def _removal(
        self, field: Field, name: str, present: FieldDefs, *, delete_data: bool
    ) -> PlanStep:
        step = removal(field, foreign=_foreign(field, name, present), delete_data=delete_data)
        if self._api.has_admin or step.action is not PlanAction.REMOVE:
            return step
        place = "Relationships" if field.key == REFERRER else "Fields"
        why = f"{BY_HAND}{place} > {name}: remove it."
        return PlanStep(action=PlanAction.BY_HAND, what=field.key, why=why)

    def uninstall(self, steps: Iterable[PlanStep]) -> None:
        """Remove what the plan says; what is gone already is no fault.

        Goes on where EspoCRM refuses one, and raises that ``CrmRejected`` at the end.
        """
        remove = fields_to(PlanAction.REMOVE, steps)
        present = self._present() if remove else {}
        going = [field for field in remove if field.key in present]
        self._each(going, lambda field: self._remove(field, present[field.key][0]))

    def _remove(self, field: Field, name: str) -> None:
        try:
            if field.key == REFERRER:
                self._admin("POST", f"{LINKS}/removeLink", {"entity": CONTACT, "link": name})
            else:
                self._admin("DELETE", f"{FIELDS}/{name}")
        except RecordGone:
            log.info("already gone: %s", name)


def _options(field: Field) -> list[str]:
    """EspoCRM takes an enum's null only where the empty option is one of its options."""
    values = [option.value for option in field.options]
    return ["", *values] if field.type is FieldType.ENUM else values


def _missing(field: Field, present: FieldDefs) -> list[str]:
    known = present["options"] or ()
    return [one for one in _options(field) if field.options and one not in known]


def _is_ours(field: Field, present: FieldDefs) -> bool:
    return present["type"] == (LINK_TYPE if field.key == REFERRER else TYPES[field.type])


def _foreign(field: Field, name: str, present: FieldDefs) -> str:
    """Why a field with our name is not ours; "" where it is."""
    if _is_ours(field, present):
        return ""
    return f"A field {name} of another type exists ({present['type']})."
