"""The playbook: which tasks the reps of one contact should have.

Clara Winter (11, owner 71) is the contact; Anna Meyer (12, owner 72) and Ben Vogel (13, owner 73)
recommended us to her, or Jan Koch did, an employee (user 91). Today is Monday, 3 June 2024.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from plugin.referral.advocates import Standing
from plugin.referral.model import (
    Ask,
    AskCandidate,
    Assessment,
    Candidate,
    Case,
    Channel,
    Complaint,
    Deal,
    Evidence,
    Facts,
    MatchOutcome,
    Missing,
    Need,
    Origin,
    Priority,
    RatingValue,
    Readiness,
    Ready,
    Referral,
    Referrer,
    Stage,
    TaskKind,
    Tier,
    Value,
    WantedTask,
)
from plugin.referral.playbook import ask_candidate, wanted
from plugin.referral.policy import TaskPolicy
from tests.referral.scenario import deal, rating

TODAY = date(2024, 6, 3)

ANNA = Referrer(crm_id="12", name="Anna Meyer", owner_id="72")
BEN = Referrer(crm_id="13", name="Ben Vogel", owner_id="73")
JAN = Referrer(crm_id="91", name="Jan Koch", is_user=True)

WEBSITE = deal("2024-04-01", won="2024-05-06", crm_id="501", name="Website")
OFFER = deal("2024-05-20", crm_id="502", name="Offer")

UNHAPPY = Complaint(
    grade=RatingValue.DISSATISFIED,
    ratings=(rating("2024-05-27", "dissatisfied"),),
)
"""One bad rating, recorded at noon."""
WORSE = Complaint(
    grade=RatingValue.ANGRY,
    ratings=(rating("2024-05-27", "dissatisfied"), rating("2024-05-29", "angry")),
)
"""Two bad ratings: either may have been seen first."""

SOME = Standing(given=1, won=0, value=Value(total=Decimal(0), currency="EUR"), tier=Tier.ONE_TIME)
SUPER = SOME._replace(given=4, won=2, tier=Tier.SUPER)


def clara(*deals: Deal, **changes: Any) -> Case:
    """Clara with her deals, and what else is known of her."""
    evidence = Evidence(known_since=date(2024, 4, 1), deals=deals)
    return Case(
        **{
            "crm_id": "11",
            "name": "Clara Winter",
            "owner_id": "71",
            "evidence": evidence,
            **changes,
        }
    )


def told(
    referrer: Referrer | None,
    text: str = "",
    *,
    outcome: MatchOutcome | None = None,
    **changes: Any,
) -> Referral:
    """A name somebody told: linked where the referrer is given, else not found."""
    linked = MatchOutcome.LINKED if referrer else MatchOutcome.NONE
    text = text or (referrer.name if referrer else "Frau Meyer")
    return Referral(
        **{
            "text": text,
            "text_key": text.lower(),
            "position": 0,
            "outcome": outcome or linked,
            "recorded_on": date(2024, 4, 2),
            "referrer": referrer,
            **changes,
        }
    )


def bought(first: Deal | None = WEBSITE, **changes: Any) -> Assessment:
    """What the evidence says: bought and not rated yet, unless told otherwise."""
    return Assessment(
        **{
            "stage": Stage.EXPERIENCE,
            "since": date(2024, 5, 6),
            "steps": (),
            "missing": Missing(need=Need.POSITIVE_RATING),
            "first_purchase": first,
            **changes,
        }
    )


PROSPECT = bought(None, stage=Stage.EXPECTATION, since=date(2024, 4, 1))
RATED = bought(rated_since_purchase=True)
NEGATIVE = bought(stage=Stage.NEGATIVE, rated_since_purchase=True, spiral=UNHAPPY)


def tasks(
    kind: TaskKind,
    case: Case,
    assessment: Assessment = RATED,
    *,
    standing: Standing = SOME,
    policy: TaskPolicy | None = None,
    today: date = TODAY,
) -> tuple[WantedTask, ...]:
    """The wanted tasks of one kind."""
    everything = wanted(case, assessment, standing, policy or TaskPolicy(), today)
    return tuple(task for task in everything if task.kind is kind)


def causes(*args: Any, **kwargs: Any) -> list[str]:
    """What makes each wanted task of one kind once."""
    return [task.causes[0] for task in tasks(*args, **kwargs)]


# --------------------------------------------------------------------------- ask_origin


def test_ask_origin_stands_on_the_buyer() -> None:
    """After the first purchase the contact's owner asks what brought them to us."""
    expected = WantedTask(
        kind=TaskKind.ASK_ORIGIN,
        causes=("deal=501",),
        target_id="11",
        owner_id="71",
        deal_id="501",
        due_working_days=3,
        facts=Facts(name="Clara Winter", on=date(2024, 5, 6), deal_name="Website"),
    )
    assert (expected,) == tasks(TaskKind.ASK_ORIGIN, clara(WEBSITE), bought())


LATE = replace(WEBSITE, first_seen_on=date(2024, 8, 5))
SHARED = replace(WEBSITE, lead=False)

ORIGIN = [
    ("bought, origin unknown", clara(WEBSITE), bought(), ["deal=501"]),
    ("nothing bought yet", clara(OFFER), PROSPECT, []),
    ("the origin is known", clara(WEBSITE, origin=Origin.PRESS), bought(), []),
    ("a referrer was told", clara(WEBSITE, referrals=(told(ANNA),)), bought(), []),
    ("a name was told that nobody found", clara(WEBSITE, referrals=(told(None),)), bought(), []),
    ("the deal belongs to another contact first", clara(SHARED), bought(SHARED), []),
    ("the purchase was 91 days old when first seen", clara(LATE), bought(LATE), []),
    ("do not ask", clara(WEBSITE, do_not_ask=True), bought(), []),
    ("asked even while unhappy", clara(WEBSITE), NEGATIVE, ["deal=501"]),
]


