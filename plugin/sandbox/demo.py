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
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
import requests
from babel.dates import format_date
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from plugin import clock
from plugin.manifest import LANGUAGES, manifest
from plugin.pipeline.worker import nothing_due
from plugin.referral.model import TaskKind
from plugin.sandbox import story
from plugin.sandbox.api import VERSION
from plugin.sandbox.portal import CRM, STAFF, Portal
from plugin.sandbox.story import CAST, CHAPTERS, ENDING, REPS, TODAY, Chapter, Standing, Written
from plugin.settings import ROOT
from plugin.storage import accounts
from plugin.storage.database import Database

FOLDER = ROOT / "instance" / "demo"
HOST = "127.0.0.1"
PORTS = (8765, 8000)
"""Of the sandbox CRM and of the plugin, where they are free."""
MORNING = time_of_day(9)
POLL = 0.03  # seconds between two looks
TIMEOUT = 10.0  # seconds of one HTTP call
START_PATIENCE = 60.0  # seconds
CHAPTER_PATIENCE = 30.0
END_PATIENCE = 8.0
LOG_TAIL = 15  # lines
MARGIN = 14  # columns of a date before what happened on it
NARROW = 100  # columns below which the ending is told without a table

FIELDS = (
    "spiral_stage",
    "spiral_stage_since",
    "spiral_readiness",
    "spiral_explanation",
    "spiral_referrer",
    "spiral_advocate_tier",
    "spiral_referrals_given",
    "spiral_referrals_won",
    "spiral_referral_value",
)
MARKER = re.compile(r"\[spiral:([a-z_]+):([a-z0-9]+)\]")


class Trouble(Exception):
    """The demo cannot go on; the text says why and, where it helps, ends with a piece of a log."""


class Stopped(Exception):
    """Somebody asked the demo to stop."""


# ------------------------------------------------------------------------------- stopping


class Bell:
    """Remembers that somebody asked to stop, and tells it only where nothing is half done.

    A signal that raised by itself could come between starting a process and noting it down.
    """

    def __init__(self) -> None:
        self._rung = 0
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, self._ring)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(signal.SIGHUP, self._ring)

    def _ring(self, number: int, _frame: object) -> None:
        self._rung = number

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended."""
        return 128 + self._rung

    def check(self) -> None:
        """Raises ``Stopped`` once somebody has asked."""
        if self._rung:
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Sleep. Raises ``Stopped`` soon after somebody has asked."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, 0.1))
        self.check()


# ------------------------------------------------------------------------------ processes


@dataclass(frozen=True, kw_only=True)
class Started:
    """A process of ours. Its output goes to ``log``."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    def tail(self) -> str:
        lines = self.log.read_text("utf-8", "replace").splitlines()[-LOG_TAIL:]
        return "\n".join(["", f"The end of {self.log}:", *(f"  {line}" for line in lines)])


