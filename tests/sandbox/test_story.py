"""The demo's story: whole in itself, checked without mercy, and the demo plays it."""

from __future__ import annotations

import fcntl
import io
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from plugin.errors import ConfigurationError
from plugin.manifest import manifest
from plugin.referral.model import Stage, TaskKind
from plugin.sandbox import ending, story
from plugin.sandbox.ending import Difference, Row, differences
from plugin.sandbox.people import Calendar, CrmTask, People
from plugin.sandbox.portal import STAFF
from plugin.sandbox.stand_in import StandIn
from plugin.sandbox.story import (
    CAST,
    CHAPTERS,
    ENDING,
    REPS,
    SCRIPT,
    TODAY,
    Comes,
    Gone,
    New,
    Written,
    chapter,
    written_tasks,
)
from plugin.sandbox.worker import StoryClock

ROOT = Path(__file__).resolve().parents[2]

# ------------------------------------------------------------------------------ the script


def beats() -> Iterator[tuple[int, story.Action | story.Effect]]:
    for one in CHAPTERS:
        for beat in (*one.actions, *one.effects):
            yield one.day, beat


def people_in(beat: story.Action | story.Effect) -> list[str]:
    """Everybody a beat names."""
    names = (getattr(beat, part, None) for part in ("who", "to", "on", "about", "keep", "drop"))
    return [name for name in names if name and not isinstance(name, Stage)]


def test_days_follow_one_another_within_two_years() -> None:
    """No day is told twice or out of order, and all are over when the demo is run."""
    days = [one.day for one in CHAPTERS]
    assert days == sorted(set(days))
    assert 0 <= days[0] < days[-1] < TODAY


def test_only_people_of_the_cast_appear_and_each_is_met_once_and_first() -> None:
    """Whoever is named is in the cast, and was met before anything else happens to them."""
    met: list[str] = []
    for _, beat in beats():
        if isinstance(beat, story.Meet):
            met.append(beat.who)
        assert set(people_in(beat)) <= set(met), beat
    assert sorted(met) == sorted(CAST)


def test_every_deal_is_opened_before_it_is_attached_won_or_lost() -> None:
    """And it is opened once, and closed at most once."""
    opened: dict[str, bool] = {}
    closed: list[str] = []
    for _, beat in beats():
        match beat:
            case story.Offer():
                assert beat.deal not in opened
                opened[beat.deal] = beat.attached
            case story.Attach():
                assert opened[beat.deal] is False
                opened[beat.deal] = True
            case story.Win() | story.Lose():
                assert opened[beat.deal] is True
                closed.append(beat.deal)
    assert sorted(set(closed)) == sorted(closed)
    assert all(opened.values())


def test_everything_that_can_happen_happens() -> None:
    """Duplicates, late and lost deliveries, a merge, a leaving customer: none is left out."""
    assert {type(beat) for _, beat in beats()} == {*get_args(story.Action), Comes, New, Gone}


def test_every_stage_is_somebodys_ending() -> None:
    """All seven, and somebody of whom no stage is kept."""
    assert {one.stage for one in ENDING.values()} == {*Stage, None}


def test_the_last_stage_told_of_everybody_is_their_ending() -> None:
    """Whoever was merged away or left has no ending."""
    last: dict[str, Stage | None] = {}
    for _, beat in beats():
        match beat:
            case Comes():
                assert last.get(beat.who) != beat.to, beat
                last[beat.who] = beat.to
            case story.Merge():
                del last[beat.drop]
            case story.Leave():
                del last[beat.who]
    assert last == {who: one.stage for who, one in ENDING.items()}


def test_every_kind_of_task_comes_up() -> None:
    """Save the one of the advocacy campaign, which nobody starts here."""
    assert {one.kind for one in written_tasks()} == {*TaskKind} - {TaskKind.CAMPAIGN_ASK_ORIGIN}


def test_tasks_end_in_every_way_and_many_kinds_are_open_today() -> None:
    """The last table of the demo has something to show."""
    tasks = written_tasks()
    assert {one.end for one in tasks} == {"open", "done", "withdrawn"}
    assert len({one.kind for one in tasks if one.end == "open"}) >= 10


