"""How the story ended: compared with what it should have come to, and shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from babel.dates import format_date
from rich.console import Console
from rich.table import Table
from rich.text import Text

from plugin.referral.model import TaskKind
from plugin.sandbox import story
from plugin.sandbox.people import People, stage_label, task_label
from plugin.sandbox.story import CAST, REPS, Script, Standing, Written

NARROW = 100  # columns below which the ending is told without a table


# ------------------------------------------------------------------------ what came of it


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Something that is not as the story says."""

    what: str
    wanted: str
    found: str


def differences(
    people: People, script: Script, moves: set[tuple[int, str, str]]
) -> list[Difference]:
    """Where the CRM is not, or was not, as the script says."""
    return [
        *_in_contacts(people, script),
        *in_moves(people, script, moves),
        *in_tasks(people, script),
    ]


def _in_contacts(people: People, script: Script) -> Iterator[Difference]:
    ending = script.ending
    found = {people.key_of(one): values for one, values in people.crm.contacts().items()}
    yield from _compared("contacts", ", ".join(sorted(ending)), ", ".join(sorted(found)))
    for key in ending.keys() & found.keys():
        for name, wanted in expected_fields(ending[key], people).items():
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
        return people.crm.rep_shown(key)
    return f"{CAST[key].name} ({people.ids[key]})"


def in_moves(
    people: People, script: Script, moves: set[tuple[int, str, str]]
) -> Iterator[Difference]:
    """Stages to which somebody came on another day, or not at all."""
    wanted = {
        (chapter.day, effect.who, str(effect.to or ""))
        for chapter in script.chapters
        for effect in chapter.effects
        if isinstance(effect, story.Comes)
    }
    for day, who, stage in sorted(wanted ^ moves):
        yield Difference(
            what=f"{who} comes to {stage or 'no stage'} on {people.calendar.on(day)}",
            wanted="yes" if (day, who, stage) in wanted else "no",
            found="yes" if (day, who, stage) in moves else "no",
        )


def in_tasks(people: People, script: Script) -> Iterator[Difference]:
    """Tasks too many, too few, of another day or with another end."""
    tasks = people.crm.tasks()
    twice = [key for key, count in Counter(task.key for task in tasks).items() if count > 1]
    yield from _compared("markers that several tasks have", "", ", ".join(twice))
    wanted = Counter(story.written_tasks(script.chapters))
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


def rows(people: People, script: Script, language: str) -> list[Row]:
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
                task_label(task, language) for task in tasks if people.ids[key] in task.contacts
            ),
        )
        for key in script.ending
        if people.ids.get(key) in found
    ]


def _stage_since(values: Mapping[str, str], language: str) -> str:
    label = stage_label(values["spiral_stage"], language)
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


def show_differences(console: Console, found: Iterable[Difference], folder: Path) -> None:
    """``folder`` has the logs."""
    table = Table("What", "Should be", "Is", title="Not as the story says", title_style="bold red")
    for one in found:
        table.add_row(Text(one.what), Text(one.wanted or "–"), Text(one.found or "–"))
    console.print(table)
    console.print(Text(f"Logs and database are in {folder}."), soft_wrap=True)


def show_pages(console: Console, people: People, title: str, language: str) -> None:
    console.print(f"\n{title} is open. Change something and see what the plugin does:")
    for what, url in people.crm.pages(people.ids["hartmann"], language).items():
        console.print(Text(f"  {what}: {url}"), soft_wrap=True)
    console.print("Ctrl-C ends.")
