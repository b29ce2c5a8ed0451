"""The words of the referral model: frozen values that the pure functions take and return.

Days are calendar days in the account's time zone; instants are aware UTC datetimes;
money is ``Decimal``. Nothing here knows a CRM, a database or a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum


class Stage(StrEnum):
    """A step of the Empfehlungsspirale; the order of the ladder is ``LADDER``."""

    EXPECTATION = "expectation"
    EXPERIENCE = "experience"
    SATISFACTION = "satisfaction"
    SYMPATHY = "sympathy"
    ENTHUSIASM = "enthusiasm"
    LOYALTY = "loyalty"
    NEGATIVE = "negative"


LADDER = (
    Stage.EXPECTATION,
    Stage.EXPERIENCE,
    Stage.SATISFACTION,
    Stage.SYMPATHY,
    Stage.ENTHUSIASM,
    Stage.LOYALTY,
)


class RatingValue(StrEnum):
    ANGRY = "angry"
    DISSATISFIED = "dissatisfied"
    SATISFIED = "satisfied"
    DELIGHTED = "delighted"

    @property
    def positive(self) -> bool:
        return self in (RatingValue.SATISFIED, RatingValue.DELIGHTED)


class Readiness(StrEnum):
    """May this contact be asked for a referral?"""

    DO_NOT_ASK = "do_not_ask"
    REPAIR_FIRST = "repair_first"
    COOLING_DOWN = "cooling_down"
    FIRST_MOMENT = "first_moment"
    GOOD_MOMENT = "good_moment"
    ASK_NOW = "ask_now"
    NOT_YET = "not_yet"


class Tier(StrEnum):
    NONE = "none"
    ONE_TIME = "one_time"
    REPEAT = "repeat"
    SUPER = "super"


class Origin(StrEnum):
    RECOMMENDATION = "recommendation"
    WEB_SEARCH = "web_search"
    REVIEW_SITE = "review_site"
    SOCIAL_MEDIA = "social_media"
    PRESS = "press"
    EVENT = "event"
    ADVERTISING = "advertising"
    EXISTING_CONTACT = "existing_contact"
    OTHER = "other"


class Pillar(StrEnum):
    """Where referrers come from: the three pillars."""

    EMPLOYEE = "employee"
    CUSTOMER = "customer"
    NETWORK = "network"


class Channel(StrEnum):
    """Consent on file for being contacted with an ask (§ 7 UWG)."""

    PHONE = "phone"
    EMAIL = "email"


class TaskKind(StrEnum):
    ASK_ORIGIN = "ask_origin"
    ASK_REFERRAL_DETAILS = "ask_referral_details"
    RESOLVE_REFERRER = "resolve_referrer"
    THANK_REFERRER = "thank_referrer"
    TELL_OUTCOME = "tell_outcome"
    MIND_EXPECTATION = "mind_expectation"
    CHECK_EXPERIENCE = "check_experience"
    ASK_REFERRAL_SOFT = "ask_referral_soft"
    ASK_REFERRAL = "ask_referral"
    ASK_REFERRAL_FIRM = "ask_referral_firm"
    REPAIR = "repair"
    PROTECT_REFERRER = "protect_referrer"
    CARE_FOR_REFERRED = "care_for_referred"
    CARE_SUPER_REFERRER = "care_super_referrer"
    CAMPAIGN_ASK_ORIGIN = "campaign_ask_origin"


ASK_KINDS = (TaskKind.ASK_REFERRAL_SOFT, TaskKind.ASK_REFERRAL, TaskKind.ASK_REFERRAL_FIRM)
"""The three asks, lowest first."""


class Priority(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


# ------------------------------------------------------------------------- evidence


@dataclass(frozen=True, kw_only=True, slots=True)
class Deal:
    """A deal of one contact as the CRM tells it now.

    ``won_on`` is set exactly while the deal is won, ``lost_on`` exactly while it is lost.
    ``first_seen_on`` is the day the plugin first saw the deal *in its present outcome*
    (what is old then stays quiet). ``lead`` is true where tasks about this deal belong to
    this contact: the deal's primary contact, else the one created first.
    ``home_amount`` is in the account's main currency, None where the CRM gives none.
    """

    crm_id: str
    name: str = ""
    opened_on: date
    won_on: date | None = None
    lost_on: date | None = None
    amount: Decimal | None = None
    currency: str | None = None
    home_amount: Decimal | None = None
    owner_id: str | None = None
    lead: bool = True
    first_seen_on: date

    @property
    def is_open(self) -> bool:
        return self.won_on is None and self.lost_on is None


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldChange:
    """One change of one *in* field, as an event or the CRM's property history told it.

    ``field`` is one of ours (``spiral_rating``, ``spiral_rated_on``, ``spiral_referrer_name``)
    or ``score`` for the NPS/CSAT property the admin mapped. ``value`` is "" where emptied.
    """

    field: str
    value: str
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Rating:
    """What a customer said about us, about one day.

    ``recorded_at`` is the instant of the change that made it, and so names this rating for
    good, even when ``spiral_rated_on`` moves its day later.
    """

    day: date
    value: RatingValue
    recorded_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """All that decides a contact's stage. Order and duplicates must not matter."""

    known_since: date
    deals: tuple[Deal, ...] = ()
    ratings: tuple[Rating, ...] = ()
    referrals_given_on: tuple[date, ...] = ()


