"""The way of the webhooks from the CRM to the plugin: they come twice, late, or not at all."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import requests
from werkzeug.wrappers import Request, Response

from tests.faults.plan import Fault
from tests.faults.weather import Environ, Start, cut

TIMEOUT = 5.0  # seconds, as HubSpot's
HOP_BY_HOP = ("Host", "Content-Length", "Connection", "Accept-Encoding")


class Post:
    """A WSGI application that passes deliveries on, and notes which the plugin acknowledged."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._coming: list[tuple[Fault, int]] = []
        self.acknowledged: Counter[bytes] = Counter()
        self.dropped = 0
        self.forged_taken = 0

    def brew(self, fault: Fault) -> None:
        """What happens to the next deliveries."""
        with self._lock:
            self._coming.append((fault, fault.calls))

    def clear(self) -> None:
        with self._lock:
            self._coming.clear()

    def _meet(self) -> Fault | None:
        with self._lock:
            if not self._coming:
                return None
            fault, left = self._coming.pop(0)
            if left > 1:
                self._coming.insert(0, (fault, left - 1))
            return fault

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        request = Request(environ)
        body = request.get_data()
        headers = {name: value for name, value in request.headers if name not in HOP_BY_HOP}
        fault = self._meet()
        what = fault.what if fault else ""
        if fault and what == "delayed":
            time.sleep(fault.lasts)
        if what == "dropped":
            with self._lock:
                self.dropped += 1
            return Response(status=204)(environ, start)
        status = self._pass_on(headers, body)
        if what == "twice":
            self._pass_on(headers, body)
        if what == "answer lost":
            cut(environ)
        return Response(status=status)(environ, start)

    def _pass_on(self, headers: dict[str, str], body: bytes) -> int:
        try:
            answer = requests.post(
                self._target, data=body, headers=headers, timeout=TIMEOUT, allow_redirects=False
            )
        except requests.RequestException:
            return 502
        if answer.ok:
            with self._lock:
                self.acknowledged[body] += 1
        return answer.status_code

    def forge(self, fault: Fault, body: bytes, headers: dict[str, Any]) -> None:
        """Somebody else posts deliveries, with a signature that is wrong or too old."""
        for _ in range(fault.calls):
            try:
                answer = requests.post(self._target, data=body, headers=headers, timeout=TIMEOUT)
            except requests.RequestException:
                continue
            self.forged_taken += answer.ok