@pytest.mark.parametrize(
    ("case", "assessment", "expected"), [row[1:] for row in ORIGIN], ids=[row[0] for row in ORIGIN]
)
def test_when_the_origin_is_asked_for(
    case: Case, assessment: Assessment, expected: list[str]
) -> None:
    """Once per first purchase, while nobody knows what brought them."""
    assert expected == causes(TaskKind.ASK_ORIGIN, case, assessment)


# ----------------------------------------------------------------- ask_referral_details


def test_ask_referral_details_says_what_is_missing() -> None:
    """A recommendation of which neither words nor referrer are known."""
    expected = WantedTask(
        kind=TaskKind.ASK_REFERRAL_DETAILS,
        causes=("origin=recommendation",),
        target_id="11",
        owner_id="71",
        due_working_days=3,
        facts=Facts(name="Clara Winter", words_missing=True, referrer_missing=True),
    )
    case = clara(WEBSITE, origin=Origin.RECOMMENDATION)
    assert (expected,) == tasks(TaskKind.ASK_REFERRAL_DETAILS, case)


RECOMMENDED = clara(
    WEBSITE,
    origin=Origin.RECOMMENDATION,
    referrals=(told(ANNA),),
    recommended_words="They keep their word",
)

DETAILS = [
    ("only the words are missing", replace(RECOMMENDED, recommended_words=" "), [(True, False)]),
    ("only the referrer is missing", replace(RECOMMENDED, referrals=()), [(False, True)]),
    ("a name not found is a name told", replace(RECOMMENDED, referrals=(told(None),)), []),
    ("both are there", RECOMMENDED, []),
    ("they came by the press", clara(WEBSITE, origin=Origin.PRESS), []),
    ("a referrer was told, the origin not", clara(WEBSITE, referrals=(told(ANNA),)), []),
    ("do not ask", clara(WEBSITE, origin=Origin.RECOMMENDATION, do_not_ask=True), []),
]


@pytest.mark.parametrize(
    ("case", "expected"), [row[1:] for row in DETAILS], ids=[row[0] for row in DETAILS]
)
def test_when_the_details_of_a_recommendation_are_asked_for(
    case: Case, expected: list[tuple[bool, bool]]
) -> None:
    """Who was it, and what was said: (words missing, referrer missing)."""
    actual = tasks(TaskKind.ASK_REFERRAL_DETAILS, case)

    assert expected == [(task.facts.words_missing, task.facts.referrer_missing) for task in actual]


# --------------------------------------------------------------------- resolve_referrer


def test_resolve_referrer_shows_the_candidates() -> None:
    """The rep sees the name as told and who may be meant; only contacts are mentioned."""
    candidates = (
        Candidate(crm_id="12", name="Anna Meyer", score=0.6, reasons=("surname",)),
        Candidate(crm_id="91", is_user=True, name="Jan Meyer", score=0.5, reasons=("surname",)),
    )
    referral = told(None, "Frau Meyer", outcome=MatchOutcome.AMBIGUOUS, candidates=candidates)
    expected = WantedTask(
        kind=TaskKind.RESOLVE_REFERRER,
        causes=("name=frau meyer;outcome=ambiguous",),
        target_id="11",
        owner_id="71",
        due_working_days=3,
        facts=Facts(
            name="Clara Winter",
            on=referral.recorded_on,
            text="Frau Meyer",
            outcome=MatchOutcome.AMBIGUOUS,
            candidates=candidates,
        ),
        mentions=("12",),
    )
    assert (expected,) == tasks(TaskKind.RESOLVE_REFERRER, clara(referrals=(referral,)))


NOT_LINKED = [
    (MatchOutcome.AMBIGUOUS, ["name=frau meyer;outcome=ambiguous"]),
    (MatchOutcome.NONE, ["name=frau meyer;outcome=none"]),
    (MatchOutcome.REFUSED_SELF, ["name=frau meyer;outcome=refused_self"]),
    (MatchOutcome.REFUSED_CIRCLE, ["name=frau meyer;outcome=refused_circle"]),
]


@pytest.mark.parametrize(("outcome", "expected"), NOT_LINKED)
def test_every_outcome_but_a_link_is_to_be_resolved(
    outcome: MatchOutcome, expected: list[str]
) -> None:
    """Each name and outcome once; also where the contact must not be asked for referrals."""
    case = clara(referrals=(told(None, outcome=outcome),), do_not_ask=True)

    assert expected == causes(TaskKind.RESOLVE_REFERRER, case)


def test_each_name_is_resolved_by_itself() -> None:
    """Of three names the linked one needs nothing; the others come in the order told."""
    case = clara(
        referrals=(
            told(None, "Herr Vogel", position=2),
            told(ANNA, position=1),
            told(None, "Frau Kaya", position=0),
        )
    )
    expected = ["name=frau kaya;outcome=none", "name=herr vogel;outcome=none"]
    assert expected == causes(TaskKind.RESOLVE_REFERRER, case)


def test_a_name_told_twice_is_resolved_once() -> None:
    """The same name in two places is one question."""
    case = clara(referrals=(told(None), told(None, position=1)))

    assert causes(TaskKind.RESOLVE_REFERRER, case) == ["name=frau meyer;outcome=none"]


