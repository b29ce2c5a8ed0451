"""What Pipedrive tells of persons, deals, users and the company, in the words of the ports.

https://developers.pipedrive.com/docs/api/v1/Persons
https://developers.pipedrive.com/docs/api/v1/Deals

A person does not say which deals are theirs, and asking for one person's deals costs as much as
reading a hundred. So those known are read by id, and Pipedrive is asked only where the number of
deals that it counts for the person is another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from adapters.pipedrive.api import (
    ARCHIVED_DEAL_MARKS,
    ARCHIVED_DEALS,
    DEAL_MARKS,
    DEALS,
    GET_ME,
    LIST_USERS,
    ORGANIZATIONS,
    PERSON_MARKS,
    PERSONS,
    Api,
)
from adapters.pipedrive.fields import PresentFields
from adapters.pipedrive.heard import Counts, Heard
from adapters.pipedrive.values import bare, instant, record_id, rfc3339
from adapters.values import (
    EPOCH,
    REFERRER,
    amount,
    clean,
    currency_code,
    plain_number,
    zone_name,
)
from plugin.manifest import Direction, Field, manifest
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
from schemas.pipedrive import (
    Channel,
    Deal,
    Me,
    OneMe,
    OneMeSchema,
    Organization,
    Person,
    UserList,
    UserListSchema,
)

WON = "won"
LOST = "lost"
ARCHIVED = "archived:"
"""Before the cursor of the second list that deals are in."""
MOST_ORGANIZATIONS = 20_000
ORGANIZATIONS_KEPT = timedelta(hours=1)

_ME = OneMeSchema()
_USERS = UserListSchema()


class Reader:
    """Reads one account. Names of organizations are read once an hour, and anew with the
    directory."""

    def __init__(self, api: Api, link: AccountLink, heard: Heard, present: PresentFields) -> None:
        self._api = api
        self._link = link
        self._heard = heard
        self._present = present
        self._organizations: dict[str, Organization | None] = {}
        self._organizations_end = api.clock()

    # -- contacts

    def load(self, contact_ids: Sequence[str], known_deals: Mapping[str, Sequence[str]]) -> Loaded:
        self._present.refresh()
        persons = self._api.by_ids(PERSONS, contact_ids)
        if self._is_something_gone(persons.values()):
            self._present.look_again()
        deals = _DealsOf(self._api, self._heard, persons, known_deals).read()
        self._read_organizations(persons.values())
        return Loaded(
            contacts=tuple(
                self._snapshot(persons[one], deals[one])
                for one in dict.fromkeys(contact_ids)
                if one in persons
            ),
            missing=frozenset(contact_ids) - persons.keys(),
        )

    def _snapshot(self, person: Person, deals: Iterable[DealSnapshot]) -> ContactSnapshot:
        custom = person["custom_fields"] or {}
        ours = self._present.ours
        score = clean(bare(custom.get(self._link.rating_property or "")))
        code = ours.codes.get(REFERRER)
        referrer = record_id(custom.get(code)) if code else None
        return ContactSnapshot(
            card=self._card(person),
            values={
                field.key: ours.text(field, custom)
                for field in self._fields()
                if field.direction is not Direction.IN
                or not _is_gone(ours.codes[field.key], custom)
            },
            deals=tuple(sorted(deals, key=lambda deal: int(deal.crm_id))),
            score=plain_number(score) if score else "",
            referrer_ids=(referrer,) if referrer else (),
        )

    def _fields(self) -> list[Field]:
        """Those that hold values and that the account has, as far as is known."""
        known = (self._link.fields or frozenset()) & self._present.ours.codes.keys()
        return [one for one in manifest().fields if one.key in known and one.key != REFERRER]

    def _is_something_gone(self, persons: Iterable[Person]) -> bool:
        codes = [self._present.ours.codes[field.key] for field in self._fields()]
        told = [person["custom_fields"] or {} for person in persons]
        return any(_is_gone(code, custom) for custom in told for code in codes)

    def existing(self, contact_ids: Sequence[str]) -> frozenset[str]:
        return frozenset(self._api.by_ids(PERSON_MARKS, contact_ids))

    def list_contacts(self, cursor: str | None) -> Page[ContactCard]:
        if cursor is None:
            self._organizations.clear()
        return self._cards({"sort_by": "id", "sort_direction": "asc"}, cursor)

    def contacts_changed_since(self, since: datetime, cursor: str | None) -> Page[ContactCard]:
        return self._cards(_changed_since(since), cursor)

    def _cards(self, params: Mapping[str, str], cursor: str | None) -> Page[ContactCard]:
        records, following = self._api.page(PERSONS, params, cursor)
        persons = [person for person in records if not person["is_deleted"]]
        self._read_organizations(persons)
        return Page(items=tuple(map(self._card, persons)), cursor=following)

    def _card(self, person: Person) -> ContactCard:
        organization = self._organizations.get(person["org_id"] or "")
        first, last = clean(person["first_name"]), clean(person["last_name"])
        emails = _values(person["emails"])
        city = person["postal_address"] or (organization and organization["address"])
        return ContactCard(
            crm_id=person["id"],
            first_name=first,
            last_name=last if first or last else clean(person["name"]),
            email=emails[0] if emails else "",
            phones=_values(person["phones"]),
            company=clean(organization["name"]) if organization else "",
            city=clean(city["locality"]) if city else "",
            owner_id=person["owner_id"],
            created_at=instant(person["add_time"]),
        )

    def _read_organizations(self, persons: Iterable[Person]) -> None:
        """Persons name their organization by its number only."""
        now = self._api.clock()
        if now >= self._organizations_end or len(self._organizations) > MOST_ORGANIZATIONS:
            self._organizations.clear()
            self._organizations_end = now + ORGANIZATIONS_KEPT
        wanted = {person["org_id"] for person in persons if person["org_id"]}
        unknown = [one for one in wanted if one and one not in self._organizations]
        found = self._api.by_ids(ORGANIZATIONS, unknown)
        self._organizations |= {one: found.get(one) for one in unknown}

    # -- deals

    def deals_changed_since(self, since: datetime, cursor: str | None) -> Page[str]:
        """Deleted and archived ones too; archived ones are in a list of their own."""
        archived = cursor is not None and cursor.startswith(ARCHIVED)
        kind = ARCHIVED_DEAL_MARKS if archived else DEAL_MARKS
        params = {**_changed_since(since), "status": "open,won,lost,deleted"}
        place = (cursor or "").removeprefix(ARCHIVED)
        records, following = self._api.page(kind, params, place or None)
        ids = tuple(deal["id"] for deal in records)
        if following is None:
            return Page(items=ids, cursor=None if archived else ARCHIVED)
        return Page(items=ids, cursor=f"{ARCHIVED}{following}" if archived else following)

    def deal_contacts(self, deal_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        deals = read_deals(self._api, deal_ids)
        found = {one: persons_of(self._api, self._heard, deal) for one, deal in deals.items()}
        for deal_id, person_ids in found.items():
            self._heard.deal(deal_id, person_ids)
        return {one: person_ids for one, person_ids in found.items() if person_ids}

    # -- users and account

    def users(self) -> tuple[User, ...]:
        """Deactivated ones too."""
        answer: UserList = self._api.send(LIST_USERS, schema=_USERS)
        return tuple(
            User(
                crm_id=one["id"],
                name=clean(one["name"]) or clean(one["email"]),
                email=clean(one["email"]),
                active=one["active_flag"] and not one["is_deleted"],
            )
            for one in answer["data"]
        )

    def account(self) -> AccountFacts:
        """Time zone and currency are those of the user whose token it is: a company has none."""
        told = me(self._api)
        domain = told["company_domain"]
        return AccountFacts(
            crm_id=told["company_id"],
            name=told["company_name"] or f"Pipedrive {told['company_id']}",
            time_zone=zone_name(told["timezone_name"]),
            currency=currency_code(told["default_currency"]),
            record_url=f"https://{domain}.pipedrive.com/person/{{id}}" if domain else None,
        )


class _DealsOf:
    """The deals of some persons, for as few tokens as can be."""

    def __init__(
        self,
        api: Api,
        heard: Heard,
        persons: Mapping[str, Person],
        known: Mapping[str, Sequence[str]],
    ) -> None:
        self._api = api
        self._heard = heard
        self._persons = persons
        self._known = known
        self._deals: dict[str, Deal] = {}
        self._contacts: dict[str, tuple[str, ...]] = {}
        self._remembered: set[str] = set()

    def read(self) -> dict[str, list[DealSnapshot]]:
        """Person → deals."""
        heard_of = {deal for one in self._persons for deal in self._heard_of(one)}
        self._take(read_deals(self._api, heard_of).values())
        for one, person in self._persons.items():
            counts = _counts(person)
            if not self._is_complete(one, counts):
                asked = self._ask(one, counts)
                self._take(asked)
                self._check_remembered({deal["id"] for deal in asked} ^ self._of(one))
            if counts:
                self._heard.counted(one, counts, self._of(one))
        return {
            one: [snapshot(self._deals[deal], self._contacts[deal]) for deal in self._of(one)]
            for one in self._persons
        }

    def _heard_of(self, person_id: str) -> set[str]:
        return {*self._known.get(person_id, ()), *self._heard.deals(person_id)}

    def _take(self, deals: Iterable[Deal]) -> None:
        for deal in deals:
            if deal["id"] not in self._deals:
                self._deals[deal["id"]] = deal
                if self._heard.persons(deal) is not None:
                    self._remembered.add(deal["id"])
                self._contacts[deal["id"]] = persons_of(self._api, self._heard, deal)

    def _check_remembered(self, deal_ids: set[str]) -> None:
        """Whoever was remembered to be on these deals may not be the one who is."""
        for one in deal_ids & self._remembered:
            self._contacts[one] = _read_persons(self._api, self._heard, self._deals[one])
            self._remembered.discard(one)

    def _of(self, person_id: str) -> set[str]:
        return {deal for deal, persons in self._contacts.items() if person_id in persons}

    def _is_complete(self, person_id: str, counts: Counts | None) -> bool:
        if counts is None:
            return person_id in self._known
        found = self._of(person_id)
        last = self._heard.last(person_id)
        if last and last.counts == counts and last.deal_ids == found:
            return True  # it counts deals that it does not show to this user, or not in lists
        own = [d for d in map(self._deals.__getitem__, found) if d["person_id"] == person_id]
        others = [d for d in map(self._deals.__getitem__, found) if d["person_id"] != person_id]
        return _fits(own, sum(counts[:2])) and _fits(others, sum(counts[2:]))

    def _ask(self, person_id: str, counts: Counts | None) -> list[Deal]:
        found = list(self._api.all(DEALS, {"person_id": person_id}))
        if counts is None or sum(counts[:2]) > sum(d["person_id"] == person_id for d in found):
            found += self._api.all(ARCHIVED_DEALS, {"person_id": person_id})
        return found


def _counts(person: Person) -> Counts | None:
    """How many deals the person has, open and closed, and is only a participant of; None where
    it is not told."""
    told = (
        person["open_deals_count"],
        person["closed_deals_count"],
        person["participant_open_deals_count"],
        person["participant_closed_deals_count"],
    )
    counts = tuple(count for count in told if count is not None)
    return counts if len(counts) == len(told) else None


def _fits(deals: Sequence[Deal], count: int) -> bool:
    """Nobody says whether archived deals are counted."""
    return count in (len(deals), sum(not deal["is_archived"] for deal in deals))


def read_deals(api: Api, deal_ids: Iterable[str]) -> dict[str, Deal]:
    """Deals by id, archived ones too; absent those that are deleted."""
    wanted = set(deal_ids)
    found = api.by_ids(DEALS, wanted)
    # Read one by one, archived deals have come along; the list has left them out.
    left = wanted - found.keys() if len(wanted) * DEALS.get.cost >= DEALS.list.cost else set()
    return found | api.by_ids(ARCHIVED_DEALS, left)


def persons_of(api: Api, heard: Heard, deal: Deal) -> tuple[str, ...]:
    """Its person first, then those who take part. The person counts as a participant.

    Who takes part costs 10 tokens a deal, and is asked for only where the deal has changed.
    """
    main = _main(deal)
    if (deal["participants_count"] or 0) <= len(main):
        return main
    known = heard.persons(deal)
    return _read_persons(api, heard, deal) if known is None else known


def _read_persons(api: Api, heard: Heard, deal: Deal) -> tuple[str, ...]:
    others = [person["id"] for person in api.all(PERSON_MARKS, {"deal_id": deal["id"]})]
    found = tuple(dict.fromkeys((*_main(deal), *sorted(others, key=int))))
    heard.has_persons(deal, found)
    return found


def _main(deal: Deal) -> tuple[str, ...]:
    return (deal["person_id"],) if deal["person_id"] else ()


def _is_gone(code: str, custom: Mapping[str, Any]) -> bool:
    """Whether an answer looks as if the company had no such field.

    Seen live, answers name every custom field there is, the empty ones with null; nobody promises
    it. So where others are named as empty, one that is not named at all says nothing: what people
    fill was not emptied then. What we fill is believed to be gone only if the list of fields says
    so, or it might never be written.
    """
    return code not in custom and None in custom.values()


def snapshot(deal: Deal, contact_ids: tuple[str, ...]) -> DealSnapshot:
    closed = deal["status"] in (WON, LOST)
    value = deal["value"]
    return DealSnapshot(
        crm_id=deal["id"],
        name=clean(deal["title"]),
        created_at=instant(deal["add_time"]) or EPOCH,
        won=deal["status"] == WON,
        lost=deal["status"] == LOST,
        closed_at=instant(deal["close_time"]) if closed else None,
        won_at=instant(deal["won_time"]) if deal["status"] == WON else None,
        pipeline=deal["pipeline_id"] or "",
        amount=None if value is None else amount(str(value)),
        currency=currency_code(deal["currency"]),
        home_amount=None,
        owner_id=deal["owner_id"],
        contact_ids=contact_ids,
        primary_contact_id=deal["person_id"],
    )


def me(api: Api) -> Me:
    """Whose token it is."""
    answer: OneMe = api.send(GET_ME, schema=_ME)
    return answer["data"]


def _changed_since(since: datetime) -> dict[str, str]:
    return {"updated_since": rfc3339(since), "sort_by": "update_time", "sort_direction": "asc"}


def _values(channels: Iterable[Channel] | None) -> tuple[str, ...]:
    """E-mail addresses or phone numbers, the primary one first."""
    told = sorted(channels or (), key=lambda one: not one["primary"])
    return tuple(dict.fromkeys(clean(one["value"]) for one in told if one["value"]))
