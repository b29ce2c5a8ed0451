"""The properties of the stand-in's records: HubSpot's own few, and those an app creates.

The rules are HubSpot's as far as they are known (type and field type must fit, a name is
taken once, an archived name may be created again, ``options`` of a PATCH replace the list).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from plugin.sandbox.refusals import Problem, Refused, bad_input

FIELD_TYPES: Mapping[str, frozenset[str]] = {
    "string": frozenset({"text", "textarea", "html", "phonenumber", "file"}),
    "number": frozenset({"number"}),
    "date": frozenset({"date"}),
    "datetime": frozenset({"date"}),
    "enumeration": frozenset({"select", "radio", "checkbox", "booleancheckbox"}),
    "bool": frozenset({"booleancheckbox"}),
    "phone_number": frozenset({"phonenumber"}),
}
"""Property type → field types that fit it."""

NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
MILLISECONDS = re.compile(r"-?[0-9]+")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
LONGEST = 65_536
"""Characters a text may have."""


class InvalidValue(Exception):
    """A value a property cannot take, with HubSpot's code for it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    value: str
    label: str
    display_order: int = -1
    hidden: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "value": self.value,
            "displayOrder": self.display_order,
            "hidden": self.hidden,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    name: str
    label: str
    display_order: int = -1

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label": self.label,
            "displayOrder": self.display_order,
            "archived": False,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Property:
    """A property's definition. ``custom``: made by an app or admin, not by HubSpot."""

    name: str
    label: str
    type: str
    field_type: str
    group: str = ""
    description: str = ""
    options: tuple[Choice, ...] = ()
    display_order: int = -1
    hidden: bool = False
    form_field: bool = False
    unique: bool = False
    read_only: bool = False
    custom: bool = False
    archived_at: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "name": self.name,
            "label": self.label,
            "type": self.type,
            "fieldType": self.field_type,
            "groupName": self.group,
            "description": self.description,
            "options": [option.as_json() for option in self.options],
            "displayOrder": self.display_order,
            "hidden": self.hidden,
            "formField": self.form_field,
            "hasUniqueValue": self.unique,
            "calculated": False,
            "externalOptions": False,
            "hubspotDefined": not self.custom,
            "archived": self.archived_at is not None,
            "modificationMetadata": {
                "archivable": self.custom,
                "readOnlyDefinition": not self.custom,
                "readOnlyValue": self.read_only,
            },
        }
        if self.archived_at:
            body["archivedAt"] = iso(self.archived_at)
        return body

    def read(self, raw: object) -> str:
        """The value as HubSpot stores it, "" where it empties. Raises ``InvalidValue``."""
        if raw is None or raw == "":
            return ""
        if not isinstance(raw, str):
            raise InvalidValue("INVALID_STRING", f"{raw!r} is not a string")
        if self.name == "email":
            return _email(raw)
        if self.options or self.type in ("enumeration", "bool"):
            return self._option(raw)
        return {"number": _number, "date": _date, "datetime": _datetime}.get(self.type, _text)(raw)

    def _option(self, raw: str) -> str:
        allowed = [option.value for option in self.options]
        chosen = raw.split(";") if self.field_type == "checkbox" else [raw]
        for value in chosen:
            if value not in allowed:
                raise InvalidValue(
                    "INVALID_OPTION", f"{value} was not one of the allowed options: {allowed}"
                )
        return raw


