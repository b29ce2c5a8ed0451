"""Merges are told in any order, one after the other, and now and then wrongly."""

from __future__ import annotations

from itertools import permutations

import pytest
import sqlalchemy as sa

from plugin.storage import aliases
from plugin.storage.database import Database
from plugin.storage.tables import alias

MINE = 1


@pytest.mark.parametrize("order", [*permutations([("a", "b"), ("b", "c"), ("x", "b")])])
def test_a_chain_has_one_end_whichever_part_was_told_first(
    database: Database, order: list[tuple[str, str]]
) -> None:
    with database.write() as connection:
        for old, new in order:
            aliases.tell(connection, MINE, {old: new})
        found = aliases.present_ids(connection, MINE, ["a", "b", "c", "x", "y"])
        former = aliases.former_ids(connection, MINE, ["c"], pending=True)
        others = aliases.former_ids(connection, MINE + 1, ["c"])

    assert found == former == {"a": "c", "b": "c", "x": "c"}
    assert others == {}


def test_what_would_close_a_circle_is_not_noted(database: Database) -> None:
    with database.write() as connection:
        aliases.tell(connection, MINE, {"a": "b"})
        aliases.tell(connection, MINE, {"b": "c", "c": "a", "d": "d"})

        assert aliases.present_ids(connection, MINE, "abcd") == {"a": "c", "b": "c"}


def test_in_a_circle_nobody_was_merged(database: Database) -> None:
    """Should there ever be one: looking at it comes to an end."""
    with database.write() as connection:
        for old, new in ("ab", "ba", "xa", "ss"):
            row = {"account_id": MINE, "old_id": old, "new_id": new, "applied": False}
            connection.execute(sa.insert(alias), row)

        assert aliases.present_ids(connection, MINE, "abxs") == {}
        assert aliases.former_ids(connection, MINE, "abxs") == {}
        aliases.tell(connection, MINE, {"y": "x"})
        assert aliases.present_ids(connection, MINE, "y") == {}


def test_what_the_crm_shows_is_believed_rather_than_what_was_told(database: Database) -> None:
    """And what is told beyond that stays."""
    with database.write() as connection:
        aliases.tell(connection, MINE, {"a": "x", "x": "b"})
        aliases.apply(connection, MINE, "b", "a")
        assert aliases.present_ids(connection, MINE, "abx") == {"b": "a", "x": "a"}

        aliases.tell(connection, MINE, {"a": "c"})
        aliases.apply(connection, MINE, "b", "a")
        assert aliases.present_ids(connection, MINE, "abx") == {"a": "c", "b": "c", "x": "c"}
        assert aliases.former_ids(connection, MINE, "c", pending=True) == {"a": "c", "x": "c"}
