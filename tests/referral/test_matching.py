"""Matching: a name as told becomes a contact, or a question to the rep, never a silent guess."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plugin.referral.matching import (
    Match,
    Person,
    Search,
    keys_of_person,
    keys_of_told,
    match,
    score,
)
from plugin.referral.model import Candidate, MatchOutcome, Pillar
from plugin.referral.names import fold, parse_name
from plugin.referral.policy import MatchPolicy

POLICY = MatchPolicy()
PLAIN = settings(max_examples=300, derandomize=True, deadline=None)
TOLD_AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
DAY = timedelta(days=1)
RECORD_URL = "https://app.example.com/contacts/42/record/0-1/{id}"

LINKED, AMBIGUOUS, NONE = MatchOutcome.LINKED, MatchOutcome.AMBIGUOUS, MatchOutcome.NONE

ANNA = Person(
    crm_id="101",
    first_name="Anna",
    last_name="Meyer",
    email="anna.meyer@example.com",
    phones=("+49 89 1234567",),
    company="Stadtbäckerei Beispiel GmbH & Co. KG",
    city="Köln",
)
BERND = Person(
    crm_id="102",
    first_name="Bernd",
    last_name="Meyer",
    email="bernd.meyer@example.com",
    phones=("089 7654321",),
    company="Autohaus Rosenheim",
)
JUERGEN = Person(crm_id="103", first_name="Dr. Jürgen", last_name="Müller", company="Muster AG")
STEFAN = Person(crm_id="104", first_name="Stefan", last_name="Schmidt-Lorenz", city="Frankfurt")
JOSEF = Person(crm_id="105", first_name="Josef", last_name="Zimmermann")
URSULA = Person(crm_id="106", first_name="Ursula", last_name="van den Berg")
ERIKA = Person(crm_id="107", last_name="Erika Mustermann", email="erika@example.com")
DIRECTORY = (ANNA, BERND, JUERGEN, STEFAN, JOSEF, URSULA, ERIKA)


def told(text: str, *people: Person, pillar: Pillar | None = None) -> Match:
    """What becomes of a text in a directory (the one above where none is given)."""
    return match(
        text, TOLD_AT, people or DIRECTORY, policy=POLICY, pillar=pillar, record_url=RECORD_URL
    )


def outline(found: Match) -> tuple[MatchOutcome, list[tuple[str, float, str]]]:
    """Outcome and candidates in order: id, score, reasons."""
    return found.outcome, [
        (one.crm_id, one.score, " ".join(one.reasons)) for one in found.candidates
    ]


# ---------------------------------------------------------------------- who is meant


@pytest.mark.parametrize(
    ("text", "outcome", "candidates"),
    [
        # the words of the model
        (
            "Frau Dr. Meyer von der Stadtbäckerei",
            LINKED,
            [("101", 0.80, "surname company"), ("102", 0.50, "surname")],
        ),
        ("Jürgen Müller", LINKED, [("103", 0.85, "surname given_name")]),
        ("Juergen MUELLER", LINKED, [("103", 0.85, "surname given_name")]),
        ("Anna Maier", LINKED, [("101", 0.77, "surname_sounds given_name")]),
        # a surname alone never links
        ("Herr Dr. Müller", AMBIGUOUS, [("103", 0.50, "surname")]),
        ("Meyer", AMBIGUOUS, [("101", 0.50, "surname"), ("102", 0.50, "surname")]),
        (
            "Meier",
            AMBIGUOUS,
            [("101", 0.42, "surname_sounds"), ("102", 0.42, "surname_sounds")],
        ),
        ("Mohr", NONE, []),
        # given names
        ("Anna Meyer", LINKED, [("101", 0.85, "surname given_name")]),
        ("Meyer, Anna", LINKED, [("101", 0.85, "surname given_name")]),
        ("Meyer Anna", LINKED, [("101", 0.80, "surname given_name")]),
        ("A. Meyer", AMBIGUOUS, [("101", 0.70, "surname initial")]),
        ("A. Meyer aus Köln", LINKED, [("101", 0.85, "surname initial city")]),
        ("Sepp Zimmermann", LINKED, [("105", 0.80, "surname nickname")]),
        ("Stephan Schmidt-Lorenz", LINKED, [("104", 0.75, "surname given_name_sounds")]),
        ("Stefanie Schmidt-Lorenz", NONE, []),
        ("Klaus Meyer", NONE, []),
        ("Anna", NONE, []),
        # the surname in other forms
        ("Josef Zimerman", LINKED, [("105", 0.77, "surname_sounds given_name")]),
        ("Josef Zimmerbann", AMBIGUOUS, [("105", 0.70, "surname_similar given_name")]),
        ("Stefan Schmidt", AMBIGUOUS, [("104", 0.70, "surname_similar given_name")]),
        ("Stefan Lorenz-Schmidt", LINKED, [("104", 0.85, "surname given_name")]),
        ("Ursula Vandenberg", LINKED, [("106", 0.85, "surname given_name")]),
        ("Ursula Berg", LINKED, [("106", 0.85, "surname given_name")]),
        ("Erika Mustermann", LINKED, [("107", 0.85, "surname given_name")]),
        # company and city
        (
            "Meyer, Stadtbäckerei",
            LINKED,
            [("101", 0.80, "surname company"), ("102", 0.50, "surname")],
        ),
        (
            "Meyer (Stadtbäckerei, Köln)",
            LINKED,
            [("101", 0.95, "surname company city"), ("102", 0.50, "surname")],
        ),
        ("Stadtbäckerei, Anna Meyer", LINKED, [("101", 1.0, "surname given_name company")]),
        ("Meyer Stadtbäckerei", AMBIGUOUS, [("101", 0.65, "surname company")]),
        (
            "Meyer aus Rosenheim",
            AMBIGUOUS,
            [("102", 0.65, "surname company"), ("101", 0.50, "surname")],
        ),
        (
            "Maier von der Stadtbäckerei",
            AMBIGUOUS,
            [("101", 0.72, "surname_sounds company"), ("102", 0.42, "surname_sounds")],
        ),
        ("Anna von der Stadtbäckerei", NONE, []),
        ("die Stadtbäckerei", NONE, []),
        # e-mail, phone, record id and link
        ("ANNA.MEYER@example.com", LINKED, [("101", 1.0, "email")]),
        ("0049 (0)89 123 45 67", LINKED, [("101", 0.98, "phone")]),
        ("102", LINKED, [("102", 1.0, "record_id")]),
        (RECORD_URL.format(id="102") + "/view?x=1", LINKED, [("102", 1.0, "record_id")]),
        (
            "Frau Meyer, 089/1234567",
            LINKED,
            [("101", 1.0, "phone surname"), ("102", 0.50, "surname")],
        ),
        ("Anna Schulz, anna.meyer@example.com", LINKED, [("101", 1.0, "email")]),
        # the name contradicts: two people may be meant
        ("Frau Schulz, 089 1234567", AMBIGUOUS, [("101", 0.68, "phone")]),
        (
            "Anna Meyer, 089 7654321",
            AMBIGUOUS,
            [
                ("101", 0.85, "surname given_name"),
                ("102", 0.68, "phone surname given_name_differs"),
            ],
        ),
        # nobody
        ("Frau Unbekannt", NONE, []),
        ("weiß ich nicht mehr", NONE, []),
        ("🙂", NONE, []),
        ("", NONE, []),
    ],
)
def test_a_text_finds_who_is_meant(
    text: str, outcome: MatchOutcome, candidates: list[tuple[str, float, str]]
) -> None:
    """Each text with its outcome and everybody who may be meant, with the reasons."""
    assert (outcome, candidates) == outline(told(text))


def test_a_candidate_says_who_it_is() -> None:
    """What a rep needs to recognise the person goes along."""
    anna = Candidate(
        crm_id="101",
        name="Anna Meyer",
        company="Stadtbäckerei Beispiel GmbH & Co. KG",
        city="Köln",
        score=0.85,
        reasons=("surname", "given_name"),
    )

    assert Match(outcome=LINKED, winner=anna, candidates=(anna,)) == told("Anna Meyer")


# ---------------------------------------------------------------------- several people


def test_two_of_one_name_are_a_question() -> None:
    """Nobody is linked while two fit alike; they are listed by id."""
    other = replace(ANNA, crm_id="99", company="", email="", phones=())

    assert outline(told("Anna Meyer", ANNA, other)) == (
        AMBIGUOUS,
        [("99", 0.85, "surname given_name"), ("101", 0.85, "surname given_name")],
    )


def test_the_company_tells_two_of_one_name_apart() -> None:
    """A clear lead links."""
    other = replace(ANNA, crm_id="99", company="Muster AG", email="", phones=())

    assert told("Anna Meyer von der Stadtbäckerei", ANNA, other).winner == Candidate(
        crm_id="101",
        name="Anna Meyer",
        company=ANNA.company,
        city="Köln",
        score=1.0,
        reasons=("surname", "given_name", "company"),
    )


def test_a_shared_phone_is_a_question() -> None:
    """A number alone does not tell which of two it is."""
    bernd = replace(BERND, phones=ANNA.phones)

    assert outline(told("089 1234567", ANNA, bernd)) == (
        AMBIGUOUS,
        [("101", 0.98, "phone"), ("102", 0.98, "phone")],
    )


def test_the_name_decides_whose_phone_it_is() -> None:
    """With a shared number the given name links."""
    bernd = replace(BERND, phones=ANNA.phones)

    assert outline(told("Bernd Meyer 089 1234567", ANNA, bernd)) == (
        LINKED,
        [
            ("102", 1.0, "phone surname given_name"),
            ("101", 0.68, "phone surname given_name_differs"),
        ],
    )


def test_an_exact_hit_has_no_rival_in_a_name() -> None:
    """The e-mail says which of two of one name and company it is."""
    double = replace(ANNA, crm_id="99", email="", phones=())
    found = told("Anna Meyer (Stadtbäckerei) anna.meyer@example.com", double, ANNA)

    assert (found.outcome, found.winner and found.winner.crm_id) == (LINKED, "101")


def test_a_couple_told_together_is_a_question() -> None:
    """Both are meant, so neither is linked."""
    assert outline(told("Anna und Bernd Meyer")) == (
        AMBIGUOUS,
        [("101", 0.85, "surname given_name"), ("102", 0.85, "surname given_name")],
    )


def test_a_colleague_gains_nothing_from_the_company_of_somebody_else() -> None:
    """Told is Xaveria: Anna of the same company and name is only a candidate."""
    assert outline(told("Meyer, Xaveria, Stadtbäckerei", ANNA)) == (
        AMBIGUOUS,
        [("101", 0.50, "surname")],
    )


def test_no_more_candidates_than_the_policy_says() -> None:
    """The list ends where a rep would stop reading."""
    people = [Person(crm_id=str(number), last_name="Meyer") for number in range(1, 20)]

    assert [str(number) for number in range(1, 6)] == [
        one.crm_id for one in told("Meyer", *people).candidates
    ]


# --------------------------------------------------------------------------- employees

CLERK = Person(
    crm_id="7", first_name="Anna", last_name="Meyer", email="am@example.com", is_user=True
)
CONTACT = Person(crm_id="8", first_name="Anna", last_name="Meyer")


@pytest.mark.parametrize(
    ("pillar", "scores"),
    [
        (None, [("7", 0.85, False), ("8", 0.85, False)]),
        (Pillar.EMPLOYEE, [("7", 0.90, True), ("8", 0.85, False)]),
        (Pillar.CUSTOMER, [("8", 0.85, False), ("7", 0.80, False)]),
        (Pillar.NETWORK, [("8", 0.85, False), ("7", 0.80, False)]),
    ],
)
def test_the_pillar_orders_users_and_contacts(
    pillar: Pillar | None, scores: list[tuple[str, float, bool]]
) -> None:
    """It moves a user up or down, too little to link one of two of one name."""
    found = told("Anna Meyer", CLERK, CONTACT, pillar=pillar)

    assert (AMBIGUOUS, scores) == (
        found.outcome,
        [(one.crm_id, one.score, "employee" in one.reasons) for one in found.candidates],
    )


def test_a_user_is_found_by_name() -> None:
    """An employee may be the referrer; the winner says so."""
    found = told("Anna Meyer", CLERK, pillar=Pillar.EMPLOYEE)

    assert found.winner == Candidate(
        crm_id="7",
        is_user=True,
        name="Anna Meyer",
        score=0.90,
        reasons=("surname", "given_name", "employee"),
    )


def test_a_record_id_means_no_user() -> None:
    """Users have ids of their own: a contact's link does not lead to one."""
    user = replace(CLERK, crm_id="551")

    assert Match(outcome=NONE) == told(RECORD_URL.format(id="551"), user)