class Properties:
    """All definitions of all object types, and their groups."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[str, Group]] = {}
        self._properties: dict[str, dict[str, Property]] = {}

    def add(self, object_type: str, group: Group, properties: Iterable[Property]) -> None:
        """HubSpot's own, for setting up."""
        self._groups.setdefault(object_type, {})[group.name] = group
        own = self._properties.setdefault(object_type, {})
        own.update({prop.name: replace(prop, group=group.name) for prop in properties})

    def find(self, object_type: str, name: str) -> Property | None:
        """The active property of that name."""
        found = self._properties[object_type].get(name)
        return found if found and found.archived_at is None else None

    def get(self, object_type: str, name: str) -> Property:
        found = self.find(object_type, name)
        if found is None:
            raise Refused(
                404,
                "OBJECT_NOT_FOUND",
                f"Property {name!r} does not exist",
                sub_category="Properties.PROPERTY_NOT_FOUND",
            )
        return found

    def all(self, object_type: str, *, archived: bool = False) -> list[Property]:
        own = self._properties[object_type].values()
        return [prop for prop in own if (prop.archived_at is not None) is archived]

    def custom_count(self, object_type: str) -> int:
        return sum(prop.custom for prop in self.all(object_type))

    def create(self, object_type: str, body: Mapping[str, Any]) -> Property:
        name = _words(body, "name")
        if not NAME.fullmatch(name):
            raise bad_input(f"The property name {name!r} is not valid")
        if self.find(object_type, name):
            raise Refused(
                409,
                "OBJECT_ALREADY_EXISTS",
                f"A property named '{name}' already exists.",
                sub_category="Properties.PROPERTY_WITH_NAME_EXISTS",
                context={"name": [name]},
            )
        made = Property(
            name=name,
            label=_words(body, "label"),
            type=_words(body, "type"),
            field_type=_words(body, "fieldType"),
            group=_words(body, "groupName"),
            description=body.get("description", ""),
            options=_choices(body.get("options", ())),
            display_order=body.get("displayOrder", -1),
            hidden=body.get("hidden", False),
            form_field=body.get("formField", False),
            unique=body.get("hasUniqueValue", False),
            custom=True,
        )
        return self._keep(object_type, made)

    def update(self, object_type: str, name: str, body: Mapping[str, Any]) -> Property:
        """PATCH: what is given replaces; ``options`` replace the whole list."""
        prop = self.get(object_type, name)
        if not prop.custom:
            raise bad_input(f"Property {name!r} is defined by HubSpot")
        changed = replace(
            prop,
            label=body.get("label", prop.label),
            type=body.get("type", prop.type),
            field_type=body.get("fieldType", prop.field_type),
            group=body.get("groupName", prop.group),
            description=body.get("description", prop.description),
            display_order=body.get("displayOrder", prop.display_order),
            hidden=body.get("hidden", prop.hidden),
            form_field=body.get("formField", prop.form_field),
            options=_choices(body["options"]) if "options" in body else prop.options,
        )
        return self._keep(object_type, changed)

    def archive(self, object_type: str, name: str, at: datetime) -> None:
        prop = self.get(object_type, name)
        if not prop.custom:
            raise bad_input(f"Property {name!r} is defined by HubSpot")
        self._properties[object_type][name] = replace(prop, archived_at=at)

    def groups(self, object_type: str) -> list[Group]:
        return list(self._groups[object_type].values())

    def group(self, object_type: str, name: str) -> Group:
        found = self._groups[object_type].get(name)
        if found is None:
            raise Refused(404, "OBJECT_NOT_FOUND", f"Property group {name!r} does not exist")
        return found

    def create_group(self, object_type: str, body: Mapping[str, Any]) -> Group:
        name = _words(body, "name")
        if name in self._groups[object_type]:
            raise Refused(
                409, "OBJECT_ALREADY_EXISTS", f"A property group named '{name}' already exists."
            )
        group = Group(
            name=name, label=_words(body, "label"), display_order=body.get("displayOrder", -1)
        )
        self._groups[object_type][name] = group
        return group

    def update_group(self, object_type: str, name: str, body: Mapping[str, Any]) -> Group:
        group = replace(self.group(object_type, name), label=_words(body, "label"))
        self._groups[object_type][name] = group
        return group

    def archive_group(self, object_type: str, name: str) -> None:
        self.group(object_type, name)
        if any(prop.group == name for prop in self.all(object_type)):
            raise bad_input(f"Property group {name!r} still has active properties")
        del self._groups[object_type][name]

    def read(
        self, object_type: str, raw: Mapping[str, object], *, calculated: bool = False
    ) -> tuple[dict[str, str], list[Problem]]:
        """The values as stored, and what is wrong with the others."""
        values: dict[str, str] = {}
        problems: list[Problem] = []
        for name, value in raw.items():
            prop = self.find(object_type, name)
            if prop is None:
                message = f'Property "{name}" does not exist'
                problems.append(Problem(name=name, error="PROPERTY_DOESNT_EXIST", message=message))
            elif prop.read_only and not calculated:
                message = f'"{name}" is a read only property; its value cannot be set.'
                problems.append(Problem(name=name, error="READ_ONLY_VALUE", message=message))
            else:
                try:
                    values[name] = prop.read(value)
                except InvalidValue as error:
                    problems.append(Problem(name=name, error=error.code, message=str(error)))
        return values, problems

    def _keep(self, object_type: str, prop: Property) -> Property:
        if prop.field_type not in FIELD_TYPES.get(prop.type, frozenset()):
            raise bad_input(f"fieldType {prop.field_type!r} does not fit type {prop.type!r}")
        if prop.type in ("enumeration", "bool") and not prop.options:
            raise bad_input(f"Property {prop.name!r} of type {prop.type!r} needs options")
        if prop.group not in self._groups[object_type]:
            raise bad_input(f"Property group {prop.group!r} does not exist")
        self._properties[object_type][prop.name] = prop
        return prop


