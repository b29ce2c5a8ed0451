"""EspoCRM's records in memory: fields, checks, changes, links, and what webhooks tell of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from datetime import datetime
from typing import Any

from tests.payloads.espocrm import entities
from tests.payloads.espocrm.searching import Filter, Record, Refused, Search, paged

Tell = Callable[[str, Mapping[str, Any], str], None]
CURRENCY = "EUR"
LISTED_TEXT = 10_000
RATES = {"CHF": 1.05}
"""What one unit of another currency is worth."""
_NUMBERS = ("int", "float", "currency")
_DAY = r"\d{4}-\d\d-\d\d"
_FORMS = {"date": _DAY, "datetime": rf"{_DAY} \d\d:\d\d:\d\d"}
_FORMS["datetimeOptional"] = _FORMS["datetime"]


class Records:
    """All records by type and id. ``tell`` takes an event, its item and who did it."""

    def __init__(self, now: Callable[[], datetime], tell: Tell) -> None:
        self._now, self._tell = now, tell
        self._last_id = 0
        self.tables: dict[str, dict[str, Record]] = {name: {} for name in entities.LISTED}
        self.fields = {k: deepcopy(dict(v)) for k, v in entities.FIELDS.items()}
        self.links: dict[str, dict[str, Any]] = {
            k: deepcopy(dict(v)) for k, v in entities.LINKS.items()
        }

    def new_id(self) -> str:
        self._last_id += 1
        return f"{0x6B02D000000000000 + self._last_id:017x}"

    def moment(self) -> str:
        """Times are UTC and tell no zone."""
        return f"{self._now():%Y-%m-%d %H:%M:%S}"

    # ------------------------------------------------------------------------ looking

    def find(self, entity: str, record_id: str | None) -> Record | None:
        found = self.tables[entity].get(record_id or "")
        return None if found is None or found["deleted"] else found

    def get(self, entity: str, record_id: str) -> Record:
        found = self.find(entity, record_id)
        if found is None:
            raise Refused(404, f"Record {record_id} does not exist.")
        return found

    def there(self, entity: str) -> list[Record]:
        return [one for one in self.tables[entity].values() if not one["deleted"]]

    def custom(self, entity: str) -> dict[str, Mapping[str, Any]]:
        own = entities.FIELDS[entity]
        return {name: one for name, one in self.fields[entity].items() if name not in own}

    @staticmethod
    def attributes_of(name: str, kind: str) -> tuple[str, ...]:
        """A field's attributes: most have one of the field's own name."""
        return {
            "link": (f"{name}Id", f"{name}Name"),
            "linkParent": (f"{name}Id", f"{name}Type", f"{name}Name"),
            "linkMultiple": (f"{name}Ids", f"{name}Names"),
            "currency": (name, f"{name}Currency", f"{name}Converted"),
        }.get(kind, (name,))

    def attributes(self, entity: str) -> tuple[str, ...]:
        """What a list tells of a record: the built-in attributes, then those of custom fields."""
        of_custom = (
            self.attributes_of(name, one["type"]) for name, one in self.custom(entity).items()
        )
        return (*entities.LISTED[entity], *(each for names in of_custom for each in names))

    def value(self, entity: str, record: Record, attribute: str) -> Any:
        """Names of linked records are looked up, and empty where those are deleted."""
        links = self.links[entity]
        stem = re.sub(r"(Ids|Names|Columns|Name)$", "", attribute)
        if attribute == "name" and entity in ("Contact", "User"):
            parts = (record.get("firstName"), record.get("lastName"))
            return " ".join(filter(None, parts)) or record.get("userName")
        if attribute != stem and stem in links:
            return self._linked_value(entity, record, stem, attribute.removeprefix(stem))
        if attribute in ("emailAddressData", "phoneNumberData"):
            return _address_data(attribute.removesuffix("Data"), record)
        if attribute.endswith(("IsOptedOut", "IsInvalid")):
            return False if record.get(re.sub("Is(OptedOut|Invalid)$", "", attribute)) else None
        if attribute == "amountWeightedConverted":
            return (record.get("amount") or 0) * (record.get("probability") or 0) / 100
        if attribute.endswith("Converted"):
            name = attribute.removesuffix("Converted")
            value, rate = record.get(name), RATES.get(record.get(f"{name}Currency") or "", 1)
            return value if value is None or rate == 1 else round(value * rate, 2)
        return _empty(attribute) if attribute not in record else record[attribute]

    def _linked_value(self, entity: str, record: Record, link: str, what: str) -> Any:
        ids = self.linked(entity, record, link)
        foreign = self._foreign(entity, record, link)
        if what == "Name":
            found = self.find(foreign, record.get(f"{link}Id")) if foreign else None
            return self.value(foreign, found, "name") if found else None
        if what == "Names":
            return {one: self.value(foreign, self.tables[foreign][one], "name") for one in ids}
        return {one: {"role": None} for one in ids} if what == "Columns" else ids

    def _foreign(self, entity: str, record: Record, link: str) -> str:
        definition = self.links[entity][link]
        found: str = definition.get("entity") or record.get(f"{link}Type") or ""
        return found if found in self.tables else ""

    def linked(self, entity: str, record: Record, link: str) -> list[str]:
        """Ids of the records that a link leads to."""
        definition = self.links[entity][link]
        foreign, back = self._foreign(entity, record, link), definition.get("foreign", "")
        if definition["type"].startswith("belongsTo"):
            found = self.find(foreign, record.get(f"{link}Id")) if foreign else None
            return [found["id"]] if found else []
        if f"{link}Ids" in record:
            return [one for one in record[f"{link}Ids"] if self.find(foreign, one)]
        return [
            one["id"]
            for one in self.there(foreign)
            if record["id"] in (one.get(f"{back}Id"), *one.get(f"{back}Ids", ()))
        ]

    def told(self, entity: str, record: Record, names: Iterable[str]) -> Record:
        return {name: self.value(entity, record, name) for name in names}

    def whole(self, entity: str, record: Record) -> Record:
        return self.told(entity, record, (*self.attributes(entity), *entities.READ[entity]))

    def created(self, entity: str, record: Record, *, webhook: bool = False) -> Record:
        """The answer to a creation, or the webhook's item: what has a value, and some that have
        none. A name made of one part only is missing, as recorded."""
        names = set(entities.NAMED_ON_CREATION[entity].split()) - (
            set(entities.LISTED[entity]) if webhook else set()
        )
        whole = self.whole(entity, record)
        for name in entities.READ[entity] if webhook else ():
            if name not in ("isFollowed", "contactsIds", "contactsNames"):
                del whole[name]
        if webhook:
            del whole["createdByName"]
        told = {k: v for k, v in whole.items() if v is not None or k in names}
        if entity == "Contact" and not record.get("firstName"):
            told.pop("name")
        return {**told, **entities.TOLD_ON_CREATION.get(entity, {})}

    def search(self, entity: str, search: Search, among: Iterable[Record] | None = None) -> Any:
        known = {"id", *self.attributes(entity)}
        if search.order_by not in known | set(self.fields[entity]):
            raise Refused(400, f"Order by non-existing field '{search.order_by}'.")
        judge = Filter(
            attributes=frozenset(known),
            links=frozenset(self.links[entity]),
            value=lambda record, name: self.value(entity, record, name),
            linked=lambda record, link: self.linked(entity, record, link),
            exists=lambda link, one: self.find(self._foreign(entity, {}, link), one) is not None,
        )
        for item in search.where:
            judge.check(item)
        found = [
            one
            for one in (self.there(entity) if among is None else among)
            if all(judge.fits(one, item) for item in search.where)
        ]
        total, page = paged(found, search, lambda one, name: self.value(entity, one, name))
        names: tuple[str, ...] = self.attributes(entity)
        if search.select:
            wanted = {*search.select, *entities.ALWAYS_SELECTED.get(entity, ("id", "createdAt"))}
            names = tuple(one for one in (*names, *entities.READ[entity]) if one in wanted)
        told = [self.told(entity, one, names) for one in page]
        return {"total": total, "list": [_cut(one) for one in told]}

    # ----------------------------------------------------------------------- changing

    def create(self, entity: str, values: Mapping[str, Any], user_id: str, **more: Any) -> Record:
        """``more``: what no client can set."""
        fields = self.fields[entity]
        record: Record = {
            "id": self.new_id(), "deleted": False,
            **{name: one["default"] for name, one in fields.items() if "default" in one},
            **{name: False for name, one in fields.items() if one["type"] == "bool"
               and not one.get("default")},
        }  # fmt: skip
        asked = self._input(entity, values)
        self._check(entity, asked, new=True)
        moment = self.moment()
        record |= asked
        record |= {"createdAt": moment, "modifiedAt": moment, "createdById": user_id}
        if entity in entities.CUSTOMIZABLE:
            record |= {"streamUpdatedAt": moment, "modifiedById": None, "versionNumber": 1}
        record |= more
        self._derive(entity, record, set(record))
        self.tables[entity][record["id"]] = record
        self._tell(f"{entity}.create", self.created(entity, record, webhook=True), user_id)
        return record

    def update(
        self,
        entity: str,
        record: Record,
        values: Mapping[str, Any],
        user_id: str,
        *,
        told: Mapping[str, Any] | None = None,
    ) -> Record:
        """Nothing happens, and nothing is told, where nothing changes; ``told`` is told always."""
        asked = self._input(entity, values)
        self._check(entity, asked, new=False)
        before = {k: self.value(entity, record, k) for k in self._watched(entity)}
        changed = {k for k, v in asked.items() if self.value(entity, record, k) != v}
        if not changed and not told:
            return record
        record |= {k: v for k, v in asked.items() if k in changed}
        self._derive(entity, record, changed)
        record |= {"modifiedAt": self.moment(), "modifiedById": user_id}
        if "versionNumber" in record:
            record["versionNumber"] += 1
        after = {k: self.value(entity, record, k) for k in before}
        item = {k: v for k, v in after.items() if v != before[k]}
        self._tell(f"{entity}.update", {**item, **(told or {}), "id": record["id"]}, user_id)
        return record

    def delete(self, entity: str, record: Record, user_id: str) -> None:
        record |= {"deleted": True, "modifiedAt": self.moment(), "modifiedById": user_id}
        self._tell(f"{entity}.delete", {"id": record["id"]}, user_id)

    def relate(self, entity: str, record: Record, link: str, other: str, *, on: bool) -> None:
        """Webhooks are told nothing of relations."""
        definition = self.links[entity].get(link)
        if definition is None:
            raise Refused(404, f"Link '{link}' does not exist.")
        foreign = self._foreign(entity, record, link)
        there = self.get(foreign, other)
        if definition["type"].startswith("belongsTo"):
            record[f"{link}Id"] = other if on else None
        elif f"{link}Ids" in record:
            ids = [one for one in record[f"{link}Ids"] if one != other]
            record[f"{link}Ids"] = [*ids, other] if on else ids
        elif definition["type"] == "hasChildren":
            there[f"{definition['foreign']}Id"] = record["id"] if on else None
            there[f"{definition['foreign']}Type"] = entity if on else None
            self._derive(foreign, there, {f"{definition['foreign']}Id"})
        else:
            self.relate(foreign, there, definition["foreign"], record["id"], on=on)

    def _watched(self, entity: str) -> list[str]:
        """Attributes a webhook may tell of, in the record's order."""
        names = (*self.attributes(entity), *entities.READ[entity])
        named = {"name"} if entity == "Contact" else set()
        unsent = {*entities.UNSENT, *named, "emailAddressData", "phoneNumberData"}
        return [
            one for one in names
            if one not in unsent and not one.endswith(("IsOptedOut", "IsInvalid"))
        ]  # fmt: skip

    def _input(self, entity: str, values: Mapping[str, Any]) -> Record:
        """What a client may set; the rest is passed over in silence."""
        writable: dict[str, str] = {}
        for name, one in self.fields[entity].items():
            if not one.get("readOnly") and one["type"] != "personName":
                names = self.attributes_of(name, one["type"])
                writable |= {each: one["type"] for each in names if not each.endswith("Converted")}
        kept = {k: v for k, v in values.items() if k in writable and not k.endswith("Names")}
        for name, value in kept.items():
            if writable[name] == "varchar" and isinstance(value, str):
                kept[name] = value.strip()
            if writable[name] == "text" and value == "":
                kept[name] = None
            if writable[name] == "multiEnum" and value is None:
                kept[name] = []
        return kept

    def _check(self, entity: str, values: Mapping[str, Any], *, new: bool) -> None:
        for name, definition in self.fields[entity].items():
            own = self.attributes_of(name, definition["type"])[0]
            if definition.get("required") and (new or own in values) and _blank(values.get(own)):
                raise _invalid(entity, name, "required")
            if own in values and (fault := _fault(values[own], definition)):
                raise _invalid(entity, name, fault)
            if own in values and definition["type"].startswith("link"):
                self._check_linked(entity, name, values)

    def _check_linked(self, entity: str, link: str, values: Mapping[str, Any]) -> None:
        foreign = self._foreign(entity, {**values}, link)
        ids = values.get(f"{link}Ids") or [values.get(f"{link}Id")]
        for one in filter(None, ids):
            if foreign and not self.find(foreign, one):
                raise Refused(
                    403,
                    f"Can't relate with non-existing record. entity type: {entity}, link: {link}.",
                    {
                        "messageTranslation": {
                            "label": "cannotRelateNonExisting",
                            "scope": None,
                            "data": {"foreignEntityType": foreign},
                        }
                    },
                )

    def _derive(self, entity: str, record: Record, changed: set[str]) -> None:
        """What the CRM's own hooks set (``Modules/Crm/Hooks``)."""
        for name, one in self.fields[entity].items():
            if one["type"] == "currency" and name in changed and record.get(name) is not None:
                record[f"{name}Currency"] = record.get(f"{name}Currency") or CURRENCY
        if entity == "Opportunity":
            record.setdefault("contactsIds", [])
            if "stage" in changed and "probability" not in changed:
                record["probability"] = entities.STAGES[record["stage"]]
            if "stage" in changed and record["stage"] != "Closed Lost":
                record["lastStage"] = record["stage"]
            primary = record.get("contactId")
            if "contactId" in changed and primary and primary not in record["contactsIds"]:
                record["contactsIds"] = [*record["contactsIds"], primary]
        if entity == "Task":
            if "status" in changed:
                done = record["status"] == "Completed"
                record["dateCompleted"] = self.moment() if done else None
            if "parentId" in changed:
                self._derive_parent(record)

    def _derive_parent(self, task: Record) -> None:
        parent_type, parent_id = task.get("parentType"), task.get("parentId")
        parent = self.find(parent_type, parent_id) if parent_type in self.tables else None
        task["contactId"] = parent_id if parent_type == "Contact" else None
        task["accountId"] = parent_id if parent_type == "Account" else None
        for name in ("contactId", "accountId"):
            task[name] = task[name] or (parent or {}).get(name)


