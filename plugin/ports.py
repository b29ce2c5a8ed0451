"""What the core asks of the outside: one adapter per CRM behind these types.

The pipeline sees CRMs only through this file. Ids are always ``str``, times aware UTC,
days calendar days, money ``Decimal``. ``field`` names are ours (``manifest.json``), never
the CRM's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from plugin.errors import CrmError
from plugin.manifest import FieldType
from plugin.reach import Network
from plugin.referral.model import FieldChange, Priority

T = TypeVar("T")

# ------------------------------------------------------------------------- incoming


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One HTTP call from the CRM. ``headers`` has lower-case names; ``url`` is the public URL
    the CRM was told to call, from the settings and not from the request. ``topic`` is the last
    part of the address below the account's own, where the CRM tells only there what happened."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    topic: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """An authentic delivery as it was stored.

    ``account_crm_id``: the account whose own address was called, "" where accounts share one.
    ``facts``: what ``Session.install`` returned for that account; empty where accounts share an
    address.
    """

    body: bytes
    received_at: datetime
    topic: str = ""
    account_crm_id: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


class EventKind(StrEnum):
    CONTACT_CHANGED = "contact_changed"
    """Created, restored or a property changed: look at it again."""
    CONTACT_DELETED = "contact_deleted"
    CONTACT_ERASED = "contact_erased"
    """Privacy deletion: every trace of the person goes."""
    CONTACT_MERGED = "contact_merged"
    DEAL_CHANGED = "deal_changed"
    """Created, restored, changed, or its contacts changed."""
    DEAL_DELETED = "deal_deleted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One fact inside a delivery, in our words.

    ``key`` is stable over re-delivery and distinct for distinct facts. ``record_id`` is the
    contact or deal; after a merge it is the surviving record and ``merged_ids`` are all ids
    that now mean it. ``change`` is set where the event itself tells something that a later
    read may not (a rating and its date). ``contact_ids`` are contacts a deal event names.
    ``ours``: an echo of our own write.
    """

    key: str
    kind: EventKind
    account_crm_id: str
    record_id: str
    occurred_at: datetime
    change: FieldChange | None = None
    merged_ids: tuple[str, ...] = ()
    contact_ids: tuple[str, ...] = ()
    ours: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """What a delivery says. ``unreadable``: (position, reason) of single bad events;
    ``ignored``: events of types we did not ask for."""

    events: tuple[Event, ...] = ()
    unreadable: tuple[tuple[int, str], ...] = ()
    ignored: int = 0


# ------------------------------------------------------------------------ the records


@dataclass(frozen=True, kw_only=True, slots=True)
class ContactCard:
    """Who a contact is: what the directory keeps of everybody, and matching works on."""

    crm_id: str
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    phones: tuple[str, ...] = ()
    company: str = ""
    city: str = ""
    owner_id: str | None = None
    created_at: datetime | None = None

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()


@dataclass(frozen=True, kw_only=True, slots=True)
class DealSnapshot:
    """A deal as the CRM tells it now. ``closed_at`` is its close date; ``won_at`` the instant it
    became won where the CRM tells, else None. ``contact_ids``: all contacts of the deal,
    ``primary_contact_id`` where the CRM knows one. Amounts: see ``referral.model.Deal``."""

    crm_id: str
    name: str
    created_at: datetime
    won: bool
    lost: bool
    closed_at: datetime | None
    won_at: datetime | None
    pipeline: str
    amount: Decimal | None
    currency: str | None
    home_amount: Decimal | None
    owner_id: str | None
    contact_ids: tuple[str, ...]
    primary_contact_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ContactSnapshot:
    """A contact as the CRM tells it now.

    ``values``: our fields that exist in this CRM, as text in the manifest's own form (enum
    key, ISO day, plain number, ``true``/``false``, ``a;b`` for several; "" where empty).
    ``score``: the mapped NPS/CSAT value, or "". ``merged_ids``: earlier ids of this record.
    ``changes``: the history of the in fields, only where it was asked for.
    ``referrer_ids``: contacts linked as referrer by our association label.
    """

    card: ContactCard
    values: Mapping[str, str]
    deals: tuple[DealSnapshot, ...]
    score: str = ""
    merged_ids: tuple[str, ...] = ()
    changes: tuple[FieldChange, ...] = ()
    referrer_ids: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """``missing`` contacts are not in the CRM (any more)."""

    contacts: tuple[ContactSnapshot, ...]
    missing: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class User:
    """A CRM user. ``crm_id`` is what owner fields hold."""

    crm_id: str
    name: str
    email: str
    active: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountFacts:
    """What the CRM says of the account itself. ``time_zone``: IANA name; ``record_url`` has one
    ``{id}`` for a contact's id and is how a rep's link to a contact looks."""

    crm_id: str
    name: str
    time_zone: str | None
    currency: str | None
    record_url: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Page(Generic[T]):
    """One page of a long list; ``cursor`` None on the last."""

    items: tuple[T, ...]
    cursor: str | None