def test_people_do_only_what_stood_on_their_lists_in_the_morning() -> None:
    """A task that a day brings is not worked off on that day."""
    day = chapter(1, "", New(TaskKind.TELL_OUTCOME, "sommer"), story.WorkOff())
    assert [one.end for one in written_tasks([day])] == ["open"]
    assert [one.end for one in written_tasks([day, chapter(2, "", story.WorkOff())])] == ["done"]


def test_ending_a_task_that_is_not_open_is_a_fault_of_the_story() -> None:
    """It is told at once, and not as a difference in the CRM."""
    with pytest.raises(ValueError, match="0 open tasks repair on sommer"):
        written_tasks([chapter(1, "", Gone(TaskKind.REPAIR, "sommer"))])


def test_merging_and_leaving_moves_tasks_along() -> None:
    """A task stands on the record that is left; nothing stands on one that is gone."""
    thank = New(TaskKind.THANK_REFERRER, "lorenz_twin", "vogt")
    told = [chapter(1, "", thank), chapter(2, "", story.Merge("lorenz", "lorenz_twin"))]
    assert written_tasks(told) == (
        Written(kind=TaskKind.THANK_REFERRER, contacts=frozenset({"lorenz", "vogt"}), day=1),
    )
    assert written_tasks([*told, chapter(3, "", story.Leave("vogt"))]) == (
        Written(kind=TaskKind.THANK_REFERRER, contacts=frozenset({"lorenz"}), day=1),
    )


def test_everybody_is_invented_and_cared_for_by_somebody_of_the_sandbox() -> None:
    """Addresses are of example.com, each of one person; reps are the sandbox's staff."""
    emails = [person.email for person in CAST.values()]
    assert len(set(emails)) == len(emails)
    assert all(email.endswith("@example.com") for email in emails)
    assert set(REPS.values()) == {one.id for one in STAFF}
    assert {person.rep for person in CAST.values()} == set(REPS)


def test_people_fill_only_fields_that_are_theirs() -> None:
    """What is noted goes into fields the plugin never overwrites."""
    filled = {
        name
        for _, beat in beats()
        if isinstance(beat, story.Meet | story.Note)
        for name in beat.fields
    }
    assert filled <= set(manifest().keys_in)


# ------------------------------------------------------------------------------- the check


class Recalled(StandIn):
    """A CRM in which everything came as the story says."""

    def __init__(self, calendar: Calendar) -> None:
        super().__init__("http://127.0.0.1:1", "token")
        self.people = People(self, calendar)
        self.people.ids.update({who: str(number) for number, who in enumerate(CAST)})
        for gone in ("franke", "lorenz_twin"):
            del self.people.ids[gone]
        self.fields = {
            self.people.ids[who]: ending.expected_fields(one, self.people)
            for who, one in ENDING.items()
        }
        self.written = [
            CrmTask(
                id=str(number),
                kind=one.kind,
                key=str(number),
                subject="",
                contacts=frozenset(self.people.ids[who] for who in one.contacts),
                owner_id="",
                made_at=calendar.morning(one.day),
                end=one.end,
            )
            for number, one in enumerate(written_tasks())
        ]

    def contacts(self) -> dict[str, dict[str, str]]:
        return self.fields

    def tasks(self) -> list[CrmTask]:
        return self.written


@pytest.fixture
def recalled() -> Recalled:
    return Recalled(Calendar(date(2025, 1, 1), ZoneInfo("Europe/Berlin")))


def all_moves() -> set[tuple[int, str, str]]:
    return {(day, b.who, str(b.to or "")) for day, b in beats() if isinstance(b, Comes)}


def test_nothing_differs_where_all_came_as_the_story_says(recalled: Recalled) -> None:
    """The check has no demands of its own."""
    assert differences(recalled.people, SCRIPT, all_moves()) == []


def test_a_wrong_field_is_found(recalled: Recalled) -> None:
    """Every field counts."""
    recalled.fields[recalled.people.ids["braun"]]["spiral_readiness"] = "ask_now"
    assert differences(recalled.people, SCRIPT, all_moves()) == [
        Difference(what="braun: spiral_readiness", wanted="repair_first", found="ask_now")
    ]


