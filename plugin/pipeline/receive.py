"""Receive: is this delivery authentic? Then keep it, and answer. Nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import sqlalchemy as sa

from plugin.errors import SignatureError, UnknownEndpoint
from plugin.ports import Adapter, Delivery
from plugin.secrets import Vault
from plugin.settings import Settings
from plugin.storage.database import Database
from plugin.storage.inbox import Inbox
from plugin.storage.tables import account

SECRETS_REMEMBERED = 5_000  # milliseconds an account's own secrets are kept in memory


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
        self._own: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = {}

    def receive(
        self, crm: str, endpoint: str, *, path: str, headers: Mapping[str, str], body: bytes
    ) -> None:
        """Keep an authentic delivery durably.

        ``endpoint`` is "" for the address all accounts of one app share, else the id of the
        account with an app of its own. Raises ``UnknownEndpoint`` and ``SignatureError``.
        """
        adapter = self._adapters.get(crm)
        if adapter is None:
            raise UnknownEndpoint(f"no CRM called {crm!r}")
        secrets = self._own_secrets(crm, endpoint) if endpoint else self._settings.crm(crm).secrets
        delivery = Delivery(
            method="POST", url=f"{self._settings.public_url}{path}", headers=headers, body=body
        )
        try:
            adapter.verify(delivery, secrets=secrets, now=self._utc_now())
        except SignatureError:
            self._inbox.count("refused", f"{crm}/{endpoint}" if endpoint else crm)
            raise
        self._inbox.put(crm=crm, endpoint=endpoint, body=body)

    def _own_secrets(self, crm: str, crm_id: str) -> tuple[str, ...]:
        known = self._own.get((crm, crm_id))
        if known and self._now_ms() - known[0] < SECRETS_REMEMBERED:
            return known[1]
        with self._database.read() as connection:
            encrypted = connection.scalar(
                sa.select(account.c.own_secrets).where(
                    account.c.crm == crm, account.c.crm_id == crm_id
                )
            )
        if encrypted is None:
            raise UnknownEndpoint(f"no {crm} account with an app of its own has this address")
        secrets = tuple(self._vault.decrypt(encrypted).split(","))
        self._own[crm, crm_id] = (self._now_ms(), secrets)
        return secrets
