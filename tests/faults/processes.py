"""The plugin's real processes: started, killed, frozen, and ended for certain."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import requests

from tests.faults.entry import CLOCK, make_clock, set_clock
from tests.faults.weather import wait_until

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0  # seconds
STOPPED_BY = 35.0  # seconds after SIGTERM: thirty are promised


class Process:
    """One command, in a process group of its own. What it says is kept over restarts."""

    def __init__(
        self, name: str, command: Sequence[str], environ: Mapping[str, str], folder: Path
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._clock = make_clock(folder / f"{name}.clock")
        self._command = [sys.executable, "-m", *command]
        self._environ = {**os.environ, **environ, CLOCK: str(self._clock)}
        self._running: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        if self._running is not None:
            return
        self._running = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._running,), daemon=True)
        self._reader.start()

    def _read(self, running: subprocess.Popen[bytes]) -> None:
        """Through a pipe: a full disk is no reason to say nothing."""
        assert running.stdout
        with self.log.open("ab") as log, running.stdout as said:
            for line in said:
                log.write(line)
                log.flush()

    @property
    def pid(self) -> int | None:
        return self._running.pid if self._running else None

    def ended_by_itself(self) -> int | None:
        """Its exit code, where nobody ended it."""
        return self._running.poll() if self._running else None

    def is_ready_to_stop(self) -> bool:
        """Whether it catches SIGTERM by now; before that it has not begun anything."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return False
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    def children(self) -> list[int]:
        """Those that are what this one is: a process it asks something is none of them. Linux
        only, like the rest of the harness."""
        if self._running is None:
            return []

        def command(pid: int | None) -> bytes:
            return Path(f"/proc/{pid}/cmdline").read_bytes()

        try:
            found = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
            return [one for one in map(int, found.split()) if command(one) == command(self.pid)]
        except OSError:
            return []

    def signal(self, number: signal.Signals) -> None:
        """To the whole group."""
        if self._running is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._running.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._gather()

    def kill_child(self, number: int) -> None:
        """One of gunicorn's processes; it starts another."""
        if children := self.children():
            with suppress(ProcessLookupError):
                os.kill(children[number % len(children)], signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM: it is to end in order."""
        if self._running is not None:
            self._running.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> int:
        """Its exit code. Raises ``TimeoutExpired``."""
        assert self._running
        return self._running.wait(seconds)

    def ended(self) -> int | None:
        """Its exit code after ``terminate``; None where it was not running."""
        if self._running is None:
            return None
        with suppress(subprocess.TimeoutExpired):
            self._running.wait(STOPPED_BY)
        code = self._running.poll()
        self.kill()
        return -signal.SIGKILL if code is None else code

    def _gather(self) -> None:
        if self._running is not None:
            self._running.wait(PATIENCE)
            assert self._reader
            self._reader.join(PATIENCE)
        self._running = None

    def put_clock(self, seconds: float) -> None:
        set_clock(self._clock, seconds)

    def limit_files(self, size: int) -> None:
        """From now on no file grows beyond: to a program that is a full disk."""
        for pid in filter(None, [self.pid, *self.children()]):
            with suppress(ProcessLookupError):
                _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, most))


class Command:
    """``python -m plugin …`` as an admin runs it."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self._clock = make_clock(folder / "command.clock")
        self._environ = {**os.environ, **environ, CLOCK: str(self._clock)}

    def put_clock(self, seconds: float) -> None:
        set_clock(self._clock, seconds)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tests.faults.entry", *words],
            cwd=ROOT,
            env=self._environ,
            input="",
            capture_output=True,
            text=True,
            timeout=120,
        )


def web(environ: Mapping[str, str], folder: Path, *, port: int, processes: int) -> Process:
    """The web server with the repository's settings."""
    command = (
        *("gunicorn", "tests.faults.web:app", "--bind", f"127.0.0.1:{port}"),
        *("--workers", str(processes)),
    )
    return Process("web", command, environ, folder)


def worker(environ: Mapping[str, str], folder: Path, number: int) -> Process:
    return Process(f"worker{number}", ("tests.faults.entry", "worker"), environ, folder)


def answers(port: int) -> bool:
    """Whether the web server and its database are there."""
    try:
        return requests.get(f"http://127.0.0.1:{port}/health", timeout=5).ok
    except requests.RequestException:
        return False


def wait_for_web(port: int) -> None:
    assert wait_until(lambda: answers(port), seconds=PATIENCE), "the web server does not answer"
