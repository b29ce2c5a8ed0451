"""Which of our fields and options a company still has.

https://developers.pipedrive.com/docs/api/v1/PersonFields

An admin may delete them at any time, and Pipedrive refuses a whole write for one of them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from adapters.paging import Places
from adapters.pipedrive.api import LIST_FIELDS, PAGE_SIZE, Api, Operation, next_cursor
from adapters.pipedrive.dialect import CRM
from adapters.pipedrive.values import OurFields
from schemas.pipedrive import FieldPage, FieldPageSchema, FieldSpec

log = logging.getLogger(__name__)

LOOK_AGAIN = timedelta(hours=1)
"""What looks as if a field were gone has the list of fields read (10 tokens) at most this often."""
BELIEVED = timedelta(hours=6)
"""How long what is gone is taken to be gone: an admin can bring a field back."""

_FIELDS = FieldPageSchema()


class PresentFields:
    """``ours``: the fields that were installed, without those that were found to be gone since."""

    def __init__(self, api: Api, facts: Mapping[str, str]) -> None:
        self._api = api
        self._installed = OurFields.of(facts)
        self._read_at: datetime | None = None
        self.ours = self._installed

    def refresh(self) -> None:
        """Where something has been gone for long, look whether it still is."""
        if self.ours != self._installed and self._is_older_than(BELIEVED):
            self._look()

    def look_again(self) -> bool:
        """Something may be gone: whether that now turns out to be so."""
        before = self.ours
        if self._is_older_than(LOOK_AGAIN):
            self._look()
        return self.ours != before

    def _is_older_than(self, time: timedelta) -> bool:
        return self._read_at is None or self._api.clock() - self._read_at >= time

    def _look(self) -> None:
        specs = {one["field_code"]: one for one in all_fields(self._api, LIST_FIELDS)}
        self._read_at = self._api.clock()
        self.ours = self._installed.among(specs)
        for key in sorted(self._installed.codes.keys() - self.ours.codes.keys()):
            log.warning("the field %s is gone from Pipedrive: install again", key)


def all_fields(api: Api, operation: Operation) -> list[FieldSpec]:
    """All fields of one kind of record, Pipedrive's own too."""
    found: list[FieldSpec] = []
    cursor: str | None = ""
    places = Places(CRM, f"{operation.method} {operation.path}")
    while cursor is not None:
        params = {"limit": str(PAGE_SIZE), **({"cursor": cursor} if cursor else {})}
        page: FieldPage = api.send(operation, params=params, schema=_FIELDS)
        found += page["data"]
        cursor = places.then(next_cursor(page))
    return found