# ----------------------------------------------------------------------- assessment


class Because(StrEnum):
    """Why a stage was entered, or what a line of evidence is."""

    KNOWN = "known"
    FIRST_PURCHASE = "first_purchase"
    POSITIVE_RATING = "positive_rating"
    REPEAT_PURCHASE_IMPLIES = "repeat_purchase_implies"
    FURTHER_DEAL_OPENED = "further_deal_opened"
    FURTHER_PURCHASE = "further_purchase"
    SECOND_POSITIVE_RATING = "second_positive_rating"
    DELIGHTED_AGAIN = "delighted_again"
    HELD_LONG = "held_long"
    REFERRAL_GIVEN = "referral_given"
    NEGATIVE_RATING = "negative_rating"
    SECOND_DISSATISFIED = "second_dissatisfied"
    REPAIRED = "repaired"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One entry of a stage: when, and because of what."""

    stage: Stage
    on: date
    because: Because
    deal: Deal | None = None
    rating: Rating | None = None


class Need(StrEnum):
    """What is missing for the next stage."""

    FIRST_PURCHASE = "first_purchase"
    POSITIVE_RATING = "positive_rating"
    FURTHER_DEAL_OR_RATING = "further_deal_or_rating"
    DELIGHT = "delight"
    TIME_OR_REFERRAL = "time_or_referral"
    REPAIR = "repair"
    NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """What is missing for the next stage. ``earliest`` is a day before which it cannot come by
    that road (a second positive rating counts from then; loyalty comes by itself then);
    ``count`` is how many delighted ratings are still missing."""

    need: Need
    earliest: date | None = None
    count: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Complaint:
    """An open complaint: a negative spiral, or a forgiven ``dissatisfied`` not yet made good.

    ``ratings`` are all its negative ratings in order of day: any of them may have been the one
    that was seen first, so each names the same complaint.
    """

    grade: RatingValue
    ratings: tuple[Rating, ...]

    @property
    def started_on(self) -> date:
        return self.ratings[0].day


@dataclass(frozen=True, kw_only=True, slots=True)
class Assessment:
    """Where a contact stands on the spiral, and why."""

    stage: Stage
    since: date
    steps: tuple[Step, ...]
    missing: Missing
    spiral: Complaint | None = None
    """The negative spiral, while in it."""
    forgiven: Complaint | None = None
    """A forgiven ``dissatisfied`` at loyalty, until made good."""
    repaired_on: date | None = None
    """The day the last negative spiral ended."""
    first_purchase: Deal | None = None
    rated_since_purchase: bool = False
    changes_on: date | None = None
    """The next day on which time alone may change this assessment."""


# ------------------------------------------------------------------------ referrals


class MatchOutcome(StrEnum):
    """What became of a name that was told."""

    LINKED = "linked"
    AMBIGUOUS = "ambiguous"
    NONE = "none"
    REFUSED_SELF = "refused_self"
    REFUSED_CIRCLE = "refused_circle"


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """Somebody who may be meant by a name. ``is_user`` for a CRM user (employee); ``reasons`` are
    keys of ``plugin.texts`` such as ``surname`` or ``company``."""

    crm_id: str
    is_user: bool = False
    name: str = ""
    company: str = ""
    city: str = ""
    score: float = 0.0
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Referrer:
    """The referrer of a contact, as the pipeline knows it now."""

    crm_id: str
    name: str = ""
    is_user: bool = False
    owner_id: str | None = None
    gone: bool = False
    """The contact is deleted, or the user deactivated."""
    spiral: Complaint | None = None
    """The referrer's own negative spiral, while in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Referral:
    """Who recommended us to this contact, in the words of the rep. Position 0 is the primary."""

    text: str
    text_key: str
    position: int
    outcome: MatchOutcome
    recorded_on: date
    referrer: Referrer | None = None
    candidates: tuple[Candidate, ...] = ()
    tells_deal_ids: frozenset[str] = frozenset()
    """Deals whose outcome is told to this referrer through another contact of the same deal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenReferral:
    """A matched referral given by this contact. ``primary``: first of the referred one's names."""

    referred_id: str
    referred_name: str
    recorded_on: date
    primary: bool = True
    deals: tuple[Deal, ...] = ()

    @property
    def won(self) -> bool:
        return any(deal.won_on for deal in self.deals)


