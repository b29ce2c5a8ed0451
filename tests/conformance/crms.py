"""Which CRMs take part: all that the manifest names, and all that have a payload folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from plugin import registry
from plugin.manifest import manifest
from plugin.ports import Adapter, Delivery, Event, EventKind, Parsed, Received
from plugin.referral.model import FieldChange
from tests.stand_in import StandIn

ROOT = Path(__file__).resolve().parent.parent.parent
PAYLOADS = ROOT / "tests" / "payloads"
PUBLIC_URL = "https://spiral.example.com"
RECEIVED_AT = datetime(2026, 9, 14, 8, tzinfo=UTC)
"""Of a payload whose case does not say when it came."""


def packages(folder: Path) -> set[str]:
    """Names of the folders in a folder."""
    return {path.name for path in folder.iterdir() if path.is_dir() and path.name[0].isalpha()}


CRMS = tuple(dict.fromkeys([*manifest().crms, *sorted(packages(PAYLOADS))]))


def new_adapter(crm: str) -> Adapter:
    """An adapter that remembers nothing of other tests."""
    return type(registry.adapter(crm))()


def new_stand_in(crm: str) -> StandIn:
    found: StandIn = import_module(f"tests.payloads.{crm}.stand_in").Crm()
    return found


@dataclass(frozen=True, kw_only=True)
class Case:
    """One recorded delivery and what it must become; see ``case.json`` in its folder."""

    crm: str
    name: str
    body: bytes
    told: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.crm}-{self.name}"

    @property
    def received_at(self) -> datetime:
        told = self.told.get("received_at")
        return datetime.fromisoformat(told) if told else RECEIVED_AT

    @property
    def owned(self) -> bool:
        """Whether it came to an address that one account has for itself."""
        return bool(self.told.get("account_crm_id"))

    @property
    def received(self) -> Received:
        return self.received_as(self.body)

    def received_as(self, body: bytes, **more: Any) -> Received:
        """The same delivery with another body, or in other circumstances."""
        return Received(
            **{
                "body": body,
                "received_at": self.received_at,
                "topic": self.told.get("topic", ""),
                "account_crm_id": self.told.get("account_crm_id", ""),
                "facts": self.told.get("facts", {}),
                **more,
            }
        )

    @property
    def delivery(self) -> Delivery:
        method, _, path = self.told["endpoint"].partition(" ")
        return Delivery(
            method=method,
            url=f"{PUBLIC_URL}{path}",
            headers={name.lower(): value for name, value in self.told["headers"].items()},
            body=self.body,
            topic=self.told.get("topic", ""),
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(self.told.get("secrets", ()))

    @property
    def verified_at(self) -> datetime:
        told = self.told.get("now")
        return datetime.fromisoformat(told) if told else self.received_at

    @property
    def expected(self) -> Parsed:
        return Parsed(
            events=tuple(map(_event, self.told["expect"])),
            unreadable=tuple((at, reason) for at, reason in self.told["unreadable"]),
            ignored=self.told["ignored"],
        )


def _event(told: Mapping[str, Any]) -> Event:
    change = told["change"]
    if change:
        change = FieldChange(**{**change, "at": datetime.fromisoformat(change["at"])})
    return Event(
        **{
            **told,
            "kind": EventKind(told["kind"]),
            "occurred_at": datetime.fromisoformat(told["occurred_at"]),
            "change": change,
            "merged_ids": tuple(told["merged_ids"]),
            "contact_ids": tuple(told["contact_ids"]),
        }
    )


def _cases(crm: str) -> list[Case]:
    found = []
    for path in sorted((PAYLOADS / crm).glob("*/case.json")):
        (body,) = (one for one in path.parent.iterdir() if one != path)
        told = json.loads(path.read_text("utf-8"))
        found.append(Case(crm=crm, name=path.parent.name, body=body.read_bytes(), told=told))
    return found


CASES = [case for crm in CRMS for case in _cases(crm)]


def cases_of(crm: str) -> list[Case]:
    return [case for case in CASES if case.crm == crm]
