"""What only administrators of EspoCRM may do: fields, links, layouts; and what all may read of it.

``Tools/{FieldManager,LinkManager}`` of its source; answers of the field manager as recorded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.payloads.espocrm.entities import CUSTOMIZABLE
from tests.payloads.espocrm.records import Records
from tests.payloads.espocrm.searching import Refused

TYPE_PARAMS: Mapping[str, tuple[str, ...]] = {
    "enum": ("options", "default", "required", "style", "isSorted", "maxLength"),
    "multiEnum": ("options", "default", "required", "style", "isSorted", "allowCustomOptions"),
    "varchar": ("default", "required", "maxLength", "pattern"),
    "text": ("default", "required", "maxLength", "rows", "rowsMin", "cutHeight"),
    "url": ("default", "required", "maxLength"),
    "int": ("default", "required", "min", "max", "disableFormatting"),
    "float": ("default", "required", "min", "max", "decimalPlaces"),
    "currency": ("default", "required", "min", "max", "onlyDefaultCurrency", "decimal"),
    "bool": ("default",),
    "date": ("default", "required", "after", "before"),
    "datetime": ("default", "required", "after", "before"),
}
COMMON_PARAMS = ("readOnly", "audited", "tooltip", "inlineEditDisabled")
GIVEN: Mapping[str, Mapping[str, Any]] = {
    "enum": {"maxLength": 100},
    "multiEnum": {"storeArrayValues": True},
    "bool": {"notNull": True},
    "float": {"notNull": False},
    "date": {"notNull": False},
    "datetime": {"notNull": False},
}
"""What the field manager adds to a definition of each type by itself."""
LINK_PARAMS = ("entity", "link", "linkForeign", "label", "linkType")


def prefixed(name: str) -> str:
    """Custom names on built-in types get a prefix, which no answer tells."""
    return f"c{name[:1].upper()}{name[1:]}"


class Administration:
    """Custom fields and links of the record types, and their labels (one language)."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.labels: dict[str, dict[str, dict[str, Any]]] = {}
        self.layouts: dict[str, Any] = {}

    # ------------------------------------------------------------------------- fields

    def read_field(self, entity: str, name: str) -> dict[str, Any]:
        definition = self._records.fields.get(entity, {}).get(name)
        if definition is None:
            raise Refused(500, f"Can't read field defs {entity}.{name}.")
        return {**definition, "label": self._labels(entity, "fields").get(name, name)}

    def create_field(self, entity: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if not body.get("name"):
            raise Refused(400)
        name = prefixed(str(body["name"]))
        if entity not in CUSTOMIZABLE:
            raise Refused(500, f"Entity type {entity} is not customizable.")
        if name in self._records.fields[entity]:
            raise _exists(entity, name, "Field", "fieldAlreadyExists")
        if name in self._records.links[entity]:
            raise _exists(entity, name, "Link with name", "linkWithSameNameAlreadyExists")
        for end in ("Ids", "Names", "Id", "Name", "Type"):
            if name.removesuffix(end) in self._records.links[entity]:
                raise Refused(409, "namingFieldLinkConflict")
        if not re.fullmatch(r"[a-z][a-zA-Z\d]*", name):
            raise Refused(500, "Field name should contain only letters and numbers.")
        if body.get("type") not in TYPE_PARAMS:
            raise Refused(400, "No type.")
        self._write(entity, name, {"label": body["name"], **body})
        return self.read_field(entity, name)

    def update_field(self, entity: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self._write(entity, name, {**self.read_field(entity, name), **body})
        return self.read_field(entity, name)

    def delete_field(self, entity: str, name: str) -> bool:
        definition = self.read_field(entity, name)
        if definition["type"] == "link":
            raise Refused(500, "Field type link cannot be removed.")
        if not definition.get("isCustom"):
            raise Refused(500, f"Cannot delete core field '{name}' in '{entity}'.")
        self._forget(entity, name)
        return True

    def _write(self, entity: str, name: str, body: Mapping[str, Any]) -> None:
        kind = str(body["type"])
        kept = (*TYPE_PARAMS.get(kind, ()), *COMMON_PARAMS)
        params = {k: v for k, v in body.items() if k in kept and v is not None}
        defaults = {k: v for k, v in GIVEN.get(kind, {}).items() if k not in params}
        self._records.fields[entity][name] = {
            "type": kind, **params, **defaults, "isCustom": True,
        }  # fmt: skip
        self._labels(entity, "fields")[name] = body["label"]
        if "translatedOptions" in body:
            self._labels(entity, "options")[name] = body["translatedOptions"]
        if "tooltipText" in body:
            self._labels(entity, "tooltips")[name] = body["tooltipText"]

    def _forget(self, entity: str, name: str) -> None:
        definition = self._records.fields[entity].pop(name, None)
        for record in self._records.tables[entity].values():
            for attribute in self._records.attributes_of(name, (definition or {}).get("type", "")):
                record.pop(attribute, None)
        for labels in self.labels.get(entity, {}).values():
            labels.pop(name, None)

    # -------------------------------------------------------------------------- links

    def create_link(self, body: Mapping[str, Any]) -> bool:
        if not all(body.get(name) for name in LINK_PARAMS):
            raise Refused(400)
        entity, foreign = str(body["entity"]), str(body["entityForeign"])
        link, back = prefixed(body["link"]), prefixed(body["linkForeign"])
        ends = {(entity, link), (foreign, back)}
        for one, name in sorted(ends):
            if name in self._records.links[one]:
                raise Refused(409, f"Link {one}::{name} already exists.")
            if {name, f"{name}Id", f"{name}Name"} & self._records.fields[one].keys():
                raise Refused(409, f"Field {one}::{name} already exists.")
        if len(ends) == 1:
            raise Refused(409, f"Link names {foreign}, {back} conflict.")
        if body["linkType"] == "oneToMany":
            entity, link, foreign, back = foreign, back, entity, link
        elif body["linkType"] != "manyToOne":
            raise Refused(500, "The stand-in makes links of one to many only.")
        self._records.fields[entity][link] = {"type": "link"}
        self._records.links[entity][link] = {
            "type": "belongsTo", "foreign": back, "entity": foreign, "isCustom": True,
        }  # fmt: skip
        self._records.links[foreign][back] = {
            "type": "hasMany", "foreign": link, "entity": entity, "isCustom": True,
        }  # fmt: skip
        self._label_link(str(body["entity"]), prefixed(body["link"]), body["label"])
        told = body.get("labelForeign") or body["linkForeign"]
        self._label_link(str(body["entityForeign"]), prefixed(body["linkForeign"]), told)
        return True

    def _label_link(self, entity: str, link: str, label: str) -> None:
        for kind in ("fields", "links"):
            self._labels(entity, kind)[link] = label

    def remove_link(self, body: Mapping[str, Any]) -> bool:
        entity, link = str(body.get("entity")), str(body.get("link"))
        definition = self._records.links.get(entity, {}).get(link)
        if not definition or not definition.get("isCustom"):
            raise Refused(500, f"Could not find link {entity}::{link}.")
        for one, name in ((entity, link), (definition["entity"], definition["foreign"])):
            del self._records.links[one][name]
            self._forget(one, name)
        return True

    # ------------------------------------------------------------------------ reading

    def _labels(self, entity: str, kind: str) -> dict[str, Any]:
        return self.labels.setdefault(entity, {}).setdefault(kind, {})

    def metadata(self, key: str | None) -> Any:
        """All, or the part that a dotted path leads to; None where it leads nowhere."""
        found: Any = {
            "entityDefs": {
                entity: {
                    "fields": fields,
                    "links": self._records.links[entity],
                    "collection": {"orderBy": "createdAt", "order": "desc"},
                }
                for entity, fields in self._records.fields.items()
            },
            "scopes": {
                entity: {"entity": True, "object": entity in CUSTOMIZABLE,
                         "customizable": entity in CUSTOMIZABLE}
                for entity in self._records.fields
            },
        }  # fmt: skip
        for step in key.split(".") if key else ():
            found = found.get(step) if isinstance(found, Mapping) else None
        return found

    def layout(self, name: str) -> Any:
        return self.layouts.get(name, [{"rows": [[{"name": "name"}, {"name": "account"}]]}])


def _exists(entity: str, name: str, what: str, label: str) -> Refused:
    data = {"field": name, "entityType": entity}
    translation = {"label": label, "scope": "FieldManager", "data": data}
    return Refused(
        409,
        f"{what} '{name}' already exists in '{entity}'.",
        {"messageTranslation": translation},
    )
