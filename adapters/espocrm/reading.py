"""What EspoCRM tells of contacts, opportunities, users and the account, in the words of the ports.

https://docs.espocrm.com/development/api/crud/
https://docs.espocrm.com/development/api-search-params/
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from adapters.espocrm.api import CONTACT, OPPORTUNITY, Api, chunks, condition, site
from adapters.espocrm.values import (
    contacts_of,
    from_attribute,
    instant,
    link,
    moment,
    names,
    noon,
    text,
)
from adapters.recent import Recent
from adapters.values import EPOCH, REFERRER, amount, currency_code, plain_number, zone_name
from plugin.manifest import manifest
from plugin.ports import (
    AccountFacts,
    AccountLink,
    ContactCard,
    ContactSnapshot,
    DealSnapshot,
    Loaded,
    Page,
    User,
)
from schemas.espocrm import Record, StageDefs, StageDefsSchema

CARD_ATTRIBUTES = (
    "firstName",
    "lastName",
    "emailAddress",
    "phoneNumber",
    "accountName",
    "addressCity",
    "assignedUserId",
    "createdAt",
)
DEAL_ATTRIBUTES = (
    "name",
    "createdAt",
    "closeDate",
    "stage",
    "pipelineId",
    "amount",
    "amountCurrency",
    "amountConverted",
    "assignedUserId",
    "contactId",
    "contactsIds",
)
"""An attribute an account does not have (``pipelineId`` before version 10) is left out of the
answer. ``contactsIds`` comes in lists only where it is selected."""
USER_ATTRIBUTES = ("name", "userName", "emailAddress", "type", "isActive")
PEOPLE = frozenset({"regular", "admin", "super-admin"})
"""Types of users that are not programs and not visitors of a portal."""
SEEN = "modifiedAt"

STAGES_SECONDS = 3600.0
MOST_NEW = 50
"""Unknown stages for which they are read anew, at most."""

_STAGE = StageDefsSchema()


class Reader:
    """Reads one account. What the stages mean is read once an hour, and only where there are
    deals."""

    def __init__(self, api: Api, link: AccountLink) -> None:
        self._api = api
        self._link = link
        self._names = names(link.facts)
        self._stages = Stages(api)
        known = link.fields or frozenset()
        self._fields = tuple(
            field for field in manifest().fields if field.key in known and field.key != REFERRER
        )
        self._referrer = f"{self._names[REFERRER]}Id" if REFERRER in known else ""

    # -- contacts

    def load(self, contact_ids: Sequence[str]) -> Loaded:
        """Two calls, whatever the number of deals up to a page."""
        records = self._api.by_ids(CONTACT, contact_ids, self._contact_attributes)
        deals = self._deals(list(records))
        return Loaded(
            contacts=tuple(self._snapshot(record, deals[one]) for one, record in records.items()),
            missing=frozenset(contact_ids) - records.keys(),
        )

    @property
    def _contact_attributes(self) -> list[str]:
        more = (self._referrer, self._link.rating_property)
        ours = (self._names[field.key] for field in self._fields)
        return [*CARD_ATTRIBUTES, *ours, *filter(None, more)]

    def _snapshot(self, record: Record, deals: Sequence[DealSnapshot]) -> ContactSnapshot:
        """A field that the answer leaves out was taken away, or from the role: it is not told as
        an empty one."""
        score = text(record, self._link.rating_property or "")
        referrer = link(record, self._referrer)
        return ContactSnapshot(
            card=card(record),
            values={
                field.key: from_attribute(field, record, self._names[field.key])
                for field in self._fields
                if self._names[field.key] in record
            },
            deals=tuple(deals),
            score=plain_number(score) if score else "",
            referrer_ids=(referrer,) if referrer else (),
        )

    def existing(self, contact_ids: Sequence[str]) -> frozenset[str]:
        return frozenset(self._api.by_ids(CONTACT, contact_ids, ("id",)))

    def list_contacts(self, cursor: str | None) -> Page[ContactCard]:
        records, following = self._api.since(CONTACT, CARD_ATTRIBUTES, "createdAt", "", cursor)
        return Page(items=tuple(map(card, records)), cursor=following)

    def contacts_changed_since(self, since: datetime, cursor: str | None) -> Page[ContactCard]:
        records, following = self._api.since(CONTACT, CARD_ATTRIBUTES, SEEN, moment(since), cursor)
        return Page(items=tuple(map(card, records)), cursor=following)

    def deals_changed_since(self, since: datetime, cursor: str | None) -> Page[str]:
        records, following = self._api.since(OPPORTUNITY, ("id",), SEEN, moment(since), cursor)
        return Page(items=tuple(record["id"] for record in records), cursor=following)

    # -- deals

    def deal_contacts(self, deal_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        records = self._api.by_ids(OPPORTUNITY, deal_ids, ("contactsIds",))
        found = {one: contacts_of(record) for one, record in records.items()}
        return {one: contacts for one, contacts in found.items() if contacts}

    def _deals(self, contact_ids: Sequence[str]) -> dict[str, list[DealSnapshot]]:
        """The deals of each contact."""
        found: dict[str, list[DealSnapshot]] = defaultdict(list)
        for chunk in chunks(contact_ids):
            linked = [condition("linkedWith", "contacts", chunk)]
            for record in self._api.all(OPPORTUNITY, DEAL_ATTRIBUTES, linked):
                deal = self._deal(record)
                for contact_id in set(deal.contact_ids) & set(chunk):
                    found[contact_id].append(deal)
        return found

    def _deal(self, record: Record) -> DealSnapshot:
        outcome = self._stages.probability(text(record, "stage"))
        return DealSnapshot(
            crm_id=record["id"],
            name=text(record, "name"),
            created_at=instant(text(record, "createdAt")) or EPOCH,
            won=outcome == 100,
            lost=outcome == 0,
            closed_at=noon(text(record, "closeDate")),
            won_at=None,
            pipeline=text(record, "pipelineId"),
            amount=amount(text(record, "amount")),
            currency=currency_code(text(record, "amountCurrency")),
            home_amount=amount(text(record, "amountConverted")),
            owner_id=link(record, "assignedUserId"),
            contact_ids=contacts_of(record),
            primary_contact_id=link(record, "contactId"),
        )

    # -- users and account

    def users(self) -> tuple[User, ...]:
        """People only. EspoCRM shows deactivated ones to administrators alone, so they are
        missing here."""
        return tuple(
            User(
                crm_id=record["id"],
                name=text(record, "name") or text(record, "userName"),
                email=text(record, "emailAddress"),
                active=text(record, "isActive") != "false",
            )
            for record in self._api.all("User", USER_ATTRIBUTES)
            if text(record, "type") in PEOPLE
        )

    def account(self) -> AccountFacts:
        # Not "/Settings": EspoCRM shows some of these to anybody, even with a wrong key.
        told = self._api.me()["settings"]
        crm_id = account_id(self._link.base_url)
        shown = (told["site"] or site(self._link.base_url)).rstrip("/")
        return AccountFacts(
            crm_id=crm_id,
            name=f"EspoCRM {crm_id}",
            time_zone=zone_name(told["time_zone"]),
            currency=currency_code(told["currency"]),
            record_url=f"{shown}/#{CONTACT}/view/{{id}}",
        )


class Stages:
    """What the stages of deals mean, as EspoCRM's own filters *Won* and *Lost* read it: of
    probability 100 is won, of 0 lost, and a stage without one is neither. A deal's own probability
    decides nothing."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known = Recent(self._read, STAGES_SECONDS)
        self._nowhere: set[str] = set()

    def probability(self, stage: str) -> float | None:
        """A stage nobody knew of may be new: what they mean is then read again, once."""
        known = self._known.get()
        if stage not in known and stage not in self._nowhere and len(self._nowhere) < MOST_NEW:
            self._nowhere.add(stage)
            known = self._known.renewed()
        return known.get(stage)

    def _read(self) -> Mapping[str, float | None]:
        """All stages, with their probabilities where they have one."""
        key = f"entityDefs.{OPPORTUNITY}.fields.stage"
        told: StageDefs = self._api.send("GET", "/Metadata", params={"key": key}, schema=_STAGE)
        probabilities = told["probabilities"] or {}
        return {
            stage: _number(probabilities.get(stage))
            for stage in told["options"] or ()
            if isinstance(stage, str)
        }


def account_id(base_url: str) -> str:
    """Host, port and path of the CRM's address: what names an account."""
    parts = urlsplit(site(base_url))
    return f"{parts.netloc.rpartition('@')[2].lower()}{parts.path.rstrip('/')}"


def card(record: Record) -> ContactCard:
    """Who a contact is. Lists hold the primary e-mail and phone only."""
    phone = text(record, "phoneNumber")
    return ContactCard(
        crm_id=record["id"],
        first_name=text(record, "firstName"),
        last_name=text(record, "lastName"),
        email=text(record, "emailAddress"),
        phones=(phone,) if phone else (),
        company=text(record, "accountName"),
        city=text(record, "addressCity"),
        owner_id=link(record, "assignedUserId"),
        created_at=instant(text(record, "createdAt")),
    )


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None
