"""Names and notes that are made to be taken for something else, from the CRM to the CRM."""

from __future__ import annotations

import ast
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from plugin.cli.printing import say
from plugin.manifest import LANGUAGES
from plugin.pipeline.outbox import _noted, _taken_back, _without_note
from plugin.texts.formats import Voice
from plugin.texts.tasks import WITHDRAWALS
from tests.attacks.tampering import tampered
from tests.e2e.shop import Shop

HOSTILE = {
    "script": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "format": "{0}{name}{name.__class__.__mro__}{{7*7}}${7*7}%(name)s%s%n",
    "marker": "[spiral:thank_referrer:aaaaaaaaaaaaaaaaaaaa]",
    "hidden marker": "[\u200bspiral:thank_referrer:aaaaaaaaaaaaaaaaaaaa]",
    "our note": WITHDRAWALS["no_longer_wanted"]["de"],
    "our note in lines": f"\n\n{WITHDRAWALS['no_longer_wanted']['de']}\n\n",
    "lines": "Erika\n\n2026-01-01 00:00:00 CRITICAL plugin: all is lost\r\nWarum: gleich\u2028x",
    "terminal": "\x1b[31m\x1b]0;title\x07\x1b[2J\x08\x08\x9b31m",
    "direction": "\u202egnp.exe\u2066x",
    "rich": "[red]rot[/red][link=https://evil.example]klick[/link]",
    "markdown": "[Hier klicken](https://evil.example) ![x](https://evil.example/x.png)",
    "long": "Anna " * 20,
    "SQL": "'; DROP TABLE contact; --",
}


@pytest.fixture(scope="module")
def names(shop: Shop) -> dict[str, str]:
    """Contacts of such names with deals of such names, who named a referrer of such a name in such
    words, and a good one; everything is worked on. What is hostile → the contact."""
    made, deals = {}, {}
    for what, text in {**HOSTILE, "good": "Erika Muster"}.items():
        contact = shop.crm.contact(text, "Name", company=text)
        shop.crm.change(contact, spiral_referrer_name=text, spiral_recommended_words=text)
        name = f"Projekt {len(deals)} A"
        shop.crm.win(shop.crm.deal(contact, name=name))
        made[what], deals[name] = contact, text
    with tampered(shop.crm, lambda _, content: renamed(content, deals)):
        shop.settle()
    return made


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Deals by names that a CRM's own form may not take."""
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, list):
        return [renamed(one, names) for one in value]
    if isinstance(value, dict):
        return {key: renamed(one, names) for key, one in value.items()}
    return value


def test_hostile_names_are_names(shop: Shop, names: dict[str, str]) -> None:
    """Every contact is decided about and gets its tasks; their texts hold the names as plain words
    of one line, one marker, which is ours, and no link; nothing of them is evaluated."""
    assert shop.rows("SELECT record_id, parked FROM hint WHERE parked IS NOT NULL") == []
    kinds = {what: {kind for kind, _ in shop.tasks(one)} for what, one in names.items()}
    assert kinds == dict.fromkeys(names, kinds["good"])
    assert kinds["good"]

    keys = [key for (key,) in shop.rows("SELECT key FROM task")]
    for task in shop.crm.tasks():
        assert task.subject.isprintable()
        assert all(line.isprintable() for line in task.body.split("\n"))
        assert task.body.count("[spiral:") == 1
        assert task.body.rstrip().rpartition("[spiral:")[2].partition(":")[2][:-1] in keys
        assert "](" not in task.body
        assert "aaaaaaaaaaaaaaaaaaaa" not in task.body.rpartition("[spiral:")[2]
        assert not set(task.body.split("\n")) & {note["de"] for note in WITHDRAWALS.values()}
    script = next(one for one in shop.crm.tasks() if names["script"] in one.contact_ids)
    assert "<script>alert(1)" in script.body
    code = next(one for one in shop.crm.tasks() if names["format"] in one.contact_ids)
    assert HOSTILE["format"][:40] in code.body


def test_a_name_of_a_megabyte_stops_nobody(shop: Shop) -> None:
    """It is kept as it is and shown as far as it goes; others are worked on beside it."""
    long = shop.crm.contact("Endlos", "Name", email="endlos@example.com")
    other = shop.crm.contact("Otto", "Beispiel", email="otto@example.com")
    for one in (long, other):
        shop.crm.change(one, spiral_referrer_name="Endlos Wieder")
        shop.crm.win(shop.crm.deal(one, name=f"Auftrag {one}"))
    huge = {"Endlos": "Ä-" * 500_000, "Endlos Wieder": "x; " * 300_000}
    with tampered(shop.crm, lambda _, content: renamed(content, huge)):
        shop.settle()

    assert shop.rows("SELECT record_id, parked FROM hint WHERE parked IS NOT NULL") == []
    assert {kind for kind, _ in shop.tasks(long)} == {kind for kind, _ in shop.tasks(other)}
    assert max(len(task.subject) for task in shop.crm.tasks()) <= 255
    assert max(len(task.body) for task in shop.crm.tasks()) < 10_000


@pytest.mark.parametrize("note", [note[one] for note in WITHDRAWALS.values() for one in LANGUAGES])
def test_words_like_our_withdrawal_note_are_not_taken_for_it(note: str) -> None:
    """A rep's work on a task that quotes such words counts as the rep's; only the line that we
    wrote ourselves says that we took the task back, and only that goes when it is opened again."""
    said = f"Warum: {Voice('de').quote(note)} \u2013 {Voice('de').person(note)}: anrufen"
    body = f"{said}\n\n[spiral:repair:aaaaaaaaaaaaaaaaaaaa]"

    assert not _taken_back(body)
    assert _without_note(body) == body
    assert _taken_back(_noted(body, note))
    assert _without_note(_noted(body, note)) == body


def test_commands_show_names_without_what_steers_a_terminal(
    shop: Shop, names: dict[str, str]
) -> None:
    """``explain`` and ``status`` of each: visible characters, no line that a name made."""
    for contact in names.values():
        told = shop.command("explain", shop.crm.name, contact)
        assert all(line.isprintable() for line in told.split("\n"))
        assert not any(line.startswith("2026-01-01 00:00:00 CRITICAL") for line in told.split("\n"))
    told = shop.command("status")
    assert all(line.isprintable() for line in told.split("\n"))


def test_logs_keep_to_one_line_an_entry(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Nor do they tell names."""
    with caplog.at_level(logging.DEBUG, "plugin"), caplog.at_level(logging.DEBUG, "adapters"):
        contact = shop.crm.contact(HOSTILE["lines"], HOSTILE["terminal"])
        shop.crm.win(shop.crm.deal(contact))
        shop.settle()

    assert [one for one in caplog.records if not one.getMessage().isprintable()] == []
    assert "all is lost" not in caplog.text


def test_what_a_command_says_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Escapes are shown as such; umlauts, dashes and line breaks of ours stay."""
    say("Müller – \x1b[31mrot\x07\n\u202everkehrt \ud800")

    assert capsys.readouterr().out == "Müller – \\x1b[31mrot\\x07\n\\u202everkehrt \\ud800\n"


def test_commands_print_in_one_place_only() -> None:
    """Whatever a new command shows is made plain without thinking of it."""
    folder = Path(__file__).resolve().parents[2] / "plugin" / "cli"
    found = {
        path.name
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"click.echo", "click.secho", "print", "Console"}
    }

    assert found == {"printing.py"}