# -------------------------------------------------------------------------- outgoing


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldUpdate:
    """Values to write on a contact, in the manifest's own form ("" empties)."""

    contact_id: str
    values: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkUpdate:
    """The contact's referrer association should lead to ``referrer_id``, not to ``remove``."""

    contact_id: str
    referrer_id: str | None
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskDraft:
    """A task to create. ``key`` is unique; ``body`` ends with ``marker``, by which it is found
    again. ``due_at`` is an instant (the end of the working day in the account's zone)."""

    key: str
    marker: str
    subject: str
    body: str
    contact_ids: tuple[str, ...]
    """The first is the contact it stands on."""
    deal_id: str | None
    owner_id: str | None
    due_at: datetime
    priority: Priority


@dataclass(frozen=True, kw_only=True, slots=True)
class CrmTask:
    """A task as the CRM tells it now."""

    crm_id: str
    subject: str
    body: str
    done: bool
    done_at: datetime | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskUpdate:
    """A change of one of our tasks; None leaves as is. ``done`` True completes, False reopens."""

    crm_id: str
    done: bool | None = None
    subject: str | None = None
    body: str | None = None
    due_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """One item of a batch that the CRM refused. ``item`` is the contact id, task key or task id
    that was asked for; ``gone`` where the record is not there (any more)."""

    item: str
    reason: str
    gone: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class CreatedTasks:
    """What became of each draft, by its key: made, refused, or not known because no answer came.
    A draft that is in none of the three was not sent. ``stopped``: the error that kept the rest
    from being sent, which the core raises once it has noted the others."""

    crm_ids: Mapping[str, str]
    """Task key → id in the CRM."""
    failures: tuple[Failure, ...] = ()
    unknown: frozenset[str] = frozenset()
    stopped: CrmError | None = None


# -------------------------------------------------------------------------- installing


