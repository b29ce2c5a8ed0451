"""Retention: deliveries that were digested are kept for a while, then forgotten.

Those in quarantine stay until somebody has dealt with them.
"""

from __future__ import annotations

from plugin.pipeline.lanes import Lane
from plugin.storage import deliveries

RETENTION = "retention"
EVERY = 600.0  # seconds
WHILE_MORE = 1.0  # seconds, while there is more to forget
BATCH = 500  # deliveries in one transaction: webhooks that come in wait no longer than for these
DAY = 24 * 3_600_000  # milliseconds


def forget_old(lane: Lane, *, days: int, now: int) -> bool:
    """One batch; False where nothing was left to forget. ``now`` in UTC milliseconds."""
    with lane.write() as connection:
        before = now - days * DAY
        return deliveries.drop_done(connection, before=before, now=now, limit=BATCH) == BATCH