def iso(at: datetime) -> str:
    """An instant as HubSpot writes it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant(raw: str) -> datetime:
    """Milliseconds or ISO text. Raises ``ValueError`` or ``OverflowError``."""
    if MILLISECONDS.fullmatch(raw):
        return EPOCH + timedelta(milliseconds=int(raw))
    at = datetime.fromisoformat(raw)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)


def _words(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value:
        raise bad_input(f"Some required fields were not set: [{key}]")
    return value


def _choices(raw: Iterable[Mapping[str, Any]]) -> tuple[Choice, ...]:
    choices = tuple(
        Choice(
            value=_words(option, "value"),
            label=_words(option, "label"),
            display_order=option.get("displayOrder", -1),
            hidden=option.get("hidden", False),
        )
        for option in raw
    )
    for part in ("value", "label"):
        seen = [getattr(choice, part) for choice in choices]
        if len(set(seen)) < len(seen):
            raise bad_input(f"Property options must have a unique {part}: {seen}")
    return choices


def _text(raw: str) -> str:
    if len(raw) > LONGEST:
        raise InvalidValue("PROPERTY_VALUE_TOO_LONG", f"longer than {LONGEST} characters")
    return raw


def _email(raw: str) -> str:
    if not EMAIL.fullmatch(raw):
        raise InvalidValue("INVALID_EMAIL", f"Email address {raw} is invalid")
    return raw.lower()


def _number(raw: str) -> str:
    try:
        finite = Decimal(raw).is_finite()
    except InvalidOperation:
        finite = False
    if not finite:
        raise InvalidValue("INVALID_LONG", f"{raw} was not a valid number.")
    return raw


def _date(raw: str) -> str:
    if not MILLISECONDS.fullmatch(raw):
        try:
            return date.fromisoformat(raw).isoformat()
        except ValueError:
            raise InvalidValue("INVALID_DATE", f"{raw} was not a valid date.") from None
    at = _instant(raw)
    if at.time() != time():
        raise InvalidValue("INVALID_DATE", f"{raw} is at {at.time()} UTC, not midnight!")
    return at.date().isoformat()


def _datetime(raw: str) -> str:
    return iso(_instant(raw))


def _instant(raw: str) -> datetime:
    try:
        return instant(raw)
    except (ValueError, OverflowError):
        raise InvalidValue("INVALID_DATE", f"{raw} was not a valid date time.") from None
