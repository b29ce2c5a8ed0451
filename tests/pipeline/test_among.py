"""Many ids in one condition, on whatever database the tests run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import sqlalchemy as sa

from plugin.storage.among import among
from plugin.storage.database import Database
from plugin.storage.tables import counter

ROWS = {"a": 1, "ä'\"": 2, "😀, {}": 3, "": 4}


@pytest.fixture
def filled(database: Database) -> Database:
    """Rows with a text and a number each."""
    with database.write() as connection:
        connection.execute(
            sa.insert(counter),
            [{"name": "n", "subject": one, "n": n, "last_at": 0} for one, n in ROWS.items()],
        )
    return database


def found(database: Database, column: sa.Column[Any], values: Iterable[Any]) -> set[int]:
    with database.read() as connection:
        return {*connection.execute(sa.select(counter.c.n).where(among(column, values))).scalars()}


@pytest.mark.parametrize("one", ROWS)
def test_a_text_is_found_as_it_is(filled: Database, one: str) -> None:
    """Quotes, commas and what lies beyond the basic plane are nothing special."""
    assert found(filled, counter.c.subject, [one, "elsewhere"]) == {ROWS[one]}


def test_a_number_is_found(filled: Database) -> None:
    assert found(filled, counter.c.n, (n for n in (2, 4, 9))) == {2, 4}


def test_of_no_values_none_is_found(filled: Database) -> None:
    assert found(filled, counter.c.subject, []) == set()


def test_there_may_be_more_values_than_a_database_takes_parameters(filled: Database) -> None:
    """Somebody may have sent us a hundred thousand others."""
    assert found(filled, counter.c.subject, [*ROWS, *map(str, range(100_000))]) == {1, 2, 3, 4}


def test_it_can_be_denied(filled: Database) -> None:
    with filled.read() as connection:
        others = sa.select(counter.c.n).where(sa.not_(among(counter.c.subject, ["a", ""])))
        assert {*connection.execute(others).scalars()} == {2, 3}
