"""One installation per test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.databases import Databases
from tests.e2e.plant import Plant, running


@pytest.fixture
def bare(databases: Databases) -> Iterator[Plant]:
    """An installation to which no account is connected yet."""
    with running(databases) as plant:
        yield plant


@pytest.fixture
def plant(bare: Plant) -> Plant:
    """An installation with one account, its fields installed."""
    bare.connect("--fallback-owner", "64492917")
    return bare
