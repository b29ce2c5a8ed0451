"""The tables of the pages, made from manifest.json and the adapters: ``python -m docs.tables``.

Each stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``. A test fails when one of the README is
stale; the lines counted in docs/adding-a-crm.md are as of the last refresh. Those in
docs/reliability.md are filled by what measured them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from plugin.manifest import Direction, FieldType, manifest
from plugin.ports import Declaration, Echo, ReferrerForm, Webhooks
from plugin.referral.policy import TaskPolicy
from plugin.registry import adapters

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
ADDING = ROOT / "docs" / "adding-a-crm.md"
RELIABILITY = ROOT / "docs" / "reliability.md"

_TYPES = {
    FieldType.ENUM: "choice",
    FieldType.MULTI_ENUM: "choices",
    FieldType.TEXT: "long text",
    FieldType.LINE: "text",
    FieldType.DATE: "date",
    FieldType.NUMBER: "number",
    FieldType.MONEY: "money",
    FieldType.BOOL: "yes/no",
}


def fields() -> str:
    """Every field the plugin adds, in order of importance."""
    rows = ["| field | label (de / en) | filled by | type |", "|---|---|---|---|"]
    for field in manifest().fields:
        by = "the plugin" if field.direction is Direction.OUT else "people"
        rows.append(
            f"| `{field.key}` | {field.label.de} / {field.label.en} | {by} | {_TYPES[field.type]} |"
        )
    return "\n".join(rows)


def tasks() -> str:
    """Every kind of task, with the working days until it is due."""
    due = {str(kind): days for kind, days in TaskPolicy().due.items()}
    rows = ["| task | label (de / en) | due in working days |", "|---|---|---|"]
    for kind, label in manifest().task_labels.items():
        rows.append(f"| `{kind}` | {label.de} / {label.en} | {due[kind] or 'same day'} |")
    return "\n".join(rows)


_WEBHOOKS = {
    Webhooks.PROJECT: "by an app project that is uploaded",
    Webhooks.API: "made by the plugin",
    Webhooks.BY_HAND: "made by hand",
}
_REFERRERS = {
    ReferrerForm.TEXT: "text",
    ReferrerForm.LABEL: "text, and a labelled association where the plan has them",
    ReferrerForm.LINK: "a real link",
}
_ECHOES = {
    Echo.MARKED: "told apart",
    Echo.UNSENT: "not sent",
    Echo.COMPARED: "looked at, nothing differs",
}


def _nearest(declared: Declaration) -> str:
    told = [f"{_TYPES[kind]} as {stand_in}" for kind, stand_in in declared.nearest_types.items()]
    return "; ".join(told) or "all there"


_FEATURES: dict[str, Callable[[Declaration], str]] = {
    "webhooks": lambda one: _WEBHOOKS[one.webhooks],
    "deliveries are signed": lambda one: "yes" if one.signed else "no: a password and a secret URL",
    "old deliveries are refused": lambda one: "yes" if one.replay_window else "no",
    "our own writes come back": lambda one: _ECHOES[one.echo],
    "day of a rating": lambda one: (
        "its history"
        if one.history_batch_size
        else "the event; the day it was seen where that was lost"
        if one.tells_changes
        else "the day it was seen"
    ),
    "merges are told": lambda one: "yes" if one.tells_merges else "no: one goes, one changes",
    "privacy deletions are told": lambda one: (
        "yes" if one.tells_erasure else "no: `python -m plugin erase`"
    ),
    "referrer": lambda one: _REFERRERS[one.referrer],
    "field types": _nearest,
    "fields are made with": lambda one: (
        f"an administrator's login, used once (`{one.admin_setting}`)"
        if one.admin_setting
        else "the token"
    ),
    "a new task's id": lambda one: "told" if one.tells_task_ids else "found by the task's marker",
    "contacts in one batch": lambda one: str(one.batch_size),
}


def crms() -> str:
    """What each CRM can and cannot do, from its adapter's declaration."""
    declared = [adapter.declaration for adapter in adapters().values()]
    titles = [f"[{one.title}](docs/adapters/{one.name}.md)" for one in declared]
    rows = [f"| | {' | '.join(titles)} |", "|---" * (len(declared) + 1) + "|"]
    for feature, told in _FEATURES.items():
        rows.append(f"| {feature} | {' | '.join(map(told, declared))} |")
    return "\n".join(rows)


def figures() -> str:
    """What each CRM took, in lines that are not blank."""
    rows = [
        "| | schema | adapter | its own tests | payload cases | stand-in | docs page | manifest |",
        "|---|---|---|---|---|---|---|---|",
    ]
    manifest_entries = json.loads((ROOT / "manifest.json").read_text("utf-8"))["crms"]
    for name, adapter in adapters().items():
        payloads = ROOT / "tests" / "payloads" / name
        counted = (
            _lines([ROOT / "schemas" / f"{name}.py"]),
            _lines((ROOT / "adapters" / name).glob("*.py")),
            _lines((ROOT / "tests" / "adapters").glob(f"*{name}*.py")),
            len(list(payloads.glob("*/case.json"))),
            _lines(payloads.glob("*.py")),
            _lines([ROOT / "docs" / "adapters" / f"{name}.md"]),
            len(json.dumps(manifest_entries[name], indent=2).splitlines()),
        )
        rows.append(f"| {adapter.declaration.title} | {' | '.join(map(str, counted))} |")
    return "\n".join(rows)


def _lines(paths: Iterable[Path]) -> int:
    return sum(bool(one.strip()) for path in paths for one in path.read_text("utf-8").splitlines())


TABLES = {README: {"fields": fields, "tasks": tasks, "crms": crms}, ADDING: {"figures": figures}}


def refreshed(page: Path) -> str:
    """The page's text with its tables made anew."""
    text = page.read_text("utf-8")
    for name, table in TABLES[page].items():
        text = filled(text, name, table())
    return text


def filled(text: str, name: str, table: str) -> str:
    """The text with this between its marks. Raises ``ValueError`` where it has not got them."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    text, found = pattern.subn(lambda m: f"{m[1]}\n{table}\n\n{m[2]}", text)
    if found != 1:
        raise ValueError(f"the page needs <!-- {name} --> … <!-- /{name} --> once")
    return text


if __name__ == "__main__":
    for page in TABLES:
        page.write_text(refreshed(page), "utf-8")
