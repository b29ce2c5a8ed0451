"""BottleCRM's own environment: made once under ``instance/``, used again while it fits."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import click

from plugin.sandbox.processes import END_PATIENCE, POLL, Bell, Trouble
from plugin.settings import ROOT

FOLDER = ROOT / "instance" / "bottlecrm"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
SETTINGS = "plugin.sandbox.bottlecrm.inside.settings"
OLDEST = (3, 12)
"""``Requires-Python`` of django-crm 1.35.0: https://pypi.org/project/django-crm/"""
NAMES = ("python3.12", "python3.13", "python3.14", "python3")
FITS = f"import sys, venv, ensurepip; sys.exit(sys.version_info < {OLDEST})"
WAIT = 0.3  # seconds between two looks at the lock
PIP_LINES = 5  # of pip's complaint that are shown


class NoPython(Trouble):
    """There is no Python on this machine that BottleCRM can run on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """``python`` runs BottleCRM; ``database`` is an empty one of it, with all its tables."""

    python: Path
    database: Path


def environment(bell: Bell) -> Environment:
    """The environment, made now unless one that fits is there.

    Raises ``NoPython``, ``Trouble`` where it cannot be installed, or ``Stopped``.
    """
    FOLDER.parent.mkdir(exist_ok=True)
    with FOLDER.with_suffix(".lock").open("w") as lock:
        _take(lock, bell)
        return _environment(bell)


def _take(lock: IO[str], bell: Bell) -> None:
    """Somebody else may be making it just now."""
    told = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                click.echo(f"Waiting for another process that holds {lock.name} …", err=True)
            told = True
            bell.pause(WAIT)
        else:
            return


def _environment(bell: Bell) -> Environment:
    made = Environment(python=FOLDER / "venv" / "bin" / "python", database=FOLDER / "empty.sqlite3")
    stamp = FOLDER / "stamp"
    wanted = _fingerprint()
    if not (stamp.exists() and stamp.read_text("utf-8") == wanted and made.python.exists()):
        _make(made, bell)
        stamp.write_text(wanted, "utf-8")
    return made


def _make(made: Environment, bell: Bell) -> None:
    python = find_python()
    click.echo("Installing BottleCRM for the first time; this takes about a minute …", err=True)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    _run([python, "-m", "venv", str(FOLDER / "venv")], "its environment cannot be made", bell)
    _run(
        [str(made.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--requirement", str(REQUIREMENTS)],
        "it cannot be installed (pip must reach a package index)",
        bell,
    )  # fmt: skip
    _run(
        [str(made.python), "-m", "django", "migrate", "--run-syncdb", "--verbosity", "0"],
        "its tables cannot be made",
        bell,
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
    """A Python that BottleCRM can run on. Raises ``NoPython``, or ``Trouble`` where CRM_PYTHON
    names none at all."""
    for candidate in _candidates():
        with suppress(OSError):  # a file that only says it can be run
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
        if not shutil.which(named):
            raise Trouble("CRM_PYTHON names no program: it should be a path such as python3.12's.")
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


def _run(
    words: list[str], complaint: str, bell: Bell, environ: Mapping[str, str] | None = None
) -> None:
    """In a session of its own, as all processes of the demo: a Ctrl-C reaches us alone."""
    with subprocess.Popen(
        words,
        cwd=FOLDER,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as popen:
        try:
            said = _said(popen, bell)
        finally:
            _end(popen)
    if popen.returncode:
        last = "\n".join(said.strip().splitlines()[-PIP_LINES:])
        raise Trouble(f"BottleCRM: {complaint}.\n{last}")


def _said(popen: subprocess.Popen[str], bell: Bell) -> str:
    """All of its output, once it has ended."""
    while True:
        bell.check()
        with suppress(subprocess.TimeoutExpired):
            return popen.communicate(timeout=POLL)[0]


def _end(popen: subprocess.Popen[str]) -> None:
    """With all that it started; by force where it does not end by itself."""
    if popen.poll() is not None:
        return
    os.killpg(popen.pid, signal.SIGTERM)
    try:
        popen.wait(END_PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(popen.pid, signal.SIGKILL)