class PlanAction(StrEnum):
    CREATE = "create"
    REPAIR = "repair"
    KEEP = "keep"
    REMOVE = "remove"
    DOES_NOT_FIT = "does_not_fit"
    BY_HAND = "by_hand"
    """Only an administrator of the CRM can make it: ``why`` says how."""
    FOREIGN = "foreign"
    """A thing of that name exists that is not ours, or keeps what people typed: left alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanStep:
    """One line of an install or uninstall plan. ``what`` is a field key or ``label:<name>``;
    ``why`` is a sentence for the admin, in English."""

    action: PlanAction
    what: str
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """A budget that the CRM gives for a day, in a unit of its own.

    ``limit``: of the whole account and a day; ``used``: by the plugin on that day; ``left``: of
    the whole account as the CRM told it last, None where it tells nothing. ``ends_at``: when the
    next day begins for the CRM.
    """

    unit: str
    limit: int
    used: int
    left: int | None
    ends_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountLink:
    """All an adapter needs to talk to one account.

    ``token`` is the decrypted credential. ``facts`` is what ``install`` returned (flat text,
    kept with the account). ``rating_property`` is the mapped NPS/CSAT property's name in the CRM.
    ``fields`` are the keys of our fields known to be installed; None means not installed yet.
    ``language`` is for labels. ``admin`` is ``user:password`` of an administrator, for installing
    only and never stored. ``daily_budget``: what the account may spend a day where the CRM sells
    a budget and does not tell its size, 0 for the smallest it sells; ``allowance`` is what was
    known of it when it was last stored. ``networks``: besides public addresses, the CRM may be in
    one of these (``CRM_NETWORKS``).
    """

    crm_id: str
    base_url: str
    token: str = field(repr=False)
    app_id: str = ""
    language: str = "de"
    rating_property: str | None = None
    fields: frozenset[str] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    rate_share: float = 0.8
    admin: str = field(default="", repr=False)
    daily_budget: int = 0
    allowance: Allowance | None = field(default=None, compare=False)
    networks: tuple[Network, ...] = ()


# --------------------------------------------------------------------------- declaring


class Webhooks(StrEnum):
    """How the CRM learns where to deliver, and which secret makes a delivery authentic."""

    PROJECT = "project"
    """By an app project that the admin uploads (``Adapter.project_files``). All accounts of one
    app share one address and the secret of ``Declaration.secret_setting``."""
    API = "api"
    """By ``Session.subscribe``: each account has an address and secrets of its own."""
    BY_HAND = "by_hand"
    """The admin enters the account's own address in the CRM and hands the secret that the CRM
    shows to ``python -m plugin secret``."""


SIGNATURE_ONLY = "signature-only"
"""Among the secrets of an account: an outdated form of its CRM's signature is not accepted any
more."""


class Echo(StrEnum):
    """What becomes of webhooks about our own writes."""

    MARKED = "marked"
    """They come, and can be told from others: ``Event.ours``."""
    UNSENT = "unsent"
    """The CRM does not send them."""
    COMPARED = "compared"
    """They come like any other change; looking again then finds nothing to write."""


class ReferrerForm(StrEnum):
    """How ``spiral_referrer`` is kept."""

    TEXT = "text"
    LABEL = "label"
    """As text and, where the account allows it, as a labelled association."""
    LINK = "link"
    """As a field that leads to the other contact; a CRM user as referrer is not shown in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Declaration:
    """What a CRM can and cannot do, said aloud; the README's table is made from it, and the
    conformance suite tests the fallback where something is lacking."""

    name: str
    title: str
    docs_url: str
    batch_size: int
    """Contacts per call of ``load`` and ``write_fields``."""
    history_batch_size: int
    """Contacts per call of ``load`` with history; 0 where the CRM keeps none or it costs too
    much: a rating nobody told us of is then dated by the day it was seen."""
    webhooks: Webhooks
    signed: bool
    """Deliveries carry a signature over their bytes; else a password known to both sides."""
    outdated_signature: bool = False
    """There is an outdated form of signature, which ``subscribe --strict`` ends."""
    replay_window: bool
    """Deliveries tell when they were sent, and old ones are refused."""
    echo: Echo
    tells_changes: bool
    """Deliveries carry the changed values, so that a rating is dated by its event."""
    dates_changes: bool = True
    """The changes that are told carry their own times; else they are dated by their arrival, and
    believed only where reading the contact confirms them."""
    tells_merges: bool
    tells_erasure: bool
    """Privacy deletions are told apart from plain ones."""
    referrer: ReferrerForm
    tells_task_ids: bool
    """Creating a task answers with its id; else it is found again by its marker."""
    nearest_types: Mapping[FieldType, str] = field(default_factory=dict)
    """Types of ours that the CRM lacks, and what stands in for each."""
    token_setting: str
    """Environment variable with the API's token."""
    url_setting: str
    """Environment variable with the API's base URL."""
    default_url: str
    """"" where every company runs its own."""
    hosts: tuple[str, ...] = ()
    """The host names the API has, ``*.`` in front for all below one; none where every company runs
    its own. See ``plugin.reach``."""
    secret_setting: str = ""
    """Environment variable with the signing secrets that accounts share; "" where each account
    has its own."""
    app_id_setting: str = ""
    admin_setting: str = ""
    """Environment variable with ``user:password`` of an administrator, where the token alone
    cannot make fields; "" where it can."""
    too_large_status: int = 413
    """What a delivery that is too large is answered with: some CRMs never send again what was
    answered with 413."""
    event_types: tuple[str, ...]
    """The CRM's own names of the event types we listen to."""