# -------------------------------------------------------------------------- over time


def later(person: Person, minutes: int) -> Person:
    return replace(person, created_at=TOLD_AT + timedelta(minutes=minutes))


def test_who_is_created_later_does_not_stand_in_the_way() -> None:
    """What could be linked when it was told stays linked, with the candidates of then."""
    namesake = later(replace(ANNA, crm_id="99"), 1)

    assert told("Anna Meyer", ANNA) == told("Anna Meyer", ANNA, namesake)


def test_who_was_there_already_does_stand_in_the_way() -> None:
    """Created at the very moment counts as there."""
    namesake = later(replace(ANNA, crm_id="99"), 0)

    assert told("Anna Meyer", ANNA, namesake).outcome == AMBIGUOUS


def test_a_name_not_found_is_found_when_its_contact_appears() -> None:
    """The first who comes is linked, and the next of that name changes nothing."""
    first, second = later(ANNA, 5), later(replace(ANNA, crm_id="99"), 6)

    assert outline(told("Anna Meyer", second, first, BERND)) == (
        LINKED,
        [("101", 0.85, "surname given_name")],
    )


def test_an_ambiguous_name_may_be_settled_later() -> None:
    """Somebody clearly better than those who were there wins by coming."""
    found = told("Frau Meyer von der Stadtbäckerei", BERND, later(ANNA, 5))

    assert outline(found) == (LINKED, [("101", 0.80, "surname company"), ("102", 0.50, "surname")])


