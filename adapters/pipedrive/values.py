"""Pipedrive's values ↔ the manifest's own form.

https://pipedrive.readme.io/docs/webhooks-v2-migration-guide (custom values as objects)
https://pipedrive.readme.io/docs/pipedrive-api-v2-migration-guide (custom values bare)
https://pipedrive.readme.io/docs/core-api-concepts-custom-fields

Fields and options have names of the account's own: 40 hex digits for a field, a number for an
option. ``install`` finds them out and keeps them as facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from adapters.values import believable, clean, in_order, json_number, options_of, plain_number
from plugin.manifest import Direction, Field, FieldType, manifest
from schemas.fields import RECORD_NUMBER
from schemas.pipedrive import FieldSpec

FIELD_FACT = "field:"
OPTION_FACT = "option:"
"""Keys in ``AccountLink.facts``: ``field:<key>`` → code, ``option:<key>:<value>`` → option id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OurFields:
    """Our fields in one account. ``codes``: key → code; ``options``: (key, value) → option id."""

    codes: Mapping[str, str]
    options: Mapping[tuple[str, str], str]

    @classmethod
    def of(cls, facts: Mapping[str, str]) -> OurFields:
        """As the facts tell them; none before ``install``."""
        options: dict[tuple[str, str], str] = {}
        for name, option_id in facts.items():
            if name.startswith(OPTION_FACT):
                key, _, value = name.removeprefix(OPTION_FACT).partition(":")
                options[key, value] = option_id
        return cls(
            codes={
                name.removeprefix(FIELD_FACT): code
                for name, code in facts.items()
                if name.startswith(FIELD_FACT)
            },
            options=options,
        )

    def facts(self) -> dict[str, str]:
        found = {f"{FIELD_FACT}{key}": code for key, code in self.codes.items()}
        return found | {f"{OPTION_FACT}{k}:{v}": one for (k, v), one in self.options.items()}

    def among(self, specs: Mapping[str, FieldSpec]) -> OurFields:
        """Those that the company has: ``specs`` are its fields by code."""
        codes = {key: code for key, code in self.codes.items() if code in specs}
        return OurFields(
            codes=codes,
            options={
                (key, value): one
                for (key, value), one in self.options.items()
                if key in codes and one in _option_ids(specs[codes[key]])
            },
        )

    def key_of(self, code: str) -> str | None:
        return next((key for key, known in self.codes.items() if known == code), None)

    def codes_of(self, direction: Direction) -> frozenset[str]:
        fields = [field for field in manifest().fields if field.direction is direction]
        return frozenset(self.codes[field.key] for field in fields if field.key in self.codes)

    def text(self, field: Field, custom: Mapping[str, Any]) -> str:
        """A field's value in the manifest's own form; "" where empty. Unknown options pass as
        the numbers they are."""
        value = bare(custom.get(self.codes[field.key]))
        if value is None or value == "":
            return ""
        match field.type:
            case FieldType.ENUM | FieldType.BOOL:
                return self._option(field, value)
            case FieldType.MULTI_ENUM:
                several = value if isinstance(value, list) else [value]
                return in_order(field, (self._option(field, one) for one in several))
            case FieldType.NUMBER | FieldType.MONEY:
                return clean(plain_number(str(value)))
            case _:
                return clean(value)

    def value(self, field: Field, text: str) -> object:
        """What to write. Raises ``LookupError`` where the account has no such option."""
        if not text:
            return None
        match field.type:
            case FieldType.ENUM | FieldType.BOOL:
                return int(self.options[field.key, text])
            case FieldType.MULTI_ENUM:
                return [int(self.options[field.key, one]) for one in text.split(";")]
            case FieldType.NUMBER | FieldType.MONEY:
                return json_number(text)
            case _:
                return text

    def _option(self, field: Field, option_id: object) -> str:
        known = {self.options.get((field.key, o.value)): o.value for o in options_of(field)}
        return known.get(str(option_id), str(option_id))


def is_option(field: Field, text: str) -> bool:
    """Whether a value is made of the manifest's options, where the field has any."""
    known = {option.value for option in options_of(field)}
    return not known or not text or known.issuperset(text.split(";"))


def _option_ids(spec: FieldSpec) -> frozenset[str]:
    return frozenset(str(one["id"]) for one in spec["options"] or ())


def bare(value: object) -> Any:
    """A custom value without the object that webhooks put around it (and the API around some):
    an id, ids, or what is in the field. None for ranges, which we do not use."""
    if isinstance(value, list):
        return [bare(one) for one in value]
    if not isinstance(value, dict):
        return value
    if "values" in value:
        return bare(value["values"])
    return value.get("id", value.get("value"))


def record_id(value: object) -> str | None:
    """The id in a field that leads to a person."""
    found = str(bare(value))
    return found if RECORD_NUMBER.fullmatch(found) else None


def instant(value: object) -> datetime | None:
    """An instant from ISO 8601 or from seconds or milliseconds; None from anything else, and
    from what no CRM can have seen."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            found = datetime.fromtimestamp(value / 1000 if value > 10**11 else value, UTC)
        elif isinstance(value, str) and value:
            found = datetime.fromisoformat(value)
        else:
            return None
    except (ValueError, OverflowError, OSError):
        return None
    return believable(found.replace(tzinfo=UTC) if found.tzinfo is None else found)


def rfc3339(at: datetime) -> str:
    """To the second, as the API takes it; never later than ``at``."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
