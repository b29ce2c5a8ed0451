"""The story as it goes with BottleCRM, and what it takes to run it; without running it."""

from __future__ import annotations

import fcntl
import io
import os
import sys
import threading
import time
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from plugin.referral.model import Stage, TaskKind
from plugin.sandbox import story
from plugin.sandbox.bottlecrm import environment
from plugin.sandbox.bottlecrm.crm import BottleCrm
from plugin.sandbox.bottlecrm.environment import NoPython, find_python
from plugin.sandbox.bottlecrm.script import SCRIPT
from plugin.sandbox.processes import Bell, Stopped, Trouble
from plugin.sandbox.story import Comes, written_tasks


def test_its_story_differs_from_the_sandboxs_in_a_merge_and_three_texts() -> None:
    """Whoever adds a difference says so here."""
    ours = {one.day: one for one in story.CHAPTERS}
    added = [one.day for one in SCRIPT.chapters if one.day not in ours]
    changed = {one.day: one for one in SCRIPT.chapters if one != ours.get(one.day, one)}
    assert added == [617]
    assert sorted(changed) == [382, 618, 655, 659]
    assert [day for day, one in changed.items() if one.actions != ours[day].actions] == []
    assert [day for day, one in changed.items() if one.effects != ours[day].effects] == [618]


def test_its_ending_differs_in_a_day_and_in_a_pause() -> None:
    """The referral is hers since the rep wrote so; the complaint nobody saw brings no pause."""
    assert {who for who, one in SCRIPT.ending.items() if one != story.ENDING[who]} == {
        "lorenz",
        "vogt",
    }


def test_its_days_follow_one_another() -> None:
    """The chapters put in are at their place."""
    days = [one.day for one in SCRIPT.chapters]
    assert days == sorted(set(days))


def test_the_last_stage_told_of_everybody_is_their_ending() -> None:
    """As in the sandbox's story."""
    last: dict[str, Stage | None] = {}
    for one in SCRIPT.chapters:
        last |= {beat.who: beat.to for beat in one.effects if isinstance(beat, Comes)}
    told = {who: stage for who, stage in last.items() if who in SCRIPT.ending}
    assert told == {who: one.stage for who, one in SCRIPT.ending.items()}


def test_thanks_on_the_record_that_goes_are_taken_back_and_made_anew() -> None:
    """One more task than in the sandbox's story."""
    thanks = [
        (one.day, one.end)
        for one in written_tasks(SCRIPT.chapters)
        if one.kind is TaskKind.THANK_REFERRER and "vogt" in one.contacts
    ]
    assert thanks == [(612, "withdrawn"), (617, "done")]


def test_without_a_new_enough_python_it_says_what_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And how to name one that lies elsewhere."""
    monkeypatch.setattr(environment, "_candidates", lambda: iter([sys.executable]))
    monkeypatch.setattr(environment, "FITS", "raise SystemExit(1)")
    with pytest.raises(NoPython, match=r"Python 3\.12 or newer .*CRM_PYTHON"):
        find_python()


def test_a_python_named_by_hand_has_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not guessed what was meant."""
    monkeypatch.setenv("CRM_PYTHON", "/nowhere/python3.12")
    with pytest.raises(Trouble, match="CRM_PYTHON names no program") as caught:
        find_python()
    assert not isinstance(caught.value, NoPython)


def test_a_file_that_cannot_be_run_is_no_python(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever its permissions say."""
    fake = tmp_path / "python"
    fake.write_bytes(b"\x7fELF")
    fake.chmod(0o755)
    monkeypatch.setenv("CRM_PYTHON", str(fake))
    monkeypatch.setattr(environment, "NAMES", ())
    monkeypatch.setattr(environment, "FITS", "")
    assert find_python() == sys.executable


class Ringing(Bell):
    """Somebody asks to stop a moment after something happened."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__()
        self._event = event

    def check(self) -> None:
        if self._event.is_set():
            raise Stopped


def test_waiting_for_another_installation_is_told_and_ends_when_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Once, with the file that is waited for."""
    monkeypatch.setattr(environment, "FOLDER", tmp_path / "bottlecrm")
    said = io.StringIO()
    asked = threading.Event()
    threading.Timer(0.5, asked.set).start()
    with (tmp_path / "bottlecrm.lock").open("w") as lock, redirect_stderr(said):
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Stopped):
            environment.environment(Ringing(asked))
    assert said.getvalue() == f"Waiting for another process that holds {lock.name} …\n"


def test_installing_ends_when_asked_with_all_that_it_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not when it is done; the processes of pip end, too."""
    monkeypatch.setattr(environment, "FOLDER", tmp_path)
    started = tmp_path / "started"
    child = "import time; time.sleep(60)"
    code = (
        "import subprocess, sys, pathlib\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        f"pathlib.Path({str(started)!r}).write_text(str(child.pid))\n"
        "child.wait()\n"
    )
    asked = threading.Event()

    class OnceStarted(Ringing):
        def check(self) -> None:
            if started.exists() and started.read_text():
                asked.set()
            super().check()

    began = time.monotonic()
    with pytest.raises(Stopped):
        environment._run([sys.executable, "-c", code], "no", OnceStarted(asked))
    assert time.monotonic() - began < 10
    assert not _runs(int(started.read_text()))


def _runs(pid: int) -> bool:
    """Whether this process is still there, and not only waits to be buried."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return False
        time.sleep(0.05)
    return True


def test_what_pip_complains_of_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The last lines of it."""
    monkeypatch.setattr(environment, "FOLDER", tmp_path)
    code = "import sys; print('\\n'.join('abcdefg')); sys.exit(3)"
    with pytest.raises(Trouble) as caught:
        environment._run([sys.executable, "-c", code], "it cannot be installed", Bell())
    assert str(caught.value) == "BottleCRM: it cannot be installed.\nc\nd\ne\nf\ng"


def test_a_python_named_by_hand_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are several."""
    monkeypatch.setenv("CRM_PYTHON", sys.executable)
    monkeypatch.setattr(environment, "FITS", "")
    assert find_python() == sys.executable


def test_numbers_are_shown_as_the_manifest_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """BottleCRM keeps each with a fraction, and nothing where nothing is."""
    kept = {"spiral_referrals_given": 2.0, "spiral_referral_value": 2420000.5, "spiral_stage": None}
    monkeypatch.setattr(
        BottleCrm, "call", lambda *_, **__: {"results": [{"id": "1", "custom_fields": kept}]}
    )
    crm = BottleCrm("http://127.0.0.1:1", {}, "id")
    assert {name: value for name, value in crm.contacts()["1"].items() if value} == {
        "spiral_referrals_given": "2",
        "spiral_referral_value": "2420000.5",
    }
