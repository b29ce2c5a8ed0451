"""The pages say what the code says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from docs.tables import README, refreshed
from plugin import cli
from plugin.settings import load_settings

ROOT = README.parent
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_tables_of_the_readme_are_fresh() -> None:
    """The field and task tables are those of manifest.json (else: `python -m docs.tables`)."""
    text = README.read_text("utf-8")

    assert text == refreshed(text)


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


def test_every_setting_stands_in_the_readme() -> None:
    """The table of settings is whole."""
    named = set(re.findall(r"^#? ?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert {one for one in named if f"`{one}`" not in README.read_text("utf-8")} == set()
    assert load_settings({"SECRET_KEY": "0123456789abcdef"}).public_url == ""
