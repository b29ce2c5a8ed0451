"""What all kinds of promises start from: a fresh account of each CRM in turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adapters.client import Client
from plugin.ports import Adapter
from tests.conformance.account import Account
from tests.conformance.crms import CRMS, new_adapter, new_stand_in
from tests.stand_in import StandIn


class Promise:
    """Every test of a class below runs once for each CRM; none can be left out."""

    @pytest.fixture(params=CRMS)
    def name(self, request: pytest.FixtureRequest) -> str:
        """The CRM's name, as in the manifest."""
        found: str = request.param
        return found

    @pytest.fixture
    def adapter(self, name: str) -> Adapter:
        return new_adapter(name)

    @pytest.fixture
    def crm(self, name: str) -> Iterator[StandIn]:
        stand_in = new_stand_in(name)
        with stand_in.serving():
            yield stand_in

    @pytest.fixture
    def account(self, adapter: Adapter, crm: StandIn) -> Account:
        return Account(adapter=adapter, crm=crm)

    @pytest.fixture(autouse=True)
    def pauses(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """Seconds the client meant to sleep; nobody waits here."""
        slept: list[float] = []
        assert Client.__init__.__kwdefaults__ is not None
        monkeypatch.setitem(Client.__init__.__kwdefaults__, "sleep", slept.append)
        return slept
