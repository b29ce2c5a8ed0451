"""Reading one BottleCRM organisation: contacts with their deals, users, what has changed.

Facts are read from the package itself (``contacts/views.py``, ``opportunity/serializer.py``,
``common/views/user_views.py``): https://pypi.org/project/django-crm/1.35.0/
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from adapters.bottlecrm.api import FEED_SIZE, LIST_SIZE, Api, after, following, last_id
from adapters.bottlecrm.dialect import DIALECT
from adapters.bottlecrm.values import from_custom_field, is_ours, plain
from adapters.paging import Places
from adapters.recent import Recent
from adapters.values import EPOCH, amount, believable, currency_code, zone_name
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
from schemas.bottlecrm import (
    Contact,
    ContactAnswer,
    Deal,
    Organisation,
    OrganisationSchema,
    Profile,
    UserPage,
    UserPageSchema,
)

TIME_ZONE = "time_zone"
"""Key in ``AccountLink.facts``: BottleCRM's days (due, closed) are days in this zone."""

MANY = 10
"""From this number of contacts on the list of all is worth its calls."""
LISTED_SECONDS = 600.0
"""How long it is good for: the check of all contacts asks batch by batch."""

_ORGANISATION = OrganisationSchema()
_USERS = UserPageSchema()


class Reader:
    """Reads one account."""

    def __init__(self, api: Api, link: AccountLink) -> None:
        self._api = api
        self._link = link
        self._zone = ZoneInfo(link.facts.get(TIME_ZONE) or "UTC")
        self._listed = Recent(api.contact_ids, LISTED_SECONDS)
        self._fields = {
            field.key: field
            for field in manifest().fields
            if link.fields is None or field.key in link.fields
        }

    # -- contacts

    def load(self, contact_ids: Sequence[str], known_deals: Mapping[str, Sequence[str]]) -> Loaded:
        """One call per contact and one per deal of theirs; a deal that several share is read
        once."""
        found = {one: answer for one in contact_ids if (answer := self._api.contact(one))}
        deals = self._deals(found, known_deals)
        currencies = {
            deal["id"]: deal["currency"] for answer in found.values() for deal in answer["deals"]
        }
        snapshots = [self._deal(deal, currencies.get(deal["id"])) for deal in deals]
        return Loaded(
            contacts=tuple(
                self._contact(answer, [deal for deal in snapshots if one in deal.contact_ids])
                for one, answer in found.items()
            ),
            missing=frozenset(one for one in contact_ids if one not in found),
        )

    def _deals(
        self, found: Mapping[str, ContactAnswer], known_deals: Mapping[str, Sequence[str]]
    ) -> list[Deal]:
        """A contact's page names its ten newest deals and the number of all. Where there are
        more, those known from before are asked for, and where that is not enough, all are."""
        wanted: dict[str, None] = {}
        for one, answer in found.items():
            wanted |= dict.fromkeys(deal["id"] for deal in answer["deals"])
            if answer["deal_count"] > len(answer["deals"]):
                wanted |= dict.fromkeys(known_deals.get(one, ()))
        deals = [deal for one in wanted if (deal := self._api.deal(one))]
        seen = Counter(one for deal in deals for one in _contacts(deal))
        if all(seen[one] >= answer["deal_count"] for one, answer in found.items()):
            return deals
        every = {deal["id"]: deal for deal in self._api.all_deals()}
        return [deal for deal in every.values() if not found.keys().isdisjoint(_contacts(deal))]

    def _contact(self, answer: ContactAnswer, deals: Iterable[DealSnapshot]) -> ContactSnapshot:
        contact = answer["contact"]
        custom: Mapping[str, Any] = contact["custom_fields"] or {}
        ours = [
            field
            for definition in answer["definitions"]
            if (field := self._fields.get(definition["key"])) and is_ours(field, definition)
        ]
        return ContactSnapshot(
            card=card(contact),
            values={field.key: from_custom_field(field, custom.get(field.key)) for field in ours},
            deals=tuple(sorted(deals, key=lambda deal: deal.crm_id)),
            score=plain(custom.get(self._link.rating_property or "")),
        )

    def existing(self, contact_ids: Sequence[str]) -> frozenset[str]:
        """Many are looked for in the list of all contacts; only those that are not in it are asked
        for singly, as a few are."""
        listed = self._listed.get() if len(contact_ids) >= MANY else frozenset()
        return frozenset(one for one in contact_ids if one in listed or self._api.contact(one))

    def list_contacts(self, cursor: str | None) -> Page[ContactCard]:
        """The cursor is ``<offset>:<id>``: where to go on, and the last contact told."""
        start, _, last = (cursor or "0:").partition(":")
        page = self._api.contacts(int(start))
        offset = following(int(start), page["count"])
        return Page(
            items=tuple(map(card, after(last, page["results"]))),
            cursor=None if offset is None else f"{offset}:{last_id(page['results'])}",
        )

    def contacts_changed_since(
        self,
        since: datetime,
        cursor: str | None,  # noqa: ARG002 (there is one page)
    ) -> Page[ContactCard]:
        """All of them at once: the list can neither be filtered nor sorted by change, so it is
        read as a whole."""
        changed = {
            contact["id"]: (at, contact["id"], contact)
            for contact in self._api.all_contacts()
            if (at := contact["updated_at"]) and at >= since
        }
        in_order = sorted(changed.values(), key=lambda each: each[:2])
        return Page(items=tuple(card(contact) for _, _, contact in in_order), cursor=None)

    # -- deals

    def deals_changed_since(self, since: datetime, cursor: str | None) -> Page[str]:
        """From the feed of doings, in one call, where it reaches back so far.

        Else the list of all deals, too: it tells which were made or changed their stage since,
        but not the changes of anything else.
        """
        if cursor is None:
            feed = self._api.feed("Opportunity")
            ids = dict.fromkeys(one["record_id"] for one in feed if one["at"] >= since)
            complete = len(feed) < FEED_SIZE or feed[-1]["at"] < since
            return Page(items=tuple(ids), cursor=None if complete else "0")
        page = self._api.deals(int(cursor))
        return Page(
            items=tuple(one["id"] for one in page["deals"] if _moved_since(one, since)),
            cursor=_cursor(following(int(cursor), page["count"])),
        )

    def deal_contacts(self, deal_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        found = ((one, self._api.deal(one)) for one in dict.fromkeys(deal_ids))
        return {one: _contacts(deal) for one, deal in found if deal and deal["contacts"]}

    def _deal(self, deal: Deal, shown_currency: str | None) -> DealSnapshot:
        won = deal["stage_kind"] == "won"
        return DealSnapshot(
            crm_id=deal["id"],
            name=deal["name"] or "",
            created_at=believable(deal["created_at"]) or EPOCH,
            won=won,
            lost=deal["stage_kind"] == "lost",
            closed_at=self._noon(deal["closed_on"]),
            won_at=believable(deal["stage_changed_at"]) if won else None,
            pipeline=deal["pipeline"] or "",
            amount=amount(deal["amount"]),
            currency=currency_code(deal["currency"] or shown_currency),
            home_amount=None,
            owner_id=_owner(deal["assigned_to"]),
            contact_ids=_contacts(deal),
        )

    def _noon(self, day: date | None) -> datetime | None:
        """An instant that lies on this day for the account, whatever its zone."""
        return believable(datetime.combine(day, time(12), self._zone)) if day else None

    # -- users and account

    def users(self) -> tuple[User, ...]:
        """Members of the organisation, deactivated ones too; only an administrator's token may
        ask for them."""
        found: dict[str, User] = {}
        offset: int | None = 0
        places = Places(DIALECT.crm, "GET /api/users/")
        while offset is not None:
            params = {"limit": str(LIST_SIZE), "offset": str(offset)}
            page: UserPage = self._api.send("GET", "/api/users/", params=params, schema=_USERS)
            for group in (page["active"], page["inactive"]):
                found |= {one["id"]: _user(one) for one in group["profiles"]}
            told = (page["active"], page["inactive"])
            more = any(group["profiles"] for group in told)
            count = max(group["count"] for group in told) if more else 0
            offset = places.then(following(offset, count))
        return tuple(found.values())

    def account(self) -> AccountFacts:
        told: Organisation = self._api.send("GET", "/api/org/settings/", schema=_ORGANISATION)
        return AccountFacts(
            crm_id=told["id"],
            name=told["name"] or "",
            time_zone=zone_name(told["time_zone"]),
            currency=currency_code(told["currency"]),
        )


def card(contact: Contact) -> ContactCard:
    """Who a contact is."""
    account = contact["account"]
    return ContactCard(
        crm_id=contact["id"],
        first_name=contact["first_name"] or "",
        last_name=contact["last_name"] or "",
        email=contact["email"] or "",
        phones=(contact["phone"],) if contact["phone"] else (),
        company=contact["organization"] or (account and account["name"]) or "",
        city=contact["city"] or "",
        owner_id=_owner(contact["assigned_to"]),
        created_at=believable(contact["created_at"]),
    )


def _contacts(deal: Deal) -> tuple[str, ...]:
    return tuple(dict.fromkeys(contact["id"] for contact in deal["contacts"]))


def _owner(profiles: Sequence[Profile]) -> str | None:
    """Records have any number of owners; the first who is still active counts."""
    active = [one["id"] for one in profiles if one["is_active"]]
    return next(iter(active), profiles[0]["id"] if profiles else None)


def _moved_since(deal: Deal, since: datetime) -> bool:
    return any(at and at >= since for at in (deal["created_at"], deal["stage_changed_at"]))


def _user(profile: Profile) -> User:
    person = profile["person"]
    email = person["email"] or ""
    return User(
        crm_id=profile["id"],
        name=person["name"] or email,
        email=email,
        active=profile["is_active"] and person["is_active"],
    )


def _cursor(offset: int | None) -> str | None:
    return None if offset is None else str(offset)