# ----------------------------------------------------------------------- thank_referrer

THANKS_TO_ANNA = WantedTask(
    kind=TaskKind.THANK_REFERRER,
    causes=("referrer=12",),
    target_id="12",
    owner_id="72",
    also_on=("11",),
    due_working_days=1,
    facts=Facts(
        name="Clara Winter",
        on=date(2024, 4, 2),
        referrer_name="Anna Meyer",
        referred_name="Clara Winter",
    ),
    mentions=("11",),
)
THANKS_TO_JAN = WantedTask(
    kind=TaskKind.THANK_REFERRER,
    causes=("user=91",),
    target_id="11",
    owner_id="71",
    due_working_days=1,
    facts=Facts(
        name="Clara Winter",
        on=date(2024, 4, 2),
        referrer_name="Jan Koch",
        referrer_is_user=True,
        referred_name="Clara Winter",
    ),
)

THANKS = [
    ("a contact is thanked by the contact's owner", (told(ANNA),), (THANKS_TO_ANNA,)),
    ("an employee is thanked by the owner of who was sent", (told(JAN),), (THANKS_TO_JAN,)),
    (
        "several referrers are all thanked, the primary first",
        (told(JAN, position=1), told(ANNA)),
        (THANKS_TO_ANNA, THANKS_TO_JAN),
    ),
    (
        "a referrer told under two names is thanked once",
        (told(ANNA), told(ANNA, "Anna", position=1)),
        (THANKS_TO_ANNA,),
    ),
    ("a referrer who is gone cannot be thanked", (told(replace(ANNA, gone=True)),), ()),
    ("an employee who left cannot be thanked", (told(replace(JAN, gone=True)),), ()),
    ("a name nobody found cannot be thanked", (told(None),), ()),
    ("who may be meant is not thanked", (told(ANNA, outcome=MatchOutcome.AMBIGUOUS),), ()),
]


@pytest.mark.parametrize(
    ("referrals", "expected"), [row[1:] for row in THANKS], ids=[row[0] for row in THANKS]
)
@pytest.mark.parametrize("do_not_ask", [False, True])
def test_every_matched_referrer_is_thanked(
    referrals: tuple[Referral, ...], expected: tuple[WantedTask, ...], do_not_ask: bool
) -> None:
    """Once per referrer, however old; ``do_not_ask`` is no reason not to thank."""
    case = clara(referrals=referrals, do_not_ask=do_not_ask)

    assert expected == tasks(TaskKind.THANK_REFERRER, case)


def test_a_referrer_without_a_name_is_called_as_told() -> None:
    """Where the CRM has no name, the words of the rep stand in."""
    case = clara(referrals=(told(replace(ANNA, name=""), "Frau Meyer"),))

    (task,) = tasks(TaskKind.THANK_REFERRER, case)
    assert task.facts.referrer_name == "Frau Meyer"


# ------------------------------------------------------------------------- tell_outcome


def test_tell_outcome_stands_on_the_referrer() -> None:
    """The referrer's owner tells what came of the referral."""
    expected = WantedTask(
        kind=TaskKind.TELL_OUTCOME,
        causes=("referrer=12;deal=501;outcome=won",),
        target_id="12",
        owner_id="72",
        deal_id="501",
        also_on=("11",),
        due_working_days=3,
        facts=Facts(
            name="Clara Winter",
            on=date(2024, 5, 6),
            deal_name="Website",
            won=True,
            referrer_name="Anna Meyer",
            referred_name="Clara Winter",
        ),
        mentions=("11",),
    )
    assert (expected,) == tasks(TaskKind.TELL_OUTCOME, clara(WEBSITE, referrals=(told(ANNA),)))


LOST_BEFORE = deal("2024-04-01", lost="2024-05-05", crm_id="503")
LOST_SAME_DAY = deal("2024-04-01", lost="2024-05-06", crm_id="504")
LOST_LATER = deal("2024-04-01", lost="2024-05-27", crm_id="505")
WON_LATER = deal("2024-04-01", won="2024-05-27", crm_id="506")
LOST_LONG_AGO = deal("2023-11-06", lost="2024-01-01", crm_id="507", first_seen_on=date(2024, 4, 1))

WON_TOLD = "referrer=12;deal=501;outcome=won"
LOST_TOLD = "referrer=12;deal=503;outcome=lost"

OUTCOMES = [
    ("still open", clara(OFFER), PROSPECT, []),
    ("won", clara(WEBSITE), RATED, [WON_TOLD]),
    ("lost", clara(LOST_BEFORE), PROSPECT, [LOST_TOLD]),
    (
        "lost twice and nothing won: both are told",
        clara(LOST_LATER, LOST_BEFORE),
        PROSPECT,
        [LOST_TOLD, "referrer=12;deal=505;outcome=lost"],
    ),
    ("lost, then won: both are told", clara(WEBSITE, LOST_BEFORE), RATED, [LOST_TOLD, WON_TOLD]),
    ("lost on the day of the win is not told", clara(LOST_SAME_DAY, WEBSITE), RATED, [WON_TOLD]),
    ("later losses are not told", clara(WEBSITE, LOST_LATER), RATED, [WON_TOLD]),
    ("later wins are not told", clara(WEBSITE, WON_LATER), RATED, [WON_TOLD]),
    ("won 91 days before it was first seen", clara(LATE), bought(LATE), []),
    ("lost 91 days before it was first seen", clara(LOST_LONG_AGO), PROSPECT, []),
    ("told as well where another contact is first", clara(SHARED), bought(SHARED), [WON_TOLD]),
    ("told as well where one must not ask", clara(WEBSITE, do_not_ask=True), RATED, [WON_TOLD]),
]


