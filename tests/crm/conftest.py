"""BottleCRM and the plugin, each test module with its own of both."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console

from plugin.sandbox.bottlecrm.crm import BottleCrm
from plugin.sandbox.bottlecrm.environment import NoPython, environment
from plugin.sandbox.bottlecrm.stage import BottleStage
from plugin.sandbox.demo import open_site
from plugin.sandbox.people import People
from plugin.sandbox.processes import Bell, Stopped
from plugin.sandbox.stage import Site
from plugin.sandbox.telling import Telling
from plugin.storage.database import Database

ANY_PORTS = (0, 0)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BELL = Bell()

Tell = Callable[[People], Telling]


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Whoever asks to stop ends the test in hand; no other begins, and all servers are ended."""
    try:
        BELL.check()
    except Stopped:
        item.session.shouldstop = "somebody asked to stop"


@pytest.fixture(scope="package")
def bell() -> Iterator[Bell]:
    """Listens as long as there are servers that would be left behind."""
    before = {one: signal.getsignal(one) for one in SIGNALS}
    BELL.listen()
    yield BELL
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.fixture(scope="package")
def installed(bell: Bell) -> None:
    """BottleCRM, in its own environment. With REQUIRE_CRM=1 nothing is skipped."""
    try:
        environment(bell)
    except NoPython as error:
        if os.environ.get("REQUIRE_CRM") == "1":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def site(installed: None, bell: Bell, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Both run, are connected and installed, and the worker works."""
    site = open_site(BottleStage, bell, tmp_path_factory.mktemp("site"), ANY_PORTS)
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
