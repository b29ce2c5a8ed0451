"""``python -m plugin.sandbox.worker``: the worker, in a story that passes faster than time.

It is the production worker with one thing exchanged: what the referral model calls today is read
from the sandbox's clock, so two years can pass in a minute. All that is machinery, such as leases,
retries, back-off and the tolerance of signatures, goes on in real time. For the same reason what
the worker does once an hour happens once an hour of real time.

Nor does it keep to a share of the CRM's call limit: the sandbox lets everybody call as often as
they like, and a story of two years holds more calls than a minute at HubSpot would.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from urllib.parse import urlsplit

import click
import requests

from plugin import clock
from plugin.app import open_parts, start_logging
from plugin.errors import ConfigurationError
from plugin.pipeline.worker import Worker
from plugin.ports import AccountLink, Adapter, Declaration, Delivery, Parsed, Session
from plugin.registry import adapters
from plugin.settings import LOOPBACK, load_settings

FRESH = 0.02
"""Seconds for which a reading of the clock is good."""
TIMEOUT = 5.0
UNHURRIED = 1_000.0
"""So many times the CRM's call limit may be used."""


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
        with self._lock:
            if time.monotonic() - self._read_at > FRESH:
                answer = self._http.get(self._url, timeout=TIMEOUT)
                answer.raise_for_status()
                self._now = datetime.fromisoformat(answer.json()["now"])
                self._read_at = time.monotonic()
            return self._now


@dataclass(frozen=True)
class Unhurried:
    """An adapter whose sessions know no call limit; all else is the adapter's own."""

    adapter: Adapter
    declaration: Declaration = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "declaration", self.adapter.declaration)

    def connect(self, link: AccountLink) -> Session:
        return self.adapter.connect(replace(link, rate_share=UNHURRIED))

    def verify(self, delivery: Delivery, *, secrets: Sequence[str], now: datetime) -> None:
        self.adapter.verify(delivery, secrets=secrets, now=now)

    def parse(self, body: bytes) -> Parsed:
        return self.adapter.parse(body)

    def redact(
        self, body: bytes, *, account_crm_id: str, contact_ids: frozenset[str], words: Sequence[str]
    ) -> bytes | None:
        return self.adapter.redact(
            body, account_crm_id=account_crm_id, contact_ids=contact_ids, words=words
        )

    def project_files(
        self, *, public_url: str, rating_properties: Sequence[str]
    ) -> Mapping[str, str]:
        return self.adapter.project_files(
            public_url=public_url, rating_properties=rating_properties
        )
