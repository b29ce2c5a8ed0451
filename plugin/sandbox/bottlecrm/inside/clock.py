"""The story's time, in this process."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_travelled = timedelta()


def now() -> datetime:
    """As ``django.utils.timezone.now``; time goes on from wherever it was set."""
    return datetime.fromtimestamp(time.time(), UTC) + _travelled


def travel(to: datetime | None) -> None:
    """To an instant; None goes back to real time."""
    global _travelled
    _travelled = to - datetime.fromtimestamp(time.time(), UTC) if to else timedelta()