class Processes:
    """The processes of this demo: all that are started here are ended here.

    Each gets a session of its own: a Ctrl-C in the terminal reaches the demo alone, which then
    ends the others in order.
    """

    def __init__(self, bell: Bell, environ: Mapping[str, str]) -> None:
        self._bell = bell
        self._environ = dict(environ)
        self._started: list[Started] = []

    def start(self, name: str, *words: str, typed: str | None = None) -> Started:
        """``python -m …`` in the background. ``typed`` is its standard input."""
        log = FOLDER / f"{name}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=ROOT,
                env=self._environ,
                stdin=subprocess.DEVNULL if typed is None else subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started = Started(name=name, popen=popen, log=log)
        self._started.append(started)
        if typed is not None and popen.stdin:
            with suppress(BrokenPipeError), popen.stdin as keyboard:
                keyboard.write(typed.encode())
        return started

    def run(self, name: str, *words: str, typed: str | None = None) -> None:
        """``python -m …`` to its end. Raises ``Trouble`` where it does not succeed."""
        command = self.start(name, *words, typed=typed)
        while command.popen.poll() is None:
            self._bell.pause(POLL)
        self._started.remove(command)
        if command.popen.returncode:
            raise Trouble(f"`{name}` failed ({command.popen.returncode}).{command.tail()}")

    def check(self) -> None:
        """Raises ``Trouble`` where one has ended by itself, ``Stopped`` where we should."""
        self._bell.check()
        for one in self._started:
            if one.popen.poll() is not None:
                raise Trouble(
                    f"The {one.name} process ended by itself ({one.popen.returncode}).{one.tail()}"
                )

    def tails(self) -> str:
        """The ends of all logs."""
        return "".join(one.tail() for one in self._started)

    def wait_for(self, one: Started, url: str) -> None:
        """Until it answers at this address."""
        deadline = time.monotonic() + START_PATIENCE
        with _http() as session:
            while True:
                self.check()
                with suppress(requests.RequestException):
                    if session.get(url, timeout=TIMEOUT).ok:
                        return
                if time.monotonic() > deadline:
                    raise Trouble(f"The {one.name} process does not answer at {url}.{one.tail()}")
                self._bell.pause(POLL)

    def end(self) -> None:
        """End what was started, the last one first."""
        for one in reversed(self._started):
            if one.popen.poll() is None:
                one.popen.terminate()
            try:
                one.popen.wait(END_PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(one.popen.pid, signal.SIGKILL)
                one.popen.wait()
        self._started.clear()


def _http() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # a proxy has no business on the loopback
    return session


def _free_ports(preferred: Iterable[int]) -> list[int]:
    """For each preferred port that one where it is free, else any that is."""
    with ExitStack() as stack:
        probes = [stack.enter_context(_bound(port)) for port in preferred]
        return [probe.getsockname()[1] for probe in probes]


def _bound(port: int) -> socket.socket:
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((HOST, port))
    except OSError:
        probe.bind((HOST, 0))
    return probe


# -------------------------------------------------------------------------------- the CRM


@dataclass(frozen=True, kw_only=True, slots=True)
class CrmTask:
    """One of the plugin's tasks as the CRM tells it. ``contacts`` are ids; ``end`` as in
    ``story.Written``."""

    id: str
    kind: str
    key: str
    subject: str
    contacts: frozenset[str]
    owner_id: str
    made_at: datetime
    end: str


class Crm:
    """The sandbox CRM over HTTP: its API, and what people do at its screens."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._session = _http()
        self._session.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, body: object = None, **params: str) -> Any:
        """The JSON of an answer. Raises ``Trouble`` where the sandbox refuses."""
        try:
            answer = self._session.request(
                method, f"{self.url}{path}", json=body, params=params, timeout=TIMEOUT
            )
        except requests.RequestException as error:
            raise Trouble(f"The sandbox CRM does not answer: {error}") from error
        if not answer.ok:
            raise Trouble(f"The sandbox CRM refused {method} {path}: {answer.text}")
        return answer.json()

    def do(self, method: str, path: str, **body: object) -> Any:
        """What a person does at the screen."""
        return self.call(method, f"/sandbox/ui/{path}", body)

    def steer(self, path: str, **body: object) -> Any:
        """See ``control.py``."""
        return self.call("POST", f"/sandbox/{path}", body)

    def webhooks(self) -> Mapping[str, int]:
        """Counts of events, on their way and delivered."""
        counts: Mapping[str, int] = self.call("GET", "/sandbox/webhooks/idle")
        return counts

    def contacts(self) -> dict[str, dict[str, str]]:
        """``FIELDS`` of all contacts, by contact; "" where empty."""
        return {
            record["id"]: {name: record["properties"].get(name) or "" for name in FIELDS}
            for record in self._all("contacts", properties=",".join(FIELDS))
        }

    def tasks(self) -> list[CrmTask]:
        """The plugin's tasks, open or not, the oldest first."""
        records = self._all(
            "tasks",
            properties="hs_task_subject,hs_task_body,hs_createdate,hubspot_owner_id",
            propertiesWithHistory="hs_task_status",
            associations="contacts",
        )
        return [_task(record) for record in records]

    def _all(self, kind: str, **params: str) -> Iterator[dict[str, Any]]:
        following: dict[str, str] = {"limit": "100"}
        while following:
            page = self.call("GET", f"/crm/objects/{VERSION}/{kind}", **params, **following)
            yield from page["results"]
            after = page.get("paging", {}).get("next", {}).get("after")
            following = {"limit": "100", "after": after} if after else {}


def _task(record: Mapping[str, Any]) -> CrmTask:
    properties = record["properties"]
    kind, key = MARKER.findall(properties["hs_task_body"])[-1]
    last = record["propertiesWithHistory"]["hs_task_status"][0]
    ended = "done" if last["sourceType"] == "CRM_UI" else "withdrawn"
    joined = record.get("associations", {}).get("contacts", {}).get("results", ())
    return CrmTask(
        id=record["id"],
        kind=kind,
        key=key,
        subject=properties["hs_task_subject"],
        contacts=frozenset(one["id"] for one in joined),
        owner_id=properties["hubspot_owner_id"] or "",
        made_at=datetime.fromisoformat(properties["hs_createdate"]),
        end=ended if last["value"] == "COMPLETED" else "open",
    )


# -------------------------------------------------------------------------- the people


@dataclass(frozen=True, slots=True)
class Calendar:
    """Days of the story as real ones."""

    start: date
    zone: ZoneInfo

    def on(self, day: int) -> date:
        return self.start + timedelta(days=day)

    def morning(self, day: int) -> datetime:
        return datetime.combine(self.on(day), MORNING, self.zone)

    def day_of(self, at: datetime) -> int:
        return (at.astimezone(self.zone).date() - self.start).days


class People:
    """Does in the CRM what the people of the story do. ``ids``: who is which contact now."""

    def __init__(self, crm: Crm, calendar: Calendar) -> None:
        self.crm = crm
        self.calendar = calendar
        self.ids: dict[str, str] = {}
        self._deals: dict[str, tuple[str, story.Offer]] = {}

    def key_of(self, contact_id: str) -> str:
        """Who this contact is; the id where the story knows nobody of that id."""
        return next((key for key, one in self.ids.items() if one == contact_id), contact_id)

    def act(self, action: story.Action, day: int) -> None:
        match action:
            case story.Meet(who=who):
                self._meet(who, action.fields)
            case story.Note(who=who, fields=fields):
                self._edit(who, fields)
            case story.Rate(who=who, value=value):
                self._edit(who, {"spiral_rating": value})
            case story.RateAgain(who=who):
                self._edit(who, {"spiral_rated_on": self.calendar.on(day).isoformat()})
            case story.Offer():
                self._offer(action)
            case story.Attach(deal=deal):
                deal_id, offer = self._deals[deal]
                self.crm.do("POST", f"deals/{deal_id}/contacts", contacts=[self.ids[offer.to]])
            case story.Win(deal=deal):
                self._close(deal, "closedwon")
            case story.Lose(deal=deal):
                self._close(deal, "closedlost")
            case story.Done(kind=kind, on=on):
                self._complete({kind}, frozenset({self.ids[on]}))
            case story.WorkOff():
                self._complete(story.ROUTINE)
            case story.Merge(keep=keep, drop=drop):
                self._merge(keep, drop)
            case story.Leave(who=who):
                self.crm.do("DELETE", f"contacts/{self.ids.pop(who)}")
            case story.SendTwice():
                self.crm.steer("webhooks/duplicate-last")
            case story.HoldUp():
                self.crm.steer("webhooks/late")
            case story.LetGo():
                self.crm.steer("webhooks/release")
            case story.Swallow():
                self.crm.steer("webhooks/lose")

    def _meet(self, who: str, fields: Mapping[str, str]) -> None:
        person = CAST[who]
        values = {
            "firstname": person.first,
            "lastname": person.last,
            "email": person.email,
            "company": person.company,
            "city": person.city,
            "hubspot_owner_id": _rep(who),
            **fields,
        }
        self.ids[who] = self.crm.do("POST", "contacts", properties=values, by=_rep(who))["id"]

    def _edit(self, who: str, fields: Mapping[str, str]) -> None:
        self.crm.do("PATCH", f"contacts/{self.ids[who]}", properties=dict(fields), by=_rep(who))

    def _offer(self, offer: story.Offer) -> None:
        rep = _rep(offer.to)
        made = self.crm.do(
            "POST",
            "deals",
            properties={
                "dealname": offer.name,
                "amount": str(offer.amount),
                "hubspot_owner_id": rep,
            },
            contacts=[self.ids[offer.to]],
            attach_later=not offer.attached,
            by=rep,
        )
        self._deals[offer.deal] = (made["id"], offer)

    def _close(self, deal: str, stage: str) -> None:
        deal_id, offer = self._deals[deal]
        self.crm.do("PATCH", f"deals/{deal_id}", properties={"dealstage": stage}, by=_rep(offer.to))

    def _complete(
        self, kinds: Collection[TaskKind], contacts: frozenset[str] | None = None
    ) -> None:
        for task in self.crm.tasks():
            if task.end == "open" and task.kind in kinds and contacts in (None, task.contacts):
                self.crm.do("POST", f"tasks/{task.id}/complete", by=task.owner_id)

    def _merge(self, keep: str, drop: str) -> None:
        other = self.ids.pop(drop)
        merged = self.crm.do("POST", f"contacts/{self.ids[keep]}/merge", other=other)
        self.ids[keep] = merged["id"]


def _rep(who: str) -> str:
    """The id of the rep who owns this contact."""
    return REPS[CAST[who].rep]


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
                shown = _stage_label(stage, self._language)
                self._say_beside("→", f"{CAST[who].name}: {shown}", "green")

    def _tell_tasks(self) -> None:
        for task in self._crm.tasks():
            before = self._tasks.get(task.id)
            if before is None:
                self._say_beside("+", task.subject, "yellow")
            elif before == "open" and task.end == "withdrawn":
                self._say_beside("−", task.subject, "bright_black")
            self._tasks[task.id] = task.end


def _stage_label(stage: str, language: str) -> str:
    return manifest().field("spiral_stage").option_label(stage, language) if stage else "–"


def _task_label(task: CrmTask, language: str) -> str:
    return manifest().task_labels[task.kind][language]


# ------------------------------------------------------------------------ what came of it


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Something that is not as the story says."""

    what: str
    wanted: str
    found: str


def differences(people: People, moves: set[tuple[int, str, str]]) -> list[Difference]:
    """Where the CRM is not, or was not, as the story says."""
    return [
        *_in_contacts(people),
        *_in_moves(people, moves),
        *_in_tasks(people),
    ]


def _in_contacts(people: People) -> Iterator[Difference]:
    found = {people.key_of(one): values for one, values in people.crm.contacts().items()}
    yield from _compared("contacts", ", ".join(sorted(ENDING)), ", ".join(sorted(found)))
    for key in ENDING.keys() & found.keys():
        for name, wanted in expected_fields(ENDING[key], people).items():
            yield from _compared(f"{key}: {name}", wanted, found[key][name])


def expected_fields(standing: Standing, people: People) -> dict[str, str]:
    """The fields a contact should have, as the CRM holds them."""
    since = "" if standing.since is None else people.calendar.on(standing.since).isoformat()
    return {
        "spiral_stage": standing.stage or "",
        "spiral_stage_since": since,
        "spiral_readiness": standing.readiness,
        "spiral_referrer": _referrer(standing.referrer, people),
        "spiral_advocate_tier": standing.tier,
        "spiral_referrals_given": str(standing.given),
        "spiral_referrals_won": str(standing.won),
        "spiral_referral_value": str(standing.value),
    }


def _referrer(key: str | None, people: People) -> str:
    if key is None:
        return ""
    if key in REPS:
        return next(f"{one.name} ({one.id})" for one in STAFF if one.id == REPS[key])
    return f"{CAST[key].name} ({people.ids[key]})"


def _in_moves(people: People, moves: set[tuple[int, str, str]]) -> Iterator[Difference]:
    wanted = {
        (chapter.day, effect.who, str(effect.to or ""))
        for chapter in CHAPTERS
        for effect in chapter.effects
        if isinstance(effect, story.Comes)
    }
    for day, who, stage in sorted(wanted ^ moves):
        yield Difference(
            what=f"{who} comes to {stage or 'no stage'} on {people.calendar.on(day)}",
            wanted="yes" if (day, who, stage) in wanted else "no",
            found="yes" if (day, who, stage) in moves else "no",
        )


def _in_tasks(people: People) -> Iterator[Difference]:
    tasks = people.crm.tasks()
    twice = [key for key, count in Counter(task.key for task in tasks).items() if count > 1]
    yield from _compared("markers that several tasks have", "", ", ".join(twice))
    wanted = Counter(story.written_tasks())
    found = Counter(
        Written(
            kind=TaskKind(task.kind),
            contacts=frozenset(map(people.key_of, task.contacts)),
            day=people.calendar.day_of(task.made_at),
            end=task.end,
        )
        for task in tasks
    )
    for one in sorted(wanted | found, key=lambda each: (each.day, each.kind, each.end)):
        who = " and ".join(sorted(one.contacts))
        what = f"{one.kind} on {who} of {people.calendar.on(one.day)}, {one.end}"
        yield from _compared(what, str(wanted[one]), str(found[one]))


def _compared(what: str, wanted: str, found: str) -> Iterator[Difference]:
    if wanted != found:
        yield Difference(what=what, wanted=wanted, found=found)


# -------------------------------------------------------------------------------- showing


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """How one contact stands, in words."""

    name: str
    stage: str
    why: str
    referrer: str
    tasks: tuple[str, ...]


def _rows(people: People, language: str) -> list[Row]:
    """In the order of the ending."""
    found = people.crm.contacts()
    tasks = [task for task in people.crm.tasks() if task.end == "open"]
    return [
        Row(
            name=CAST[key].name,
            stage=_stage_since(found[people.ids[key]], language),
            why=found[people.ids[key]]["spiral_explanation"].partition("\n")[0],
            referrer=found[people.ids[key]]["spiral_referrer"].rpartition(" (")[0],
            tasks=tuple(
                _task_label(task, language) for task in tasks if people.ids[key] in task.contacts
            ),
        )
        for key in ENDING
        if people.ids.get(key) in found
    ]


def _stage_since(values: Mapping[str, str], language: str) -> str:
    label = _stage_label(values["spiral_stage"], language)
    if not values["spiral_stage_since"]:
        return label
    locale = "en_GB" if language == "en" else "de_DE"
    day = date.fromisoformat(values["spiral_stage_since"])
    return f"{label} ({format_date(day, 'medium', locale=locale)})"


def show_ending(console: Console, rows: Iterable[Row]) -> None:
    if console.width < NARROW:
        for row in rows:
            console.print(Text.assemble("\n", (row.name, "bold"), f": {row.stage}"))
            console.print(Text(row.why))
            if row.referrer:
                console.print(Text(f"Referrer: {row.referrer}"))
            for task in row.tasks:
                console.print(Text(f"Open task: {task}", "yellow"))
        return
    table = Table("Contact", "Stage (since)", "Why", "Referrer", "Open tasks", show_lines=True)
    for row in rows:
        open_tasks = Text("\n".join(row.tasks), "yellow")
        table.add_row(
            Text(row.name, "bold"), Text(row.stage), Text(row.why), Text(row.referrer), open_tasks
        )
    console.print(table)


def _show_differences(console: Console, found: Iterable[Difference]) -> None:
    table = Table("What", "Should be", "Is", title="Not as the story says", title_style="bold red")
    for one in found:
        table.add_row(Text(one.what), Text(one.wanted or "–"), Text(one.found or "–"))
    console.print(table)
    console.print(Text(f"Logs and database are in {FOLDER}."), soft_wrap=True)


def _show_pages(console: Console, people: People, language: str) -> None:
    url, lang = people.crm.url, "" if language == LANGUAGES[0] else f"?lang={language}"
    console.print("\nThe sandbox CRM is open. Change something and see what the plugin does:")
    for what, path in (
        ("All contacts", "contacts"),
        (CAST["hartmann"].name, f"contacts/{people.ids['hartmann']}"),
        ("All open tasks", "tasks"),
    ):
        console.print(Text(f"  {what}: {url}/{path}{lang}"), soft_wrap=True)
    console.print("Ctrl-C ends.")


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
    crm, web = (f"http://{HOST}:{port}" for port in _free_ports(PORTS))
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
    show_ending(console, _rows(people, language))
    console.print()
    found = differences(people, telling.moves)
    if found:
        _show_differences(console, found)
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
                _show_pages(console, people, language)
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