class Session(Protocol):
    """One account, connected. Every method may raise ``CrmError``; none sleeps longer than its
    time-out and rate limit demand. Reads and updates may be repeated; ``create_tasks`` is sent
    once; where no answer came it tells so in ``CreatedTasks``, or raises
    ``CrmUnavailable(outcome_unknown=True)`` where nothing is known of any of them."""

    calls: int
    """How many HTTP requests were sent, for the benchmark and the logs."""

    @property
    def allowance(self) -> Allowance | None:
        """What is known of the day's budget; None where the CRM has none."""

    def follow(self, allowance: Allowance | None, *, guard: Callable[[], None]) -> None:
        """``allowance`` is what was stored with the account: other processes may have spent since.
        ``guard`` is called right before every HTTP request from now on, after all waiting and
        before each repetition: what it raises (``LeaseLost``) goes through and nothing is sent."""

    def account(self) -> AccountFacts: ...

    def users(self) -> tuple[User, ...]:
        """All users, deactivated ones too."""

    def list_contacts(self, cursor: str | None) -> Page[ContactCard]: ...

    def contacts_changed_since(self, since: datetime, cursor: str | None) -> Page[ContactCard]:
        """Contacts modified since, oldest change first."""

    def deals_changed_since(self, since: datetime, cursor: str | None) -> Page[str]: ...

    def existing(self, contact_ids: Sequence[str]) -> frozenset[str]:
        """Which of these contacts (at most ``batch_size``) are still there."""

    def load(
        self,
        contact_ids: Sequence[str],
        *,
        history: bool,
        known_deals: Mapping[str, Sequence[str]],
    ) -> Loaded:
        """At most ``batch_size`` contacts with their deals and links (``history_batch_size`` with
        the history of the in fields). A merged-away id answers as ``missing``.

        ``known_deals``: the deals of those contacts that were read before, as far as was heard
        since; an adapter may rely on it where the CRM makes it dear to ask.
        """

    def deal_contacts(self, deal_ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """Contacts of each deal; a deal that is gone or has none is absent."""

    def write_fields(self, updates: Sequence[FieldUpdate]) -> tuple[Failure, ...]: ...

    def link_referrers(self, updates: Sequence[LinkUpdate]) -> tuple[Failure, ...]: ...

    def create_tasks(self, drafts: Sequence[TaskDraft]) -> CreatedTasks: ...

    def update_tasks(self, updates: Sequence[TaskUpdate]) -> tuple[Failure, ...]: ...

    def delete_tasks(self, task_ids: Sequence[str]) -> None:
        """Those already gone are no fault."""

    def read_tasks(self, task_ids: Sequence[str]) -> Mapping[str, CrmTask]:
        """Tasks by id; one that is gone is absent."""

    def find_tasks(self, contact_ids: Sequence[str]) -> tuple[CrmTask, ...]:
        """All tasks standing on these contacts whose body holds one of our markers."""

    # -- webhooks, where ``Declaration.webhooks`` is ``API``

    def subscribe(self, target: str, secrets: Sequence[str]) -> tuple[str, ...]:
        """Make sure that the CRM delivers to ``target``, or to addresses below it (topics).

        What is there and works stays; what is missing, switched off, or leads to an address with
        the same path on another host is made anew. Returns the secrets of the account from now
        on, in the adapter's own form. ``secrets``: those kept so far, at first a random one of
        ours; a CRM that lets us choose takes the first. Does nothing and returns ``secrets``
        where ``Declaration.webhooks`` is not ``API``.
        """

    def unsubscribe(self, target: str) -> None:
        """Remove what ``subscribe`` made; what is gone already is no fault."""

    # -- installing

    def plan_install(self) -> tuple[PlanStep, ...]: ...

    def install(self, steps: Iterable[PlanStep]) -> Mapping[str, str]:
        """Carry out a plan; returns the facts to keep in ``AccountLink.facts``."""

    def plan_uninstall(self, *, delete_data: bool) -> tuple[PlanStep, ...]: ...

    def uninstall(self, steps: Iterable[PlanStep]) -> None: ...

    def installed_fields(self) -> frozenset[str]:
        """Keys of our fields that exist and are ours."""


class Adapter(Protocol):
    """One CRM."""

    declaration: Declaration

    def verify(self, delivery: Delivery, *, secrets: Sequence[str], now: datetime) -> None:
        """Raises ``SignatureError`` unless one of the secrets signed these bytes just now."""

    def sender(self, body: bytes) -> str:
        """Who sent it, as far as the first bytes tell without parsing them: the account's
        ``crm_id``, else "". Asked only where accounts share an address, and used only to be fair
        between them."""

    def parse(self, received: Received) -> Parsed:
        """Raises ``PayloadError`` where the whole body cannot be read."""

    def redact(
        self,
        received: Received,
        *,
        account_crm_id: str,
        contact_ids: frozenset[str],
        words: Sequence[str],
    ) -> bytes | None:
        """The body without the values that tell of these contacts or contain one of the words;
        None where nothing had to go. Ids and other people's events stay."""

    def connect(self, link: AccountLink) -> Session: ...

    def guide(self, target: str) -> str:
        """What the admin has to do in the CRM so that webhooks arrive at ``target``; English."""

    def project_files(
        self, *, public_url: str, rating_properties: Sequence[str]
    ) -> Mapping[str, str]:
        """Relative path → content of the app project the CRM's own tooling uploads; none where
        ``Declaration.webhooks`` is not ``PROJECT``."""
