"""Many ids in one condition: one parameter and one statement, however many they are.

A list of parameters would end where the database's limit lies (SQLite 32,766, PostgreSQL 65,535)
and would be another statement for each length.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


def among(column: sa.ColumnElement[Any], values: Iterable[Any]) -> sa.ColumnElement[bool]:
    """Whether the column is one of these texts or whole numbers; of no values, none is it."""
    return _Among(column, sa.bindparam(None, sorted(set(values)), type_=_Many(column.type)))


class _Many(sa.types.TypeDecorator[list[Any]]):
    """All of them as one value: an array, where the database has arrays, else as JSON."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, of: sa.types.TypeEngine[Any]) -> None:
        super().__init__()
        self.of = sa.BigInteger() if of.python_type is int else sa.Text()

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.Text())
        return dialect.type_descriptor(postgresql.ARRAY(self.of))

    def process_bind_param(self, value: list[Any] | None, dialect: sa.Dialect) -> Any:
        return json.dumps(value) if dialect.name == "sqlite" else value


class _Among(FunctionElement[bool]):
    type = sa.types.NullType()  # type: ignore[assignment]  # a boolean would be compared with 1
    inherit_cache = True


@compiles(_Among, "sqlite")
def _in_json(element: _Among, compiler: Any, **kw: Any) -> str:
    column, values = (compiler.process(one, **kw) for one in element.clauses)
    return f"({column} IN (SELECT value FROM json_each({values})))"  # noqa: S608 - SQLAlchemy's parts


@compiles(_Among, "postgresql")
def _in_array(element: _Among, compiler: Any, **kw: Any) -> str:
    column, values = (compiler.process(one, **kw) for one in element.clauses)
    return f"({column} = ANY ({values}))"
