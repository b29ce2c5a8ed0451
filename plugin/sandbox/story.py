"""The story the demo plays: a dozen customers of a small IT house over two years.

Data first. ``CAST`` are the people, ``CHAPTERS`` the days on which something happens, with what
the plugin should make of it, ``ENDING`` how everybody should stand today. Days count from 0; day
``TODAY`` is the day of the demo. What should come of it was worked out from the referral model
by hand: the demo compares the CRM with it, so nothing here is copied from the plugin's output.

People, companies and deals are invented. A contact, deal or rep is named by its key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from plugin.referral.model import Origin, Pillar, RatingValue, Readiness, Stage, TaskKind, Tier

TODAY = 730
"""The last day: the demo's own."""

REPS = {"lena": "64492917", "jonas": "64492918"}
"""Who works at the IT house, with their ids in the sandbox's account."""

ROUTINE = frozenset({TaskKind.THANK_REFERRER, TaskKind.TELL_OUTCOME, TaskKind.MIND_EXPECTATION})
"""Tasks a rep just does; they need no story of their own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """Somebody who will be a contact. ``rep`` owns it."""

    first: str
    last: str
    email: str
    company: str = ""
    city: str = ""
    rep: str

    @property
    def name(self) -> str:
        return f"{self.first} {self.last}"


CAST: Mapping[str, Person] = {
    "sommer": Person(
        first="Dr. Katrin",
        last="Sommer",
        email="k.sommer@example.com",
        company="Stadtbäckerei Sonnenkorn",
        city="Rosenheim",
        rep="lena",
    ),
    "franke": Person(
        first="Dieter",
        last="Franke",
        email="franke@example.com",
        company="Franke Holzbau",
        city="Traunstein",
        rep="lena",
    ),
    "hartmann": Person(
        first="Peter",
        last="Hartmann",
        email="p.hartmann@example.com",
        company="Autohaus Hartmann",
        city="Rosenheim",
        rep="jonas",
    ),
    "lindner": Person(
        first="Claudia",
        last="Lindner",
        email="claudia@example.com",
        company="Blumen Lindner",
        city="Bad Aibling",
        rep="lena",
    ),
    "braun": Person(
        first="Michael",
        last="Braun",
        email="m.braun@example.com",
        company="Metallbau Braun",
        city="Kolbermoor",
        rep="jonas",
    ),
    "meyer": Person(
        first="Thomas",
        last="Meyer",
        email="meyer@example.com",
        company="Metzgerei Meyer",
        city="Rosenheim",
        rep="jonas",
    ),
    "petersen": Person(
        first="Rolf",
        last="Petersen",
        email="petersen@example.com",
        company="Spedition Petersen",
        city="Kufstein",
        rep="jonas",
    ),
    "maier": Person(
        first="Thomas",
        last="Maier",
        email="maler.maier@example.com",
        company="Malerbetrieb Maier",
        city="Prien",
        rep="lena",
    ),
    "krueger": Person(
        first="Sabine",
        last="Krüger",
        email="krueger@example.com",
        company="Krüger Immobilien",
        city="Rosenheim",
        rep="lena",
    ),
    "winkler": Person(
        first="Helga",
        last="Winkler",
        email="helga.winkler@example.com",
        company="Hotel Winkler",
        city="Aschau",
        rep="lena",
    ),
    "neumann": Person(
        first="Eva",
        last="Neumann",
        email="eva.neumann@example.com",
        company="Keramik Neumann",
        city="Wasserburg",
        rep="lena",
    ),
    "wagner": Person(
        first="Ulrike",
        last="Wagner",
        email="u.wagner@example.com",
        company="Gärtnerei Wagner",
        city="Wasserburg",
        rep="lena",
    ),
    "lorenz": Person(
        first="Birgit",
        last="Lorenz",
        email="birgit.lorenz@example.com",
        company="Lorenz Steuerberatung",
        city="Rosenheim",
        rep="jonas",
    ),
    "lorenz_twin": Person(
        first="B.", last="Lorenz", email="kanzlei.lorenz@example.com", rep="jonas"
    ),
    "vogt": Person(
        first="Andreas",
        last="Vogt",
        email="vogt@example.com",
        company="Fahrschule Vogt",
        city="Rosenheim",
        rep="jonas",
    ),
    "albrecht": Person(
        first="Nina",
        last="Albrecht",
        email="albrecht@example.com",
        company="Praxis Albrecht",
        city="Bad Endorf",
        rep="jonas",
    ),
    "ziegler": Person(
        first="Tobias", last="Ziegler", email="tobias.ziegler@example.com", rep="jonas"
    ),
    "scholz": Person(
        first="Jürgen",
        last="Scholz",
        email="scholz@example.com",
        company="Druckerei Scholz",
        city="Rosenheim",
        rep="lena",
    ),
}


# ------------------------------------------------------------------ what people do in the CRM


@dataclass(frozen=True, slots=True)
class Meet:
    """A rep makes the contact, with what is known of how it came. ``referrer`` as it was told."""

    who: str
    origin: Origin | None = None
    referrer: str = ""
    words: str = ""
    service: str = ""
    pillar: Pillar | None = None

    @property
    def fields(self) -> dict[str, str]:
        told = {
            "spiral_origin": self.origin or "",
            "spiral_referrer_name": self.referrer,
            "spiral_recommended_words": self.words,
            "spiral_recommended_service": self.service,
            "spiral_referrer_pillar": self.pillar or "",
        }
        return {name: str(value) for name, value in told.items() if value}


@dataclass(frozen=True, slots=True)
class Note:
    """A rep fills in fields of the plugin on a contact."""

    who: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Rate:
    """A rep writes down what the customer said."""

    who: str
    value: RatingValue


@dataclass(frozen=True, slots=True)
class RateAgain:
    """The same rating once more: only the day it is about is new."""

    who: str


@dataclass(frozen=True, slots=True)
class Offer:
    """A deal is opened. ``attached`` False: the CRM joins it to the contact later."""

    deal: str
    to: str
    name: str
    amount: int
    attached: bool = True


@dataclass(frozen=True, slots=True)
class Attach:
    """The deal is joined to the contact it was made for."""

    deal: str


@dataclass(frozen=True, slots=True)
class Win:
    deal: str


@dataclass(frozen=True, slots=True)
class Lose:
    deal: str


@dataclass(frozen=True, slots=True)
class Done:
    """A rep completes the open task of this kind on this contact."""

    kind: TaskKind
    on: str


@dataclass(frozen=True, slots=True)
class WorkOff:
    """The reps complete every open ``ROUTINE`` task."""


@dataclass(frozen=True, slots=True)
class Merge:
    """Two contacts turn out to be one person: a new record comes of them, called ``keep``."""

    keep: str
    drop: str


@dataclass(frozen=True, slots=True)
class Leave:
    """The customer is gone and the contact deleted."""

    who: str


@dataclass(frozen=True, slots=True)
class SendTwice:
    """The CRM delivers its last webhook once more."""


@dataclass(frozen=True, slots=True)
class HoldUp:
    """The next event is held up on its way."""


@dataclass(frozen=True, slots=True)
class LetGo:
    """What was held up arrives, after all that came later."""


@dataclass(frozen=True, slots=True)
class Swallow:
    """The next event is never sent."""


Action = (
    Meet | Note | Rate | RateAgain | Offer | Attach | Win | Lose | Done | WorkOff | Merge | Leave
    | SendTwice | HoldUp | LetGo | Swallow
)  # fmt: skip


# --------------------------------------------------------------------- what should come of it


@dataclass(frozen=True, slots=True)
class Todo:
    """A task of the plugin by what it is and where it stands: on a contact and, where it speaks
    of another one, on that as well."""

    kind: TaskKind
    on: str
    about: str | None = None

    @property
    def contacts(self) -> frozenset[str]:
        return frozenset(filter(None, (self.on, self.about)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Chapter:
    """One day. ``moves``: contact → the stage it comes to, None for none any more. ``new``: tasks
    the plugin makes; ``gone``: those it takes back because their reason has gone. A chapter
    without actions is a day on which time alone does something."""

    day: int
    text: str
    actions: tuple[Action, ...] = ()
    moves: Mapping[str, Stage | None] = field(default_factory=dict)
    new: tuple[Todo, ...] = ()
    gone: tuple[Todo, ...] = ()


_K, _S, _R = TaskKind, Stage, RatingValue


CHAPTERS = (
    Chapter(
        day=0,
        text="At a trade fair Lena meets Dr. Katrin Sommer, who runs a bakery.",
        actions=(Meet("sommer", Origin.EVENT),),
        moves={"sommer": _S.EXPECTATION},
    ),
    Chapter(
        day=2,
        text="Frau Dr. Sommer asks for an offer.",
        actions=(Offer("tills", "sommer", "Kassensystem", 8_400),),
    ),
    Chapter(
        day=9,
        text="She buys: now she makes her own experience.",
        actions=(Win("tills"),),
        moves={"sommer": _S.EXPERIENCE},
    ),
    Chapter(
        day=20,
        text="“Runs well”, she says on the phone. Satisfied, but average is never recommended.",
        actions=(Rate("sommer", _R.SATISFIED),),
        moves={"sommer": _S.SATISFACTION},
    ),
    Chapter(
        day=30,
        text="Dieter Franke has seen an advertisement.",
        actions=(Meet("franke", Origin.ADVERTISING),),
        moves={"franke": _S.EXPECTATION},
    ),
    Chapter(
        day=32,
        text="He wants a network for his workshop.",
        actions=(Offer("workshop", "franke", "Netzwerk Werkhalle", 5_200),),
    ),
    Chapter(
        day=40,
        text="Frau Dr. Sommer wants more from us. While a deal is open nobody asks her anything.",
        actions=(Offer("branches", "sommer", "WLAN für drei Filialen", 3_200),),
        moves={"sommer": _S.SYMPATHY},
    ),
    Chapter(
        day=45,
        text="Franke buys.",
        actions=(Win("workshop"),),
        moves={"franke": _S.EXPERIENCE},
    ),
    Chapter(
        day=50,
        text="He is satisfied.",
        actions=(Rate("franke", _R.SATISFIED),),
        moves={"franke": _S.SATISFACTION},
    ),
    Chapter(
        day=52,
        text="Frau Dr. Sommer's second order is won: the first moment for a soft ask.",
        actions=(Win("branches"),),
        new=(Todo(_K.ASK_REFERRAL_SOFT, "sommer"),),
    ),
    Chapter(
        day=60,
        text="Lena thanks her for the order with a small gift and asks for an introduction.",
        actions=(Done(_K.ASK_REFERRAL_SOFT, "sommer"),),
    ),
    Chapter(
        day=66,
        text="Peter Hartmann calls. “Frau Dr. Sommer von der Stadtbäckerei sent me.” A match!",
        actions=(
            Meet(
                "hartmann",
                Origin.RECOMMENDATION,
                referrer="Frau Dr. Sommer von der Stadtbäckerei",
                words="Die sind da, wenn es brennt.",
                service="Telefonanlagen",
            ),
        ),
        moves={"hartmann": _S.EXPECTATION},
        new=(Todo(_K.THANK_REFERRER, "sommer", "hartmann"),),
    ),
    Chapter(
        day=70,
        text="An offer for Hartmann. He was promised much: mind it.",
        actions=(Offer("phones", "hartmann", "Telefonanlage", 12_500),),
        new=(Todo(_K.MIND_EXPECTATION, "hartmann"),),
    ),
    Chapter(day=75, text="Lena and Jonas do what is on their lists.", actions=(WorkOff(),)),
    Chapter(
        day=80,
        text="Frau Dr. Sommer is delighted, for the first time.",
        actions=(Rate("sommer", _R.DELIGHTED),),
    ),
    Chapter(
        day=85,
        text="Hartmann buys. The CRM delivers this webhook twice; nothing happens twice.",
        actions=(Win("phones"), SendTwice()),
        moves={"hartmann": _S.EXPERIENCE},
        new=(
            Todo(_K.TELL_OUTCOME, "sommer", "hartmann"),
            Todo(_K.MIND_EXPECTATION, "hartmann"),
        ),
    ),
    Chapter(
        day=95,
        text="Hartmann is satisfied.",
        actions=(Rate("hartmann", _R.SATISFIED),),
        moves={"hartmann": _S.SATISFACTION},
    ),
    Chapter(
        day=100, text="Lists are done, and Frau Dr. Sommer knows the outcome.", actions=(WorkOff(),)
    ),
    Chapter(
        day=120,
        text="Hartmann asks for more …",
        actions=(Offer("garage", "hartmann", "WLAN Werkstatt", 4_800),),
        moves={"hartmann": _S.SYMPATHY},
    ),
    Chapter(
        day=128,
        text="… and then does not order. The wish was there all the same: sympathy stays.",
        actions=(Lose("garage"),),
        new=(Todo(_K.ASK_REFERRAL_SOFT, "hartmann"),),
    ),
    Chapter(
        day=130,
        text="Frau Dr. Sommer is delighted again, and she has recommended us: loyalty.",
        actions=(RateAgain("sommer"),),
        moves={"sommer": _S.LOYALTY},
    ),
    Chapter(
        day=134,
        text="Jonas softly asks Hartmann.",
        actions=(Done(_K.ASK_REFERRAL_SOFT, "hartmann"),),
    ),
    Chapter(
        day=140,
        text="It works: Hartmann sends Claudia Lindner. The chain has three links now.",
        actions=(Meet("lindner", Origin.RECOMMENDATION, referrer="Herr Hartmann vom Autohaus"),),
        moves={"lindner": _S.EXPECTATION},
        new=(
            Todo(_K.THANK_REFERRER, "hartmann", "lindner"),
            Todo(_K.ASK_REFERRAL_DETAILS, "lindner"),
        ),
    ),
    Chapter(
        day=146,
        text="Lena asks Frau Lindner what was said about us.",
        actions=(Note("lindner", {"spiral_recommended_words": "Keine Ausreden, nur Lösungen."}),),
        gone=(Todo(_K.ASK_REFERRAL_DETAILS, "lindner"),),
    ),
    Chapter(
        day=150,
        text="90 days after the ask that was answered, Frau Dr. Sommer may be asked again.",
        actions=(
            Offer("shop", "lindner", "Onlineshop", 6_900),
            Rate("hartmann", _R.DELIGHTED),
        ),
        new=(
            Todo(_K.ASK_REFERRAL_FIRM, "sommer"),
            Todo(_K.MIND_EXPECTATION, "lindner"),
        ),
    ),
    Chapter(day=155, text="Lena asks her.", actions=(Done(_K.ASK_REFERRAL_FIRM, "sommer"),)),
    Chapter(
        day=165,
        text="Frau Lindner buys her online shop.",
        actions=(Win("shop"),),
        moves={"lindner": _S.EXPERIENCE},
        gone=(Todo(_K.MIND_EXPECTATION, "lindner"),),
        new=(
            Todo(_K.TELL_OUTCOME, "hartmann", "lindner"),
            Todo(_K.MIND_EXPECTATION, "lindner"),
        ),
    ),
    Chapter(
        day=170,
        text="And Frau Dr. Sommer sends Michael Braun.",
        actions=(
            Meet(
                "braun",
                Origin.RECOMMENDATION,
                referrer="Katrin Sommer",
                words="Bei denen ruft wirklich jemand zurück.",
            ),
        ),
        moves={"braun": _S.EXPECTATION},
        new=(Todo(_K.THANK_REFERRER, "sommer", "braun"),),
    ),
    Chapter(
        day=172,
        text="Braun wants to move his servers.",
        actions=(Offer("servers", "braun", "Serverumzug", 9_800),),
        new=(Todo(_K.MIND_EXPECTATION, "braun"),),
    ),
    Chapter(
        day=179,
        text="Two weeks after Frau Lindner's purchase nobody has asked how it went.",
        new=(Todo(_K.CHECK_EXPERIENCE, "lindner"),),
    ),
    Chapter(
        day=180,
        text="Hartmann is delighted a second time, and has recommended us: loyalty.",
        actions=(RateAgain("hartmann"),),
        moves={"hartmann": _S.LOYALTY},
    ),
    Chapter(
        day=186,
        text="Lena asks Frau Lindner how it went: fine.",
        actions=(Done(_K.CHECK_EXPERIENCE, "lindner"), Rate("lindner", _R.SATISFIED)),
        moves={"lindner": _S.SATISFACTION},
    ),
    Chapter(
        day=190,
        text="Braun buys.",
        actions=(Win("servers"),),
        moves={"braun": _S.EXPERIENCE},
        gone=(Todo(_K.MIND_EXPECTATION, "braun"),),
        new=(
            Todo(_K.TELL_OUTCOME, "sommer", "braun"),
            Todo(_K.MIND_EXPECTATION, "braun"),
        ),
    ),
    Chapter(day=195, text="Lists are done.", actions=(WorkOff(),)),
    Chapter(
        day=200,
        text="Braun is delighted at once. One delight is a good start: satisfaction.",
        actions=(Rate("braun", _R.DELIGHTED),),
        moves={"braun": _S.SATISFACTION},
    ),
    Chapter(
        day=215,
        text="Frau Dr. Sommer's third: Thomas Meyer. A super-referrer gets care, not more asks.",
        actions=(
            Meet(
                "meyer",
                Origin.RECOMMENDATION,
                referrer="Frau Sommer (Stadtbäckerei Sonnenkorn)",
                words="Ehrliche Leute.",
            ),
        ),
        moves={"meyer": _S.EXPECTATION},
        new=(
            Todo(_K.THANK_REFERRER, "sommer", "meyer"),
            Todo(_K.CARE_SUPER_REFERRER, "sommer"),
        ),
    ),
    Chapter(
        day=220,
        text="Meyer asks for an offer.",
        actions=(Offer("scales", "meyer", "Kasse mit Waage", 4_100),),
        new=(Todo(_K.MIND_EXPECTATION, "meyer"),),
    ),
    Chapter(
        day=224,
        text="Hartmann is loyal and his pause is over: ask at the latest now.",
        new=(Todo(_K.ASK_REFERRAL_FIRM, "hartmann"),),
    ),
    Chapter(
        day=230,
        text="Jonas asks Hartmann. Braun is delighted again: sympathy and enthusiasm in one day.",
        actions=(Done(_K.ASK_REFERRAL_FIRM, "hartmann"), RateAgain("braun")),
        moves={"braun": _S.ENTHUSIASM},
        new=(Todo(_K.ASK_REFERRAL, "braun"),),
    ),
    Chapter(
        day=235,
        text="Meyer finds the offer too dear. His referrer should hear that, too.",
        actions=(Lose("scales"),),
        gone=(Todo(_K.MIND_EXPECTATION, "meyer"),),
        new=(Todo(_K.TELL_OUTCOME, "sommer", "meyer"),),
    ),
    Chapter(
        day=236,
        text="Hartmann sends Rolf Petersen, his second.",
        actions=(
            Meet(
                "petersen",
                Origin.RECOMMENDATION,
                referrer="Peter Hartmann",
                words="Nimm die, die kennen sich mit Flotten aus.",
                service="Telematik",
            ),
        ),
        moves={"petersen": _S.EXPECTATION},
        new=(Todo(_K.THANK_REFERRER, "hartmann", "petersen"),),
    ),
    Chapter(
        day=240,
        text="Petersen wants all his lorries equipped.",
        actions=(Offer("lorries", "petersen", "Telematik", 15_000),),
        new=(Todo(_K.MIND_EXPECTATION, "petersen"),),
    ),
    Chapter(
        day=250,
        text="Lists are done. Thomas Maier comes in; nobody asks him how he heard of us.",
        actions=(WorkOff(), Meet("maier")),
        moves={"maier": _S.EXPECTATION},
    ),
    Chapter(
        day=252,
        text="He wants a website.",
        actions=(Offer("website", "maier", "Homepage", 1_900),),
    ),
    Chapter(
        day=260,
        text="Maier buys. Where did he first hear of us?",
        actions=(Win("website"),),
        moves={"maier": _S.EXPERIENCE},
        new=(Todo(_K.ASK_ORIGIN, "maier"),),
    ),
    Chapter(
        day=262,
        text="Petersen buys.",
        actions=(Win("lorries"),),
        moves={"petersen": _S.EXPERIENCE},
        new=(
            Todo(_K.TELL_OUTCOME, "hartmann", "petersen"),
            Todo(_K.MIND_EXPECTATION, "petersen"),
        ),
    ),
    Chapter(
        day=270,
        text="Maier is satisfied.",
        actions=(Rate("maier", _R.SATISFIED),),
        moves={"maier": _S.SATISFACTION},
    ),
    Chapter(
        day=275,
        text="“Originally? I searched the web.”",
        actions=(
            Done(_K.ASK_ORIGIN, "maier"),
            Note("maier", {"spiral_origin": Origin.WEB_SEARCH}),
        ),
    ),
    Chapter(
        day=276,
        text="Two weeks after Petersen's purchase: how did it go?",
        new=(Todo(_K.CHECK_EXPERIENCE, "petersen"),),
    ),
    Chapter(
        day=280,
        text="Well, says Petersen. Lists are done.",
        actions=(
            Done(_K.CHECK_EXPERIENCE, "petersen"),
            Rate("petersen", _R.SATISFIED),
            WorkOff(),
        ),
        moves={"petersen": _S.SATISFACTION},
    ),
    Chapter(
        day=300,
        text="Franke sends Sabine Krüger. Meyer is back, with a smaller wish.",
        actions=(
            Meet(
                "krueger",
                Origin.RECOMMENDATION,
                referrer="Dieter Franke",
                words="Seitdem schlafe ich ruhig.",
                service="Datensicherung",
            ),
            Offer("till", "meyer", "Kasse", 2_900),
        ),
        moves={"krueger": _S.EXPECTATION},
        new=(Todo(_K.THANK_REFERRER, "franke", "krueger"),),
    ),
    Chapter(
        day=305,
        text="Frau Krüger wants the same for her files.",
        actions=(Offer("backup", "krueger", "Datensicherung", 3_600),),
        new=(Todo(_K.MIND_EXPECTATION, "krueger"),),
    ),
    Chapter(
        day=310,
        text="This time Meyer buys.",
        actions=(Win("till"),),
        moves={"meyer": _S.EXPERIENCE},
        new=(
            Todo(_K.TELL_OUTCOME, "sommer", "meyer"),
            Todo(_K.MIND_EXPECTATION, "meyer"),
        ),
    ),
    Chapter(
        day=318,
        text="Frau Krüger buys.",
        actions=(Win("backup"),),
        moves={"krueger": _S.EXPERIENCE},
        gone=(Todo(_K.MIND_EXPECTATION, "krueger"),),
        new=(
            Todo(_K.TELL_OUTCOME, "franke", "krueger"),
            Todo(_K.MIND_EXPECTATION, "krueger"),
        ),
    ),
    Chapter(
        day=320,
        text="Meyer is satisfied. Hartmann may be asked again.",
        actions=(Rate("meyer", _R.SATISFIED),),
        moves={"meyer": _S.SATISFACTION},
        new=(Todo(_K.ASK_REFERRAL_FIRM, "hartmann"),),
    ),
    Chapter(
        day=325,
        text="Frau Krüger is satisfied. Lists are done.",
        actions=(Rate("krueger", _R.SATISFIED), WorkOff()),
        moves={"krueger": _S.SATISFACTION},
    ),
    Chapter(
        day=330,
        text="Jonas asks Hartmann. This time nobody comes: half a year of peace for him.",
        actions=(Done(_K.ASK_REFERRAL_FIRM, "hartmann"),),
    ),
    Chapter(
        day=350,
        text="Our own Jonas tells a hotel keeper about us: employees refer as well.",
        actions=(
            Meet(
                "winkler",
                Origin.RECOMMENDATION,
                referrer="Jonas Keller",
                words="Wir machen das bei Ihnen wie für uns selbst.",
                pillar=Pillar.EMPLOYEE,
            ),
        ),
        moves={"winkler": _S.EXPECTATION},
        new=(Todo(_K.THANK_REFERRER, "winkler"),),
    ),
    Chapter(
        day=355,
        text="Frau Winkler wants WLAN for her guests.",
        actions=(Offer("guests", "winkler", "Gäste-WLAN", 8_800),),
        new=(Todo(_K.MIND_EXPECTATION, "winkler"),),
    ),
    Chapter(
        day=370,
        text="She buys.",
        actions=(Win("guests"),),
        moves={"winkler": _S.EXPERIENCE},
        gone=(Todo(_K.MIND_EXPECTATION, "winkler"),),
        new=(Todo(_K.MIND_EXPECTATION, "winkler"),),
    ),
    Chapter(day=375, text="Lists are done.", actions=(WorkOff(),)),
    Chapter(
        day=380,
        text="Frau Winkler is delighted, but this webhook never reaches us …",
        actions=(Swallow(), Rate("winkler", _R.DELIGHTED)),
    ),
    Chapter(
        day=382,
        text="… the next one does, and the CRM's history tells what was missed, with its day.",
        actions=(Note("winkler", {"spiral_contact_consent": "phone;email"}),),
        moves={"winkler": _S.SATISFACTION},
    ),
    Chapter(
        day=400,
        text="“And I came through Frau Lindner”, jokes Frau Dr. Sommer. A circle: refused.",
        actions=(Note("sommer", {"spiral_referrer_name": "Claudia Lindner"}),),
        new=(Todo(_K.RESOLVE_REFERRER, "sommer"),),
    ),
    Chapter(
        day=410,
        text="Braun's enthusiasm has held for 180 days: loyalty, and a firmer ask.",
        moves={"braun": _S.LOYALTY},
        gone=(Todo(_K.ASK_REFERRAL, "braun"),),
        new=(Todo(_K.ASK_REFERRAL_FIRM, "braun"),),
    ),
    Chapter(
        day=420,
        text="Jonas asks Braun at last.",
        actions=(Done(_K.ASK_REFERRAL_FIRM, "braun"),),
    ),
    Chapter(
        day=450,
        text="Eva Neumann was sent by “Frau Wagner von der Gärtnerei”. Nobody here knows her.",
        actions=(
            Meet(
                "neumann",
                Origin.RECOMMENDATION,
                referrer="Frau Wagner von der Gärtnerei",
                words="Unkompliziert.",
            ),
        ),
        moves={"neumann": _S.EXPECTATION},
        new=(Todo(_K.RESOLVE_REFERRER, "neumann"),),
    ),
    Chapter(
        day=455,
        text="Frau Neumann wants a website.",
        actions=(Offer("pottery", "neumann", "Homepage", 1_600),),
        new=(Todo(_K.MIND_EXPECTATION, "neumann"),),
    ),
    Chapter(
        day=470,
        text="Ulrike Wagner asks for a catalogue: so that is who it was. Linked by itself.",
        actions=(Meet("wagner"),),
        moves={"wagner": _S.EXPECTATION},
        gone=(Todo(_K.RESOLVE_REFERRER, "neumann"),),
        new=(Todo(_K.THANK_REFERRER, "wagner", "neumann"),),
    ),
    Chapter(
        day=480,
        text="Frau Neumann buys.",
        actions=(Win("pottery"),),
        moves={"neumann": _S.EXPERIENCE},
        gone=(Todo(_K.MIND_EXPECTATION, "neumann"),),
        new=(
            Todo(_K.TELL_OUTCOME, "wagner", "neumann"),
            Todo(_K.MIND_EXPECTATION, "neumann"),
        ),
    ),
    Chapter(day=490, text="Lists are done.", actions=(WorkOff(),)),
    Chapter(
        day=494,
        text="Two weeks after Frau Neumann's purchase: how did it go?",
        new=(Todo(_K.CHECK_EXPERIENCE, "neumann"),),
    ),
    Chapter(
        day=500,
        text="Maier does not want to be asked for anything. Then no stage is kept of him either.",
        actions=(Note("maier", {"spiral_do_not_ask": "true"}),),
        moves={"maier": None},
    ),
    Chapter(
        day=510,
        text="Frau Neumann is delighted; that is delivered twice, too. Hartmann's half year is up.",
        actions=(
            Done(_K.CHECK_EXPERIENCE, "neumann"),
            Rate("neumann", _R.DELIGHTED),
            SendTwice(),
        ),
        moves={"neumann": _S.SATISFACTION},
        new=(Todo(_K.ASK_REFERRAL_FIRM, "hartmann"),),
    ),
    Chapter(
        day=520,
        text="Jonas asks Hartmann, once more for nothing. Birgit Lorenz has read about us.",
        actions=(Done(_K.ASK_REFERRAL_FIRM, "hartmann"), Meet("lorenz", Origin.PRESS)),
        moves={"lorenz": _S.EXPECTATION},
    ),
    Chapter(
        day=525,
        text="Frau Lorenz asks for an offer.",
        actions=(Offer("records", "lorenz", "Aktenarchiv", 2_400),),
    ),
    Chapter(
        day=535,
        text="She buys.",
        actions=(Win("records"),),
        moves={"lorenz": _S.EXPERIENCE},
    ),
    Chapter(
        day=545,
        text="She is delighted.",
        actions=(Rate("lorenz", _R.DELIGHTED),),
        moves={"lorenz": _S.SATISFACTION},
    ),
    Chapter(
        day=600,
        text="Frau Lorenz is delighted again. Frau Lindner wants more. Braun's half year is up.",
        actions=(RateAgain("lorenz"), Offer("drivers", "lindner", "Lieferplanung", 2_300)),
        moves={"lorenz": _S.ENTHUSIASM, "lindner": _S.SYMPATHY},
        new=(Todo(_K.ASK_REFERRAL, "lorenz"), Todo(_K.ASK_REFERRAL_FIRM, "braun")),
    ),
    Chapter(
        day=605,
        text="Jonas asks Frau Lorenz.",
        actions=(Done(_K.ASK_REFERRAL, "lorenz"),),
    ),
    Chapter(
        day=608,
        text="She writes from another address, and somebody makes a second record of her.",
        actions=(Meet("lorenz_twin"),),
        moves={"lorenz_twin": _S.EXPECTATION},
    ),
    Chapter(
        day=612,
        text="Andreas Vogt names that address as who sent him. Frau Lindner buys again.",
        actions=(
            Meet(
                "vogt",
                Origin.RECOMMENDATION,
                referrer="kanzlei.lorenz@example.com",
                words="Die erklären es so, dass man es versteht.",
            ),
            Win("drivers"),
        ),
        moves={"vogt": _S.EXPECTATION},
        new=(
            Todo(_K.THANK_REFERRER, "lorenz_twin", "vogt"),
            Todo(_K.ASK_REFERRAL_SOFT, "lindner"),
        ),
    ),
    Chapter(
        day=615,
        text="An offer for Vogt.",
        actions=(Offer("school", "vogt", "Telefonanlage", 3_900),),
        new=(Todo(_K.MIND_EXPECTATION, "vogt"),),
    ),
    Chapter(
        day=618,
        text="The two records of Frau Lorenz are merged: the ask is answered, she is loyal.",
        actions=(Merge("lorenz", "lorenz_twin"),),
        moves={"lorenz": _S.LOYALTY},
    ),
    Chapter(
        day=625,
        text="Lena softly asks Frau Lindner.",
        actions=(Done(_K.ASK_REFERRAL_SOFT, "lindner"),),
    ),
    Chapter(
        day=630,
        text="Vogt decides against the telephones.",
        actions=(Lose("school"),),
        gone=(Todo(_K.MIND_EXPECTATION, "vogt"),),
        new=(Todo(_K.TELL_OUTCOME, "lorenz", "vogt"),),
    ),
    Chapter(
        day=640,
        text="Frau Krüger lost a file: the negative spiral. Vogt wants another offer.",
        actions=(
            Rate("krueger", _R.DISSATISFIED),
            Offer("cloud", "vogt", "Telefonie aus der Cloud", 3_300),
        ),
        moves={"krueger": _S.NEGATIVE},
        new=(
            Todo(_K.REPAIR, "krueger"),
            Todo(_K.PROTECT_REFERRER, "franke", "krueger"),
        ),
    ),
    Chapter(
        day=650,
        text="Vogt buys.",
        actions=(Win("cloud"),),
        moves={"vogt": _S.EXPERIENCE},
        new=(
            Todo(_K.TELL_OUTCOME, "lorenz", "vogt"),
            Todo(_K.MIND_EXPECTATION, "vogt"),
        ),
    ),
    Chapter(
        day=655,
        text="Lena puts things right with Frau Krüger. Vogt complains; that is held up on its way.",
        actions=(
            Done(_K.REPAIR, "krueger"),
            HoldUp(),
            Rate("vogt", _R.DISSATISFIED),
        ),
    ),
    Chapter(
        day=658,
        text="Vogt is satisfied after all; this arrives first.",
        actions=(Rate("vogt", _R.SATISFIED),),
        moves={"vogt": _S.SATISFACTION},
    ),
    Chapter(
        day=659,
        text="Now the complaint of four days ago arrives: repaired already, so a pause follows.",
        actions=(LetGo(),),
    ),
    Chapter(
        day=660,
        text="Meyer is still satisfied, a year on: he likes us.",
        actions=(
            RateAgain("meyer"),
            Note("meyer", {"spiral_contact_consent": "phone"}),
        ),
        moves={"meyer": _S.SYMPATHY},
        new=(Todo(_K.ASK_REFERRAL_SOFT, "meyer"),),
    ),
    Chapter(day=665, text="Lists are done.", actions=(WorkOff(),)),
    Chapter(
        day=668,
        text="Frau Krüger is satisfied again: out of the negative spiral, 90 days without an ask.",
        actions=(Rate("krueger", _R.SATISFIED),),
        moves={"krueger": _S.SATISFACTION},
        gone=(Todo(_K.PROTECT_REFERRER, "franke", "krueger"),),
    ),
    Chapter(
        day=680,
        text="“Thomas Mayer sent me”, says Nina Albrecht. Maier or Meyer? A rep has to ask.",
        actions=(
            Meet(
                "albrecht",
                Origin.RECOMMENDATION,
                referrer="Thomas Mayer",
                words="Schnell und sauber.",
            ),
        ),
        moves={"albrecht": _S.EXPECTATION},
        new=(Todo(_K.RESOLVE_REFERRER, "albrecht"),),
    ),
    Chapter(
        day=685,
        text="An offer for her surgery; the CRM does not know yet whose it is …",
        actions=(Offer("surgery", "albrecht", "Praxis-IT", 7_200, attached=False),),
    ),
    Chapter(
        day=687,
        text="… and now it does.",
        actions=(Attach("surgery"),),
        new=(Todo(_K.MIND_EXPECTATION, "albrecht"),),
    ),
    Chapter(
        day=690,
        text="Petersen is angry; Hartmann, who sent him, should hear it from us first.",
        actions=(
            Rate("petersen", _R.ANGRY),
            Meet(
                "ziegler",
                Origin.RECOMMENDATION,
                referrer="Frau Zander aus dem Chor; Birgit Lorenz",
            ),
        ),
        moves={"petersen": _S.NEGATIVE, "ziegler": _S.EXPECTATION},
        new=(
            Todo(_K.REPAIR, "petersen"),
            Todo(_K.PROTECT_REFERRER, "hartmann", "petersen"),
            Todo(_K.RESOLVE_REFERRER, "ziegler"),
            Todo(_K.THANK_REFERRER, "lorenz", "ziegler"),
            Todo(_K.ASK_REFERRAL_DETAILS, "ziegler"),
        ),
    ),
    Chapter(
        day=695,
        text="Frau Lorenz is loyal and her pause is over: ask at the latest now.",
        new=(Todo(_K.ASK_REFERRAL_FIRM, "lorenz"),),
    ),
    Chapter(
        day=700,
        text="Franke has sold his firm and is deleted; the one he sent needs care. Scholz calls.",
        actions=(Leave("franke"), Meet("scholz")),
        moves={"scholz": _S.EXPECTATION},
        new=(Todo(_K.CARE_FOR_REFERRED, "krueger"),),
    ),
    Chapter(
        day=702,
        text="An offer for Scholz.",
        actions=(Offer("printers", "scholz", "Telefonanlage", 2_700),),
    ),
    Chapter(
        day=705,
        text="Frau Winkler is delighted again: enthusiasm, a good moment to ask.",
        actions=(RateAgain("winkler"),),
        moves={"winkler": _S.ENTHUSIASM},
        new=(Todo(_K.ASK_REFERRAL, "winkler"),),
    ),
    Chapter(
        day=712,
        text="Scholz buys. Where did he first hear of us?",
        actions=(Win("printers"),),
        moves={"scholz": _S.EXPERIENCE},
        new=(Todo(_K.ASK_ORIGIN, "scholz"),),
    ),
    Chapter(
        day=715,
        text="A first complaint from loyal Braun: forgiven, but made good before any more asks.",
        actions=(Rate("braun", _R.DISSATISFIED),),
        gone=(Todo(_K.ASK_REFERRAL_FIRM, "braun"),),
        new=(Todo(_K.REPAIR, "braun"),),
    ),
    Chapter(
        day=726,
        text="Two weeks after Scholz's purchase: how did it go?",
        new=(Todo(_K.CHECK_EXPERIENCE, "scholz"),),
    ),
)


# ------------------------------------------------------------------------------- the ending


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How a contact should stand today. ``since`` is a day of the story; ``referrer`` a key of
    ``CAST`` or ``REPS``; ``value`` is what those it sent have bought, in whole euros."""

    stage: Stage | None
    since: int | None
    readiness: Readiness
    referrer: str | None = None
    tier: Tier = Tier.NONE
    given: int = 0
    won: int = 0
    value: int = 0


