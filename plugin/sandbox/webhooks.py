"""The stand-in's webhooks: what happened becomes signed deliveries, tried again until taken.

Fields, batching, retries and the signature are HubSpot's (at most 100 events a request, five
seconds to answer, ten retries with growing delays, any answer but 2xx is a failure, five
requests at a time). Where HubSpot waits minutes and hours, this waits ``retry_unit`` times
1, 4, 9 … 100. Times inside events are the sandbox's clock, those of the signature the real one.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import hmac
import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from threading import Condition, Thread
from typing import Any

import requests

from plugin.manifest import manifest
from plugin.sandbox.portal import CRM, ObjectType, Portal

BATCH = 100
RETRIES = 10
TIMEOUT = 5.0
CONCURRENT = 5
FIRST_EVENT = 4_101_286_121
FIRST_SUBSCRIPTION = 7_562_680

DECODED = {
    "%3A": ":", "%2F": "/", "%3F": "?", "%40": "@", "%21": "!", "%24": "$",
    "%27": "'", "%28": "(", "%29": ")", "%2A": "*", "%2C": ",", "%3B": ";",
}  # fmt: skip
"""What HubSpot decodes in the URL before it signs it; the rest stays encoded."""

TELLS_SOURCE = ("creation", "deletion", "propertyChange", "associationChange")
"""Kinds of change whose events say who made it."""

Event = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Who changed something: ``CRM_UI`` and a user, or ``INTEGRATION`` and an app."""

    type: str
    id: str
    user_id: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Something that happened to a record. ``what`` is the last word of a subscription type
    (``creation``, ``propertyChange`` …); ``detail`` the fields only that kind of event has."""

    what: str
    object_type: ObjectType
    object_id: str
    at: datetime
    source: Source
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Subscription:
    """``generic``: in the ``object.*`` form. ``property_name`` only for property changes."""

    id: int
    type: str
    what: str
    object: str
    generic: bool
    property_name: str | None = None


def manifest_subscriptions() -> tuple[Subscription, ...]:
    """What the plugin's manifest asks this CRM to send; ``@in`` stands for all *in* fields."""
    wanted: list[tuple[str, str | None, str | None]] = []
    for entry in manifest().crms[CRM].subscriptions:
        names: list[str | None] = []
        for name in entry.get("properties", [None]):
            names.extend(manifest().keys_in if name == "@in" else [name])
        wanted.extend((entry["type"], entry.get("object"), name) for name in names)
    return tuple(
        Subscription(
            id=FIRST_SUBSCRIPTION + number,
            type=kind,
            what=kind.split(".")[1],
            object=of or kind.split(".")[0],
            generic=of is not None,
            property_name=name,
        )
        for number, (kind, of, name) in enumerate(wanted)
    )


def sign(secret: str, method: str, url: str, body: bytes, timestamp: str) -> str:
    """The v3 signature HubSpot would send."""
    decoded = re.sub("|".join(DECODED), lambda found: DECODED[found.group()], url)
    source = f"{method}{decoded}".encode() + body + timestamp.encode()
    return base64.b64encode(hmac.new(secret.encode(), source, hashlib.sha256).digest()).decode()


@dataclass(frozen=True, slots=True, order=True)
class _Batch:
    """Events on their way together. ``due`` is monotonic seconds."""

    due: float
    number: int
    events: tuple[Event, ...] = field(compare=False)
    attempt: int = field(compare=False, default=0)


