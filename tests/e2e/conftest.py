"""One installation per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.plant import Plant, running


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Plant]:
    """An installation to which no account is connected yet."""
    with running(tmp_path) as plant:
        yield plant


@pytest.fixture
def plant(bare: Plant) -> Plant:
    """An installation with one account, its fields installed."""
    bare.connect("--fallback-owner", "64492917")
    return bare
