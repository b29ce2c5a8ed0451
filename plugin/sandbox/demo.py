"""``make demo``: two years of a dozen customers, played in a minute against the whole plugin.

    python -m plugin.sandbox.demo [--exit] [--language en]

The sandbox CRM, the plugin's web server and its worker are started as processes of their own on
the loopback, connected and installed by the plugin's own commands. Then ``story.py`` is played
the way it would happen: people edit records in the CRM, the CRM sends signed webhooks, the plugin
answers, decides and writes back. At the end the CRM is asked over its API what came of it all,
and that is compared with what the story says should come of it.

Everything lies in ``instance/demo``, made anew each time. Every process started here is ended
here, whatever happens.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import click
from babel.dates import format_date
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from plugin import clock
from plugin.manifest import LANGUAGES
from plugin.pipeline.worker import nothing_due
from plugin.sandbox import story
from plugin.sandbox.ending import (
    Difference,
    differences,
    rows,
    show_differences,
    show_ending,
    show_pages,
)
from plugin.sandbox.people import Calendar, Crm, People, stage_label
from plugin.sandbox.portal import CRM, Portal
from plugin.sandbox.processes import (
    FOLDER,
    HOST,
    POLL,
    Bell,
    Processes,
    Stopped,
    Trouble,
    free_ports,
)
from plugin.sandbox.story import CAST, CHAPTERS, ENDING, TODAY, Chapter
from plugin.storage import accounts
from plugin.storage.database import Database

PORTS = (8765, 8000)
CHAPTER_PATIENCE = 30.0
MARGIN = 14  # columns of a date before what happened on it


# ------------------------------------------------------------------------------ the story


class Telling:
    """Plays the chapters and tells what comes of each.

    ``moves``: (day, who, stage) of every change of a stage that the CRM showed.
    """

    def __init__(
        self,
        people: People,
        processes: Processes,
        bell: Bell,
        database: Database,
        console: Console,
        language: str,
    ) -> None:
        self._people = people
        self._crm = people.crm
        self._processes = processes
        self._bell = bell
        self._database = database
        self._console = console
        self._language = language
        self._stages: dict[str, str] = {}
        self._tasks: dict[str, str] = {}
        self.moves: set[tuple[int, str, str]] = set()

    def play(self, chapters: Sequence[Chapter]) -> None:
        """From the first day to the last, and back to the present."""
        with self._progress() as progress:
            bar = progress.add_task("", total=len(chapters))
            for chapter in chapters:
                day = self._people.calendar.on(chapter.day)
                date_shown = format_date(day, "d MMM yyyy", locale="en_GB")
                self._say(f"{date_shown:>{MARGIN - 2}}  {chapter.text}")
                self._play(chapter)
                self._tell_moves(chapter.day)
                self._tell_tasks()
                progress.advance(bar)
        self._crm.steer("clock", now=None)
        self._rest(clock.utc_now())

    def _play(self, chapter: Chapter) -> None:
        morning = self._people.calendar.morning(chapter.day)
        self._crm.steer("clock", now=morning.isoformat())
        self._rest(morning)
        for action in chapter.actions:
            if isinstance(action, story.SendTwice):
                self._rest(morning)  # until there is a last delivery
            self._people.act(action, chapter.day)
        self._rest(morning)
        if any(isinstance(action, story.Done) for action in chapter.actions):
            self._let_an_hour_pass(morning)

    # ------------------------------------------------------------------------ waiting

    def _rest(self, present: datetime) -> None:
        """Until the CRM has delivered everything and the plugin has nothing left to do."""
        deadline = time.monotonic() + CHAPTER_PATIENCE
        quiet = 0
        while quiet < 2:
            if time.monotonic() > deadline:
                raise Trouble(f"The plugin does not come to rest.{self._processes.tails()}")
            self._bell.pause(POLL)
            self._processes.check()
            quiet = quiet + 1 if self._is_quiet(present) else 0

    def _is_quiet(self, present: datetime) -> bool:
        webhooks = self._crm.webhooks()
        now = clock.now_ms()
        with self._database.read() as connection:
            every = accounts.all_accounts(connection)
        return (
            webhooks["waiting"] == webhooks["held"]
            and not any((one.blocked_until or 0) > now for one in every)
            and nothing_due(self._database, now=now, present=present, soon=0)
        )

    def _let_an_hour_pass(self, present: datetime) -> None:
        """The CRM does not tell that a task was completed, so the worker reads its tasks once an
        hour. That is an hour of real time, which a story has not got: here it is made due."""
        with self._database.write() as connection:
            for account in accounts.all_accounts(connection):
                accounts.save(connection, account.id, users_read_at=None, tasks_read_at=1)
        self._rest(present)

    # ------------------------------------------------------------------------ telling

    def _progress(self) -> Progress:
        return Progress(
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("days"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )

    def _say(self, line: str, style: str = "", indent: int = MARGIN) -> None:
        width = max(self._console.width, 2 * MARGIN)
        told = textwrap.fill(line, width, subsequent_indent=" " * indent)
        self._console.print(Text(told, style), soft_wrap=True)

    def _say_beside(self, sign: str, line: str, style: str) -> None:
        self._say(f"{sign:>{MARGIN + 1}} {line}", style, indent=MARGIN + 2)

    def _tell_moves(self, day: int) -> None:
        found = self._crm.contacts()
        before, self._stages = (
            self._stages,
            {key: found[one]["spiral_stage"] for key, one in self._people.ids.items()},
        )
        for who, stage in self._stages.items():
            if stage != before.get(who, ""):
                self.moves.add((day, who, stage))
                shown = stage_label(stage, self._language)
                self._say_beside("→", f"{CAST[who].name}: {shown}", "green")

    def _tell_tasks(self) -> None:
        for task in self._crm.tasks():
            before = self._tasks.get(task.id)
            if before is None:
                self._say_beside("+", task.subject, "yellow")
            elif before == "open" and task.end == "withdrawn":
                self._say_beside("−", task.subject, "bright_black")
            self._tasks[task.id] = task.end


# -------------------------------------------------------------------------------- the run


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where everything is, and what only the two sides know."""

    crm: str
    web: str
    token: str = field(repr=False)
    secret: str = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)