ENDING: Mapping[str, Standing] = {
    "sommer": Standing(
        stage=Stage.LOYALTY,
        since=130,
        readiness=Readiness.COOLING_DOWN,  # a super-referrer is cared for
        tier=Tier.SUPER,
        given=3,
        won=3,
        value=12_500 + 9_800 + 2_900,
    ),
    "hartmann": Standing(
        stage=Stage.LOYALTY,
        since=180,
        readiness=Readiness.COOLING_DOWN,  # two asks went unanswered
        referrer="sommer",
        tier=Tier.REPEAT,
        given=2,
        won=2,
        value=6_900 + 2_300 + 15_000,
    ),
    "lindner": Standing(
        stage=Stage.SYMPATHY,
        since=600,
        readiness=Readiness.COOLING_DOWN,  # asked 105 days ago
        referrer="hartmann",
    ),
    "braun": Standing(
        stage=Stage.LOYALTY,
        since=410,
        readiness=Readiness.REPAIR_FIRST,
        referrer="sommer",
    ),
    "meyer": Standing(
        stage=Stage.SYMPATHY,
        since=660,
        readiness=Readiness.FIRST_MOMENT,
        referrer="sommer",
    ),
    "petersen": Standing(
        stage=Stage.NEGATIVE,
        since=690,
        readiness=Readiness.REPAIR_FIRST,
        referrer="hartmann",
    ),
    "maier": Standing(stage=None, since=None, readiness=Readiness.DO_NOT_ASK),
    "krueger": Standing(  # whose referrer is gone, and with the record the name
        stage=Stage.SATISFACTION,
        since=668,
        readiness=Readiness.COOLING_DOWN,
    ),
    "winkler": Standing(
        stage=Stage.ENTHUSIASM,
        since=705,
        readiness=Readiness.GOOD_MOMENT,
        referrer="jonas",
    ),
    "neumann": Standing(
        stage=Stage.SATISFACTION,
        since=510,
        readiness=Readiness.NOT_YET,
        referrer="wagner",
    ),
    "wagner": Standing(
        stage=Stage.EXPECTATION,
        since=470,
        readiness=Readiness.NOT_YET,
        tier=Tier.ONE_TIME,
        given=1,
        won=1,
        value=1_600,
    ),
    "lorenz": Standing(
        stage=Stage.LOYALTY,
        since=612,
        readiness=Readiness.ASK_NOW,
        tier=Tier.REPEAT,
        given=2,
        won=1,  # Ziegler named her second; won and value follow the first name
        value=3_300,
    ),
    "vogt": Standing(
        stage=Stage.SATISFACTION,
        since=658,
        readiness=Readiness.COOLING_DOWN,
        referrer="lorenz",
    ),
    "albrecht": Standing(
        stage=Stage.EXPECTATION,
        since=680,
        readiness=Readiness.COOLING_DOWN,  # a deal is open
    ),
    "ziegler": Standing(stage=Stage.EXPECTATION, since=690, readiness=Readiness.NOT_YET),
    "scholz": Standing(stage=Stage.EXPERIENCE, since=712, readiness=Readiness.NOT_YET),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A task that should be in the CRM today: made on ``day``, and ``end`` is what became of it,
    ``open``, ``done`` by a person or ``withdrawn`` by the plugin."""

    kind: TaskKind
    contacts: frozenset[str]
    day: int
    end: str = "open"


def written_tasks(chapters: tuple[Chapter, ...] = CHAPTERS) -> tuple[Written, ...]:
    """Every task the story brings forth, in order of days.

    Raises ``ValueError`` where a chapter ends a task that is not open, or is one of several.
    """
    tasks: list[Written] = []
    for chapter in chapters:
        for gone in chapter.gone:
            _end(tasks, gone.kind, gone.contacts, "withdrawn", chapter.day)
        tasks += [
            Written(kind=new.kind, contacts=new.contacts, day=chapter.day) for new in chapter.new
        ]
        for action in chapter.actions:
            tasks = _changed(tasks, action, chapter)
    return tuple(tasks)


def _changed(tasks: list[Written], action: Action, chapter: Chapter) -> list[Written]:
    match action:
        case Done():
            _end(tasks, action.kind, frozenset({action.on}), "done", chapter.day)
        case WorkOff():
            return [
                replace(one, end="done")
                if one.kind in ROUTINE and one.end == "open" and one.day < chapter.day
                else one
                for one in tasks
            ]
        case Merge():
            return [_on_others(one, {action.drop: action.keep}) for one in tasks]
        case Leave():
            return [replace(one, contacts=one.contacts - {action.who}) for one in tasks]
    return tasks


def _on_others(task: Written, renamed: Mapping[str, str]) -> Written:
    contacts = frozenset(renamed.get(one, one) for one in task.contacts)
    return replace(task, contacts=contacts)


def _end(
    tasks: list[Written], kind: TaskKind, contacts: frozenset[str], end: str, day: int
) -> None:
    """Of the tasks open before that day, the one of this kind on these contacts."""
    found = [
        place
        for place, one in enumerate(tasks)
        if (one.kind, one.end) == (kind, "open") and contacts == one.contacts and one.day < day
    ]
    if len(found) != 1:
        who = " and ".join(sorted(contacts))
        raise ValueError(f"day {day}: {len(found)} open tasks {kind} on {who}")
    tasks[found[0]] = replace(tasks[found[0]], end=end)