def test_two_who_come_at_once_come_in_order_of_their_ids() -> None:
    """The shorter id, then the smaller, is the older record."""
    people = (later(replace(ANNA, crm_id="1000"), 5), later(replace(ANNA, crm_id="999"), 5))
    winner = told("Anna Meyer", *people).winner

    assert (winner and winner.crm_id) == "999"


# ------------------------------------------------------------------- whatever is told

FIRST_NAMES = [
    "",
    "Anna",
    "Hanna",
    "Bernd",
    "Sepp",
    "Josef",
    "Stefan",
    "Stefanie",
    "Anna-Lena",
    "A.",
]
LAST_NAMES = [
    *["", "Meyer", "Maier", "Mayr", "Mohr", "Müller", "Mueller", "Muller", "Hagen", "Fischer"],
    *[
        "von Hagen",
        "van den Berg",
        "Vandenberg",
        "Meyer-Groß",
        "Groß",
        "Garcia López",
        "Anna Meyer",
    ],
]
COMPANIES = ["", "Stadtbäckerei GmbH", "Muster AG", "Stadtwerke Köln"]
PEOPLE = st.builds(
    Person,
    crm_id=st.integers(100, 130).map(str),
    first_name=st.sampled_from(FIRST_NAMES),
    last_name=st.sampled_from(LAST_NAMES),
    email=st.sampled_from(["", "anna@example.com", "Bernd@example.com"]),
    phones=st.sampled_from([(), ("089 1234567",), ("+49 89 7654321", "12")]),
    company=st.sampled_from(COMPANIES),
    city=st.sampled_from(["", "Köln"]),
    created_at=st.none() | st.integers(-2, 3).map(lambda day: TOLD_AT + timedelta(days=day)),
    is_user=st.booleans(),
)
DIRECTORIES = st.lists(PEOPLE, max_size=8, unique_by=lambda one: (one.is_user, one.crm_id))
PARTS = st.sampled_from(
    [
        *FIRST_NAMES,
        *LAST_NAMES,
        *["Frau", "Dr.", "von", "von der", "aus", ",", "(", ")", "und", "-", "Stadtbäckerei"],
        *["Köln", "Muster", "101", "12345678", "089 1234567", "anna@example.com"],
    ]
)
TEXTS = st.lists(PARTS, max_size=6).map(" ".join)