def _site() -> Site:
    crm, web = (f"http://{HOST}:{port}" for port in free_ports(PORTS))
    token, secret = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    environ = {
        **{name: value for name, value in os.environ.items() if name != "GUNICORN_CMD_ARGS"},
        "SECRET_KEY": secrets.token_urlsafe(32),
        "PUBLIC_URL": web,
        "DATABASE_URL": f"sqlite:///{FOLDER / 'referrals.db'}",
        "LOG_LEVEL": "INFO",
        "HUBSPOT_CLIENT_SECRET": secret,
        "HUBSPOT_APP_ID": str(Portal().app_id),
        "HUBSPOT_API_URL": crm,
        "HUBSPOT_TOKEN": "",  # it is typed in; a .env file must not come before that
        "NO_PROXY": HOST,
        "no_proxy": HOST,
        "PYTHONUNBUFFERED": "1",
    }
    return Site(crm=crm, web=web, token=token, secret=secret, environ=environ)


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


def _set_up(console: Console, processes: Processes, site: Site, language: str) -> None:
    """Start, connect and install everything, as the README tells an admin to."""
    console.print(f"Starting the sandbox CRM at {site.crm} and the plugin at {site.web} …")
    sandbox = processes.start(
        "sandbox",
        *("plugin.sandbox", "--port", site.crm.rpartition(":")[2]),
        *("--token", site.token, "--secret", site.secret),
        *("--target", f"{site.web}/webhooks/{CRM}"),
    )
    web = processes.start(
        "web",
        *("gunicorn", "wsgi:app", "--bind", site.web.removeprefix("http://")),
        *("--graceful-timeout", "2"),
    )
    processes.wait_for(sandbox, f"{site.crm}/sandbox/clock")
    processes.wait_for(web, f"{site.web}/health")
    console.print("Connecting the account and installing the fields …")
    connect = ("plugin", "connect", CRM, "--language", language)
    processes.run("connect", *connect, typed=f"{site.token}\n")
    processes.run("install", "plugin", "install", CRM)
    processes.start("worker", "plugin.sandbox.worker", "--clock", f"{site.crm}/sandbox/clock")


def _play(
    console: Console, bell: Bell, processes: Processes, site: Site, language: str
) -> tuple[People, list[Difference]]:
    """Play the story and show what came of it."""
    zone = ZoneInfo(Portal().time_zone)
    start = datetime.now(zone).date() - timedelta(days=TODAY)
    people = People(Crm(site.crm, site.token), Calendar(start, zone))
    database = Database(site.environ["DATABASE_URL"])
    telling = Telling(people, processes, bell, database, console, language)
    began = time.monotonic()
    try:
        telling.play(CHAPTERS)
    finally:
        database.close()
    seconds = time.monotonic() - began
    show_ending(console, rows(people, language))
    console.print()
    found = differences(people, telling.moves)
    if found:
        show_differences(console, found)
    else:
        told = f"{len(ENDING)} contacts and {len(story.written_tasks())} tasks, each made once"
        console.print(
            f"Two years in {seconds:.0f} seconds, and all is as the story says: {told}.",
            style="green",
        )
    return people, found


def _demo(console: Console, bell: Bell, language: str, leave: bool) -> int:
    """The whole demo; returns 0 where all is as the story says."""
    with _fresh_folder():
        site = _site()
        processes = Processes(bell, site.environ)
        try:
            _set_up(console, processes, site, language)
            people, found = _play(console, bell, processes, site, language)
            if not leave:
                show_pages(console, people, language)
                _stay(bell, processes)
        finally:
            processes.end()
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
def main(leave: bool, language: str) -> None:
    """Play two years of a dozen customers against the whole plugin, on this machine alone.

    Ends with 0 where all came as the story says, with 1 where not.
    """
    console = Console(highlight=False)
    bell = Bell()
    try:
        code = _demo(console, bell, language, leave)
    except Stopped:
        code = bell.exit_code
    except Trouble as trouble:
        console.print(Text(str(trouble), "red"), soft_wrap=True)
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
