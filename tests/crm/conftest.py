"""BottleCRM and the plugin, each test module with its own of both."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console

from plugin.sandbox.bottlecrm.crm import BottleCrm
from plugin.sandbox.bottlecrm.environment import NoPython, environment
from plugin.sandbox.bottlecrm.stage import BottleStage
from plugin.sandbox.demo import open_site
from plugin.sandbox.people import People
from plugin.sandbox.processes import Bell
from plugin.sandbox.stage import Site
from plugin.sandbox.telling import Telling
from plugin.storage.database import Database

ANY_PORTS = (0, 0)

Tell = Callable[[People], Telling]


@pytest.fixture(scope="session")
def installed() -> None:
    """BottleCRM, in its own environment. With REQUIRE_CRM=1 nothing is skipped."""
    try:
        environment()
    except NoPython as error:
        if os.environ.get("REQUIRE_CRM") == "1":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def site(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Both run, are connected and installed, and the worker works."""
    site = open_site(BottleStage, Bell(), tmp_path_factory.mktemp("site"), ANY_PORTS)
    try:
        site.start()
        site.connect("de")
        yield site
    finally:
        site.processes.end()


@pytest.fixture(scope="module")
def crm(site: Site) -> BottleCrm:
    assert isinstance(site.crm, BottleCrm)
    return site.crm


@pytest.fixture(scope="module")
def database(site: Site) -> Iterator[Database]:
    """The plugin's."""
    database = Database(site.database_url)
    yield database
    database.close()


@pytest.fixture(scope="module")
def tell(site: Site, database: Database) -> Tell:
    """Plays a story with these people, without showing it."""
    console = Console(file=io.StringIO())

    def telling(people: People) -> Telling:
        return Telling(people, site.processes, site.bell, database, console, "de")

    return telling
