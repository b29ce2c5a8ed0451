"""Receive: is this delivery authentic? Then keep it, and answer. Nothing else."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from plugin.errors import SignatureError, UnknownEndpoint
from plugin.ports import Adapter, Delivery
from plugin.secrets import Vault
from plugin.settings import Settings
from plugin.storage.database import Database
from plugin.storage.inbox import Inbox
from plugin.storage.tables import account

log = logging.getLogger(__name__)

SECRETS_REMEMBERED = 5_000  # milliseconds an account's own secrets are kept in memory
SECRETS_RENEWED = 1_000  # the same where one of them did not fit
SENDERS_REMEMBERED = 10_000  # accounts
PART = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # of an address, behind the CRM's name


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sender:
    """Who delivers to an address: the account, "" where several share it, and what signs."""

    crm_id: str
    secrets: tuple[str, ...] = field(repr=False)


class Receiver:
    """Takes deliveries for all CRMs."""

    def __init__(
        self,
        settings: Settings,
        adapters: Mapping[str, Adapter],
        database: Database,
        inbox: Inbox,
        vault: Vault,
        *,
        now_ms: Callable[[], int],
        utc_now: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._adapters = adapters
        self._database = database
        self._inbox = inbox
        self._vault = vault
        self._now_ms = now_ms
        self._utc_now = utc_now
        self._senders: dict[tuple[str, str], tuple[int, _Sender]] = {}

    def receive(
        self,
        crm: str,
        endpoint: str,
        topic: str,
        *,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> None:
        """Keep an authentic delivery durably.

        ``endpoint`` is "" for the address that accounts share, else the last part of an account's
        own; ``topic`` is what comes below it. Raises ``UnknownEndpoint`` and ``SignatureError``.
        """
        adapter = self._adapters.get(crm)
        if adapter is None:
            raise UnknownEndpoint(f"no CRM called {crm!r}")
        if any(part and not PART.fullmatch(part) for part in (endpoint, topic)):
            raise UnknownEndpoint("no such address")
        sender = self._sender(crm, endpoint, younger_than=SECRETS_REMEMBERED)
        delivery = Delivery(
            method="POST",
            url=f"{self._settings.public_url}{path}",
            headers=headers,
            body=body,
            topic=topic,
        )
        try:
            self._verify(adapter, delivery, sender, endpoint)
        except SignatureError:
            self._inbox.count("refused", f"{crm}/{sender.crm_id}" if sender.crm_id else crm)
            raise
        self._inbox.put(
            crm=crm,
            endpoint=sender.crm_id,
            topic=topic,
            sender=f"{crm}/{sender.crm_id or adapter.sender(body)}",
            body=body,
        )

    def refuse_too_large(self, crm: str, *, most: int) -> int:
        """Count a delivery of more than ``most`` bytes; returns the status it is answered with."""
        adapter = self._adapters.get(crm)
        if adapter is None:  # a stranger makes up no counters
            return 413
        log.info("delivery refused: %s sent more than %s bytes", crm, most)
        self._inbox.count("too_large", crm)
        return adapter.declaration.too_large_status

    def _verify(self, adapter: Adapter, delivery: Delivery, sender: _Sender, endpoint: str) -> None:
        """A secret that was renewed a moment ago is good at once; a flood of forgeries costs a
        look into the database a second, not one each."""
        try:
            adapter.verify(delivery, secrets=sender.secrets, now=self._utc_now())
        except SignatureError:
            fresh = self._sender(adapter.declaration.name, endpoint, younger_than=SECRETS_RENEWED)
            if fresh == sender:
                raise
            adapter.verify(delivery, secrets=fresh.secrets, now=self._utc_now())

    def _sender(self, crm: str, endpoint: str, *, younger_than: int) -> _Sender:
        """``younger_than``: milliseconds for which what was read before is good."""
        if not endpoint:
            return _Sender(crm_id="", secrets=self._settings.crm(crm).secrets)
        known = self._senders.get((crm, endpoint))
        if known and 0 <= self._now_ms() - known[0] < younger_than:  # less: the clock was set back
            return known[1]
        with self._database.read() as connection:
            row = connection.execute(
                sa.select(account.c.crm_id, account.c.own_secrets).where(
                    account.c.crm == crm, account.c.endpoint == endpoint
                )
            ).one_or_none()
        if row is None:
            raise UnknownEndpoint(f"no {crm} account has this address")
        sender = _Sender(crm_id=row.crm_id, secrets=self._vault.decrypt_all(row.own_secrets))
        self._remember(crm, endpoint, sender)
        return sender

    def _remember(self, crm: str, endpoint: str, sender: _Sender) -> None:
        self._senders.pop((crm, endpoint), None)
        if len(self._senders) >= SENDERS_REMEMBERED:
            self._senders = {}  # they are soon read again
        self._senders[crm, endpoint] = (self._now_ms(), sender)
