"""An invented portal for measuring: the same contacts every time, and what is known of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

GIVEN = """
Alexander Andrea Angelika Anja Anke Anna Annette Anton Astrid Barbara Bernd Birgit Björn Brigitte
Carla Carsten Cem Charlotte Christa Christian Claudia Clara Cornelia Daniel David Dennis Dieter Dirk
Elena Elias Elif Elke Emil Emma Erik Eva Fabian Fatma Felix Finn Frank Franziska Frieda Georg Gerd
Gisela Greta Günter Hannah Hans Harald Heike Heinz Helga Holger Ida Ines Ingo Ingrid Irina Jan Jana
Jens Johanna Jonas Julia Jürgen Karin Karl Katharina Katja Kerstin Klaus Lara Lars Laura Lena Leon
Lukas Maria Marie Markus Martin Max Mehmet Mia Michael Monika Nicole Nina Olga Oliver Paul Peter
Petra Rainer Renate Sabine Simon Sofia Stefan Susanne Sven Theo Thomas Ursula Uwe Vera Werner Yusuf
""".split()  # noqa: SIM905 - a hundred lines would be no clearer
BEGIN = ("B", "D", "F", "G", "H", "K", "L", "M", "R", "S", "W", "Br", "Kr", "Schm", "St")
MIDDLE = """
ab ed if ol un er arm eil ick ost ach alt and aus eck eid elm enz erb euf ild imp ind itz obr olk
orn ott uch urg
""".split()  # noqa: SIM905 - thirty lines would be no clearer
END = (
    "er",
    "mann",
    "ke",
    "berg",
    "hoff",
    "stein",
    "feld",
    "bach",
    "ler",
    "ing",
    "en",
    "zer",
    "ner",
    "kamp",
    "loh",
    "rich",
    "dorf",
    "tke",
    "gel",
    "sen",
    "ert",
    "old",
    "bich",
    "vogt",
)
SURNAMES = len(BEGIN) * len(MIDDLE) * len(END)
COMPANIES = """
Apotheke Architekturbüro Autohaus Bäckerei Bauunternehmen Brauerei Buchhandlung Dachdeckerei
Druckerei Elektrotechnik Fahrschule Fliesenleger Fotostudio Friseur Gärtnerei Gasthaus Goldschmiede
Hausverwaltung Heizungsbau Hotel Immobilien Ingenieurbüro Kanzlei Konditorei Küchenstudio Logistik
Malerbetrieb Maschinenbau Metallbau Metzgerei Optik Parkett Praxis Reisebüro Sanitär Schreinerei
Software Spedition Steuerberatung Zimmerei
""".split()  # noqa: SIM905 - a hundred lines would be no clearer
CITIES = ("Rosenheim", "Bremen", "Kassel", "Jena", "Ulm", "Husum")
OWNERS = ("64492917", "64492918")

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
"""The real one: some parts run the real worker, which lives today."""
START = TODAY - timedelta(days=263)
"""The first of them became a contact."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Somebody:
    """One contact. Three of four have bought, half have said how it was, and one of ten was sent
    by somebody; one of five of those is told by the surname alone."""

    number: int
    first_name: str
    last_name: str
    email: str
    company: str
    city: str
    owner_id: str
    since: datetime
    bought: bool
    rating: str
    referrer: str


def people(count: int) -> Iterator[Somebody]:
    """All of a portal with so many contacts."""
    return (somebody(number, count) for number in range(count))


def somebody(number: int, count: int) -> Somebody:
    """One of them, the same every time."""
    return Somebody(
        number=number,
        first_name=_given(number),
        last_name=_surname(number),
        email=f"person{number}@example.com",
        company=_company(number),
        city=CITIES[number % 6],
        owner_id=OWNERS[number % 2],
        since=START + timedelta(minutes=number % 100_000),
        bought=number % 4 != 0,
        rating=("satisfied", "", "delighted", "")[number % 4],
        referrer=_told(number, count) if number % 10 == 3 else "",
    )


def _surname(number: int) -> str:
    """Few names are frequent and many are rare: the first is that of one in a hundred
    people, as Müller is in Germany."""
    spread = number * 2_654_435_761 % 2**32 / 2**32
    rest, end = divmod(int(SURNAMES * spread**2), len(END))
    begin, middle = divmod(rest, len(MIDDLE))
    return f"{BEGIN[begin]}{MIDDLE[middle]}{END[end]}"


def _given(number: int) -> str:
    return GIVEN[number * 48_271 % 2**31 % len(GIVEN)]


def _company(number: int) -> str:
    return f"{COMPANIES[number * 40_503 % 2**16 % len(COMPANIES)]} {_surname(number)}"


def _told(number: int, count: int) -> str:
    who = number * 7919 % count
    if number % 50 == 3:
        return f"Frau {_surname(who)}"
    return f"{_given(who)} {_surname(who)} von der Firma {_company(who)}"
