"""Referral chains never bite their own tail: what was said first stands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """``referrer_id`` sent us ``referred_id``; both are contacts (users are sent by nobody).

    ``key`` names the referral among those of the referred contact.
    """

    referred_id: str
    referrer_id: str
    said_at: datetime
    key: str


def refused(edges: Iterable[Edge]) -> frozenset[tuple[str, str]]:
    """The referrals, as (``referred_id``, ``key``), that would close a circle.

    Taken in the order in which they were said, each is refused whose referrer was sent, at
    some remove, by the very contact it refers. The order of ``edges`` is irrelevant.
    """
    referrers: defaultdict[str, set[str]] = defaultdict(set)
    sent_somebody: set[str] = set()
    closing: set[tuple[str, str]] = set()
    for edge in sorted(edges, key=_order):
        # Only who is somebody's referrer already can be met on the way up.
        may_close = edge.referred_id == edge.referrer_id or edge.referred_id in sent_somebody
        if may_close and _leads_up(edge.referrer_id, edge.referred_id, referrers):
            closing.add((edge.referred_id, edge.key))
        else:
            referrers[edge.referred_id].add(edge.referrer_id)
            sent_somebody.add(edge.referrer_id)
    return frozenset(closing)


def _order(edge: Edge) -> tuple[datetime, str, str, str]:
    return edge.said_at, edge.referred_id, edge.key, edge.referrer_id


def _leads_up(start: str, wanted: str, referrers: Mapping[str, set[str]]) -> bool:
    """Whether ``wanted`` is ``start`` or among those who, at some remove, sent ``start``."""
    seen = {start}
    waiting = [start]
    while waiting:
        contact = waiting.pop()
        if contact == wanted:
            return True
        above = referrers.get(contact, set()) - seen
        seen |= above
        waiting.extend(above)
    return False
