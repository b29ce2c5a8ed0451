"""``manifest.json``: the one list of what the plugin adds to a CRM, as frozen values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from plugin.errors import ConfigurationError

PATH = Path(__file__).resolve().parent.parent / "manifest.json"
LANGUAGES = ("de", "en")


class Direction(StrEnum):
    OUT = "out"
    """Written by the plugin."""
    IN = "in"
    """Filled by people; never overwritten."""


class FieldType(StrEnum):
    ENUM = "enum"
    MULTI_ENUM = "multi_enum"
    TEXT = "text"
    LINE = "line"
    DATE = "date"
    NUMBER = "number"
    MONEY = "money"
    BOOL = "bool"


@dataclass(frozen=True, slots=True)
class Text:
    """A wording in each of our languages."""

    de: str
    en: str

    def __getitem__(self, language: str) -> str:
        return self.en if language == "en" else self.de


@dataclass(frozen=True, slots=True)
class Option:
    value: str
    label: Text


@dataclass(frozen=True, slots=True)
class Field:
    key: str
    direction: Direction
    type: FieldType
    label: Text
    description: Text
    options: tuple[Option, ...] = ()

    def option_label(self, value: str, language: str) -> str:
        """The label people see for an option's value."""
        return next(o.label[language] for o in self.options if o.value == value)


@dataclass(frozen=True, slots=True)
class Crm:
    """What the manifest says of one CRM. ``subscriptions`` are in that CRM's own words."""

    name: str
    title: str
    scopes: tuple[str, ...]
    event_types: tuple[str, ...]
    subscriptions: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """``fields`` are in order of importance: where not all fit, the first ones win."""

    version: str
    title: Text
    group_key: str
    group_label: Text
    association_key: str
    association_label: Text
    association_inverse_label: Text
    fields: tuple[Field, ...]
    task_labels: dict[str, Text]
    crms: dict[str, Crm]

    def field(self, key: str) -> Field:
        return next(f for f in self.fields if f.key == key)

    @property
    def keys_in(self) -> tuple[str, ...]:
        return tuple(f.key for f in self.fields if f.direction is Direction.IN)

    @property
    def keys_out(self) -> tuple[str, ...]:
        return tuple(f.key for f in self.fields if f.direction is Direction.OUT)


def _text(raw: dict[str, str]) -> Text:
    return Text(de=raw["de"], en=raw["en"])


@cache
def manifest() -> Manifest:
    """The manifest beside the package. Raises ``ConfigurationError`` where it cannot be read."""
    try:
        raw = json.loads(PATH.read_text("utf-8"))
        return Manifest(
            version=raw["version"],
            title=_text(raw["title"]),
            group_key=raw["group"]["key"],
            group_label=_text(raw["group"]["label"]),
            association_key=raw["association"]["key"],
            association_label=_text(raw["association"]["label"]),
            association_inverse_label=_text(raw["association"]["inverse_label"]),
            fields=tuple(
                Field(
                    key=f["key"],
                    direction=Direction(f["direction"]),
                    type=FieldType(f["type"]),
                    label=_text(f["label"]),
                    description=_text(f["description"]),
                    options=tuple(Option(o["value"], _text(o)) for o in f.get("options", ())),
                )
                for f in raw["fields"]
            ),
            task_labels={t["kind"]: _text(t["label"]) for t in raw["tasks"]},
            crms={
                name: Crm(
                    name=name,
                    title=crm["title"],
                    scopes=tuple(crm["scopes"]),
                    event_types=tuple(crm["event_types"]),
                    subscriptions=tuple(crm["subscriptions"]),
                )
                for name, crm in raw["crms"].items()
            },
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{PATH.name} cannot be read: {error!r}") from error
