"""On which kind of database the tests run: ``--database sqlite`` or ``--database postgresql``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import settings

from plugin.storage.database import Database
from tests.databases import NO_SERVER, Databases, Files, programs, serving

KINDS = ("sqlite", "postgresql")

# The same examples in every run, and none fails because the machine was busy with something else.
settings.register_profile("steady", deadline=None, derandomize=True, database=None)
settings.load_profile("steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        choices=KINDS,
        default="sqlite",
        help="what the tests' databases are; with postgresql only tests that use one are run",
    )


def pytest_configure(config: pytest.Config) -> None:
    for marker in (
        "sqlite(why): about an SQLite file; not run with --database postgresql",
        "postgresql: about a PostgreSQL server; run with --database postgresql only",
    ):
        config.addinivalue_line("markers", marker)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about the other kind, and in the second run what needs no database."""
    kind = config.getoption("database")
    (other,) = {*KINDS} - {kind}

    def belongs(item: pytest.Item) -> bool:
        if item.get_closest_marker(other):
            return False
        return kind == "sqlite" or "databases" in getattr(item, "fixturenames", ())

    config.hook.pytest_deselected(items=[one for one in items if not belongs(one)])
    items[:] = [one for one in items if belongs(one)]


@pytest.fixture(scope="session")
def databases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Databases]:
    """Where this process's tests get their databases from."""
    if request.config.getoption("database") == "sqlite":
        yield Files(tmp_path_factory.mktemp("databases"))
        return
    found = programs()
    if found is None:
        # .ci/run must not pass because nothing was run.
        (pytest.fail if os.environ.get("REQUIRE_POSTGRES") == "1" else pytest.skip)(NO_SERVER)
    with serving(found) as server:
        yield server


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """The address of a migrated database of the test's own."""
    with databases.fresh() as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The same, opened."""
    with closing(Database(database_url)) as opened:
        yield opened
