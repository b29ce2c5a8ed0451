"""An installation beside each CRM in turn, for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from plugin.registry import adapters
from tests.databases import Databases
from tests.e2e.shop import Shop, opened


@pytest.fixture(scope="module", params=adapters())
def shop(databases: Databases, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """Connected and installed, its directory read."""
    with opened(databases, request.param) as found:
        found.connect()
        found.settle()
        yield found
