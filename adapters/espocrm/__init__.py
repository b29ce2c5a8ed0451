"""EspoCRM 9.x and 10: contacts, opportunities, tasks and users by REST; events by signed webhooks.

https://docs.espocrm.com/development/api/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from adapters.client import RateBudget
from adapters.espocrm import events
from adapters.espocrm.api import BATCH_SIZE, CALLS_A_SECOND, Api
from adapters.espocrm.session import EspoCrmSession
from adapters.espocrm.webhooks import GUIDE
from adapters.payloads import OwnAddress
from adapters.signatures import verify_espocrm
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


class EspoCrmAdapter(OwnAddress):
    """``plugin.ports.Adapter`` for EspoCRM. Sessions of one account share their call budget."""

    def __init__(self) -> None:
        crm = manifest().crms["espocrm"]
        self.declaration = Declaration(
            name=crm.name,
            title=crm.title,
            docs_url="https://docs.espocrm.com/development/api/",
            batch_size=BATCH_SIZE,
            history_batch_size=0,
            webhooks=Webhooks.API,
            signed=True,
            outdated_signature=True,
            replay_window=False,
            echo=Echo.UNSENT,
            tells_changes=True,
            dates_changes=False,
            tells_merges=False,
            tells_erasure=False,
            referrer=ReferrerForm.LINK,
            tells_task_ids=True,
            url_setting="ESPOCRM_URL",
            default_url="",
            token_setting="ESPOCRM_TOKEN",  # noqa: S106 (the name of a setting)
            admin_setting="ESPOCRM_ADMIN",
            too_large_status=503,
            event_types=crm.event_types,
        )
        self._budgets: dict[tuple[str, str], RateBudget] = {}

    def verify(self, delivery: Delivery, *, secrets: Sequence[str], now: datetime) -> None:  # noqa: ARG002 (EspoCRM tells no time)
        verify_espocrm(
            topic=delivery.topic, headers=delivery.headers, body=delivery.body, secrets=secrets
        )

    def parse(self, received: Received) -> Parsed:
        return events.parse(received)

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
        budget = self._budgets.setdefault(
            (link.base_url, link.crm_id), RateBudget(CALLS_A_SECOND, 1.0)
        )
        budget.use_share(link.rate_share)
        reach = Reach(hosts=self.declaration.hosts, networks=link.networks)
        api = Api(link.base_url, link.token, budget, reach=reach, admin=link.admin)
        return EspoCrmSession(api, link)

    def guide(self, target: str) -> str:
        return GUIDE.format(target=target)

    def project_files(
        self,
        *,
        public_url: str,  # noqa: ARG002 (EspoCRM knows no projects)
        rating_properties: Sequence[str],  # noqa: ARG002
    ) -> Mapping[str, str]:
        return {}


ADAPTER: Adapter = EspoCrmAdapter()