def test_a_contact_too_many_is_found(recalled: Recalled) -> None:
    """Nobody else may be there."""
    recalled.fields["4711"] = {}
    (found,) = differences(recalled.people, SCRIPT, all_moves())
    assert found.what == "contacts"
    assert "4711" in found.found


def test_a_stage_that_was_passed_over_is_found(recalled: Recalled) -> None:
    """An ending that is right does not hide a way that was wrong."""
    assert differences(recalled.people, SCRIPT, all_moves() - {(640, "krueger", "negative")}) == [
        Difference(what="krueger comes to negative on 2026-10-03", wanted="yes", found="no")
    ]


def test_a_task_made_twice_is_found(recalled: Recalled) -> None:
    """By its marker, and by its number."""
    first = recalled.written[0]
    recalled.written.append(replace(first, id="4711"))
    assert differences(recalled.people, SCRIPT, all_moves()) == [
        Difference(what="markers that several tasks have", wanted="", found="0"),
        Difference(what="ask_referral_soft on sommer of 2025-02-22, done", wanted="1", found="2"),
    ]


def test_a_task_of_another_day_is_found(recalled: Recalled) -> None:
    """Too late is wrong, too."""
    first = recalled.written[0]
    recalled.written[0] = replace(first, made_at=recalled.people.calendar.morning(53))
    assert Counter(one.found for one in differences(recalled.people, SCRIPT, all_moves())) == {
        "0": 1,
        "1": 1,
    }


# --------------------------------------------------------------------------------- the demo


def shown(width: int) -> str:
    """The ending of one contact in a window of that width."""
    told = io.StringIO()
    row = Row(
        name="Dr. Katrin Sommer",
        stage="Verbundenheit (01.04.2025)",
        why="Weil sie gern empfiehlt.",
        referrer="Jonas Keller",
        tasks=("Herkunft erfragen",),
    )
    ending.show_ending(Console(file=told, width=width), [row])
    return told.getvalue()


def test_the_ending_fits_a_wide_window_as_a_table() -> None:
    """One row says it all."""
    assert re.search(r"Sommer.*Verbundenheit.*Weil.*Keller.*Herkunft", shown(160))


def test_the_ending_fits_a_narrow_window_as_lines() -> None:
    """No table is squeezed until nobody can read it."""
    assert shown(60).splitlines() == [
        "",
        "Dr. Katrin Sommer: Verbundenheit (01.04.2025)",
        "Weil sie gern empfiehlt.",
        "Referrer: Jonas Keller",
        "Open task: Herkunft erfragen",
    ]


def test_only_this_machine_tells_a_worker_the_time() -> None:
    """A clock elsewhere is refused before it is asked."""
    with pytest.raises(ConfigurationError, match="must be on this machine"):
        StoryClock("http://crm.example.com/sandbox/clock")


@pytest.fixture
def no_other_demo() -> Iterator[None]:
    """There is one folder for it, and tests run side by side."""
    folder = ROOT / "instance"
    folder.mkdir(exist_ok=True)
    with (folder / "demo.tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("no_other_demo")
def test_the_demo_comes_out_as_the_story_says() -> None:
    """``make demo EXIT=1`` ends by itself, with 0."""
    done = subprocess.run(
        [sys.executable, "-m", "plugin.sandbox.demo", "--exit", "--language", "en"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("no_other_demo")
def test_an_interrupted_demo_leaves_nothing_running() -> None:
    """Whoever answered at the addresses it told is gone."""
    with subprocess.Popen(
        [sys.executable, "-m", "plugin.sandbox.demo"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout
        told = ""
        for line in running.stdout:
            told += line
            if "At a trade fair" in line:
                break
        running.send_signal(signal.SIGINT)
        running.stdout.read()
        assert running.wait(60) == 128 + signal.SIGINT
    ports = re.findall(r"http://127\.0\.0\.1:(\d+)", told)
    assert len(ports) == 2
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", int(port))) != 0
