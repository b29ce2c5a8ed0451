"""The rules of the house that no type checker sees. Import directions are import-linter's."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from enum import EnumType
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from plugin.manifest import Direction, manifest
from plugin.pipeline.erase import NAMING_FIELDS
from plugin.pipeline.values import LOCKED, field_values
from plugin.referral.decision import decide
from plugin.referral.model import (
    Case,
    Channel,
    Origin,
    Pillar,
    RatingValue,
    Readiness,
    Stage,
    TaskKind,
    Tier,
)
from plugin.referral.policy import Policy, TaskPolicy
from plugin.registry import adapters
from plugin.storage.database import Database
from plugin.storage.tables import metadata
from tests.referral.scenario import day, deal, evidence

ROOT = Path(__file__).resolve().parent.parent
CODE = ("plugin", "adapters", "schemas")
TEXT_FILES = {".py", ".html", ".css", ".js", ".toml", ".json", ".mako", ".md", ".txt"}

OPTIONS: dict[str, EnumType] = {
    "spiral_stage": Stage,
    "spiral_rating": RatingValue,
    "spiral_readiness": Readiness,
    "spiral_origin": Origin,
    "spiral_advocate_tier": Tier,
    "spiral_contact_consent": Channel,
    "spiral_referrer_pillar": Pillar,
}
"""Every field with options, and the values the model knows for it."""

IMPORTED_AS = {"SQLAlchemy": "sqlalchemy", "python-dotenv": "dotenv", "Babel": "babel"}
"""Packages whose module has another name."""
NOT_IMPORTED = {
    "gunicorn": "gunicorn.conf.py",  # serves: started by its own command
    "psycopg[binary]": "postgresql+psycopg",  # SQLAlchemy's driver: named in DATABASE_URL
    "tzdata": "zoneinfo",  # the zones where the system has none
}
"""Packages used without an import, and where in the code that shows."""


def sources(*folders: str) -> Iterator[Path]:
    """The text files of these folders, without what Python compiled."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in TEXT_FILES and "__pycache__" not in path.parts:
                yield path


def modules() -> Iterator[tuple[Path, ast.Module]]:
    """Every Python file of ours, parsed."""
    for path in [ROOT / "wsgi.py", *sources(*CODE)]:
        if path.suffix == ".py":
            yield path, ast.parse(path.read_text("utf-8"))


# ----------------------------------------------------------------------- where CRMs are


def test_the_core_names_no_crm() -> None:
    """A CRM's name stands in its adapter, the manifest and the sandbox, nowhere else."""
    words = re.compile("|".join(map(re.escape, manifest().crms)), re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources("plugin")
        if path.relative_to(ROOT).parts[:2] != ("plugin", "sandbox")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if words.search(line)
    ]
    assert found == []


def test_importing_the_package_imports_nothing() -> None:
    """Adapters import ``plugin.ports``, so ``plugin/__init__.py`` must not come back to them."""
    assert (ROOT / "plugin" / "__init__.py").read_text("utf-8").strip() == ""


# ------------------------------------------------------------------------- the manifest


def test_every_kind_of_task_has_a_label() -> None:
    """The manifest's tasks are the model's kinds of task, no more and no fewer."""
    assert sorted(manifest().task_labels) == sorted(TaskKind)


def test_every_kind_of_task_has_a_due_time() -> None:
    """Whatever the playbook asks for, the policy says by when."""
    assert sorted(TaskPolicy().due) == sorted(TaskKind)


def test_the_options_in_the_crm_are_the_values_of_the_model() -> None:
    """Field by field, in the same order."""
    assert {
        field.key: [option.value for option in field.options]
        for field in manifest().fields
        if field.options
    } == {key: [str(member) for member in kind] for key, kind in OPTIONS.items()}  # type: ignore[attr-defined]


@pytest.mark.parametrize("locked", [None, Stage.LOYALTY], ids=["free", "locked"])
def test_a_decision_fills_every_field_of_ours(locked: Stage | None) -> None:
    """All *out* fields of the manifest and nothing else; of a locked stage all but the stage."""
    case = Case(
        crm_id="101",
        name="Anna Sommer",
        evidence=evidence(deal("2025-01-07", won="2025-02-03")),
        locked_stage=locked,
    )
    decision = decide(case, Policy(), day("2025-03-01"))
    expected = set(manifest().keys_out) - set(LOCKED if locked else ())
    assert set(field_values(decision, case, "de")) == expected


def test_an_erasure_empties_fields_of_the_manifest() -> None:
    """What a privacy deletion writes exists; the name as typed is the one *in* field with words."""
    directions = {field.key: field.direction for field in manifest().fields}
    assert {key: directions[key] for key in NAMING_FIELDS} == {
        "spiral_referrer": Direction.OUT,
        "spiral_referrer_name": Direction.IN,
        "spiral_recommended_words": Direction.IN,
    }


def test_no_field_is_named_that_the_manifest_does_not_know() -> None:
    """A field's key in the code is one of the manifest's: a typo would be written to the CRM."""
    known = {field.key for field in manifest().fields} | {manifest().association_key}
    words = {
        (str(path.relative_to(ROOT)), node.value)
        for path, tree in modules()
        if "sandbox" not in path.parts
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"spiral_[a-z_]*[a-z]", node.value)
    }
    assert {(path, word) for path, word in words if word not in known} == set()


def test_every_crm_has_its_adapter_schema_and_page() -> None:
    """One name for module, schema, payloads and documentation: nothing is listed twice."""
    names = list(adapters())
    assert names == list(manifest().crms)
    missing = [
        path
        for name in names
        for path in (f"schemas/{name}.py", f"docs/adapters/{name}.md", f"tests/payloads/{name}")
        if not (ROOT / path).exists()
    ]
    assert missing == []


# ------------------------------------------------------------------------- dependencies


def test_no_dependency_is_unused() -> None:
    """What ``requirements.in`` names is imported, or used in a way that is named here."""
    wanted = (ROOT / "requirements.in").read_text("utf-8").split()
    imported = {
        name.split(".")[0]
        for _, tree in modules()
        for node in ast.walk(tree)
        for name in _imported(node)
    }
    assert [
        package
        for package in wanted
        if package not in NOT_IMPORTED and IMPORTED_AS.get(package, package) not in imported
    ] == []
    code = "\n".join(path.read_text("utf-8") for path in [ROOT / "Makefile", *sources(*CODE)])
    signs = {package: sign for package, sign in NOT_IMPORTED.items() if package in wanted}
    unused = [p for p, sign in signs.items() if sign not in code and not (ROOT / sign).exists()]
    assert unused == []


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []


# ----------------------------------------------------------------------------- database


def test_the_migrations_make_exactly_the_tables(database: Database) -> None:
    """A migrated database and ``tables.py`` do not differ."""
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_a_fresh_database_is_made_by_itself_and_only_once(tmp_path: Path) -> None:
    """Opening a new SQLite file migrates it; the second opening has nothing left to do."""
    url = f"sqlite:///{tmp_path / 'new' / 'fresh.db'}"
    for before in (False, True):
        database = Database(url)
        try:
            assert database.is_current() is before
            database.require_current()
            assert database.is_current()
            names = sa.inspect(database.engine).get_table_names()
            assert set(names) == {*metadata.tables, "alembic_version"}
        finally:
            database.close()