@PLAIN
@given(TEXTS, DIRECTORIES.flatmap(lambda all_: st.tuples(st.just(all_), st.permutations(all_))))
def test_the_order_of_the_people_does_not_matter(
    text: str, lists: tuple[list[Person], list[Person]]
) -> None:
    """The same people, however listed, give the same match."""
    people, shuffled = lists

    assert match(text, TOLD_AT, people, policy=POLICY) == match(
        text, TOLD_AT, shuffled, policy=POLICY
    )


@PLAIN
@given(TEXTS, DIRECTORIES, DIRECTORIES)
def test_a_link_stays_whoever_comes_later(
    text: str, people: list[Person], newcomers: list[Person]
) -> None:
    """Once linked, no contact created after everybody else changes anything."""
    before = match(text, TOLD_AT, people, policy=POLICY)
    late = [
        replace(one, crm_id=f"2{one.crm_id}", created_at=TOLD_AT + timedelta(days=9))
        for one in newcomers
    ]
    after = match(text, TOLD_AT, [*people, *late], policy=POLICY)

    assert before.outcome != LINKED or before == after


@PLAIN
@given(TEXTS, DIRECTORIES)
def test_only_a_clear_winner_is_linked(text: str, people: list[Person]) -> None:
    """A link is high enough, has more than a surname, and is the best of its kind."""
    found = match(text, TOLD_AT, people, policy=POLICY)
    surname_only = {"surname", "surname_sounds", "surname_similar", "employee"}

    assert (found.outcome == LINKED) == (found.winner is not None)
    assert found.winner is None or (
        found.winner.score >= POLICY.link_score
        and not surname_only.issuperset(found.winner.reasons)
    )


