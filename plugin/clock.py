"""The present. ``now_ms`` runs leases, retries and the like; ``utc_now`` is what the referral
model calls today. The sandbox replaces the second one alone, to play two years in a minute."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now_ms() -> int:
    """UTC milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def utc_now() -> datetime:
    return datetime.now(UTC)