@pytest.mark.parametrize(
    ("case", "assessment", "expected"),
    [row[1:] for row in OUTCOMES],
    ids=[row[0] for row in OUTCOMES],
)
def test_which_outcomes_the_referrer_hears_of(
    case: Case, assessment: Assessment, expected: list[str]
) -> None:
    """The first purchase and what was lost before it, each once, while it is news."""
    assert expected == causes(
        TaskKind.TELL_OUTCOME, replace(case, referrals=(told(ANNA),)), assessment
    )


HEARERS = [
    (
        "two referrers hear of it",
        (told(BEN, position=1), told(ANNA)),
        [WON_TOLD, "referrer=13;deal=501;outcome=won"],
    ),
    ("an employee sees it in the CRM", (told(JAN),), []),
    ("a referrer who is gone hears nothing", (told(replace(ANNA, gone=True)),), []),
    ("a name nobody found hears nothing", (told(None),), []),
    (
        "who hears of this deal by another contact hears of it once",
        (told(ANNA, tells_deal_ids=frozenset({"501"})), told(BEN, position=1)),
        ["referrer=13;deal=501;outcome=won"],
    ),
]


@pytest.mark.parametrize(
    ("referrals", "expected"), [row[1:] for row in HEARERS], ids=[row[0] for row in HEARERS]
)
def test_who_hears_of_an_outcome(referrals: tuple[Referral, ...], expected: list[str]) -> None:
    """Every matched contact who is still there, once per deal."""
    assert expected == causes(TaskKind.TELL_OUTCOME, clara(WEBSITE, referrals=referrals))


# --------------------------------------------------------------------- mind_expectation


def test_mind_expectation_goes_to_the_deals_owner() -> None:
    """Who works on the deal learns which service was recommended, by whom, in which words."""
    website = replace(WEBSITE, owner_id="79")
    case = clara(
        website,
        referrals=(told(ANNA), told(None, "Herr Vogel", position=1), told(JAN, position=2)),
        recommended_service="Web design",
        recommended_words="They keep their word",
    )
    expected = WantedTask(
        kind=TaskKind.MIND_EXPECTATION,
        causes=("deal=501;phase=won",),
        target_id="11",
        owner_id="79",
        deal_id="501",
        due_working_days=1,
        facts=Facts(
            name="Clara Winter",
            on=date(2024, 5, 6),
            deal_name="Website",
            won=True,
            referrer_name="Anna Meyer, Herr Vogel, Jan Koch",
            service="Web design",
            words="They keep their word",
        ),
        mentions=("12",),
    )
    assert (expected,) == tasks(TaskKind.MIND_EXPECTATION, case, bought(website))


OPENED_LONG_AGO = replace(OFFER, first_seen_on=date(2024, 8, 19))
FIRST_OPEN = deal("2024-03-04", crm_id="508")
LOST_FIRST = deal("2024-03-04", lost="2024-03-11", crm_id="509")
SAME_DAY_LOWER_ID = deal("2024-05-20", crm_id="99")

EXPECTATIONS = [
    ("the first deal is opened", clara(OFFER), PROSPECT, ["deal=502;phase=opened"]),
    ("the first deal is won", clara(WEBSITE), RATED, ["deal=501;phase=won"]),
    (
        "of two deals opened on one day the lower id is the first",
        clara(OFFER, SAME_DAY_LOWER_ID),
        PROSPECT,
        ["deal=99;phase=opened"],
    ),
    ("a second deal is opened", clara(WEBSITE, OFFER), RATED, ["deal=501;phase=won"]),
    ("a second deal is won", clara(WON_LATER, WEBSITE), RATED, ["deal=501;phase=won"]),
    (
        "the first is still open when another is won",
        clara(WEBSITE, FIRST_OPEN),
        RATED,
        ["deal=508;phase=opened", "deal=501;phase=won"],
    ),
    ("the first deal was lost, a second opened", clara(LOST_FIRST, OFFER), PROSPECT, []),
    ("no deal yet", clara(), PROSPECT, []),
    ("opened 91 days before it was first seen", clara(OPENED_LONG_AGO), PROSPECT, []),
    ("won 91 days before it was first seen", clara(LATE), bought(LATE), []),
    (
        "another contact of the deal is first",
        clara(replace(OFFER, lead=False)),
        PROSPECT,
        [],
    ),
    ("won, another contact of the deal is first", clara(SHARED), bought(SHARED), []),
    (
        "also where one must not ask",
        clara(OFFER, do_not_ask=True),
        PROSPECT,
        ["deal=502;phase=opened"],
    ),
]


@pytest.mark.parametrize(
    ("case", "assessment", "expected"),
    [row[1:] for row in EXPECTATIONS],
    ids=[row[0] for row in EXPECTATIONS],
)
def test_when_expectations_are_high(
    case: Case, assessment: Assessment, expected: list[str]
) -> None:
    """A referred contact's first deal, when it is opened and again when it is won."""
    assert expected == causes(
        TaskKind.MIND_EXPECTATION, replace(case, referrals=(told(ANNA),)), assessment
    )


