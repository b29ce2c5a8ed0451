"""BottleCRM's own environment: made once under ``instance/``, used again while it fits."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from plugin.sandbox.processes import Trouble
from plugin.settings import ROOT

FOLDER = ROOT / "instance" / "bottlecrm"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
SETTINGS = "plugin.sandbox.bottlecrm.inside.settings"
OLDEST = (3, 12)
"""``Requires-Python`` of django-crm 1.35.0: https://pypi.org/project/django-crm/"""
NAMES = ("python3.12", "python3.13", "python3.14", "python3")
FITS = f"import sys, venv, ensurepip; sys.exit(sys.version_info < {OLDEST})"
PIP_LINES = 5  # of pip's complaint that are shown


class NoPython(Trouble):
    """There is no Python on this machine that BottleCRM can run on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """``python`` runs BottleCRM; ``database`` is an empty one of it, with all its tables."""

    python: Path
    database: Path


def environment() -> Environment:
    """The environment, made now unless one that fits is there.

    Raises ``NoPython``, or ``Trouble`` where it cannot be installed.
    """
    FOLDER.parent.mkdir(exist_ok=True)
    with FOLDER.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # somebody else may be making it just now
        return _environment()


def _environment() -> Environment:
    made = Environment(python=FOLDER / "venv" / "bin" / "python", database=FOLDER / "empty.sqlite3")
    stamp = FOLDER / "stamp"
    wanted = _fingerprint()
    if not (stamp.exists() and stamp.read_text("utf-8") == wanted and made.python.exists()):
        _make(made)
        stamp.write_text(wanted, "utf-8")
    return made


def _make(made: Environment) -> None:
    python = find_python()
    click.echo("Installing BottleCRM for the first time; this takes about a minute …", err=True)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    _run([python, "-m", "venv", str(FOLDER / "venv")], "its environment cannot be made")
    _run(
        [str(made.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--requirement", str(REQUIREMENTS)],
        "it cannot be installed (pip must reach a package index)",
    )  # fmt: skip
    _run(
        [str(made.python), "-m", "django", "migrate", "--run-syncdb", "--verbosity", "0"],
        "its tables cannot be made",
        environ=inside(made.database, FOLDER),
    )


def inside(database: Path, folder: Path) -> dict[str, str]:
    """The environment variables of BottleCRM's own processes. They must be started in
    ``folder``: it writes its logs to where it is."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "BOTTLECRM_DATABASE": str(database),
        "SECRET_KEY": hashlib.sha256(str(folder).encode()).hexdigest(),  # a sandbox: it is play
        "ENV_TYPE": "dev",
        "DEBUG": "True",
    }


def find_python() -> str:
    """A Python that BottleCRM can run on. Raises ``NoPython``."""
    for candidate in _candidates():
        tried = subprocess.run([candidate, "-c", FITS], capture_output=True, check=False)
        if not tried.returncode:
            return candidate
    oldest = ".".join(map(str, OLDEST))
    raise NoPython(
        f"BottleCRM needs Python {oldest} or newer with venv, and none was found among "
        f"{', '.join(NAMES)} (CRM_PYTHON names one that lies elsewhere)."
    )


def _candidates() -> Iterator[str]:
    if named := os.environ.get("CRM_PYTHON"):
        yield named
    yield from filter(None, map(shutil.which, NAMES))
    yield sys.executable
    # pyenv's names on the PATH lead only to the version chosen for this folder
    if root := os.environ.get("PYENV_ROOT"):
        yield from map(str, sorted(Path(root).glob("versions/3.*/bin/python3")))


def _fingerprint() -> str:
    """Changes with what an environment is made from."""
    settings = Path(__file__).with_name("inside") / "settings.py"
    parts = (FOLDER, REQUIREMENTS.read_text("utf-8"), settings.read_text("utf-8"))
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


def _run(words: list[str], complaint: str, environ: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        words, cwd=FOLDER, env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-PIP_LINES:])
        raise Trouble(f"BottleCRM: {complaint}.\n{last}")
