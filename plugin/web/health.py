"""Is this process up, and could it store a delivery?"""

from __future__ import annotations

import threading
import time

import sqlalchemy as sa
from flask import Blueprint

from plugin.storage.inbox import Inbox

FRESH = 1.0  # seconds an answer is good for: whoever asks more often costs the database nothing


def health(inbox: Inbox) -> Blueprint:
    """``GET /health``: 200 where a delivery could be stored, 503 where not."""
    blueprint = Blueprint("health", __name__)
    probe = _Probe(inbox)

    @blueprint.get("/health")
    def show() -> tuple[dict[str, str], int]:
        return ({"status": "ok"}, 200) if probe.well() else ({"status": "no database"}, 503)

    return blueprint


class _Probe:
    """Looks at most once in ``FRESH`` seconds, however many ask at once."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._asking = threading.Lock()
        self._good_until = 0.0
        self._well = False

    def well(self) -> bool:
        with self._asking:
            if time.monotonic() >= self._good_until:
                self._well = self._look()
                self._good_until = time.monotonic() + FRESH
            return self._well

    def _look(self) -> bool:
        try:
            self._inbox.probe()
        except (sa.exc.SQLAlchemyError, OSError):  # a TimeoutError is an OSError
            return False
        return True