RECOMMENDERS = [
    ("nobody recommended us", (), []),
    ("a name not found recommended us all the same", (told(None),), ["Frau Meyer"]),
    (
        "several may be meant",
        (told(None, outcome=MatchOutcome.AMBIGUOUS),),
        ["Frau Meyer"],
    ),
    ("they named themselves", (told(None, outcome=MatchOutcome.REFUSED_SELF),), []),
    (
        "they were recommended by whom they sent",
        (told(None, outcome=MatchOutcome.REFUSED_CIRCLE),),
        [],
    ),
    ("one person under two names", (told(ANNA), told(ANNA, "Anna", position=1)), ["Anna Meyer"]),
]


@pytest.mark.parametrize(
    ("referrals", "expected"),
    [row[1:] for row in RECOMMENDERS],
    ids=[row[0] for row in RECOMMENDERS],
)
def test_whose_recommendation_raises_expectations(
    referrals: tuple[Referral, ...], expected: list[str]
) -> None:
    """Everybody who was told and not refused."""
    actual = tasks(TaskKind.MIND_EXPECTATION, clara(OFFER, referrals=referrals), PROSPECT)

    assert expected == [task.facts.referrer_name for task in actual]


def test_without_a_deal_owner_the_contacts_owner_minds_the_expectation() -> None:
    """A deal nobody owns falls to the contact's owner."""
    (task,) = tasks(TaskKind.MIND_EXPECTATION, clara(OFFER, referrals=(told(ANNA),)), PROSPECT)

    assert task.owner_id == "71"


# --------------------------------------------------------------------- check_experience


def test_check_experience_stands_on_the_buyer() -> None:
    """Two weeks after a first purchase that nobody rated, the owner asks how it went."""
    expected = WantedTask(
        kind=TaskKind.CHECK_EXPERIENCE,
        causes=("deal=501",),
        target_id="11",
        owner_id="71",
        deal_id="501",
        due_working_days=5,
        facts=Facts(name="Clara Winter", on=date(2024, 5, 6), deal_name="Website"),
    )
    assert (expected,) == tasks(TaskKind.CHECK_EXPERIENCE, clara(WEBSITE), bought())


EXPERIENCE = [
    ("thirteen days after", clara(WEBSITE), bought(), date(2024, 5, 19), []),
    ("fourteen days after", clara(WEBSITE), bought(), date(2024, 5, 20), ["deal=501"]),
    ("rated already", clara(WEBSITE), RATED, TODAY, []),
    ("nothing bought", clara(OFFER), PROSPECT, TODAY, []),
    ("unhappy since before the purchase", clara(WEBSITE), bought(spiral=UNHAPPY), TODAY, []),
    ("the deal belongs to another contact first", clara(SHARED), bought(SHARED), TODAY, []),
    ("91 days old when first seen", clara(LATE), bought(LATE), date(2024, 8, 5), []),
    ("do not ask", clara(WEBSITE, do_not_ask=True), bought(), TODAY, []),
]


@pytest.mark.parametrize(
    ("case", "assessment", "today", "expected"),
    [row[1:] for row in EXPERIENCE],
    ids=[row[0] for row in EXPERIENCE],
)
def test_when_we_ask_how_it_went(
    case: Case, assessment: Assessment, today: date, expected: list[str]
) -> None:
    """Once per first purchase, from the fourteenth day on, until there is a rating."""
    assert expected == causes(TaskKind.CHECK_EXPERIENCE, case, assessment, today=today)


# ------------------------------------------------------------------------------- repair


def test_repair_is_todays_work() -> None:
    """The owner repairs today; each bad rating names the same complaint."""
    expected = WantedTask(
        kind=TaskKind.REPAIR,
        causes=("complaint=2024-05-27T12:00:00+00:00", "complaint=2024-05-29T12:00:00+00:00"),
        target_id="11",
        owner_id="71",
        due_working_days=0,
        priority=Priority.HIGH,
        facts=Facts(name="Clara Winter", on=date(2024, 5, 27), grade=RatingValue.ANGRY),
    )
    assert (expected,) == tasks(
        TaskKind.REPAIR, clara(WEBSITE), bought(stage=Stage.NEGATIVE, spiral=WORSE)
    )


FORGIVEN = bought(stage=Stage.LOYALTY, rated_since_purchase=True, forgiven=UNHAPPY)
COMPLAINTS = [
    ("no complaint", clara(), RATED, []),
    ("unhappy", clara(), NEGATIVE, [(RatingValue.DISSATISFIED, False)]),
    ("forgiven, and repaired all the same", clara(), FORGIVEN, [(RatingValue.DISSATISFIED, True)]),
    (
        "unhappy, and not to be asked for referrals",
        clara(do_not_ask=True),
        NEGATIVE,
        [(RatingValue.DISSATISFIED, False)],
    ),
    (
        "unhappy, though the rep locked a better stage",
        clara(locked_stage=Stage.LOYALTY),
        NEGATIVE,
        [(RatingValue.DISSATISFIED, False)],
    ),
    (
        "happy, though the rep locked the stage as negative",
        clara(locked_stage=Stage.NEGATIVE),
        RATED,
        [],
    ),
]


@pytest.mark.parametrize(
    ("case", "assessment", "expected"),
    [row[1:] for row in COMPLAINTS],
    ids=[row[0] for row in COMPLAINTS],
)
def test_repair_follows_the_evidence(
    case: Case, assessment: Assessment, expected: list[tuple[RatingValue, bool]]
) -> None:
    """Every open complaint is repaired: (grade, forgiven)."""
    actual = tasks(TaskKind.REPAIR, case, assessment)

    assert expected == [(task.facts.grade, task.facts.forgiven) for task in actual]