@PLAIN
@given(st.text(), DIRECTORIES)
@example("🙂" * 5_000, [ANNA])
@example("\x00\ud800Anna\x1fMeyer\u202e", [ANNA])
@example("Anna Meyer " * 1_000, [ANNA, BERND])
@example("((((((a@@@@b....," * 600, [ANNA])
def test_no_text_is_too_odd(text: str, people: list[Person]) -> None:
    """Whatever was typed becomes linked, ambiguous or none."""
    assert match(text, TOLD_AT, people, policy=POLICY).outcome in (LINKED, AMBIGUOUS, NONE)


# ----------------------------------------------------------------------------- recall

WORDS = st.text(alphabet="abdefhlmnrstuüä-", min_size=1, max_size=12) | st.sampled_from(
    ["Zimmermann", "Mustermann", "Schneider", "Müller", "Lehmann", "Meyer", "Ng", "王"]
)


@st.composite
def misspelt(draw: st.DrawFn) -> tuple[str, str]:
    """A surname, and the same with one letter more, less, other, or two swapped."""
    word = draw(WORDS)
    place = draw(st.integers(0, len(word) - 1))
    letter = draw(st.sampled_from("abelmnrst"))
    begin, end = word[:place], word[place:]
    swapped = begin + end[1:2] + end[:1] + end[2:]
    typo = st.sampled_from([word, begin + letter + end, begin + end[1:], swapped])
    return word, draw(typo | st.just(begin + letter + end[1:]))


