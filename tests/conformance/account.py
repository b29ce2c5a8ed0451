"""One account of a stand-in CRM, connected as the plugin connects one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from plugin.ports import (
    Adapter,
    ContactSnapshot,
    Declaration,
    Delivery,
    Event,
    Parsed,
    Received,
    Session,
    TaskDraft,
    Webhooks,
)
from plugin.referral.model import Priority
from tests.conformance.crms import PUBLIC_URL
from tests.stand_in import StandIn

OUR_SECRET = "a-random-secret-of-ours-0123456789"
ENDPOINT = "an-unguessable-token-0123456789"
DUE_AT = datetime(2026, 9, 18, 15, tzinfo=UTC)
DUE_ON = "2026-09-18"


@dataclass(kw_only=True)
class Account:
    """``fields`` and ``facts`` are what the plugin would have stored with it."""

    adapter: Adapter
    crm: StandIn
    fields: frozenset[str] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    ahead: timedelta = timedelta()
    """How far the CRM's clock is before ours: moved on by ``later``."""

    def __post_init__(self) -> None:
        self.crm.clock = lambda: datetime.now(UTC) + self.ahead

    @property
    def declaration(self) -> Declaration:
        return self.adapter.declaration

    @property
    def shares_an_address(self) -> bool:
        return self.declaration.webhooks is Webhooks.PROJECT

    @property
    def target(self) -> str:
        shared = f"{PUBLIC_URL}/webhooks/{self.declaration.name}"
        return shared if self.shares_an_address else f"{shared}/{ENDPOINT}"

    def session(self, **more: Any) -> Session:
        """Connected anew; ``more`` for the link."""
        return self.adapter.connect(
            self.crm.link(**{"fields": self.fields, "facts": self.facts, **more})
        )

    def later(self, seconds: float = 2) -> None:
        """Time passes in the CRM; some tell it in whole seconds only."""
        self.ahead += timedelta(seconds=seconds)

    # ---------------------------------------------------------------------- becoming ready

    def install(self) -> Session:
        """Our fields are there; a session that knows them."""
        session = self.session()
        self.facts = dict(session.install(session.plan_install()))
        self.fields = session.installed_fields()
        return self.session()

    def listen(self) -> None:
        """Webhooks lead to us from now on."""
        if self.declaration.webhooks is Webhooks.API:
            self.secrets = self.session().subscribe(self.target, (OUR_SECRET,))
        else:
            self.secrets = (self.crm.subscribe_by_hand(self.target),)
        self.crm.deliveries.clear()

    # --------------------------------------------------------------------------- webhooks

    def taken(self) -> list[Delivery]:
        """The deliveries that are waiting, as our server would see them."""
        with self.crm.lock:
            waiting, self.crm.deliveries[:] = list(self.crm.deliveries), []
        return [
            Delivery(
                method="POST",
                url=one.url,
                headers={name.lower(): value for name, value in one.headers.items()},
                body=one.body,
                topic=one.url.removeprefix(self.target).strip("/"),
            )
            for one in waiting
        ]

    def received(self, delivery: Delivery, *, after: timedelta = timedelta()) -> Received:
        """A delivery as it is stored when it comes, or comes again ``after`` some time."""
        return Received(
            body=delivery.body,
            received_at=self.crm.clock() + after,
            topic=delivery.topic,
            account_crm_id="" if self.shares_an_address else self.crm.account_crm_id,
            facts={} if self.shares_an_address else self.facts,
        )

    def parsed(self) -> list[Parsed]:
        """What the waiting deliveries say; each is authentic."""
        found = []
        for delivery in self.taken():
            self.adapter.verify(delivery, secrets=self.secrets, now=self.crm.clock())
            found.append(self.adapter.parse(self.received(delivery)))
        return found

    def events(self) -> list[Event]:
        """All events of the waiting deliveries, of which none is unreadable."""
        parsed = self.parsed()
        assert [one.unreadable for one in parsed if one.unreadable] == []
        return [event for one in parsed for event in one.events]

    # ---------------------------------------------------------------------------- records

    def loaded(self, contact_id: str) -> ContactSnapshot:
        """A contact as the adapter reads it now, with nothing known before."""
        loaded = self.session().load([contact_id], history=False, known_deals={})
        (found,) = loaded.contacts
        return found


def draft(key: str, *contact_ids: str, **more: Any) -> TaskDraft:
    """A task as the playbook makes one."""
    marker = f"[spiral:ask_referral:{key}]"
    return TaskDraft(
        **{
            "key": key,
            "marker": marker,
            "subject": f"Um eine Empfehlung bitten ({key})",
            "body": f"Bitte fragen: „Wer noch?“\nGern <persönlich> & in Ruhe.\n\n{marker}",
            "contact_ids": contact_ids,
            "deal_id": None,
            "owner_id": None,
            "due_at": DUE_AT,
            "priority": Priority.MEDIUM,
            **more,
        }
    )
