"""``make demo``: two years of a dozen customers, played in a minute against the whole plugin.

    python -m plugin.sandbox.demo [--exit] [--language en] [--crm bottlecrm]

The CRM, the plugin's web server and its worker are started as processes of their own on the
loopback, connected and installed by the plugin's own commands. Then ``story.py`` is played the
way it would happen: people edit records in the CRM, the CRM sends signed webhooks, the plugin
answers, decides and writes back. At the end the CRM is asked over its API what came of it all,
and that is compared with what the story says should come of it.

Everything lies in ``instance/demo``, made anew each time. Every process started here is ended
here, whatever happens.
"""

from __future__ import annotations

import fcntl
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import click
from rich.console import Console
from rich.text import Text

from plugin.manifest import LANGUAGES
from plugin.sandbox import story
from plugin.sandbox.bottlecrm.stage import BottleStage
from plugin.sandbox.ending import (
    Difference,
    differences,
    rows,
    show_differences,
    show_ending,
    show_pages,
)
from plugin.sandbox.people import Calendar, People
from plugin.sandbox.portal import TIME_ZONE
from plugin.sandbox.processes import HOST, Bell, Processes, Stopped, Trouble, free_ports
from plugin.sandbox.stage import Site, Stage
from plugin.sandbox.stand_in import StandInStage
from plugin.sandbox.story import TODAY
from plugin.sandbox.telling import Telling
from plugin.settings import ROOT
from plugin.storage.database import Database

FOLDER = ROOT / "instance" / "demo"
PORTS = (8765, 8000)
STAGES: Mapping[str, Callable[[str, str], Stage]] = {
    "sandbox": StandInStage,
    "bottlecrm": BottleStage,
}


def open_site(
    stage: Callable[[str, str], Stage], bell: Bell, folder: Path, ports: Sequence[int] = PORTS
) -> Site:
    """Where everything will be, at these ports or, where they are taken, others; nothing is
    started yet."""
    crm, web = (f"http://{HOST}:{port}" for port in free_ports(ports))
    return Site(stage(crm, web), web, bell, folder)


def calendar() -> Calendar:
    """The story's last day is today."""
    zone = ZoneInfo(TIME_ZONE)
    return Calendar(datetime.now(zone).date() - timedelta(days=TODAY), zone)


@contextmanager
def _fresh_folder() -> Iterator[None]:
    """An empty folder that no other demo uses meanwhile."""
    FOLDER.parent.mkdir(exist_ok=True)
    with FOLDER.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Trouble(f"Another demo is running; it uses {FOLDER}.") from None
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir()
        yield


def _set_up(console: Console, site: Site, language: str) -> None:
    """Start, connect and install everything, as the README tells an admin to."""
    console.print(f"Starting {site.stage.title} at {site.stage.url} and the plugin at {site.web} …")
    site.start()
    console.print("Connecting the account and installing the fields …")
    site.connect(language)


def _play(console: Console, site: Site, language: str) -> tuple[People, list[Difference]]:
    """Play the story and show what came of it."""
    people, script = People(site.crm, calendar()), site.stage.script
    database = Database(site.database_url)
    telling = Telling(people, site.processes, site.bell, database, console, language)
    began = time.monotonic()
    try:
        telling.play(script.chapters)
        telling.return_to_the_present()
    finally:
        database.close()
    seconds = time.monotonic() - began
    show_ending(console, rows(people, script, language))
    console.print()
    found = differences(people, script, telling.moves)
    if found:
        show_differences(console, found, site.processes.folder)
    else:
        tasks = len(story.written_tasks(script.chapters))
        told = f"{len(script.ending)} contacts and {tasks} tasks, each made once"
        console.print(
            f"Two years in {seconds:.0f} seconds, and all is as the story says: {told}.",
            style="green",
        )
    return people, found


def _demo(console: Console, bell: Bell, crm: str, language: str, leave: bool) -> int:
    """The whole demo; returns 0 where all is as the story says."""
    with _fresh_folder():
        site = open_site(STAGES[crm], bell, FOLDER)
        try:
            _set_up(console, site, language)
            people, found = _play(console, site, language)
            if not leave:
                show_pages(console, people, site.stage.title, language)
                _stay(bell, site.processes)
        finally:
            site.processes.end()
    return 1 if found else 0


def _stay(bell: Bell, processes: Processes) -> None:
    """Until somebody asks to stop."""
    with suppress(Stopped):
        while True:
            processes.check()
            bell.pause(0.2)


@click.command()
@click.option("--exit", "leave", is_flag=True, help="End by itself once the outcome is checked.")
@click.option("--language", type=click.Choice(LANGUAGES), default=LANGUAGES[0], show_default=True,
              help="Language of the fields and tasks.")  # fmt: skip
@click.option("--crm", type=click.Choice(sorted(STAGES)), default="sandbox", show_default=True,
              help="The CRM it is played in; bottlecrm is a real one.")  # fmt: skip
def main(leave: bool, language: str, crm: str) -> None:
    """Play two years of a dozen customers against the whole plugin, on this machine alone.

    Ends with 0 where all came as the story says, with 1 where not.
    """
    console = Console(highlight=False)
    bell = Bell()
    bell.listen()
    try:
        code = _demo(console, bell, crm, language, leave)
    except Stopped:
        code = bell.exit_code
    except Trouble as trouble:
        console.print(Text(str(trouble), "red"), soft_wrap=True)
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
