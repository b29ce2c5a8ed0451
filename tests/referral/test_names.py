"""Names: what a rep typed about a referrer, and the ways it can be read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugin.referral.names import (
    LONGEST,
    Reading,
    ToldName,
    are_nicknames,
    cologne,
    fold,
    given_names,
    parse_name,
    phone_digits,
    sound_alike,
    split_referrers,
    surname_of,
    text_key,
    vowel_sounds,
)

PLAIN = settings(max_examples=200, derandomize=True, deadline=None)
RECORD_URL = "https://app.example.com/contacts/42/record/0-1/{id}"
ANNA = Reading(given=("anna",), surname=("meyer",))
MEYER = Reading(surname=("meyer",))


# ------------------------------------------------------------------------- letters


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Müller", "mueller"),
        ("MUELLER", "mueller"),
        ("Mu\u0308ller", "mueller"),
        ("Weiß", "weiss"),
        ("Łukasz Bjørn", "lukasz bjoern"),
        ("Renée Çelik", "renee celik"),
        ("Mül\u00adler\u200b", "mueller"),
        ("Anna\tMeyer\x00", "anna meyer "),
        ("Müller‐Lüdenscheidt", "mueller-luedenscheidt"),
    ],
)
def test_folding_leaves_one_spelling_of_a_name(text: str, folded: str) -> None:
    """Case, umlauts, accents and invisible characters make no difference."""
    assert folded == fold(text)


@PLAIN
@given(st.text())
def test_folding_twice_is_folding_once(text: str) -> None:
    """A folded text is its own folding."""
    assert fold(text) == fold(fold(text))


@pytest.mark.parametrize(
    ("text", "referrers"),
    [
        ("", ()),
        (" ; ;\u200b; ", ()),
        ("Anna Meyer", ("Anna Meyer",)),
        (" Anna Meyer ;Jürgen  Groß; ", ("Anna Meyer", "Jürgen  Groß")),
        ("Jürgen Groß; JUERGEN  GROSS; Anna Meyer", ("Jürgen Groß", "Anna Meyer")),
        ("Meyer, Anna; a@example.com", ("Meyer, Anna", "a@example.com")),
    ],
)
def test_semicolons_part_the_referrers(text: str, referrers: tuple[str, ...]) -> None:
    """Fragments keep their order and words; empty and repeated ones go."""
    assert referrers == split_referrers(text)


def test_the_key_of_a_text_outlives_spelling() -> None:
    """The same words with other case, spaces or umlauts are the same thing told."""
    told = ["Frau  Dr. Müller ", "frau dr. mueller", "FRAU\tDR. MÜLLER"]

    assert {"frau dr. mueller"} == {text_key(text) for text in told}


# -------------------------------------------------------------------------- sounds


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("Müller-Lüdenscheidt", "65752682"),
        ("Breschnew", "17863"),
        ("Wikipedia", "3412"),
        ("Meyer", "67"),
        ("Maier", "67"),
        ("Mayr", "67"),
        ("Schmidt", "862"),
        ("Schmied", "862"),
        ("Philipp", "351"),
        ("Filip", "351"),
        ("Axel", "0485"),
        ("Luxus", "5488"),
        ("Chlodwig", "45234"),
        ("Celle", "85"),
        ("Schach", "84"),
        ("Ida", "02"),
        ("王", ""),
        ("", ""),
    ],
)
def test_the_cologne_code_is_the_published_one(word: str, code: str) -> None:
    """The published examples of the Kölner Phonetik, and its special letters."""
    assert code == cologne(word)


@pytest.mark.parametrize(
    ("word", "sounds"),
    [
        ("meyer", "-1e"),
        ("maier", "-1e"),
        ("mohr", "-o"),
        ("schmied", "-i"),
        ("baehr", "-e"),
        ("hahn", "ha"),
        ("jahn", "ja"),
        ("haeuser", "h2e"),
    ],
)
def test_vowels_are_written_as_they_are_heard(word: str, sounds: str) -> None:
    """Ei is ai, ie is i, and a word that begins with h or j is told from one that does not."""
    assert sounds == vowel_sounds(word)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("stefan", "stephan", True),
        ("christian", "kristian", True),
        ("rainer", "reiner", True),
        ("sarah", "sara", True),
        ("daniel", "daniela", False),
        ("jan", "jana", False),
        ("anna", "hanna", False),
        ("anna", "ina", False),
        ("王", "李", False),
    ],
)
def test_given_names_sound_alike_only_as_one_name(one: str, other: str, alike: bool) -> None:
    """Spellings of a name are one; the names of a man and a woman are two."""
    assert alike == sound_alike(one, other)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("sepp", "josef", True),
        ("hans", "johannes", True),
        ("uli", "ulrich", True),
        ("uli", "ulrike", True),
        ("ulrich", "ulrike", False),
        ("kathi", "katharina", True),
        ("bill", "william", True),
        ("anna", "bernd", False),
        ("xaveria", "xaveria", False),
    ],
)
def test_short_forms_belong_to_their_names(one: str, other: str, same: bool) -> None:
    """A short form goes with each of its long names, which stay strangers to each other."""
    assert same == are_nicknames(one, other)


# ------------------------------------------------------- e-mail, phone and record ids


@pytest.mark.parametrize(
    "text",
    [
        "089 1234567",
        "+49 89 1234567",
        "0049 89 1234567",
        "+49 (0) 89 / 123 45-67",
        "(089) 123-4567",
    ],
)
def test_all_ways_to_write_a_phone_number_are_one(text: str) -> None:
    """Prefix and separators do not make another number."""
    assert ("49891234567", ToldName(phone="49891234567")) == (phone_digits(text), parse_name(text))


@pytest.mark.parametrize(
    ("text", "digits"),
    [("+43 1 2345678", "4312345678"), ("12345", ""), ("", ""), ("Büro", "")],
)
def test_a_phone_number_has_its_country_and_six_digits(text: str, digits: str) -> None:
    """A country told is kept; what is too short is no phone number."""
    assert digits == phone_digits(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Anna.Meyer@Example.com", ToldName(email="anna.meyer@example.com")),
        ("mailto:anna@example.com", ToldName(email="anna@example.com")),
        ("551", ToldName(record_ids=frozenset({"551"}))),
        ("#551", ToldName(record_ids=frozenset({"551"}))),
        ("12345678", ToldName(phone="12345678", record_ids=frozenset({"12345678"}))),
        ("64ab12cd34ef56ab7", ToldName(record_ids=frozenset({"64ab12cd34ef56ab7"}))),
        (
            "ab12cd34-ef56-4ab7-8888-aaaaaaaaaaaa",
            ToldName(record_ids=frozenset({"ab12cd34-ef56-4ab7-8888-aaaaaaaaaaaa"})),
        ),
        (RECORD_URL.format(id="551"), ToldName(record_ids=frozenset({"551"}))),
        (
            "app.example.com/contacts/42/record/0-1/551/view/1?from=list#top",
            ToldName(record_ids=frozenset({"551"})),
        ),
        ("https://social.example.com/in/somebody", ToldName()),
        ("12", ToldName()),
        ("?", ToldName()),
        ("", ToldName()),
    ],
)
def test_what_is_exact_is_taken_from_the_text(text: str, told: ToldName) -> None:
    """E-mail, phone, record id and record link are told from names, and leave none behind."""
    assert told == parse_name(text, record_url=RECORD_URL)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<anna@example.com>", ToldName(email="anna@example.com")),
        ("Tel. 089 1234567", ToldName(phone="49891234567")),
        ("(212) 555-1234", ToldName(phone="2125551234")),
        ("(551)", ToldName(record_ids=frozenset({"551"}))),
    ],
)
def test_a_name_beside_an_exact_hit_is_read_as_well(text: str, told: ToldName) -> None:
    """What is said twice is kept twice: the name can contradict the number."""
    readings = parse_name("Frau Meyer").readings

    assert (readings, told) == (
        parse_name(f"Frau Meyer {text}").readings,
        parse_name(text),
    )


# ------------------------------------------------------------------------- readings


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("Anna Meyer", ANNA),
        ("Frau Dr. med. Anna Meyer", ANNA),
        ("Prof. Dr. Dr. h. c. Anna Meyer", ANNA),
        ("Dipl.-Ing. Anna Meyer", ANNA),
        ("von Frau Anna Meyer", ANNA),
        ("Meyer, Anna", ANNA),
        ("Meyer, Dr. Anna", ANNA),
        ("Meyer", MEYER),
        ("Fam. Meyer", MEYER),
        ("Herr und Frau Meyer", MEYER),
        ("Herr Meyer sen.", MEYER),
        ("A. Meyer", Reading(given=("a",), surname=("meyer",))),
        ("Meyer Anna", Reading(given=("anna",), surname=("meyer",), doubt=0.05)),
        ("Anna Herr", Reading(given=("anna",), surname=("herr",))),
        ("Anna u. Bernd Meyer", Reading(given=("anna", "bernd"), surname=("meyer",))),
        ("Hans-Peter Groß", Reading(given=("hans", "peter"), surname=("gross",))),
        ("Anna Meyer-Groß", Reading(given=("anna",), surname=("meyer", "gross"))),
        ("Ana García López", Reading(given=("ana",), surname=("garcia", "lopez"))),
        ("Sean O'Brien", Reading(given=("sean",), surname=("obrien",))),
        ("von Hagen", Reading(surname=("hagen",), particles=("von",))),
        ("Anna von Hagen", Reading(given=("anna",), surname=("hagen",), particles=("von",))),
        (
            "Ursula van den Berg",
            Reading(given=("ursula",), surname=("berg",), particles=("van", "den")),
        ),
        (
            "Frau Dr. Meyer von der Stadtbäckerei",
            Reading(surname=("meyer",), supports=(("der", "stadtbaeckerei"),)),
        ),
        (
            "Anna Meyer von Beispiel",
            Reading(given=("anna",), surname=("meyer",), supports=(("beispiel",),)),
        ),
        ("Meyer aus Köln", Reading(surname=("meyer",), supports=(("koeln",),))),
        (
            "Anna Meyer vom Beispiel in Köln",
            Reading(given=("anna",), surname=("meyer",), supports=(("beispiel", "in", "koeln"),)),
        ),
        (
            "Anna Meyer from Example Ltd",
            Reading(given=("anna",), surname=("meyer",), supports=(("example", "ltd"),)),
        ),
        (
            "Anna Meyer (Stadtbäckerei, Köln)",
            Reading(
                given=("anna",),
                surname=("meyer",),
                supports=(("stadtbaeckerei",), ("koeln",)),
            ),
        ),
        (
            "Anna Meyer - Stadtbäckerei",
            Reading(given=("anna",), surname=("meyer",), supports=(("stadtbaeckerei",),)),
        ),
        (
            "Meyer, Stadtbäckerei",
            Reading(surname=("meyer",), supports=(("stadtbaeckerei",),), first_decides=True),
        ),
        (
            "Meyer, Anna, Stadtbäckerei",
            Reading(given=("anna",), surname=("meyer",), supports=(("stadtbaeckerei",),)),
        ),
        (
            "Stadtbäckerei Beispiel, Anna Meyer",
            Reading(
                given=("anna",),
                surname=("meyer",),
                supports=(("stadtbaeckerei", "beispiel"),),
                doubt=0.10,
            ),
        ),
        (
            "Meyer Stadtbäckerei",
            Reading(surname=("meyer",), supports=(("stadtbaeckerei",),), doubt=0.15),
        ),
    ],
)
def test_the_right_reading_is_among_the_readings(text: str, reading: Reading) -> None:
    """Titles go, particles stay with the surname, company and city are support."""
    assert reading in parse_name(text).readings


def test_a_known_given_name_after_the_comma_is_no_company() -> None:
    """Meyer, Anna is one reading: a colleague of another given name gains nothing."""
    assert parse_name("Meyer, Anna").readings == (ANNA,)


def test_the_fields_of_a_record_are_read_as_they_are() -> None:
    """Titles and what stands aside go; a particle in the wrong field is put right."""
    assert (given_names("Frau Dr. Anna"), surname_of("Meyer, MBA (privat)")) == (
        ANNA.given,
        Reading(surname=ANNA.surname),
    )
    assert (given_names("Ursula van den"), surname_of("Berg")) == (
        ("ursula",),
        Reading(surname=("berg",)),
    )


@PLAIN
@given(st.text(), st.none() | st.text())
def test_any_text_can_be_read(text: str, record_url: str | None) -> None:
    """Whatever was typed, in whatever script, makes a told name and a stable key."""
    fragments = split_referrers(text)

    assert [text_key(one) for one in fragments] == [text_key(text_key(one)) for one in fragments]
    assert all(parse_name(one, record_url=record_url) is not None for one in fragments)


def test_what_follows_two_hundred_characters_is_not_read() -> None:
    """The cost of a text is bounded."""
    text = "Anna Meyer " + "und mehr " * 2000

    assert parse_name(text[:LONGEST]) == parse_name(text)
