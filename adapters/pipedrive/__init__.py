"""Pipedrive: persons, deals, activities and users by REST; events by webhooks v2.

https://developers.pipedrive.com/docs/api/v1 (API v2, and v1 where v2 lacks it)
https://pipedrive.readme.io/docs/guide-for-webhooks-v2
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from adapters.client import Client
from adapters.payloads import OwnAddress
from adapters.pipedrive import events, webhooks
from adapters.pipedrive.api import IDS_SIZE, Api
from adapters.pipedrive.dialect import CRM, Limits
from adapters.pipedrive.heard import Heard
from adapters.pipedrive.install import NEAREST_TYPES
from adapters.pipedrive.session import PipedriveSession
from adapters.signatures import verify_basic
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

API_PATH = re.compile(r"(/api)?(/v[12])?/?$")
"""What the documentation's addresses end with; an admin may have copied it along."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class PipedriveAdapter(OwnAddress):
    """``plugin.ports.Adapter`` for Pipedrive.

    Sessions of one account share their limits, so that one that is connected anew does not start
    with a full day, and what is known of its deals.
    """

    def __init__(self, clock: Callable[[], datetime] = _utc_now) -> None:
        crm = manifest().crms[CRM]
        self.declaration = Declaration(
            name=crm.name,
            title=crm.title,
            docs_url="https://developers.pipedrive.com/docs/api/v1",
            batch_size=IDS_SIZE,
            history_batch_size=0,
            webhooks=Webhooks.API,
            signed=False,
            replay_window=False,
            echo=Echo.MARKED,
            tells_changes=True,
            tells_merges=True,
            tells_erasure=False,
            referrer=ReferrerForm.LINK,
            tells_task_ids=True,
            nearest_types=NEAREST_TYPES,
            token_setting="PIPEDRIVE_TOKEN",  # noqa: S106 (the name of a setting)
            url_setting="PIPEDRIVE_URL",
            default_url="",
            hosts=("*.pipedrive.com",),
            event_types=crm.event_types,
        )
        self._clock = clock
        self._limits: dict[tuple[str, str], Limits] = {}
        self._heard: dict[str, Heard] = {}

    def verify(self, delivery: Delivery, *, secrets: Sequence[str], now: datetime) -> None:  # noqa: ARG002
        """Pipedrive signs nothing and says no time that could be relied on: the password, and an
        address nobody can guess, are all there is."""
        verify_basic(headers=delivery.headers, user=webhooks.USER, passwords=secrets)

    def parse(self, received: Received) -> Parsed:
        return events.parse(received, self._heard_of(received.account_crm_id))

    def redact(
        self,
        received: Received,
        *,
        account_crm_id: str,
        contact_ids: frozenset[str],
        words: Sequence[str],
    ) -> bytes | None:
        return events.redact(
            received, account_crm_id=account_crm_id, contact_ids=contact_ids, words=words
        )

    def connect(self, link: AccountLink) -> Session:
        limits = self._limits.setdefault((link.base_url, link.crm_id), Limits(self._clock))
        limits.follow(link)
        base_url = API_PATH.sub("", link.base_url)
        client = Client(
            base_url=base_url,
            token=link.token,
            dialect=limits.dialect,
            reach=Reach(hosts=self.declaration.hosts, networks=link.networks),
        )
        return PipedriveSession(Api(client, limits), link, self._heard_of(link.crm_id))

    def guide(self, target: str) -> str:
        return webhooks.GUIDE.format(target=target)

    def project_files(
        self,
        *,
        public_url: str,  # noqa: ARG002 (there is no app)
        rating_properties: Sequence[str],  # noqa: ARG002
    ) -> Mapping[str, str]:
        return {}

    def _heard_of(self, account_crm_id: str) -> Heard:
        return self._heard.setdefault(account_crm_id, Heard(self._clock))


ADAPTER: Adapter = PipedriveAdapter()