@settings(PLAIN, max_examples=1_000)
@given(misspelt(), st.sampled_from(["Anna", "A.", ""]))
@example(("Mustermann", "Mustremann"), "Anna")
@example(("Hofmann", "Homfann"), "Anna")
def test_a_misspelt_surname_that_counts_is_found_by_its_keys(
    names: tuple[str, str], first_name: str
) -> None:
    """Whoever has any score shares a key with the text, typos in the middle included."""
    person = Person(crm_id="1", first_name="Anna", last_name=names[0])
    read = parse_name(f"{first_name} {names[1]}")

    assert not score(read, person)[0] or keys_of_told(read) & keys_of_person(person)


@PLAIN
@given(TEXTS, PEOPLE)
def test_whoever_counts_is_found_by_their_keys(text: str, person: Person) -> None:
    """Nobody with a score is missed by looking among the keys only."""
    read = parse_name(text)

    assert not score(read, person)[0] or keys_of_told(read) & keys_of_person(person)


@pytest.mark.parametrize(
    ("text", "person"),
    [
        ("Juergen Mueller", JUERGEN),
        ("Anna Mayr", ANNA),
        ("Sepp Zimmermann", JOSEF),
        ("Zimmerbann", JOSEF),
        ("Frau Schmitt-Lorentz", STEFAN),
        ("Herr Lorenz", STEFAN),
        ("U. Vandenberg", URSULA),
        ("Mustermann", ERIKA),
        ("ERIKA@example.com", ERIKA),
        ("0049 89 1234567", ANNA),
        ("102", BERND),
    ],
)
def test_variants_of_a_name_share_a_key_with_it(text: str, person: Person) -> None:
    """Umlauts, phonetics, short forms, typos and parts lead to the person."""
    assert keys_of_told(parse_name(text)) & keys_of_person(person)


def test_the_keys_of_a_person_are_few() -> None:
    """An index of everybody stays small: exact keys, the surname, its sound and its typos."""
    assert keys_of_person(ANNA) == {
        "i:101",
        "e:anna.meyer@example.com",
        "p:1234567",
        "w:meyer",
        "n:67",
        "t:5:meyer",
        "t:5:eyer",
        "t:5:myer",
        "t:5:meer",
        "t:5:meyr",
        "t:5:meye",
    }


def test_folded_names_have_the_same_keys() -> None:
    """How a surname is spelt in the CRM does not matter."""
    plain = replace(JUERGEN, last_name=fold(JUERGEN.last_name))

    assert keys_of_person(JUERGEN) == keys_of_person(plain)


@PLAIN
@given(
    people=st.lists(
        st.builds(
            Person,
            crm_id=st.integers(100, 120).map(str),
            first_name=st.sampled_from(("Anna", "Anna Maria", "Micheal", "Sepp", "M.", "")),
            last_name=st.sampled_from(("Meyer", "Maier", "Mayr", "Meyer-Schmidt", "von Hagen", "")),
            email=st.sampled_from(("", "anna@example.com")),
            company=st.sampled_from(("", "Meyer GmbH", "Autohaus Rosenheim")),
            city=st.sampled_from(("", "Rosenheim")),
            created_at=st.sampled_from((None, TOLD_AT - DAY, TOLD_AT + DAY)),
        ),
        unique_by=lambda one: one.crm_id,
        max_size=12,
    ),
    text=st.sampled_from(
        (
            "Frau Meyer",
            "Josef Meyer",
            "Anna Meyer von Meyer GmbH",
            "Michael Mayer aus Rosenheim",
            "Meyer, Autohaus Rosenheim",
            "Anna von Hagen",
            "Sepp Meyer anna@example.com",
            "Meyer (105)",
        )
    ),
    policy=st.sampled_from(
        (POLICY, MatchPolicy(candidate_score=0.1), MatchPolicy(link_score=0.5, link_lead=0.3))
    ),
)
def test_whoever_is_passed_by_makes_no_difference(
    people: list[Person], text: str, policy: MatchPolicy
) -> None:
    """Of a frequent name most need not be looked at closely."""
    search = Search(text, policy=policy)
    some = [
        one
        for one in people
        if search.may_find(one.first_name, one.last_name, one.company, one.city)
    ]
    assert search.match(TOLD_AT, some) == match(text, TOLD_AT, people, policy=policy)
