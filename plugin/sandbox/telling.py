"""Plays a story, day by day, and tells what comes of it."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence
from datetime import datetime

from babel.dates import format_date
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from plugin import clock
from plugin.pipeline.lanes import wake, wake_all
from plugin.pipeline.schedule import nothing_due
from plugin.sandbox import story
from plugin.sandbox.people import People, stage_label
from plugin.sandbox.processes import POLL, Bell, Processes, Trouble
from plugin.sandbox.story import CAST, Chapter
from plugin.storage import accounts
from plugin.storage.database import Database

CHAPTER_PATIENCE = 60.0
MARGIN = 14  # columns of a date before what happened on it


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
        """One day after the other."""
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

    def return_to_the_present(self) -> None:
        """Where the last day of the story is today."""
        self._crm.travel(None)
        self.rest(clock.utc_now())

    def _play(self, chapter: Chapter) -> None:
        morning = self._people.calendar.morning(chapter.day)
        self._crm.travel(morning)
        self.rest(morning)
        for action in chapter.actions:
            if isinstance(action, story.SendTwice):
                self.rest(morning)  # until there is a last delivery
            self._people.act(action, chapter.day)
        self.rest(morning)
        if any(isinstance(action, story.Done) for action in chapter.actions):
            self._let_an_hour_pass(morning)

    # ------------------------------------------------------------------------ waiting

    def rest(self, present: datetime) -> None:
        """Until the CRM has delivered everything and the plugin has nothing left to do."""
        deadline = time.monotonic() + CHAPTER_PATIENCE
        quiet = 0
        while quiet < 2:
            if time.monotonic() > deadline:
                raise Trouble(f"The plugin does not come to rest.{self._processes.tails()}")
            self._bell.pause(POLL)
            self._processes.check()
            quiet = quiet + 1 if self._is_quiet(present) else 0
            if not quiet:
                with self._database.write() as connection:
                    wake_all(connection, at=clock.now_ms())  # no worker knows that time leapt

    def _is_quiet(self, present: datetime) -> bool:
        now = clock.now_ms()
        with self._database.read() as connection:
            every = accounts.all_accounts(connection)
        return (
            not any(one.waits_until(now) for one in every)
            and nothing_due(self._database, now=now, present=present, soon=0)
            and not self._crm.is_delivering()
        )

    def _let_an_hour_pass(self, present: datetime) -> None:
        """The CRM does not tell that a task was completed, so the worker reads its tasks once an
        hour. That is an hour of real time, which a story has not got: here it is made due."""
        with self._database.write() as connection:
            for account in accounts.all_accounts(connection):
                wake(connection, [account.id], at=clock.now_ms())
                accounts.save(connection, account.id, users_read_at=None, tasks_read_at=1)
        self.rest(present)

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
