"""The pages say what the code says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from bench.every import PARTS
from bench.page import PAGE, PICTURES, heading, row
from bench.targets import TARGETS, WHY
from docs.tables import README, refreshed
from plugin import cli
from plugin.manifest import manifest
from plugin.settings import load_settings

ROOT = README.parent
HEADINGS = [
    "Set up in the CRM",
    "Settings",
    "Events",
    "Fields and tasks we write",
    "Signature",
    "How an echo is told",
    "Limits and quirks",
    "API version read, date",
]
"""Of every adapter's page, in this order."""
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_tables_of_the_readme_are_fresh() -> None:
    """The field and task tables are those of manifest.json (else: `python -m docs.tables`)."""
    assert README.read_text("utf-8") == refreshed(README)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that is there."""
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_shown_are_commands_there_are(page: Path) -> None:
    """Every `python -m plugin …` of a page names a command, and options it has."""
    wrong = []
    commands = cli._group().commands
    for line in re.findall(r"python -m plugin ([^\n`]+)", page.read_text("utf-8")):
        words = shlex.split(line.split(" < ")[0].split(" #")[0])
        command = commands.get(words[0])
        options = {o for p in command.params for o in p.opts} if command else set()
        asked = {w.split("=")[0] for w in words[1:] if w.startswith("--")} - {"--help"}
        if command is None or not (isinstance(command, click.Group) or asked <= options):
            wrong.append(line)

    assert wrong == []


def test_every_command_stands_in_the_readme() -> None:
    """The table of commands is whole."""
    table = README.read_text("utf-8").partition("## Commands")[2].partition("\n## ")[0]

    missing = [name for name in cli._group().commands if not re.search(rf"`{name}\b", table)]
    assert missing == []


@pytest.mark.parametrize("crm", manifest().crms)
def test_an_adapters_page_says_the_same_things_as_all_others(crm: str) -> None:
    """The fixed headings, and every scope the app asks for."""
    page = (ROOT / "docs" / "adapters" / f"{crm}.md").read_text("utf-8")

    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == HEADINGS
    assert [scope for scope in manifest().crms[crm].scopes if f"`{scope}`" not in page] == []


def test_the_model_page_names_every_stage_and_task() -> None:
    """Stages with the words reps see, and each kind of task."""
    page = (ROOT / "docs" / "referral-model.md").read_text("utf-8")
    stages = manifest().field("spiral_stage").options

    assert [one.value for one in stages if f"| `{one.value}` | {one.label.de} |" not in page] == []
    assert [kind for kind in manifest().task_labels if f"`{kind}`" not in page] == []


def test_every_setting_stands_in_the_readme() -> None:
    """The table of settings is whole."""
    named = set(re.findall(r"^#? ?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert {one for one in named if f"`{one}`" not in README.read_text("utf-8")} == set()
    assert load_settings({"SECRET_KEY": "0123456789abcdef"}).public_url == ""


# ---------------------------------------------------------------------------- performance


def test_the_performance_page_is_made_by_the_bench_as_it_is() -> None:
    """Every part with its explanation and pictures, and every target with its present bound
    (else: `make bench` and `make bench-docs`)."""
    page = PAGE.read_text("utf-8")
    pictures = [name for part in PARTS.values() for name in part.plots]

    assert re.findall(r"^## .+ \(`.+`\)$", page, re.MULTILINE) == [*map(heading, PARTS.values())]
    assert [part.name for part in PARTS.values() if f"\n{part.about}\n" not in page] == []
    assert [one.name for one in TARGETS if f"\n{row(one)} " not in page] == []
    assert sorted(one.stem for one in PICTURES.glob("*.svg")) == sorted(pictures)


def test_a_missed_target_says_why() -> None:
    """No target is missed without a reason, and no reason is for a target there is not."""
    assert "the reason is not known yet" not in PAGE.read_text("utf-8")
    assert WHY.keys() <= {one.name for one in TARGETS}
