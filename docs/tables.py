"""The tables of the README that are made from manifest.json: ``python -m docs.tables``.

Each stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``; a test fails when one is stale.
"""

from __future__ import annotations

import re
from pathlib import Path

from plugin.manifest import Direction, FieldType, manifest
from plugin.referral.policy import TaskPolicy

README = Path(__file__).resolve().parent.parent / "README.md"

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


TABLES = {"fields": fields, "tasks": tasks}


def refreshed(text: str) -> str:
    """The page with its tables made anew."""
    for name, table in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text, found = pattern.subn(lambda m, t=table: f"{m[1]}\n{t()}\n\n{m[2]}", text)
        if found != 1:
            raise ValueError(f"the page needs <!-- {name} --> … <!-- /{name} --> once")
    return text


if __name__ == "__main__":
    README.write_text(refreshed(README.read_text("utf-8")), "utf-8")