# ------------------------------------------------------------------ a contact's case


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """An ask task of this contact that is open or was completed by a person.

    ``made_on`` is None while it is open.
    """

    kind: TaskKind
    cause: str
    made_on: date | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """Everything the model needs to decide about one contact."""

    crm_id: str
    name: str
    company: str = ""
    owner_id: str | None = None
    employee: bool = False
    evidence: Evidence
    origin: Origin | None = None
    recommended_service: str = ""
    recommended_words: str = ""
    do_not_ask: bool = False
    consent: frozenset[Channel] = frozenset()
    locked_stage: Stage | None = None
    """The stage in the CRM where a rep locked it, else None."""
    referrals: tuple[Referral, ...] = ()
    given: tuple[GivenReferral, ...] = ()
    asks: tuple[Ask, ...] = ()
    main_currency: str = "EUR"


# ------------------------------------------------------------------------- decision


class Pause(StrEnum):
    """Why a contact is cooling down."""

    NEGOTIATION = "negotiation"
    AFTER_REPAIR = "after_repair"
    AFTER_ASK = "after_ask"
    TWO_UNANSWERED = "two_unanswered"
    SUPER_REFERRER = "super_referrer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """Readiness with its reason; ``until`` is the first day the pause is over, if time ends it."""

    value: Readiness
    pause: Pause | None = None
    until: date | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What a task's text is made from. Which are set depends on the kind (``playbook.py``).

    ``name`` is the contact the decision is about; ``on`` the day the task speaks of (purchase,
    outcome, start of a complaint …).
    """

    name: str
    on: date | None = None
    deal_name: str = ""
    won: bool = False
    """tell_outcome: won, else lost. mind_expectation: won, else just opened."""
    referrer_name: str = ""
    referrer_is_user: bool = False
    referred_name: str = ""
    service: str = ""
    words: str = ""
    words_missing: bool = False
    referrer_missing: bool = False
    text: str = ""
    """resolve_referrer: the name as it was told."""
    outcome: MatchOutcome | None = None
    candidates: tuple[Candidate, ...] = ()
    grade: RatingValue | None = None
    forgiven: bool = False
    left: bool = False
    """care_for_referred: the referrer left, else turned negative."""
    stage: Stage | None = None
    consent: frozenset[Channel] = frozenset()
    came_by_referral: bool = False
    given: int = 0
    won_count: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class WantedTask:
    """A task that should exist now.

    ``causes[0]`` is what makes it once; the others are names under which the same cause may
    have been known before. ``target_id`` is the contact it stands on, ``owner_id`` who should
    do it (None: the fallback owner). ``mentions`` are the contacts its text names.
    """

    kind: TaskKind
    causes: tuple[str, ...]
    target_id: str
    owner_id: str | None
    deal_id: str | None = None
    also_on: tuple[str, ...] = ()
    due_working_days: int
    priority: Priority = Priority.MEDIUM
    facts: Facts
    mentions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class AskCandidate:
    """A contact who may be asked now; who is asked this week is planned over all of a rep's.

    ``order`` sorts ascending: came by referral first, then the higher stage, then waiting
    longest, then id.
    """

    task: WantedTask
    order: tuple[int, int, str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """Money brought in by the people a contact sent. ``rest``: other currencies, not added."""

    total: Decimal
    currency: str
    rest: tuple[tuple[str, Decimal], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What should be true about one contact now."""

    assessment: Assessment | None
    """None for employees and where ``do_not_ask`` is set (no stage is computed or kept)."""
    stage: Stage | None
    """The stage shown: the locked one, else the assessed one, else none."""
    ready: Ready | None
    referrals_given: int
    referrals_won: int
    value: Value
    tier: Tier
    primary_referrer: Referrer | None
    tasks: tuple[WantedTask, ...]
    ask: AskCandidate | None
    complaint: Complaint | None
    """What a ``repair`` is about, from the evidence alone (locks and do_not_ask do not hide it)."""
    spiral: Complaint | None = None
    """The negative spiral, from the evidence alone; a merely forgiven complaint is not one."""
    review_on: date | None
    """The next day on which time alone may change this decision."""