# --------------------------------------------------------------------- protect_referrer


def test_protect_referrer_stands_on_the_referrer() -> None:
    """The referrer's owner speaks to the referrer today, before the disappointment does."""
    expected = WantedTask(
        kind=TaskKind.PROTECT_REFERRER,
        causes=(
            "complaint=2024-05-27T12:00:00+00:00;referrer=12",
            "complaint=2024-05-29T12:00:00+00:00;referrer=12",
        ),
        target_id="12",
        owner_id="72",
        also_on=("11",),
        due_working_days=0,
        priority=Priority.HIGH,
        facts=Facts(
            name="Clara Winter",
            on=date(2024, 5, 27),
            grade=RatingValue.ANGRY,
            referrer_name="Anna Meyer",
            referred_name="Clara Winter",
        ),
        mentions=("11",),
    )
    assert (expected,) == tasks(
        TaskKind.PROTECT_REFERRER,
        clara(referrals=(told(ANNA),)),
        bought(stage=Stage.NEGATIVE, spiral=WORSE),
    )


BY_ANNA = "complaint=2024-05-27T12:00:00+00:00;referrer=12"
BY_BEN = "complaint=2024-05-27T12:00:00+00:00;referrer=13"
PROTECTED = [
    ("happy", (told(ANNA),), RATED, []),
    ("a forgiven complaint falls back on nobody", (told(ANNA),), FORGIVEN, []),
    ("both referrers", (told(BEN, position=1), told(ANNA)), NEGATIVE, [BY_ANNA, BY_BEN]),
    ("an employee needs no protection", (told(JAN),), NEGATIVE, []),
    ("a referrer who is gone", (told(replace(ANNA, gone=True)),), NEGATIVE, []),
    ("a name nobody found", (told(None),), NEGATIVE, []),
]


@pytest.mark.parametrize(
    ("referrals", "assessment", "expected"),
    [row[1:] for row in PROTECTED],
    ids=[row[0] for row in PROTECTED],
)
@pytest.mark.parametrize("do_not_ask", [False, True])
def test_who_is_protected(
    referrals: tuple[Referral, ...], assessment: Assessment, expected: list[str], do_not_ask: bool
) -> None:
    """Every matched contact who sent somebody now in the negative spiral."""
    case = clara(referrals=referrals, do_not_ask=do_not_ask)

    assert expected == causes(TaskKind.PROTECT_REFERRER, case, assessment)


# -------------------------------------------------------------------- care_for_referred

CARE_AS_ANNA_IS_ANGRY = WantedTask(
    kind=TaskKind.CARE_FOR_REFERRED,
    causes=(
        "referrer=12;complaint=2024-05-27T12:00:00+00:00",
        "referrer=12;complaint=2024-05-29T12:00:00+00:00",
    ),
    target_id="11",
    owner_id="71",
    due_working_days=3,
    facts=Facts(
        name="Clara Winter",
        on=date(2024, 5, 27),
        grade=RatingValue.ANGRY,
        referrer_name="Anna Meyer",
        referred_name="Clara Winter",
    ),
    mentions=("12",),
)
CARE_AS_ANNA_LEFT = replace(
    CARE_AS_ANNA_IS_ANGRY,
    causes=("referrer=12;left",),
    facts=Facts(
        name="Clara Winter", left=True, referrer_name="Anna Meyer", referred_name="Clara Winter"
    ),
)
CARE_AS_JAN_LEFT = replace(
    CARE_AS_ANNA_IS_ANGRY,
    causes=("user=91;left",),
    facts=Facts(
        name="Clara Winter",
        left=True,
        referrer_name="Jan Koch",
        referrer_is_user=True,
        referred_name="Clara Winter",
    ),
    mentions=(),
)

CARE = [
    ("all is well", (told(ANNA),), ()),
    ("the referrer is angry", (told(replace(ANNA, spiral=WORSE)),), (CARE_AS_ANNA_IS_ANGRY,)),
    ("the referrer left", (told(replace(ANNA, gone=True)),), (CARE_AS_ANNA_LEFT,)),
    (
        "the referrer left angry",
        (told(replace(ANNA, gone=True, spiral=WORSE)),),
        (CARE_AS_ANNA_LEFT,),
    ),
    ("the employee left", (told(replace(JAN, gone=True)),), (CARE_AS_JAN_LEFT,)),
    (
        "one is angry, one left, one is well",
        (
            told(BEN, position=2),
            told(replace(JAN, gone=True), position=1),
            told(replace(ANNA, spiral=WORSE)),
        ),
        (CARE_AS_ANNA_IS_ANGRY, CARE_AS_JAN_LEFT),
    ),
]


@pytest.mark.parametrize(
    ("referrals", "expected"), [row[1:] for row in CARE], ids=[row[0] for row in CARE]
)
@pytest.mark.parametrize("do_not_ask", [False, True])
def test_whoever_was_sent_is_cared_for_when_the_referrer_turns_away(
    referrals: tuple[Referral, ...], expected: tuple[WantedTask, ...], do_not_ask: bool
) -> None:
    """Customers who came by referral stay as long as their referrer does."""
    case = clara(referrals=referrals, do_not_ask=do_not_ask)

    assert expected == tasks(TaskKind.CARE_FOR_REFERRED, case)


# ------------------------------------------------------------------ care_super_referrer


