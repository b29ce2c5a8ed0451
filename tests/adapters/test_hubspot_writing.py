"""Writing fields and links: one bad record does not spoil the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import requests

from plugin.errors import CrmRateLimited, CrmRejected, CrmUnavailable, RecordGone
from plugin.ports import Failure, FieldUpdate, LinkUpdate
from tests.adapters.conftest import (
    Connect,
    Wire,
    batch,
    part_error,
    problem,
    record,
    refused_value,
)

UPDATE = "POST /crm/objects/2026-09/contacts/batch/update"
READ = "POST /crm/objects/2026-09/contacts/batch/read"
LABEL = "POST /crm/associations/2026-09/contacts/contacts/batch/create"
UNLABEL = "POST /crm/associations/2026-09/contacts/contacts/batch/labels/archive"
LABELLED = {"label_type_id": "37", "inverse_label_type_id": "38"}


def updates(*contact_ids: str, **values: str) -> list[FieldUpdate]:
    return [
        FieldUpdate(contact_id=one, values=values or {"spiral_stage": "loyalty"})
        for one in contact_ids
    ]


def written(body: Any) -> Any:
    return batch([record(one["id"], one["properties"]) for one in body["inputs"]])


def refusing(wire: Wire, bad: Sequence[str], status: int, answer: Any) -> Callable[[Any], Any]:
    """HubSpot as it is: any of the bad ones spoils its whole batch. The status goes with it."""

    def respond(body: Any) -> Any:
        spoiled = any(one["id"] in bad for one in body["inputs"])
        planned = wire.planned[("POST", "/crm/objects/2026-09/contacts/batch/update")]
        now, other = (status, 200) if spoiled else (200, status)
        assert other
        planned[0] = _replaced(planned[0], now)
        return answer if spoiled else written(body)

    return respond


def _replaced(planned: Any, status: int) -> Any:
    import dataclasses

    return dataclasses.replace(planned, status=status)
