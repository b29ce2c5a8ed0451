"""EspoCRM's webhooks: one event each, items in batches, signed over the body.

Recorded (EspoCRM 9.2.7), and ``Core/Webhook/{Manager,Queue,Sender}.php`` of its source.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import requests

from tests.stand_in import Outgoing

BATCH_SIZE = 50  # webhookBatchSize
ATTEMPTS = 4  # webhookMaxAttemptNumber
PAUSE = timedelta(minutes=10)  # webhookFailAttemptPeriod
RETRIED = frozenset({401, 403, 404, 405, 408, 500, 503})
GONE = 410


def php_json(value: Any) -> bytes:
    """As PHP's ``json_encode`` writes it: no blanks, ASCII only, slashes escaped."""
    return json.dumps(value, separators=(",", ":")).replace("/", "\\/").encode()


def signed(body: bytes, *, webhook_id: str, secret_key: str) -> dict[str, str]:
    """The headers of a delivery; nothing in them tells the event or the time."""
    digest = hmac.new(secret_key.encode(), body, hashlib.sha256)
    return {
        "Accept": "*/*",
        "Content-Type": "application/json",
        "Signature": base64.b64encode(f"{webhook_id}:{digest.hexdigest()}".encode()).decode(),
        "X-Signature": base64.b64encode(webhook_id.encode() + b":" + digest.digest()).decode(),
    }


@dataclass(kw_only=True)
class _Retry:
    delivery: Outgoing
    webhook_id: str
    due: datetime
    attempts: int


@dataclass(kw_only=True)
class Queue:
    """What waits to be sent. ``deliveries`` belongs to the stand-in, and tests may meddle with
    it: a batch grows as long as it is still waiting there."""

    deliveries: list[Outgoing]
    webhooks: Mapping[str, Mapping[str, Any]]
    remove: Callable[[str], object]
    """The receiver said that a webhook's address is gone."""
    now: Callable[[], datetime]
    retries: list[_Retry] = field(default_factory=list)

    def tell(self, event: str, item: Mapping[str, Any], user_id: str) -> None:
        """To every webhook of that event but those that skip their own user's changes."""
        for webhook in self.webhooks.values():
            if webhook["event"] != event or not webhook["isActive"] or webhook["deleted"]:
                continue
            if not (webhook["skipOwn"] and webhook["createdById"] == user_id):
                self._add(webhook, item)

    def _add(self, webhook: Mapping[str, Any], item: Mapping[str, Any]) -> None:
        items = [item]
        for at, waiting in enumerate(self.deliveries):
            if self._webhook_id(waiting) == webhook["id"]:
                batch = json.loads(waiting.body)
                if len(batch) < BATCH_SIZE:
                    items = [*batch, item]
                    self.deliveries[at] = self._outgoing(webhook, items)
                    return
        self.deliveries.append(self._outgoing(webhook, items))

    def _outgoing(self, webhook: Mapping[str, Any], items: list[Any]) -> Outgoing:
        body = php_json(items)
        headers = signed(body, webhook_id=webhook["id"], secret_key=webhook["secretKey"])
        return Outgoing(url=webhook["url"], headers=headers, body=body)

    @staticmethod
    def _webhook_id(delivery: Outgoing) -> str:
        return base64.b64decode(delivery.headers["Signature"]).decode().partition(":")[0]

    def send(self) -> list[int]:
        """New ones first, then those due again. What the receiver answered decides whether a
        delivery comes again, is dropped, or takes its webhook with it."""
        waiting, self.deliveries[:] = list(self.deliveries), []
        new = [
            _Retry(delivery=one, webhook_id=self._webhook_id(one), due=self.now(), attempts=0)
            for one in waiting
        ]
        due = [one for one in self.retries if one.due <= self.now()]
        self.retries = [one for one in self.retries if one not in due]
        return [self._send(one) for one in [*new, *due]]

    def _send(self, one: _Retry) -> int:
        answer = requests.post(
            one.delivery.url,
            data=one.delivery.body,
            headers=dict(one.delivery.headers),
            timeout=10,
            allow_redirects=False,
        )
        if answer.status_code == GONE:
            self.remove(one.webhook_id)
        elif answer.status_code in RETRIED and one.attempts + 1 < ATTEMPTS:
            one.attempts += 1
            one.due = self.now() + PAUSE
            self.retries.append(one)
        return answer.status_code
