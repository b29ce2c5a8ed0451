"""``python -m plugin.sandbox.worker``: the worker, in a story that passes faster than time.

It is the production worker with two things exchanged. What the referral model calls today is read
from the sandbox's clock, so two years can pass in a minute; all that is machinery, such as leases,
retries, back-off, the hourly upkeep and the tolerance of signatures, goes on in real time. And it
does not keep to a share of the CRM's call limit: two years hold more calls than HubSpot would take
within a minute, while the sandbox counts them and lets them pass.
"""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import replace
from datetime import datetime
from urllib.parse import urlsplit

import click
import requests

from plugin import clock
from plugin.app import open_parts, start_logging
from plugin.errors import ConfigurationError
from plugin.pipeline.worker import Worker
from plugin.ports import AccountLink, Adapter, Session
from plugin.reach import LOOPBACK
from plugin.registry import adapters
from plugin.settings import load_settings

FRESH = 0.02
"""Seconds for which a reading of the clock is good."""
TIMEOUT = 5.0
UNHURRIED = 1_000.0
"""How many times the CRM's call limit may be used."""


class StoryClock:
    """The sandbox's clock over HTTP. ``url`` is its ``/sandbox/clock``, on this machine.

    Raises ``ConfigurationError`` for any other address: nobody else tells a worker the time.
    """

    def __init__(self, url: str) -> None:
        if urlsplit(url).hostname not in LOOPBACK:
            raise ConfigurationError(f"the clock must be on this machine, not at {url}")
        self._url = url
        self._lock = threading.Lock()
        self._http = requests.Session()
        self._http.trust_env = False  # a proxy has no business on the loopback
        self._read_at = 0.0
        self._now = clock.utc_now()

    def utc_now(self) -> datetime:
        """The sandbox's time, at most ``FRESH`` seconds old."""
        with self._lock:
            if time.monotonic() - self._read_at > FRESH:
                answer = self._http.get(self._url, timeout=TIMEOUT)
                answer.raise_for_status()
                self._now = datetime.fromisoformat(answer.json()["now"])
                self._read_at = time.monotonic()
            return self._now


class Unhurried:
    """An adapter whose sessions know no call limit; all else is the adapter's own."""

    def __init__(self, adapter: Adapter) -> None:
        self._connect = adapter.connect
        self.declaration = adapter.declaration
        self.verify = adapter.verify
        self.sender = adapter.sender
        self.parse = adapter.parse
        self.redact = adapter.redact
        self.guide = adapter.guide
        self.project_files = adapter.project_files

    def connect(self, link: AccountLink) -> Session:
        return self._connect(replace(link, rate_share=UNHURRIED))


@click.command()
@click.option("--clock", "clock_url", required=True, help="The sandbox's /sandbox/clock.")
def main(clock_url: str) -> None:
    """Work until interrupted, living in the sandbox's time."""
    story = StoryClock(clock_url)
    settings = load_settings()
    start_logging(settings.log_level)
    parts = open_parts(settings)
    working = Worker(
        settings,
        {name: Unhurried(adapter) for name, adapter in adapters().items()},
        parts.database,
        parts.vault,
        now_ms=clock.now_ms,
        utc_now=story.utc_now,
    )

    def stop(_signal: int, _frame: object) -> None:
        working.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    working.run()


if __name__ == "__main__":
    main()
