"""What HubSpot tells of contacts, deals, users and the account, in the words of the ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property

from adapters.hubspot.api import CONTACTS, DEALS, USER_DEFINED, VERSION, Api
from adapters.hubspot.dialect import DIALECT
from adapters.hubspot.values import (
    from_property,
    instant,
    milliseconds,
    owner,
    record_ids,
    text,
)
from adapters.paging import Places, endless
from adapters.values import EPOCH, TOLD_FIELDS, amount, currency_code, plain_number, zone_name
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
from plugin.referral.model import FieldChange
from schemas.fields import RECORD_NUMBER
from schemas.hubspot import (
    AccountDetails,
    AccountDetailsSchema,
    Owner,
    OwnerPage,
    OwnerPageSchema,
    PipelineList,
    PipelineListSchema,
    Record,
    RecordPage,
    Stage,
    Target,
)

CARD_PROPERTIES = (
    "firstname",
    "lastname",
    "email",
    "phone",
    "mobilephone",
    "company",
    "city",
    "hubspot_owner_id",
    "createdate",
)
DEAL_PROPERTIES = (
    "dealname",
    "createdate",
    "closedate",
    "dealstage",
    "pipeline",
    "amount",
    "amount_in_home_currency",
    "deal_currency_code",
    "hubspot_owner_id",
    "hs_is_closed",
    "hs_is_closed_won",
    "hs_deal_stage_probability",
    "hs_closed_won_date",
    "hs_v2_date_entered_current_stage",
)
"""A property an account does not have is left out of the answer and read as empty."""
MERGED_IDS = "hs_merged_object_ids"

LABEL_TYPE = "label_type_id"
"""Key in ``AccountLink.facts``: the type of "this contact's referrer is …"."""

SEARCH_END = 9_800
"""HubSpot gives the first 10,000 of a search; the query starts anew one page before."""
CHANGED_CONTACT = "lastmodifieddate"
CHANGED_DEAL = "hs_lastmodifieddate"

_OWNERS = OwnerPageSchema()
_ACCOUNT = AccountDetailsSchema()
_PIPELINES = PipelineListSchema()


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a pipeline stage means."""

    won: bool
    closed: bool


