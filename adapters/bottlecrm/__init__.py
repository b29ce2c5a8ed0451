"""BottleCRM (PyPI ``django-crm`` 1.35.0): REST by a personal access token, signed webhooks.

https://pypi.org/project/django-crm/1.35.0/ · https://github.com/MicroPyramid/Django-CRM
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from adapters.bottlecrm import events
from adapters.bottlecrm.api import Api
from adapters.bottlecrm.dialect import DIALECT, budget
from adapters.bottlecrm.session import BottleCrmSession
from adapters.bottlecrm.values import NEAREST_TYPES
from adapters.client import Client, RateBudget
from adapters.payloads import OwnAddress
from adapters.signatures import verify_bottlecrm
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

BATCH_SIZE = 25
"""There are no batches there, so a batch is only what is worked on between two commits: some
75 calls, five seconds."""

GUIDE = """BottleCRM lets no token manage webhooks, so make this one by hand, signed in as an admin:
  1. Settings > Webhooks > New webhook
  2. URL: {target}
     (BottleCRM takes only https on port 443, on a public address)
  3. Format: JSON. Events: all of Contacts and all of Deals, nothing else:
     {events}
  4. Add webhook, and copy the signing secret (whsec_...): it is shown this once.
  5. python -m plugin secret bottlecrm
     and paste the secret there.
  6. Open the webhook in BottleCRM and send the test: it must be answered 2xx.
Without that page: POST /api/webhooks/ as a signed-in admin, with url, events and "format": "json";
the answer holds the secret."""


class BottleCrmAdapter(OwnAddress):
    """``plugin.ports.Adapter`` for BottleCRM."""

    def __init__(self) -> None:
        crm = manifest().crms["bottlecrm"]
        self.declaration = Declaration(
            name=crm.name,
            title=crm.title,
            docs_url="https://github.com/MicroPyramid/Django-CRM/tree/master/docs/api",
            batch_size=BATCH_SIZE,
            history_batch_size=0,
            webhooks=Webhooks.BY_HAND,
            signed=True,
            replay_window=True,
            echo=Echo.COMPARED,
            tells_changes=False,
            tells_merges=False,
            tells_erasure=False,
            referrer=ReferrerForm.TEXT,
            tells_task_ids=False,
            nearest_types=NEAREST_TYPES,
            token_setting="BOTTLECRM_TOKEN",  # noqa: S106 (the name of a setting)
            url_setting="BOTTLECRM_URL",
            default_url="",
            event_types=crm.event_types,
        )
        self._budgets: dict[tuple[str, str], RateBudget] = {}

    def verify(self, delivery: Delivery, *, secrets: Sequence[str], now: datetime) -> None:
        verify_bottlecrm(headers=delivery.headers, body=delivery.body, secrets=secrets, now=now)

    def parse(self, received: Received) -> Parsed:
        return events.parse(received.body, account_crm_id=received.account_crm_id)

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
        """The base URL is the server's own, with or without ``/api`` at its end."""
        limit = self._budgets.setdefault((link.base_url, link.crm_id), budget())
        limit.use_share(link.rate_share)
        base_url = link.base_url.rstrip("/").removesuffix("/api")
        client = Client(
            base_url=base_url,
            token=link.token,
            dialect=DIALECT,
            reach=Reach(hosts=self.declaration.hosts, networks=link.networks),
        )
        return BottleCrmSession(Api(client, limit), link)

    def guide(self, target: str) -> str:
        return GUIDE.format(target=target, events=" ".join(self.declaration.event_types))

    def project_files(
        self,
        *,
        public_url: str,  # noqa: ARG002
        rating_properties: Sequence[str],  # noqa: ARG002
    ) -> Mapping[str, str]:
        return {}


ADAPTER: Adapter = BottleCrmAdapter()
