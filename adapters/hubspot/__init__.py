"""HubSpot, API 2026-09: contacts, deals, tasks and owners by REST; events by signed webhooks.

https://developers.hubspot.com/docs/api-reference/latest
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from adapters.client import Client
from adapters.hubspot import events, project
from adapters.hubspot.api import BATCH_SIZE, HISTORY_BATCH_SIZE, Api
from adapters.hubspot.dialect import DIALECT, Budgets, budgets
from adapters.hubspot.session import HubSpotSession
from adapters.signatures import verify_hubspot_v3
from plugin.manifest import manifest
from plugin.ports import (
    AccountLink,
    Adapter,
    Declaration,
    Delivery,
    Echo,
    Parsed,
    Received,
    ReferrerForm,
    Session,
    Webhooks,
)
from plugin.reach import Reach


class HubSpotAdapter:
    """``plugin.ports.Adapter`` for HubSpot.

    Sessions of one account share their call budgets, so that a lane that is connected anew does
    not start with a full one.
    """

    def __init__(self) -> None:
        crm = manifest().crms["hubspot"]
        self.declaration = Declaration(
            name=crm.name,
            title=crm.title,
            docs_url="https://developers.hubspot.com/docs/api-reference/latest",
            batch_size=BATCH_SIZE,
            history_batch_size=HISTORY_BATCH_SIZE,
            webhooks=Webhooks.PROJECT,
            signed=True,
            replay_window=True,
            echo=Echo.MARKED,
            tells_changes=True,
            tells_merges=True,
            tells_erasure=True,
            referrer=ReferrerForm.LABEL,
            tells_task_ids=True,
            secret_setting="HUBSPOT_CLIENT_SECRET",  # noqa: S106 (the name of a setting)
            url_setting="HUBSPOT_API_URL",
            default_url="https://api.hubapi.com",
            hosts=("api.hubapi.com",),
            token_setting="HUBSPOT_TOKEN",  # noqa: S106 (the name of a setting)
            app_id_setting="HUBSPOT_APP_ID",
            event_types=crm.event_types,
        )
        self._budgets: dict[tuple[str, str], Budgets] = {}

    def verify(self, delivery: Delivery, *, secrets: Sequence[str], now: datetime) -> None:
        verify_hubspot_v3(
            method=delivery.method,
            url=delivery.url,
            headers=delivery.headers,
            body=delivery.body,
            secrets=secrets,
            now=now,
        )

    def sender(self, body: bytes) -> str:
        return events.sender(body)

    def parse(self, received: Received) -> Parsed:
        return events.parse(received.body)

    def redact(
        self,
        received: Received,
        *,
        account_crm_id: str,
        contact_ids: frozenset[str],
        words: Sequence[str],
    ) -> bytes | None:
        return events.redact(
            received.body, account_crm_id=account_crm_id, contact_ids=contact_ids, words=words
        )

    def connect(self, link: AccountLink) -> Session:
        limits = self._budgets.setdefault((link.base_url, link.crm_id), budgets())
        limits.use_share(link.rate_share)
        client = Client(
            base_url=link.base_url,
            token=link.token,
            dialect=DIALECT,
            reach=Reach(hosts=self.declaration.hosts, networks=link.networks),
        )
        return HubSpotSession(Api(client, limits), link)

    def guide(self, target: str) -> str:  # noqa: ARG002 (it stands in the project's files)
        return project.GUIDE

    def project_files(
        self, *, public_url: str, rating_properties: Sequence[str]
    ) -> Mapping[str, str]:
        return project.project_files(public_url=public_url, rating_properties=rating_properties)


ADAPTER: Adapter = HubSpotAdapter()
