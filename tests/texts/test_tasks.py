"""What tasks say, in both languages."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date

import pytest

from plugin.manifest import LANGUAGES
from plugin.referral.matching import POINTS
from plugin.referral.model import (
    Candidate,
    Channel,
    Facts,
    MatchOutcome,
    RatingValue,
    Stage,
    TaskKind,
    WantedTask,
)
from plugin.texts import erased_text, safe, task_text, withdrawal_note
from plugin.texts.tasks import MATCH_REASONS, WITHDRAWALS
from tests.texts import borrowed, golden, golden_names

DAY = date(2025, 3, 12)
BUYER = Facts(name="Bernd Beispiel", on=DAY, deal_name="Küche")
REFERRED = Facts(name="Bernd Beispiel", on=DAY, referrer_name="Dr. Rosa Muster")
TOLD = Facts(name="Bernd Beispiel", text="Frau Dr. Meyer von der Stadtbäckerei")
ASKED = Facts(name="Bernd Beispiel")

CANDIDATES = (
    Candidate(
        crm_id="101",
        name="Rosa Meyer",
        company="Stadtbäckerei",
        city="Musterstadt",
        score=0.7,
        reasons=("surname", "company"),
    ),
    Candidate(
        crm_id="7",
        is_user=True,
        name="Ruth Maier",
        score=0.5,
        reasons=("surname_sounds", "employee"),
    ),
    Candidate(crm_id="103", reasons=("surname_similar", "given_name_differs")),
)

CASES: dict[str, tuple[TaskKind, Facts]] = {
    "ask_origin": (TaskKind.ASK_ORIGIN, BUYER),
    "campaign_ask_origin": (TaskKind.CAMPAIGN_ASK_ORIGIN, BUYER),
    "ask_referral_details": (
        TaskKind.ASK_REFERRAL_DETAILS,
        Facts(name="Bernd Beispiel", words_missing=True, referrer_missing=True),
    ),
    "ask_referral_details-words": (
        TaskKind.ASK_REFERRAL_DETAILS,
        Facts(name="Bernd Beispiel", words_missing=True),
    ),
    "ask_referral_details-who": (
        TaskKind.ASK_REFERRAL_DETAILS,
        Facts(name="Bernd Beispiel", referrer_missing=True),
    ),
    "resolve_referrer-ambiguous": (
        TaskKind.RESOLVE_REFERRER,
        replace(TOLD, outcome=MatchOutcome.AMBIGUOUS, candidates=CANDIDATES),
    ),
    "resolve_referrer-none": (
        TaskKind.RESOLVE_REFERRER,
        replace(TOLD, outcome=MatchOutcome.NONE),
    ),
    "resolve_referrer-self": (
        TaskKind.RESOLVE_REFERRER,
        replace(TOLD, text="Bernd Beispiel", outcome=MatchOutcome.REFUSED_SELF),
    ),
    "resolve_referrer-circle": (
        TaskKind.RESOLVE_REFERRER,
        replace(TOLD, outcome=MatchOutcome.REFUSED_CIRCLE, candidates=CANDIDATES[:1]),
    ),
    "thank_referrer": (TaskKind.THANK_REFERRER, REFERRED),
    "thank_referrer-employee": (
        TaskKind.THANK_REFERRER,
        replace(REFERRED, referrer_name="Kim Kollege", referrer_is_user=True),
    ),
    "tell_outcome-won": (
        TaskKind.TELL_OUTCOME,
        replace(REFERRED, deal_name="Küche", won=True),
    ),
    "tell_outcome-lost": (TaskKind.TELL_OUTCOME, replace(REFERRED, deal_name="Küche")),
    "mind_expectation-opened": (
        TaskKind.MIND_EXPECTATION,
        replace(
            REFERRED,
            deal_name="Küche",
            referrer_name="Dr. Rosa Muster, Kim Kollege",
            service="Küchenplanung",
            words="Die denken an alles, und es passt auf den Millimeter.",
        ),
    ),
    "mind_expectation-won": (
        TaskKind.MIND_EXPECTATION,
        replace(REFERRED, deal_name="Küche", won=True),
    ),
    "check_experience": (TaskKind.CHECK_EXPERIENCE, BUYER),
    "ask_referral_soft": (
        TaskKind.ASK_REFERRAL_SOFT,
        replace(ASKED, stage=Stage.SYMPATHY),
    ),
    "ask_referral": (
        TaskKind.ASK_REFERRAL,
        replace(ASKED, stage=Stage.ENTHUSIASM, on=DAY, consent=frozenset({Channel.PHONE})),
    ),
    "ask_referral_firm": (
        TaskKind.ASK_REFERRAL_FIRM,
        replace(ASKED, stage=Stage.LOYALTY, consent=frozenset({Channel.EMAIL})),
    ),
    "ask_referral_firm-came_by_referral": (
        TaskKind.ASK_REFERRAL_FIRM,
        replace(ASKED, stage=Stage.LOYALTY, consent=frozenset(Channel), came_by_referral=True),
    ),
    "repair-angry": (
        TaskKind.REPAIR,
        Facts(name="Bernd Beispiel", on=DAY, grade=RatingValue.ANGRY),
    ),
    "repair-forgiven": (
        TaskKind.REPAIR,
        Facts(name="Bernd Beispiel", on=DAY, grade=RatingValue.DISSATISFIED, forgiven=True),
    ),
    "protect_referrer": (
        TaskKind.PROTECT_REFERRER,
        replace(REFERRED, grade=RatingValue.DISSATISFIED),
    ),
    "care_for_referred-negative": (
        TaskKind.CARE_FOR_REFERRED,
        replace(REFERRED, grade=RatingValue.ANGRY),
    ),
    "care_for_referred-left": (
        TaskKind.CARE_FOR_REFERRED,
        replace(REFERRED, on=None, left=True),
    ),
    "care_for_referred-employee_left": (
        TaskKind.CARE_FOR_REFERRED,
        replace(REFERRED, on=None, referrer_name="Kim Kollege", referrer_is_user=True, left=True),
    ),
    "care_super_referrer": (
        TaskKind.CARE_SUPER_REFERRER,
        Facts(name="Bernd Beispiel", given=4, won_count=2),
    ),
}

HOSTILE = {
    "newlines": "Bernd\r\n\u2028\x00Warum: alles\tgut",
    "markup": "<script>alert(1)</script> & <b>{name}</b> %s {0.__class__}",
    "marker": "B [spiral:repair:1] [SPIRAL:x] [ spiral :y] [spi\u200bral:z] [[spiral:q",
    "long": "X" * 10_000,
    "bidi": "Bernd\u202e\u2066 Beispiel\ud800",
    "nothing": " \n\u200b ",
}


def task(kind: TaskKind, facts: Facts) -> WantedTask:
    return WantedTask(
        kind=kind,
        causes=("deal=1",),
        target_id="1",
        owner_id="9",
        due_working_days=1,
        facts=facts,
    )


def everywhere(text: str) -> Facts:
    """Facts in which every free word is this one."""
    return Facts(
        name=text,
        on=DAY,
        deal_name=text,
        referrer_name=text,
        referred_name=text,
        service=text,
        words=text,
        words_missing=True,
        referrer_missing=True,
        text=text,
        outcome=MatchOutcome.AMBIGUOUS,
        candidates=(Candidate(crm_id=text, name=text, company=text, city=text, reasons=(text,)),),
        stage=Stage.LOYALTY,
    )


@pytest.mark.parametrize("name", CASES)
def test_a_task_says_what_its_golden_file_says(name: str) -> None:
    """Subject and body are compared whole, in both languages."""
    kind, facts = CASES[name]
    parts = []
    for language in LANGUAGES:
        text = task_text(task(kind, facts), language)
        parts.append(f"=== {language}\n{text.subject}\n\n{text.body}\n")

    actual = "\n".join(parts)

    assert golden(f"task-{name}", actual) == actual


def test_every_golden_file_of_a_task_belongs_to_a_case() -> None:
    """No golden file is left over from a case that is gone."""
    assert golden_names("task") == {f"task-{name}" for name in CASES}


def test_every_kind_of_task_has_a_case() -> None:
    """A new kind of task cannot come without its wording being read."""
    assert {kind for kind, _ in CASES.values()} == set(TaskKind)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", TaskKind)
def test_a_task_can_be_written_from_a_name_alone(kind: TaskKind, language: str) -> None:
    """A fact that is missing leaves no gap: no "None", no double space, no empty quotes."""
    text = task_text(task(kind, Facts(name="Bernd Beispiel")), language)

    whole = f"{text.subject}\n{text.body}"
    if kind is not TaskKind.RESOLVE_REFERRER:  # it always has the words that were told
        assert [gap for gap in ("„“", "“”") if gap in whole] == []
    assert [gap for gap in ("None", "  ", " ,", " .") if gap in whole] == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", TaskKind)
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_words_from_the_crm_cannot_break_out_of_their_place(
    hostile: str, kind: TaskKind, language: str
) -> None:
    """They add no line, forge no marker, hide nothing and make no text long."""
    plain = task_text(task(kind, everywhere("Bernd")), language)
    text = task_text(task(kind, everywhere(hostile)), language)

    assert "\n" not in text.subject
    assert len(text.subject) <= 90
    assert len(text.body) < 4_000
    assert text.body.count("\n") <= plain.body.count("\n")
    assert "[spiral" not in f"{text.subject}{text.body}".lower().replace(" ", "")
    assert f"{text.subject}{text.body}".replace("\n", "").isprintable()
    text.body.encode()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", CASES)
def test_long_names_leave_the_rest_of_a_subject_whole(name: str, language: str) -> None:
    """Names are cut, not what is to be done."""
    kind, facts = CASES[name]
    short = replace(facts, name="B", referrer_name="B", text="B")
    long = replace(facts, name="X" * 99, referrer_name="X" * 99, text="X" * 99)

    subject = task_text(task(kind, long), language).subject

    assert re.sub("X+…", "B", subject) == task_text(task(kind, short), language).subject


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", CASES)
def test_a_task_begins_with_the_reason_it_exists(name: str, language: str) -> None:
    """The first line says why, and a list of two to five points says what to do."""
    kind, facts = CASES[name]
    first, blank, *steps = task_text(task(kind, facts), language).body.split("\n")

    assert first.startswith("Why: " if language == "en" else "Warum: ")
    assert blank == ""
    assert all(step.startswith(("– ", "• ")) for step in steps)
    assert 2 <= sum(step.startswith("– ") for step in steps) <= 5


@pytest.mark.parametrize("name", CASES)
def test_german_uses_german_quotation_marks(name: str) -> None:
    """„So“, never "so" or “so”; and English never the German ones."""
    kind, facts = CASES[name]
    german = task_text(task(kind, facts), "de")
    english = task_text(task(kind, facts), "en")

    assert '"' not in german.subject + german.body
    assert german.body.count("„") == german.body.count("“")
    assert "”" not in german.body
    assert "„" not in english.subject + english.body
    assert english.body.count("“") == english.body.count("”")


@pytest.mark.parametrize("kind", [TaskKind.ASK_ORIGIN, TaskKind.CAMPAIGN_ASK_ORIGIN])
def test_every_origin_question_asks_for_the_very_first_time(kind: TaskKind) -> None:
    """Without "originally" or "first of all" people name the latest thing they saw."""
    german = [s for s in task_text(task(kind, BUYER), "de").body.split("\n") if s[0:1] == "•"]
    english = [s for s in task_text(task(kind, BUYER), "en").body.split("\n") if s[0:1] == "•"]

    assert len(german) == len(english) == 3
    assert all("ursprünglich" in line or "zuallererst" in line for line in german)
    assert all("originally" in line or "first of all" in line for line in english)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("outcome", [*MatchOutcome, None])
def test_every_outcome_of_matching_has_words(outcome: MatchOutcome | None, language: str) -> None:
    """Whatever became of a name, the task about it can be written."""
    facts = replace(TOLD, outcome=outcome)

    assert TOLD.text in task_text(task(TaskKind.RESOLVE_REFERRER, facts), language).body


def test_every_reason_of_a_match_has_words_of_its_own() -> None:
    """Reps read reasons, never the keys of the matching."""
    assert set(MATCH_REASONS) == set(POINTS)
    for language in LANGUAGES:
        assert len({text[language] for text in MATCH_REASONS.values()}) == len(MATCH_REASONS)


def test_every_withdrawal_says_why() -> None:
    """One line for each reason, in both languages; an unknown reason is a mistake of ours."""
    assert [withdrawal_note(reason, "de") for reason in WITHDRAWALS] == [
        "Zurückgezogen: Der Anlass besteht nicht mehr.",
        "Zurückgezogen: Eine andere Aufgabe ist an diese Stelle getreten.",
        "Zurückgezogen: Den Kontakt gibt es nicht mehr.",
        "Zurückgezogen: Das Plugin wurde entfernt.",
    ]
    assert withdrawal_note("no_longer_wanted", "en") == "Withdrawn: the reason no longer holds."
    with pytest.raises(KeyError):
        withdrawal_note("whim", "de")


def test_an_erased_task_names_nobody() -> None:
    """The replacement says that something was here and why it is gone."""
    assert erased_text("de").subject == "Inhalt aus Datenschutzgründen entfernt"
    assert erased_text("en").subject == "Removed for privacy reasons"
    assert erased_text("de").body.count("\n") == erased_text("en").body.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Bernd\r\n Beispiel\x07 ", "Bernd Beispiel"),
        ("Zeile\u2028zwei\u0085drei", "Zeile zwei drei"),
        ("[spiral:repair:1]", "(spiral:repair:1]"),
        ("[sp\u00adi\u200bral:x", "(spiral:x"),
        ("[Spiral :x", "(Spiral :x"),
        ("[spirale] bleibt", "[spirale] bleibt"),
        ("می\u200cخواهم 👩\u200d🍳", "می\u200cخواهم 👩\u200d🍳"),
        ("a" * 201, "a" * 199 + "…"),
        ("wort " * 50, ("wort " * 40)[:199].rstrip() + "…"),
        ("\ud800", ""),
        ("", ""),
    ],
)
def test_safe_keeps_words_and_nothing_else(text: str, expected: str) -> None:
    """One line, no control characters, no marker, not too long; letters stay as they are."""
    assert safe(text) == expected


def test_no_task_borrows_from_the_source_texts() -> None:
    """The wording is ours: no six words in a row stand in the texts we learned from."""
    assert borrowed("task") == set()
