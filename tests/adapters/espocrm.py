"""EspoCRM at the other end of the line, as far as the tests of its adapter share it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.espocrm import ADAPTER
from plugin.manifest import manifest
from plugin.ports import AccountLink, Session
from tests.adapters.conftest import Wire

BASE = "https://crm.example.com"
KEY = "0123456789abcdef0123456789abcdef"
ADMIN = "admin:not-a-real-password"
API = "/api/v1"
ERIKA, HANS = "6b022cd2c70636ef0", "6b022d2f12a6bb892"
DEAL = "6b022d2f408367c97"
TASK = "6b022d2f65e0ed815"
USER = "6b022caf94c2496f2"


def session(**link: Any) -> Session:
    """A session; by default with all fields installed and without an administrator."""
    settings = {
        "crm_id": "crm.example.com",
        "base_url": BASE,
        "token": KEY,
        "fields": frozenset(f.key for f in manifest().fields),
        "rate_share": 1000.0,
    }
    return ADAPTER.connect(AccountLink(**{**settings, **link}))


def plan(wire: Wire, operation: str, answer: Any = None, **more: Any) -> None:
    """What EspoCRM answers to ``"GET /Contact"``."""
    method, path = operation.split(" ")
    wire.answers(f"{method} {API}{path}", answer, official=False, **more)


def refusal(reason: str) -> Mapping[str, str]:
    """EspoCRM says why in a header, and mostly nothing in the body."""
    return {"X-Status-Reason": reason}


def invalid(field: str, kind: str) -> Mapping[str, Any]:
    """The body of a 400, as recorded."""
    data = {"field": field, "type": kind}
    return {"messageTranslation": {"label": "validationFailure", "scope": None, "data": data}}


def listed(*records: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"total": len(records), "list": list(records)}