def test_a_super_referrer_is_cared_for() -> None:
    """Once, when the tier is reached; ``do_not_ask`` is no reason not to care."""
    expected = WantedTask(
        kind=TaskKind.CARE_SUPER_REFERRER,
        causes=("tier=super",),
        target_id="11",
        owner_id="71",
        due_working_days=3,
        facts=Facts(name="Clara Winter", given=4, won_count=2),
    )
    kind = TaskKind.CARE_SUPER_REFERRER
    assert (expected,) == tasks(kind, clara(), standing=SUPER)
    assert (expected,) == tasks(kind, clara(do_not_ask=True), standing=SUPER)


@pytest.mark.parametrize("tier", [Tier.NONE, Tier.ONE_TIME, Tier.REPEAT])
def test_lower_tiers_get_no_task(tier: Tier) -> None:
    """Only the super-referrer is cared for by a task."""
    standing = SOME._replace(tier=tier)

    assert tasks(TaskKind.CARE_SUPER_REFERRER, clara(), standing=standing) == ()


# ----------------------------------------------------------------- the policy's say in it


def everything_at_once() -> set[TaskKind]:
    """The kinds of task of cases that together need all of them."""
    angry = replace(ANNA, spiral=WORSE)
    unresolved = told(None, position=1)
    needy = clara(WEBSITE, origin=Origin.RECOMMENDATION, referrals=(told(angry), unresolved))
    return {
        task.kind
        for case, assessment in [(needy, NEGATIVE), (clara(WEBSITE), bought())]
        for task in wanted(case, assessment, SUPER, TaskPolicy(), TODAY)
    }


def test_every_row_of_the_playbook_has_its_rule() -> None:
    """All kinds but the asks, which are planned, and the campaign's, which has its own plan."""
    planned = {
        TaskKind.ASK_REFERRAL_SOFT,
        TaskKind.ASK_REFERRAL,
        TaskKind.ASK_REFERRAL_FIRM,
        TaskKind.CAMPAIGN_ASK_ORIGIN,
    }
    assert set(TaskKind) - planned == everything_at_once()


def test_a_kind_that_is_switched_off_is_left_out() -> None:
    """The admin's switch holds for that kind alone."""
    policy = TaskPolicy(off=frozenset({TaskKind.ASK_ORIGIN}))

    kinds = [task.kind for task in wanted(clara(WEBSITE), bought(), SOME, policy, TODAY)]
    assert kinds == [TaskKind.CHECK_EXPERIENCE]


def test_an_admin_decides_when_things_are_due_and_old() -> None:
    """Due days, the days before a check and what counts as old are the policy's."""
    policy = TaskPolicy(
        due=dict.fromkeys(TaskKind, 9), quiet_after_days=91, check_experience_after_days=1
    )

    actual = wanted(clara(LATE), bought(LATE), SOME, policy, date(2024, 5, 7))
    assert [(task.kind, task.due_working_days) for task in actual] == [
        (TaskKind.ASK_ORIGIN, 9),
        (TaskKind.CHECK_EXPERIENCE, 9),
    ]


def test_what_is_ninety_days_old_is_still_news() -> None:
    """Quiet begins on the ninety-first day."""
    seen_in_time = replace(WEBSITE, first_seen_on=date(2024, 8, 4))

    actual = wanted(clara(seen_in_time), bought(seen_in_time), SOME, TaskPolicy(), TODAY)
    assert [task.kind for task in actual] == [TaskKind.ASK_ORIGIN, TaskKind.CHECK_EXPERIENCE]


def test_without_an_owner_the_fallback_owner_is_left_to_choose() -> None:
    """A contact nobody owns makes a task for nobody in particular."""
    case = clara(WEBSITE, owner_id=None)

    actual = wanted(case, bought(), SOME, TaskPolicy(), TODAY)
    assert [task.owner_id for task in actual] == [None, None]


# ------------------------------------------------------------------------------ the asks

LOYAL = bought(stage=Stage.LOYALTY, since=date(2024, 3, 4), rated_since_purchase=True)


def asked(*days: date | None) -> tuple[Ask, ...]:
    return tuple(Ask(kind=TaskKind.ASK_REFERRAL, cause="", made_on=day) for day in days)


def ask(
    case: Case,
    assessment: Assessment = LOYAL,
    ready: Readiness = Readiness.ASK_NOW,
    *,
    policy: TaskPolicy | None = None,
) -> AskCandidate | None:
    stage = case.locked_stage or assessment.stage
    return ask_candidate(case, assessment, stage, Ready(value=ready), policy or TaskPolicy())


def test_an_ask_carries_what_the_rep_must_know() -> None:
    """The stage, the channels allowed, and whether they came by recommendation themselves."""
    expected = AskCandidate(
        task=WantedTask(
            kind=TaskKind.ASK_REFERRAL_FIRM,
            causes=("stage=loyalty;since=2024-03-04;asks=0",),
            target_id="11",
            owner_id="71",
            due_working_days=5,
            priority=Priority.HIGH,
            facts=Facts(
                name="Clara Winter",
                on=date(2024, 3, 4),
                stage=Stage.LOYALTY,
                consent=frozenset({Channel.PHONE}),
                came_by_referral=True,
            ),
        ),
        order=(0, -5, "2024-03-04", "00000000000000000011"),
    )
    case = clara(consent=frozenset({Channel.PHONE}), referrals=(told(ANNA),))
    assert expected == ask(case)


ASKS = [
    (Stage.SYMPATHY, Readiness.FIRST_MOMENT, TaskKind.ASK_REFERRAL_SOFT),
    (Stage.ENTHUSIASM, Readiness.GOOD_MOMENT, TaskKind.ASK_REFERRAL),
    (Stage.LOYALTY, Readiness.ASK_NOW, TaskKind.ASK_REFERRAL_FIRM),
]


