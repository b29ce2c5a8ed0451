"""BottleCRM's stand-in and an adapter connected to it, as the tests of the adapter share them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests

from adapters.bottlecrm import BottleCrmAdapter
from plugin.ports import Session
from tests.payloads.bottlecrm.stand_in import Crm


class Connected:
    """Sessions know what was installed. ``asked``: what was called since, in order."""

    def __init__(self, crm: Crm) -> None:
        self.crm = crm
        self._adapter = BottleCrmAdapter()
        self._fields: frozenset[str] | None = None
        self._facts: Mapping[str, str] = {}

    def session(self, **more: Any) -> Session:
        link = {"fields": self._fields, "facts": self._facts, **more}
        return self._adapter.connect(self.crm.link(**link))

    def install(self) -> Session:
        session = self.session()
        self._facts = session.install(session.plan_install())
        self._fields = session.installed_fields()
        self.crm.calls.clear()
        return self.session()

    def asked(self) -> list[str]:
        made = [f"{call.method} {call.path}" for call in self.crm.calls]
        self.crm.calls.clear()
        return made

    def does(self, method: str, path: str, body: object = None) -> Any:
        """What a person does there, in the API's own words; not among what was ``asked``."""
        answer = requests.request(
            method,
            f"{self.crm.url}/api/{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.crm.token}"},
            timeout=10,
        )
        self.crm.calls.pop()
        assert answer.ok, answer.text
        return answer.json()
