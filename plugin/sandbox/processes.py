"""The demo's processes: started, watched, and ended whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests

from plugin.settings import ROOT

HOST = "127.0.0.1"
POLL = 0.03  # seconds between two looks
TIMEOUT = 10.0  # seconds of one HTTP call
START_PATIENCE = 60.0  # seconds
END_PATIENCE = 8.0
LOG_TAIL = 15  # lines


class Trouble(Exception):
    """The demo cannot go on; the text says why and, where it helps, ends with a piece of a log."""


class Stopped(Exception):
    """Somebody asked the demo to stop."""


# ------------------------------------------------------------------------------- stopping


class Bell:
    """Remembers that somebody asked to stop, and tells it only where nothing is half done.

    A signal that raised by itself could come between starting a process and noting it down.
    """

    def __init__(self) -> None:
        self._rung = 0

    def listen(self) -> None:
        """From now on, instead of whoever listened before."""
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, self._ring)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(signal.SIGHUP, self._ring)

    def _ring(self, number: int, _frame: object) -> None:
        self._rung = number

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended."""
        return 128 + self._rung

    def check(self) -> None:
        """Raises ``Stopped`` once somebody has asked."""
        if self._rung:
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Sleep. Raises ``Stopped`` soon after somebody has asked."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, 0.1))
        self.check()


# ------------------------------------------------------------------------------ processes


@dataclass(frozen=True, kw_only=True)
class Started:
    """A process of ours. Its output goes to ``log``."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    def tail(self) -> str:
        lines = self.log.read_text("utf-8", "replace").splitlines()[-LOG_TAIL:]
        return "\n".join(["", f"The end of {self.log}:", *(f"  {line}" for line in lines)])


@dataclass(frozen=True, kw_only=True, slots=True)
class Home:
    """Where a process lives: its Python, the folder it is started in, its environment variables."""

    python: Path
    folder: Path
    environ: Mapping[str, str] = field(repr=False)


class Processes:
    """The processes of this demo: all that are started here are ended here.

    Each gets a session of its own: a Ctrl-C in the terminal reaches the demo alone, which then
    ends the others in order. Logs are in ``folder``; a process started again goes on with its own.
    ``bell`` ends all waiting.
    """

    def __init__(self, bell: Bell, environ: Mapping[str, str], folder: Path) -> None:
        self.folder = folder
        self.bell = bell
        self._environ = dict(environ)
        self._started: list[Started] = []

    def start(
        self, name: str, *words: str, typed: str | None = None, home: Home | None = None
    ) -> Started:
        """``python -m …`` in the background. ``typed`` is its standard input; ``home`` is where
        it lives, if not with us."""
        home = home or Home(python=Path(sys.executable), folder=ROOT, environ=self._environ)
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            popen = subprocess.Popen(
                [str(home.python), "-m", *words],
                cwd=home.folder,
                env=dict(home.environ),
                stdin=subprocess.DEVNULL if typed is None else subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started = Started(name=name, popen=popen, log=log)
        self._started.append(started)
        if typed is not None and popen.stdin:
            with suppress(BrokenPipeError), popen.stdin as keyboard:
                keyboard.write(typed.encode())
        return started

    def run(self, name: str, *words: str, typed: str | None = None) -> str:
        """``python -m …`` to its end; returns what it said. Raises ``Trouble`` where it does not
        succeed."""
        (self.folder / f"{name}.log").unlink(missing_ok=True)
        command = self.start(name, *words, typed=typed)
        while command.popen.poll() is None:
            self.bell.pause(POLL)
        self._started.remove(command)
        if command.popen.returncode:
            raise Trouble(f"`{name}` failed ({command.popen.returncode}).{command.tail()}")
        return command.log.read_text("utf-8", "replace")

    def check(self) -> None:
        """Raises ``Trouble`` where one has ended by itself, ``Stopped`` where we should."""
        self.bell.check()
        for one in self._started:
            if one.popen.poll() is not None:
                raise Trouble(
                    f"The {one.name} process ended by itself ({one.popen.returncode}).{one.tail()}"
                )

    def tails(self) -> str:
        """The ends of all logs."""
        return "".join(one.tail() for one in self._started)

    def wait_for(self, one: Started, url: str) -> None:
        """Until it answers at this address."""
        deadline = time.monotonic() + START_PATIENCE
        with http_session() as session:
            while True:
                self.check()
                with suppress(requests.RequestException):
                    if session.get(url, timeout=TIMEOUT).ok:
                        return
                if time.monotonic() > deadline:
                    raise Trouble(f"The {one.name} process does not answer at {url}.{one.tail()}")
                self.bell.pause(POLL)

    def stop(self, one: Started) -> None:
        """End it, by force where it does not end by itself."""
        if one.popen.poll() is None:
            one.popen.terminate()
        try:
            one.popen.wait(END_PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(one.popen.pid, signal.SIGKILL)
            one.popen.wait()
        self._started.remove(one)

    def kill(self, one: Started) -> None:
        """``kill -9``: it has no time for anything."""
        os.killpg(one.popen.pid, signal.SIGKILL)
        one.popen.wait()
        self._started.remove(one)

    def end(self) -> None:
        """End what was started, the last one first."""
        for one in reversed(self._started.copy()):
            self.stop(one)


def http_session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # a proxy has no business on the loopback
    return session


def free_ports(preferred: Iterable[int]) -> list[int]:
    """For each preferred port that one where it is free, else any that is."""
    with ExitStack() as stack:
        probes = [stack.enter_context(_bound(port)) for port in preferred]
        return [probe.getsockname()[1] for probe in probes]


def _bound(port: int) -> socket.socket:
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((HOST, port))
    except OSError:
        probe.bind((HOST, 0))
    return probe