@pytest.mark.parametrize(("stage", "ready", "expected"), ASKS)
def test_the_moment_decides_how_to_ask(stage: Stage, ready: Readiness, expected: TaskKind) -> None:
    """Softly at first, then plainly, at last firmly; each switched off by its own switch."""
    assessment = replace(LOYAL, stage=stage)

    candidate = ask(clara(), assessment, ready)
    assert candidate is not None
    assert expected is candidate.task.kind
    assert None is ask(clara(), assessment, ready, policy=TaskPolicy(off=frozenset({expected})))


@pytest.mark.parametrize(
    "ready",
    [
        Readiness.DO_NOT_ASK,
        Readiness.REPAIR_FIRST,
        Readiness.COOLING_DOWN,
        Readiness.NOT_YET,
    ],
)
def test_whoever_is_not_ready_is_not_asked(ready: Readiness) -> None:
    """Only the three moments make an ask."""
    assert ask(clara(), LOYAL, ready) is None


LOCKED = Stage.ENTHUSIASM
CAUSES = [
    ("never asked", clara(), "stage=loyalty;since=2024-03-04;asks=0"),
    (
        "asked on the day of the entry and again",
        clara(asks=asked(date(2024, 3, 4), date(2024, 9, 2))),
        "stage=loyalty;since=2024-03-04;asks=2",
    ),
    (
        "asked at a lower stage",
        clara(asks=asked(date(2024, 3, 3))),
        "stage=loyalty;since=2024-03-04;asks=0",
    ),
    (
        "the task to ask is open: it is the same cause",
        clara(asks=asked(None)),
        "stage=loyalty;since=2024-03-04;asks=0",
    ),
    ("locked", clara(locked_stage=LOCKED), "stage=enthusiasm;since=locked;asks=0"),
    (
        "locked: every ask counts, as nobody knows since when",
        clara(locked_stage=LOCKED, asks=asked(date(2023, 3, 3), None)),
        "stage=enthusiasm;since=locked;asks=1",
    ),
]


@pytest.mark.parametrize(
    ("case", "expected"), [row[1:] for row in CAUSES], ids=[row[0] for row in CAUSES]
)
def test_what_makes_an_ask_once(case: Case, expected: str) -> None:
    """The entry into the stage and the asks made since: a made ask leaves room for the next."""
    candidate = ask(case)

    assert candidate is not None
    assert (expected,) == candidate.task.causes


URGENCY = [
    ("loyal and never asked", clara(), LOYAL, Readiness.ASK_NOW, Priority.HIGH),
    (
        "loyal and asked before",
        clara(asks=asked(date(2023, 3, 6))),
        LOYAL,
        Readiness.ASK_NOW,
        Priority.MEDIUM,
    ),
    (
        "enthusiastic and never asked",
        clara(),
        replace(LOYAL, stage=Stage.ENTHUSIASM),
        Readiness.GOOD_MOMENT,
        Priority.MEDIUM,
    ),
]


@pytest.mark.parametrize(
    ("case", "assessment", "ready", "expected"),
    [row[1:] for row in URGENCY],
    ids=[row[0] for row in URGENCY],
)
def test_the_loyal_who_were_never_asked_are_urgent(
    case: Case, assessment: Assessment, ready: Readiness, expected: Priority
) -> None:
    """An ask escalates where it is overdue, and only there."""
    candidate = ask(case, assessment, ready)

    assert candidate is not None
    assert expected is candidate.task.priority


CAME_BY = [
    ("a matched referrer", clara(referrals=(told(ANNA),)), True),
    ("an employee", clara(referrals=(told(JAN),)), True),
    ("a name not found", clara(referrals=(told(None),)), True),
    ("the origin says so", clara(origin=Origin.RECOMMENDATION), True),
    ("the press", clara(origin=Origin.PRESS), False),
    ("nobody knows", clara(), False),
    (
        "they named themselves",
        clara(referrals=(told(None, outcome=MatchOutcome.REFUSED_SELF),)),
        False,
    ),
]


@pytest.mark.parametrize(
    ("case", "expected"), [row[1:] for row in CAME_BY], ids=[row[0] for row in CAME_BY]
)
def test_who_came_by_referral_is_asked_first_and_reminded(case: Case, expected: bool) -> None:
    """ "You came to us by recommendation yourself" is said only where it is true."""
    candidate = ask(case)

    assert candidate is not None
    assert (expected, 0 if expected else 1) == (
        candidate.task.facts.came_by_referral,
        candidate.order[0],
    )


def test_candidates_of_one_owner_have_one_total_order() -> None:
    """Came by referral, then the higher stage, then waiting longest, then the lower id."""
    enthusiastic = replace(LOYAL, stage=Stage.ENTHUSIASM)
    waiting_less = replace(enthusiastic, since=date(2024, 3, 5))
    in_order = [
        ask(clara(crm_id="40", origin=Origin.RECOMMENDATION), enthusiastic),
        ask(clara(crm_id="41"), LOYAL),
        ask(clara(crm_id="9"), enthusiastic),
        ask(clara(crm_id="10"), enthusiastic),
        ask(clara(crm_id="8"), waiting_less),
    ]
    candidates = [candidate for candidate in in_order if candidate]

    shuffled = candidates[3:] + candidates[:3]
    assert in_order == sorted(shuffled, key=lambda candidate: candidate.order)