class Reader:
    """Reads one account. Pipelines are read once and only where a deal does not say itself
    whether it is won."""

    def __init__(self, api: Api, link: AccountLink) -> None:
        self._api = api
        self._link = link
        known = link.fields or frozenset()
        self._fields = tuple(field for field in manifest().fields if field.key in known)

    # -- contacts

    def load(self, contact_ids: Sequence[str], *, history: bool) -> Loaded:
        records = self._api.read(
            CONTACTS, contact_ids, self._contact_properties, history=self._history(history)
        )
        targets = self._api.associated(CONTACTS, DEALS, records)
        deals = self._deals({target["id"] for found in targets.values() for target in found})
        referrers = self._referrers(records)
        return Loaded(
            contacts=tuple(
                self._snapshot(
                    record,
                    [deals[t["id"]] for t in targets.get(one, ()) if t["id"] in deals],
                    referrers.get(one, ()),
                )
                for one, record in records.items()
            ),
            missing=frozenset(contact_ids) - records.keys(),
        )

    @property
    def _contact_properties(self) -> tuple[str, ...]:
        score = (self._link.rating_property,) if self._link.rating_property else ()
        return (*CARD_PROPERTIES, MERGED_IDS, *(field.key for field in self._fields), *score)

    def _history(self, wanted: bool) -> tuple[str, ...]:
        if not wanted:
            return ()
        score = (self._link.rating_property,) if self._link.rating_property else ()
        ours = [field.key for field in self._fields if field.key in TOLD_FIELDS]
        return (*ours, *score)

    def _snapshot(
        self, record: Record, deals: Sequence[DealSnapshot], referrer_ids: Sequence[str]
    ) -> ContactSnapshot:
        properties = record["properties"]
        score = text(properties, self._link.rating_property or "")
        return ContactSnapshot(
            card=card(record),
            values={
                field.key: from_property(field, text(properties, field.key))
                for field in self._fields
                if field.key in properties  # an empty one is null; one that is gone is left out
            },
            deals=tuple(deals),
            score=plain_number(score) if score else "",
            merged_ids=record_ids(properties, MERGED_IDS),
            changes=self._changes(record),
            referrer_ids=tuple(referrer_ids),
        )

    def _changes(self, record: Record) -> tuple[FieldChange, ...]:
        changes: list[FieldChange] = []
        for name, versions in record["history"].items():
            ours = next((field for field in self._fields if field.key == name), None)
            for version in versions:
                at = instant(version["timestamp"])
                if at is None:
                    continue
                value = version["value"] or ""
                if ours:
                    changes.append(FieldChange(field=name, value=from_property(ours, value), at=at))
                else:
                    changes.append(
                        FieldChange(
                            field="score", value=plain_number(value) if value else "", at=at
                        )
                    )
        return tuple(sorted(changes, key=lambda change: (change.at, change.field, change.value)))

    def _referrers(self, records: Mapping[str, Record]) -> dict[str, list[str]]:
        """Contacts our label leads to; read only where the account has the label."""
        type_id = self._link.facts.get(LABEL_TYPE)
        if not type_id:
            return {}
        targets = self._api.associated(CONTACTS, CONTACTS, records)
        return {
            one: [target["id"] for target in found if _is_labelled(target, type_id)]
            for one, found in targets.items()
        }

    def existing(self, contact_ids: Sequence[str]) -> frozenset[str]:
        return frozenset(self._api.read(CONTACTS, contact_ids, ("hs_object_id",)))

    def list_contacts(self, cursor: str | None) -> Page[ContactCard]:
        page = self._api.page(CONTACTS, cursor, CARD_PROPERTIES)
        return Page(items=tuple(map(card, page["results"])), cursor=_after(page))

    def contacts_changed_since(self, since: datetime, cursor: str | None) -> Page[ContactCard]:
        records, following = self._changed(CONTACTS, CHANGED_CONTACT, since, cursor)
        return Page(items=tuple(map(card, records)), cursor=following)

    def deals_changed_since(self, since: datetime, cursor: str | None) -> Page[str]:
        records, following = self._changed(DEALS, CHANGED_DEAL, since, cursor)
        return Page(items=tuple(record["id"] for record in records), cursor=following)

    def _changed(
        self, kind: str, changed: str, since: datetime, cursor: str | None
    ) -> tuple[Sequence[Record], str | None]:
        """One page and where to go on. The cursor is ``<ms>:<after>``: the start of the present
        query and the place in it."""
        start, after = map(int, cursor.split(":")) if cursor else (milliseconds(since), 0)
        properties = CARD_PROPERTIES if kind == CONTACTS else ()
        page = self._api.search(
            kind, changed=changed, since=start, after=after, properties=properties
        )
        records = page["results"]
        following = _after(page)
        if following is None:
            return records, None
        if not RECORD_NUMBER.fullmatch(following):
            raise endless(DIALECT.crm, f"search {kind}")
        if int(following) < SEARCH_END:
            return records, f"{start}:{int(following)}"
        last = instant(text(records[-1]["properties"], changed)) if records else None
        # Should all 9,800 share one millisecond, step over it rather than turn in circles.
        again = max(milliseconds(last), start + 1) if last else start + 1
        return records, f"{again}:0"

    # -- deals

    def deal_contacts(self, deal_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        found = self._api.associated(DEALS, CONTACTS, deal_ids)
        return {
            one: tuple(dict.fromkeys(target["id"] for target in targets))
            for one, targets in found.items()
        }

    def _deals(self, deal_ids: set[str]) -> dict[str, DealSnapshot]:
        if not deal_ids:
            return {}
        records = self._api.read(DEALS, sorted(deal_ids), DEAL_PROPERTIES)
        contacts = self.deal_contacts(list(records))
        return {one: self._deal(rec, contacts.get(one, ())) for one, rec in records.items()}

    def _deal(self, record: Record, contact_ids: tuple[str, ...]) -> DealSnapshot:
        properties = record["properties"]
        outcome = self._outcome(properties)
        created = instant(text(properties, "createdate")) or instant(record["created_at"])
        # Which of the two an account fills differs; a later move between won stages is no new win.
        won_dates = (
            instant(text(properties, "hs_closed_won_date")),
            instant(text(properties, "hs_v2_date_entered_current_stage")),
        )
        return DealSnapshot(
            crm_id=record["id"],
            name=text(properties, "dealname"),
            created_at=created or EPOCH,
            won=outcome.won,
            lost=outcome.closed and not outcome.won,
            closed_at=instant(text(properties, "closedate")),
            won_at=min(filter(None, won_dates), default=None) if outcome.won else None,
            pipeline=text(properties, "pipeline"),
            amount=amount(text(properties, "amount")),
            currency=currency_code(text(properties, "deal_currency_code")),
            home_amount=amount(text(properties, "amount_in_home_currency")),
            owner_id=owner(properties),
            contact_ids=contact_ids,
        )

    def _outcome(self, properties: Mapping[str, object]) -> Outcome:
        """HubSpot calculates ``hs_is_closed_won`` a moment later; until then the stage tells."""
        told = text(properties, "hs_is_closed_won")
        closed = text(properties, "hs_is_closed") == "true"
        if told:
            return Outcome(won=told == "true", closed=closed or told == "true")
        if stage := self._stages.get(text(properties, "dealstage")):
            return stage
        certain = amount(text(properties, "hs_deal_stage_probability")) == 1
        return Outcome(won=closed and certain, closed=closed)

    @cached_property
    def _stages(self) -> Mapping[str, Outcome]:
        # https://developers.hubspot.com/docs/api-reference/latest/crm/pipelines/get-pipelines
        found: PipelineList = self._api.send(
            "GET", f"/crm/pipelines/{VERSION}/{DEALS}", schema=_PIPELINES
        )
        return {
            stage["id"]: _stage_outcome(stage)
            for pipeline in found["results"]
            for stage in pipeline["stages"]
        }

    # -- users and account

    def users(self) -> tuple[User, ...]:
        """Owners, deactivated ones too; queues are nobody."""
        found: dict[str, User] = {}
        for archived in ("false", "true"):
            after: str | None = ""
            places = Places(DIALECT.crm, f"GET /crm/owners/{VERSION}")
            while after is not None:
                params = {"limit": "100", "archived": archived}
                if after:
                    params["after"] = after
                page: OwnerPage = self._api.send(
                    "GET", f"/crm/owners/{VERSION}", params=params, schema=_OWNERS
                )
                for one in page["results"]:
                    if one["type"] == "PERSON":
                        user = _user(one, archived=archived == "true")
                        found.setdefault(user.crm_id, user)
                after = places.then(_after(page))
        return tuple(found.values())

    def account(self) -> AccountFacts:
        told: AccountDetails = self._api.send(
            "GET", f"/account-info/{VERSION}/details", schema=_ACCOUNT
        )
        crm_id = told["account_id"]
        domain = told["ui_domain"]
        return AccountFacts(
            crm_id=crm_id,
            name=f"HubSpot {crm_id}",
            time_zone=zone_name(told["time_zone"]),
            currency=currency_code(told["currency"]),
            record_url=f"https://{domain}/contacts/{crm_id}/record/0-1/{{id}}" if domain else None,
        )


def card(record: Record) -> ContactCard:
    """Who a contact is."""
    properties = record["properties"]
    phones = (text(properties, "phone"), text(properties, "mobilephone"))
    return ContactCard(
        crm_id=record["id"],
        first_name=text(properties, "firstname"),
        last_name=text(properties, "lastname"),
        email=text(properties, "email"),
        phones=tuple(dict.fromkeys(phone for phone in phones if phone)),
        company=text(properties, "company"),
        city=text(properties, "city"),
        owner_id=owner(properties),
        created_at=instant(text(properties, "createdate")) or instant(record["created_at"]),
    )


def _user(one: Owner, *, archived: bool) -> User:
    email = one["email"] or ""
    name = f"{one['first_name'] or ''} {one['last_name'] or ''}".strip()
    return User(
        crm_id=one["id"],
        name=name or email,
        email=email,
        active=not archived and not one["archived"],
    )


def _is_labelled(target: Target, type_id: str) -> bool:
    return any(
        kind["category"] == USER_DEFINED and str(kind["type_id"]) == type_id
        for kind in target["types"]
    )


def _stage_outcome(stage: Stage) -> Outcome:
    """``isClosed`` and ``probability`` come as text; a stage without ``isClosed`` is closed where
    nothing is open any more."""
    probability = amount(text(stage["metadata"], "probability"))
    told = text(stage["metadata"], "isClosed").lower()
    closed = told == "true" if told else probability in (Decimal(0), Decimal(1))
    return Outcome(won=closed and probability == 1, closed=closed)


def _after(page: RecordPage | OwnerPage) -> str | None:
    following = page["paging"] and page["paging"]["next"]
    return following["after"] if following else None
