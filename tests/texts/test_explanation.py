"""Why a contact stands where it stands, in both languages."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest

from plugin.manifest import LANGUAGES
from plugin.referral.model import (
    LADDER,
    Ask,
    Assessment,
    Because,
    Case,
    Complaint,
    Deal,
    Decision,
    Evidence,
    Missing,
    Need,
    Pause,
    Rating,
    RatingValue,
    Readiness,
    Ready,
    Stage,
    Step,
    TaskKind,
    Tier,
    Value,
)
from plugin.texts import explain
from tests.texts import borrowed, golden, golden_names

KNOWN_ON = date(2025, 1, 7)
NOTHING = Value(total=Decimal(0), currency="EUR")


def deal(crm_id: str, name: str, opened: date, won: date | None = None) -> Deal:
    return Deal(crm_id=crm_id, name=name, opened_on=opened, won_on=won, first_seen_on=opened)


def rating(day: date, value: RatingValue) -> Rating:
    return Rating(day=day, value=value, recorded_at=datetime.combine(day, time(10), UTC))


def step(stage: Stage, on: date, because: Because, about: Deal | Rating | None = None) -> Step:
    return Step(
        stage=stage,
        on=on,
        because=because,
        deal=about if isinstance(about, Deal) else None,
        rating=about if isinstance(about, Rating) else None,
    )


def case(**changes: Any) -> Case:
    evidence = changes.pop("evidence", Evidence(known_since=KNOWN_ON))
    return Case(crm_id="1", name="Bernd Beispiel", evidence=evidence, **changes)


def standing(
    *steps: Step, missing: Missing, bought: Deal | None = None, **changes: Any
) -> Assessment:
    return Assessment(
        stage=steps[-1].stage,
        since=steps[-1].on,
        steps=steps,
        missing=missing,
        first_purchase=bought,
        **changes,
    )


def decision(
    assessment: Assessment | None, ready: Ready | None, value: Value = NOTHING
) -> Decision:
    return Decision(
        assessment=assessment,
        stage=assessment.stage if assessment else None,
        ready=ready,
        referrals_given=0,
        referrals_won=0,
        value=value,
        tier=Tier.NONE,
        primary_referrer=None,
        tasks=(),
        ask=None,
        complaint=None,
        review_on=None,
    )


# A customer's way up, one piece of evidence after the other.
KITCHEN = deal("11", "Küche", date(2025, 2, 3), date(2025, 3, 12))
BATH = deal("12", "Bad", date(2025, 4, 2), date(2025, 5, 20))
WISH = deal("13", "Flur", date(2025, 4, 2))
HOPE = rating(date(2025, 2, 20), RatingValue.SATISFIED)
GOOD = rating(date(2025, 3, 26), RatingValue.SATISFIED)
GREAT = rating(date(2025, 6, 1), RatingValue.DELIGHTED)
GREAT_AGAIN = rating(date(2025, 6, 30), RatingValue.DELIGHTED)
BAD = rating(date(2025, 9, 1), RatingValue.DISSATISFIED)
RAGE = rating(date(2025, 9, 8), RatingValue.ANGRY)
GOOD_AGAIN = rating(date(2025, 9, 30), RatingValue.SATISFIED)

AT_EXPECTATION = step(Stage.EXPECTATION, KNOWN_ON, Because.KNOWN)
AT_EXPERIENCE = step(Stage.EXPERIENCE, date(2025, 3, 12), Because.FIRST_PURCHASE, KITCHEN)
AT_SATISFACTION = step(Stage.SATISFACTION, GOOD.day, Because.POSITIVE_RATING, GOOD)
AT_SYMPATHY = step(Stage.SYMPATHY, date(2025, 5, 20), Because.FURTHER_PURCHASE, BATH)
AT_ENTHUSIASM = step(Stage.ENTHUSIASM, GREAT_AGAIN.day, Because.DELIGHTED_AGAIN, GREAT_AGAIN)
LOYAL_ON = date(2025, 12, 27)
AT_LOYALTY = step(Stage.LOYALTY, LOYAL_ON, Because.HELD_LONG)

UP_TO_SATISFACTION = (AT_EXPECTATION, AT_EXPERIENCE, AT_SATISFACTION)
UP_TO_LOYALTY = (*UP_TO_SATISFACTION, AT_SYMPATHY, AT_ENTHUSIASM, AT_LOYALTY)
ALL_GOOD = Evidence(
    known_since=KNOWN_ON, deals=(KITCHEN, BATH), ratings=(HOPE, GOOD, GREAT, GREAT_AGAIN)
)
NO_NEXT_STAGE = (Need.NOTHING, Need.REPAIR)
NOT_YET = Ready(value=Readiness.NOT_YET)


def at_loyalty(**changes: Any) -> Assessment:
    nothing = Missing(need=Need.NOTHING)
    return standing(*UP_TO_LOYALTY, missing=nothing, bought=KITCHEN, **changes)


def up_and_down() -> tuple[Decision, Case]:
    """A complaint, its repair, and the pause after it."""
    fallen = step(Stage.NEGATIVE, BAD.day, Because.NEGATIVE_RATING, BAD)
    repaired = step(Stage.SATISFACTION, GOOD_AGAIN.day, Because.REPAIRED, GOOD_AGAIN)
    assessment = standing(
        *UP_TO_SATISFACTION,
        fallen,
        repaired,
        missing=Missing(need=Need.FURTHER_DEAL_OR_RATING, earliest=date(2025, 10, 14)),
        bought=KITCHEN,
        repaired_on=GOOD_AGAIN.day,
    )
    pause = Ready(value=Readiness.COOLING_DOWN, pause=Pause.AFTER_REPAIR, until=date(2025, 12, 29))
    ratings = (GOOD, BAD, RAGE, GOOD_AGAIN)
    evidence = Evidence(known_since=KNOWN_ON, deals=(KITCHEN,), ratings=ratings)
    return decision(assessment, pause), case(evidence=evidence)


CASES: dict[str, tuple[Decision, Case]] = {
    "expectation": (
        decision(
            standing(AT_EXPECTATION, missing=Missing(need=Need.FIRST_PURCHASE)),
            NOT_YET,
        ),
        case(evidence=Evidence(known_since=KNOWN_ON, ratings=(HOPE,))),
    ),
    "experience": (
        decision(
            standing(
                AT_EXPECTATION,
                AT_EXPERIENCE,
                missing=Missing(need=Need.POSITIVE_RATING),
                bought=KITCHEN,
            ),
            NOT_YET,
        ),
        case(evidence=Evidence(known_since=KNOWN_ON, deals=(KITCHEN,), ratings=(HOPE,))),
    ),
    "satisfaction": (
        decision(
            standing(
                *UP_TO_SATISFACTION,
                missing=Missing(need=Need.FURTHER_DEAL_OR_RATING, earliest=date(2025, 4, 9)),
                bought=KITCHEN,
            ),
            NOT_YET,
        ),
        case(evidence=Evidence(known_since=KNOWN_ON, deals=(KITCHEN,), ratings=(GOOD,))),
    ),
    "sympathy-implied": (
        decision(
            standing(
                AT_EXPECTATION,
                AT_EXPERIENCE,
                step(Stage.SATISFACTION, date(2025, 5, 20), Because.REPEAT_PURCHASE_IMPLIES, BATH),
                AT_SYMPATHY,
                missing=Missing(need=Need.DELIGHT, count=2),
                bought=KITCHEN,
            ),
            Ready(value=Readiness.FIRST_MOMENT),
        ),
        case(evidence=Evidence(known_since=KNOWN_ON, deals=(KITCHEN, BATH))),
    ),
    "sympathy-negotiating": (
        # The wish came before the rating: sympathy is reached on the day both are there.
        decision(
            standing(
                AT_EXPECTATION,
                AT_EXPERIENCE,
                step(Stage.SATISFACTION, GREAT.day, Because.POSITIVE_RATING, GREAT),
                step(Stage.SYMPATHY, GREAT.day, Because.FURTHER_DEAL_OPENED, WISH),
                missing=Missing(need=Need.DELIGHT, count=1),
                bought=KITCHEN,
            ),
            Ready(value=Readiness.COOLING_DOWN, pause=Pause.NEGOTIATION),
        ),
        case(evidence=Evidence(known_since=KNOWN_ON, deals=(KITCHEN, WISH), ratings=(GREAT,))),
    ),
    "enthusiasm": (
        decision(
            standing(
                *UP_TO_SATISFACTION,
                AT_SYMPATHY,
                AT_ENTHUSIASM,
                missing=Missing(need=Need.TIME_OR_REFERRAL, earliest=LOYAL_ON),
                bought=KITCHEN,
            ),
            Ready(value=Readiness.COOLING_DOWN, pause=Pause.AFTER_ASK, until=date(2026, 1, 7)),
        ),
        case(
            evidence=ALL_GOOD,
            asks=(
                Ask(kind=TaskKind.ASK_REFERRAL, cause="b", made_on=date(2025, 7, 11)),
                Ask(kind=TaskKind.ASK_REFERRAL_SOFT, cause="a", made_on=date(2025, 6, 2)),
            ),
        ),
    ),
    "loyalty": (
        decision(at_loyalty(), Ready(value=Readiness.ASK_NOW)),
        case(evidence=ALL_GOOD),
    ),
    "loyalty-by_referral-other_money": (
        decision(
            standing(
                *UP_TO_LOYALTY[:-1],
                step(Stage.LOYALTY, GREAT_AGAIN.day, Because.REFERRAL_GIVEN),
                missing=Missing(need=Need.NOTHING),
                bought=KITCHEN,
            ),
            Ready(value=Readiness.COOLING_DOWN, pause=Pause.SUPER_REFERRER),
            Value(
                total=Decimal(9000),
                currency="EUR",
                rest=(("CHF", Decimal("12345.6")), ("USD", Decimal(300))),
            ),
        ),
        case(evidence=replace(ALL_GOOD, referrals_given_on=(date(2025, 6, 15),))),
    ),
    "loyalty-forgiven": (
        decision(
            at_loyalty(
                forgiven=Complaint(
                    grade=RatingValue.DISSATISFIED,
                    ratings=(rating(date(2026, 1, 20), RatingValue.DISSATISFIED),),
                ),
            ),
            Ready(value=Readiness.REPAIR_FIRST),
        ),
        case(
            evidence=replace(
                ALL_GOOD,
                ratings=(
                    *ALL_GOOD.ratings,
                    rating(date(2026, 1, 20), RatingValue.DISSATISFIED),
                ),
            )
        ),
    ),
    "negative": (
        decision(
            standing(
                *UP_TO_SATISFACTION,
                step(Stage.NEGATIVE, BAD.day, Because.NEGATIVE_RATING, BAD),
                missing=Missing(need=Need.REPAIR),
                bought=KITCHEN,
                spiral=Complaint(grade=RatingValue.ANGRY, ratings=(BAD, RAGE)),
            ),
            Ready(value=Readiness.REPAIR_FIRST),
        ),
        case(evidence=Evidence(known_since=KNOWN_ON, deals=(KITCHEN,), ratings=(GOOD, BAD, RAGE))),
    ),
    "repaired": up_and_down(),
    "locked": (
        decision(
            standing(
                AT_EXPECTATION,
                AT_EXPERIENCE,
                missing=Missing(need=Need.POSITIVE_RATING),
                bought=KITCHEN,
            ),
            Ready(value=Readiness.GOOD_MOMENT),
        ),
        case(
            evidence=Evidence(known_since=KNOWN_ON, deals=(KITCHEN,)),
            locked_stage=Stage.ENTHUSIASM,
        ),
    ),
    "locked-agreeing": (
        decision(at_loyalty(), Ready(value=Readiness.ASK_NOW)),
        case(evidence=ALL_GOOD, locked_stage=Stage.LOYALTY),
    ),
    "do_not_ask": (
        decision(
            None,
            Ready(value=Readiness.DO_NOT_ASK),
            replace(NOTHING, rest=(("CHF", Decimal(500)),)),
        ),
        case(evidence=ALL_GOOD, do_not_ask=True),
    ),
    "employee": (decision(None, None), case(evidence=ALL_GOOD, employee=True)),
}


@pytest.mark.parametrize("name", CASES)
def test_an_explanation_says_what_its_golden_file_says(name: str) -> None:
    """The text is compared whole, in both languages."""
    decided, about = CASES[name]
    parts = [f"=== {lang}\n{explain(decided, about, lang)}\n" for lang in LANGUAGES]

    actual = "\n".join(parts)

    assert golden(f"explain-{name}", actual) == actual


def test_every_golden_file_of_an_explanation_belongs_to_a_case() -> None:
    """No golden file is left over from a case that is gone."""
    assert golden_names("explain") == {f"explain-{name}" for name in CASES}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", CASES)
def test_order_and_duplicates_of_evidence_change_nothing(name: str, language: str) -> None:
    """The same evidence gives the same text, byte for byte."""
    decided, about = CASES[name]
    dice = random.Random(7)
    evidence = replace(
        about.evidence,
        deals=tuple(dice.sample(about.evidence.deals * 2, 2 * len(about.evidence.deals))),
        ratings=tuple(dice.sample(about.evidence.ratings * 2, 2 * len(about.evidence.ratings))),
    )
    shuffled = replace(about, evidence=evidence, asks=about.asks[::-1])

    assert explain(decided, shuffled, language) == explain(decided, about, language)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", CASES)
def test_a_crm_that_trims_text_gives_back_what_was_written(name: str, language: str) -> None:
    """No blanks or line breaks at the ends of the text or of a line, and no odd spaces: else it
    would look changed, and be written again and again."""
    text = explain(*CASES[name], language)

    assert [line for line in text.split("\n") if line != line.strip()] == []
    assert text == text.strip()
    assert all(character.isprintable() for character in text.replace("\n", ""))


def test_long_evidence_is_cut_at_its_beginning() -> None:
    """Twenty lines stay, the newest, and the text says how many came before."""
    ratings = tuple(rating(date(2025, 4, day), RatingValue.SATISFIED) for day in range(1, 31))
    decided, about = CASES["satisfaction"]
    about = replace(about, evidence=replace(about.evidence, ratings=(GOOD, *ratings)))

    german = explain(decided, about, "de").split("\n")
    english = explain(decided, about, "en").split("\n")

    evidence = german.index("Grundlage:")
    assert german[evidence + 1] == "– 13 frühere hier weggelassen"
    assert german[evidence + 2] == "– 11.04.2025: Bewertung „Zufrieden“"
    assert german[evidence + 21 : evidence + 23] == ["– 30.04.2025: Bewertung „Zufrieden“", ""]
    assert english[evidence + 1] == "– 13 earlier left out here"


def test_of_several_ratings_about_one_day_the_last_one_is_shown() -> None:
    """Only what counts is evidence."""
    corrected = replace(GOOD, value=RatingValue.ANGRY, recorded_at=datetime(2025, 3, 1, tzinfo=UTC))
    decided, about = CASES["satisfaction"]
    twice = replace(about, evidence=replace(about.evidence, ratings=(GOOD, corrected)))

    assert explain(decided, twice, "de") == explain(decided, about, "de")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("because", Because)
def test_every_reason_for_a_stage_has_words_of_its_own(because: Because, language: str) -> None:
    """No two reasons read alike, and none needs a deal's name to be a sentence."""

    def sentence(reason: Because) -> str:
        nameless = replace(KITCHEN, name="")
        last = Step(stage=Stage.SYMPATHY, on=GOOD.day, because=reason, deal=nameless, rating=GOOD)
        decided = decision(standing(last, missing=Missing(need=Need.DELIGHT)), None)
        return explain(decided, case(), language).split("\n")[0]

    mine = sentence(because)

    assert [other for other in Because if sentence(other) == mine] == [because]
    assert [gap for gap in ("{", "None", "  ", "„“", "“”", " .", " ,") if gap in mine] == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("stage", "need"),
    [
        *((stage, need) for stage in LADDER[:-1] for need in Need),
        *((stage, need) for stage in (Stage.LOYALTY, Stage.NEGATIVE) for need in NO_NEXT_STAGE),
    ],
)
def test_every_need_has_words(stage: Stage, need: Need, language: str) -> None:
    """What is missing can be said wherever the model may say it, with and without a day."""
    last = step(stage, GOOD.day, Because.KNOWN)
    texts = {
        explain(
            decision(standing(last, missing=Missing(need=need, earliest=earliest)), None),
            case(),
            language,
        )
        for earliest in (None, date(2025, 4, 9))
    }
    dated = need in (Need.FURTHER_DEAL_OR_RATING, Need.TIME_OR_REFERRAL)

    assert len(texts) == (2 if dated else 1)
    assert all(text.split("\n\n")[2].endswith(".") for text in texts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_readiness_and_every_pause_has_words_of_its_own(language: str) -> None:
    """A rep can tell why it is, or is not, the moment."""
    readies = [Ready(value=value) for value in Readiness]
    readies += [Ready(value=Readiness.COOLING_DOWN, pause=pause) for pause in Pause]
    assessment = standing(AT_EXPECTATION, missing=Missing(need=Need.FIRST_PURCHASE))

    texts = {explain(decision(assessment, ready), case(), language) for ready in readies}

    assert len(texts) == len(readies)
    assert not any("{" in text or "  " in text for text in texts)


def test_names_of_deals_cannot_break_out_of_their_line() -> None:
    """Line breaks fold, braces stay words, markers are defused, and long names are cut."""
    decided, about = CASES["experience"]
    plain = explain(decided, about, "de")
    for name in ("Kü\r\n– 01.01.2020: che", "{deal} {0} %s <b>", "[spiral:repair:1]", "x" * 10_000):
        hostile = replace(KITCHEN, name=name)
        assessment = standing(
            AT_EXPECTATION,
            step(Stage.EXPERIENCE, date(2025, 3, 12), Because.FIRST_PURCHASE, hostile),
            missing=Missing(need=Need.POSITIVE_RATING),
            bought=hostile,
        )
        evidence = replace(about.evidence, deals=(hostile,))
        text = explain(decision(assessment, NOT_YET), replace(about, evidence=evidence), "de")

        assert text.count("\n") == plain.count("\n")
        assert len(text) < len(plain) + 200
        assert "[spiral:" not in text


def test_german_uses_german_quotation_marks() -> None:
    """„So“ in German, “so” in English."""
    for decided, about in CASES.values():
        german, english = explain(decided, about, "de"), explain(decided, about, "en")

        assert german.count("„") == german.count("“")
        assert "”" not in german
        assert english.count("“") == english.count("”")
        assert "„" not in english


def test_no_explanation_borrows_from_the_source_texts() -> None:
    """The wording is ours: no six words in a row stand in the texts we learned from."""
    assert borrowed("explain") == set()