class Outbox:
    """Holds what is still to be told and tells it. Nothing is sent before ``start``.

    ``target`` is where deliveries go, ``public_url`` the address they are signed for (what the
    plugin was told its own address is). Without a target events are made and dropped.
    """

    def __init__(
        self,
        portal: Portal,
        *,
        target: str | None = None,
        public_url: str | None = None,
        subscriptions: Iterable[Subscription] | None = None,
        retry_unit: float = 1.0,
        linger: float = 0.02,
        timeout: float = TIMEOUT,
    ) -> None:
        self._portal = portal
        self._target = target
        self._public_url = public_url or target or ""
        chosen = manifest_subscriptions() if subscriptions is None else tuple(subscriptions)
        self._subscriptions: dict[tuple[str, str, str | None], list[Subscription]] = {}
        for one in chosen:
            key = (one.what, one.object, one.property_name)
            self._subscriptions.setdefault(key, []).append(one)
        self._retry_unit = retry_unit
        self._linger = linger
        self._timeout = timeout
        self._condition = Condition()
        self._fresh: list[Event] = []
        self._fresh_due = 0.0
        self._waiting: list[_Batch] = []
        self._aside: list[Event] = []
        self._last: tuple[Event, ...] = ()
        self._held = False
        self._late = 0
        self._late_by: float | None = None
        self._lose = 0
        self._in_flight = 0
        self._event_number = 0
        self._batch_number = 0
        self._counts = {"delivered": 0, "attempts": 0, "given_up": 0, "lost": 0}
        self._running = False
        self._threads: list[Thread] = []

    # ------------------------------------------------------------------ what is told

    def emit(self, change: Change) -> None:
        """Note a change; it is told if a subscription asks for it."""
        name = change.detail.get("propertyName")
        key = (change.what, change.object_type.singular, name)
        with self._condition:
            for subscription in self._subscriptions.get(key, ()):
                self._queue(self._event(subscription, change))

    def _event(self, subscription: Subscription, change: Change) -> Event:
        self._event_number += 1
        event: Event = {
            "eventId": FIRST_EVENT + self._event_number,
            "subscriptionId": subscription.id,
            "portalId": self._portal.portal_id,
            "appId": self._portal.app_id,
            "occurredAt": int(change.at.timestamp() * 1000),
            "subscriptionType": subscription.type,
            "attemptNumber": 0,
        }
        if change.what != "associationChange":
            event["objectId"] = int(change.object_id)
        if subscription.generic:
            event["objectTypeId"] = change.object_type.type_id
        event |= change.detail
        if change.what in TELLS_SOURCE:
            event |= {"changeSource": change.source.type, "sourceId": change.source.id}
        return event

    def _queue(self, event: Event) -> None:
        if self._lose:
            self._lose -= 1
            self._counts["lost"] += 1
        elif self._late:
            self._late -= 1
            if self._late_by is None:
                self._aside.append(event)
            else:
                self._post([event], time.monotonic() + self._late_by)
        else:
            if not self._fresh:
                self._fresh_due = time.monotonic() + self._linger
            self._fresh.append(event)
            self._condition.notify()

    def _post(self, events: Iterable[Event], due: float, attempt: int = 0) -> None:
        self._batch_number += 1
        batch = _Batch(due, self._batch_number, tuple(events), attempt)
        heapq.heappush(self._waiting, batch)
        self._condition.notify()

    # ------------------------------------------------------------------ what one can do to it

    def hold(self) -> None:
        """Keep new events back until ``release``."""
        with self._condition:
            self._held = True

    def release(self) -> None:
        """Send what was held; what was set aside by ``late`` comes after it."""
        with self._condition:
            self._held = False
            fresh, self._fresh = self._fresh, []
            now = time.monotonic()
            for start in range(0, len(fresh), BATCH):
                self._post(fresh[start : start + BATCH], now)
            if self._aside:
                self._post(self._aside, now + self._linger)
                self._aside = []

    def late(self, events: int = 1, seconds: float | None = None) -> None:
        """The next events are overtaken by those after them: sent so many seconds later, or at
        the next ``release``."""
        with self._condition:
            self._late, self._late_by = events, seconds

    def lose(self, events: int = 1) -> None:
        """The next events are never sent."""
        with self._condition:
            self._lose = events

    def duplicate_last(self) -> int:
        """Send the batch taken last once more; returns how many events it has."""
        with self._condition:
            if self._last:
                self._post(self._last, time.monotonic())
            return len(self._last)

    def status(self) -> dict[str, Any]:
        """Counts of events; ``idle``: there is nothing left to deliver."""
        with self._condition:
            retrying = sum(len(batch.events) for batch in self._waiting)
            waiting = len(self._fresh) + len(self._aside) + retrying + self._in_flight
            return {
                "idle": not waiting,
                "held": len(self._fresh) + len(self._aside) if self._held else len(self._aside),
                "waiting": waiting,
                "events": self._event_number,
                **self._counts,
            }

    # ------------------------------------------------------------------ how it is sent

    def start(self) -> None:
        self._running = True
        self._threads = [Thread(target=self._work, daemon=True) for _ in range(CONCURRENT)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the threads; what is undelivered stays so."""
        with self._condition:
            self._running = False
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _work(self) -> None:
        with requests.Session() as session:
            session.trust_env = False  # a proxy has no business on the loopback
            while batch := self._take():
                taken = self._send(session, batch)
                with self._condition:
                    self._settle(batch, taken=taken)

    def _take(self) -> _Batch | None:
        """The next batch that is due; blocks until there is one, None when stopped."""
        with self._condition:
            while self._running:
                now = time.monotonic()
                if self._fresh and not self._held and self._fresh_due <= now:
                    self._post(self._fresh[:BATCH], now)
                    del self._fresh[:BATCH]
                if self._waiting and self._waiting[0].due <= now:
                    batch = heapq.heappop(self._waiting)
                    self._in_flight += len(batch.events)
                    self._condition.notify()  # another thread minds what is left
                    return batch
                self._condition.wait(self._next_due(now))
            return None

    def _next_due(self, now: float) -> float | None:
        due = [batch.due for batch in self._waiting[:1]]
        if self._fresh and not self._held:
            due.append(self._fresh_due)
        return max(0.0, min(due) - now) if due else None

    def _send(self, session: requests.Session, batch: _Batch) -> bool:
        if self._target is None:
            return True
        events = [{**event, "attemptNumber": batch.attempt} for event in batch.events]
        body = json.dumps(events, separators=(",", ":")).encode()
        timestamp = str(int(time.time() * 1000))
        secret = self._portal.secret
        headers = {
            "Content-Type": "application/json",
            "X-HubSpot-Request-Timestamp": timestamp,
            "X-HubSpot-Signature-v3": sign(secret, "POST", self._public_url, body, timestamp),
            "X-HubSpot-Signature-Version": "v1",
            "X-HubSpot-Signature": hashlib.sha256(secret.encode() + body).hexdigest(),
        }
        try:
            answer = session.post(
                self._target,
                data=body,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
            )
        except requests.RequestException:
            return False
        return 200 <= answer.status_code < 300

    def _settle(self, batch: _Batch, *, taken: bool) -> None:
        self._in_flight -= len(batch.events)
        self._counts["attempts"] += 1
        if taken:
            self._counts["delivered"] += len(batch.events)
            self._last = batch.events
        elif batch.attempt < RETRIES:
            wait = self._retry_unit * (batch.attempt + 1) ** 2
            self._post(batch.events, time.monotonic() + wait, batch.attempt + 1)
        else:
            self._counts["given_up"] += len(batch.events)