def _cut(told: Record) -> Record:
    """Lists tell the beginnings of long texts (``maxSelectTextAttributeLengthForList``)."""
    return {k: v[:LISTED_TEXT] if isinstance(v, str) else v for k, v in told.items()}


def _empty(attribute: str) -> Any:
    """An attribute that was never set."""
    if attribute.endswith("Ids") or attribute == "reminders":
        return []
    if attribute.endswith(("Names", "Columns", "Types")):
        return {}
    return False if attribute in ("isFollowed", "isStarred", "isOverdue", "hasPortalUser") else None


def _address_data(name: str, record: Record) -> list[Record]:
    value = record.get(name)
    if not value:
        return []
    own = {"lower": value.lower()} if name == "emailAddress" else {"type": "Mobile"}
    return [{name: value, **own, "primary": True, "optOut": False, "invalid": False}]


def _blank(value: Any) -> bool:
    return value is None or value == ""


def _fault(value: Any, definition: Mapping[str, Any]) -> str | None:
    """The kind of validation a value fails. An enum may be empty only where its options say so."""
    kind, options = definition["type"], definition.get("options")
    if kind == "enum" and options is not None:
        return None if (value if value is not None else "") in options else "valid"
    if value is None:
        return None
    if kind == "multiEnum":
        known = isinstance(value, list) and (not options or set(value) <= set(options))
        return None if known else "valid"
    if kind in _FORMS:
        return None if re.fullmatch(_FORMS[kind], str(value)) else "valid"
    if kind == "bool":
        return None if isinstance(value, bool) else "valid"
    if kind in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "valid"
        low, high = definition.get("min"), definition.get("max")
        return "min" if low is not None and value < low else (
            "max" if high is not None and value > high else None
        )  # fmt: skip
    if "pattern" in definition and not re.fullmatch(definition["pattern"], str(value)):
        return "pattern"
    longest = definition.get("maxLength") or (255 if kind == "varchar" else None)
    return "maxLength" if longest and len(str(value)) > longest else None


def _invalid(entity: str, name: str, kind: str) -> Refused:
    reason = f"Field validation failure; entityType: {entity}, field: {name}, type: {kind}."
    data = {"field": name, "type": kind}
    translation = {"label": "validationFailure", "scope": None, "data": data}
    return Refused(400, reason, {"messageTranslation": translation})
