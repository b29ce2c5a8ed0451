"""The story the demo plays: a dozen customers of a small IT house over two years.

Data first. ``CAST`` are the people, ``CHAPTERS`` the days on which something happens, with what
the plugin should make of it, ``ENDING`` how everybody should stand today. Days count from 0; day
``TODAY`` is the day of the demo. What should come of it was worked out from the referral model
by hand: the demo compares the CRM with it, so nothing here is copied from the plugin's output.

People, companies and deals are invented. A contact, deal or rep is named by its key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from plugin.referral.model import Origin, Pillar, RatingValue, Readiness, Stage, TaskKind, Tier

TODAY = 730
"""The last day: the demo's own."""

REPS = {"lena": "64492917", "jonas": "64492918"}
"""Who works at the IT house, with their ids in the sandbox's account."""

ROUTINE = frozenset({TaskKind.THANK_REFERRER, TaskKind.TELL_OUTCOME, TaskKind.MIND_EXPECTATION})
"""Tasks a rep just does; they need no story of their own."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who will be a contact. ``rep`` owns it."""

    first: str
    last: str
    email: str
    company: str = ""
    city: str = ""
    rep: str = "lena"

    @property
    def name(self) -> str:
        return f"{self.first} {self.last}"


# fmt: off
CAST: Mapping[str, Person] = {
    "sommer": Person("Dr. Katrin", "Sommer", "k.sommer@example.com",
                     "Stadtbäckerei Sonnenkorn", "Rosenheim"),
    "franke": Person("Dieter", "Franke", "franke@example.com",
                     "Franke Holzbau", "Traunstein"),
    "hartmann": Person("Peter", "Hartmann", "p.hartmann@example.com",
                       "Autohaus Hartmann", "Rosenheim", rep="jonas"),
    "lindner": Person("Claudia", "Lindner", "claudia@example.com",
                      "Blumen Lindner", "Bad Aibling"),
    "braun": Person("Michael", "Braun", "m.braun@example.com",
                    "Metallbau Braun", "Kolbermoor", rep="jonas"),
    "meyer": Person("Thomas", "Meyer", "meyer@example.com",
                    "Metzgerei Meyer", "Rosenheim", rep="jonas"),
    "petersen": Person("Rolf", "Petersen", "petersen@example.com",
                       "Spedition Petersen", "Kufstein", rep="jonas"),
    "maier": Person("Thomas", "Maier", "maler.maier@example.com",
                    "Malerbetrieb Maier", "Prien"),
    "krueger": Person("Sabine", "Krüger", "krueger@example.com",
                      "Krüger Immobilien", "Rosenheim"),
    "winkler": Person("Helga", "Winkler", "helga.winkler@example.com",
                      "Hotel Winkler", "Aschau"),
    "neumann": Person("Eva", "Neumann", "eva.neumann@example.com",
                      "Keramik Neumann", "Wasserburg"),
    "wagner": Person("Ulrike", "Wagner", "u.wagner@example.com",
                     "Gärtnerei Wagner", "Wasserburg"),
    "lorenz": Person("Birgit", "Lorenz", "birgit.lorenz@example.com",
                     "Lorenz Steuerberatung", "Rosenheim", rep="jonas"),
    "lorenz_twin": Person("B.", "Lorenz", "kanzlei.lorenz@example.com", rep="jonas"),
    "vogt": Person("Andreas", "Vogt", "vogt@example.com",
                   "Fahrschule Vogt", "Rosenheim", rep="jonas"),
    "albrecht": Person("Nina", "Albrecht", "albrecht@example.com",
                       "Praxis Albrecht", "Bad Endorf", rep="jonas"),
    "ziegler": Person("Tobias", "Ziegler", "tobias.ziegler@example.com", rep="jonas"),
    "scholz": Person("Jürgen", "Scholz", "scholz@example.com",
                     "Druckerei Scholz", "Rosenheim"),
}
# fmt: on


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
    """A deal is opened. ``attached`` False: it is joined to the contact later."""

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
class Comes:
    """The contact comes to this stage; None: no stage is kept of it any more."""

    who: str
    to: Stage | None


@dataclass(frozen=True, slots=True)
class _Task:
    """A task of the plugin: it stands on a contact and, where it speaks of another one, on that
    as well."""

    kind: TaskKind
    on: str
    about: str | None = None

    @property
    def contacts(self) -> frozenset[str]:
        return frozenset(filter(None, (self.on, self.about)))


@dataclass(frozen=True, slots=True)
class New(_Task):
    """The plugin makes this task."""


@dataclass(frozen=True, slots=True)
class Gone(_Task):
    """The reason of this task has gone, and the plugin takes it back."""


Effect = Comes | New | Gone


@dataclass(frozen=True, kw_only=True, slots=True)
class Chapter:
    """One day: what people do, and what should come of it. One without actions is a day on which
    time alone does something."""

    day: int
    text: str
    actions: tuple[Action, ...]
    effects: tuple[Effect, ...]


def chapter(day: int, text: str, *beats: Action | Effect) -> Chapter:
    return Chapter(
        day=day,
        text=text,
        actions=tuple(one for one in beats if not isinstance(one, Effect)),
        effects=tuple(one for one in beats if isinstance(one, Effect)),
    )


# fmt: off
CHAPTERS = (
    chapter(0, "At a trade fair Lena meets Dr. Katrin Sommer, who runs a bakery.",
        Meet("sommer", Origin.EVENT),
        Comes("sommer", Stage.EXPECTATION)),
    chapter(2, "Frau Dr. Sommer asks for an offer.",
        Offer("tills", "sommer", "Kassensystem", 8_400)),
    chapter(9, "She buys: now she makes her own experience.",
        Win("tills"),
        Comes("sommer", Stage.EXPERIENCE)),
    chapter(20, "“Runs well”, she says on the phone. Satisfied, but average is never recommended.",
        Rate("sommer", RatingValue.SATISFIED),
        Comes("sommer", Stage.SATISFACTION)),
    chapter(30, "Dieter Franke has seen an advertisement.",
        Meet("franke", Origin.ADVERTISING),
        Comes("franke", Stage.EXPECTATION)),
    chapter(32, "He wants a network for his workshop.",
        Offer("workshop", "franke", "Netzwerk Werkhalle", 5_200)),
    chapter(40, "Frau Dr. Sommer wants more of us. While a deal is open nobody asks anything.",
        Offer("branches", "sommer", "WLAN für drei Filialen", 3_200),
        Comes("sommer", Stage.SYMPATHY)),
    chapter(45, "Franke buys.",
        Win("workshop"),
        Comes("franke", Stage.EXPERIENCE)),
    chapter(50, "He is satisfied.",
        Rate("franke", RatingValue.SATISFIED),
        Comes("franke", Stage.SATISFACTION)),
    chapter(52, "Frau Dr. Sommer's second order is won: the first moment for a soft ask.",
        Win("branches"),
        New(TaskKind.ASK_REFERRAL_SOFT, "sommer")),
    chapter(60, "Lena thanks her for the order with a small gift and asks for an introduction.",
        Done(TaskKind.ASK_REFERRAL_SOFT, "sommer")),
    chapter(66, "Peter Hartmann calls. “Frau Dr. Sommer von der Stadtbäckerei sent me.” A match!",
        Meet("hartmann", Origin.RECOMMENDATION,
             referrer="Frau Dr. Sommer von der Stadtbäckerei",
             words="Die sind da, wenn es brennt.", service="Telefonanlagen"),
        Comes("hartmann", Stage.EXPECTATION),
        New(TaskKind.THANK_REFERRER, "sommer", "hartmann")),
    chapter(70, "An offer for Hartmann. He was promised much: mind it.",
        Offer("phones", "hartmann", "Telefonanlage", 12_500),
        New(TaskKind.MIND_EXPECTATION, "hartmann")),
    chapter(75, "Lena and Jonas do what is on their lists.",
        WorkOff()),
    chapter(80, "Frau Dr. Sommer is delighted, for the first time.",
        Rate("sommer", RatingValue.DELIGHTED)),
    chapter(85, "Hartmann buys. The CRM delivers this webhook twice; nothing happens twice.",
        Win("phones"),
        SendTwice(),
        Comes("hartmann", Stage.EXPERIENCE),
        New(TaskKind.TELL_OUTCOME, "sommer", "hartmann"),
        New(TaskKind.MIND_EXPECTATION, "hartmann")),
    chapter(95, "Hartmann is satisfied.",
        Rate("hartmann", RatingValue.SATISFIED),
        Comes("hartmann", Stage.SATISFACTION)),
    chapter(100, "Lists are done, and Frau Dr. Sommer knows the outcome.",
        WorkOff()),
    chapter(120, "Hartmann asks for more …",
        Offer("garage", "hartmann", "WLAN Werkstatt", 4_800),
        Comes("hartmann", Stage.SYMPATHY)),
    chapter(128, "… and then does not order. The wish was there all the same: sympathy stays.",
        Lose("garage"),
        New(TaskKind.ASK_REFERRAL_SOFT, "hartmann")),
    chapter(130, "Frau Dr. Sommer is delighted again, and she has recommended us: loyalty.",
        RateAgain("sommer"),
        Comes("sommer", Stage.LOYALTY)),
    chapter(134, "Jonas softly asks Hartmann.",
        Done(TaskKind.ASK_REFERRAL_SOFT, "hartmann")),
    chapter(140, "It works: Hartmann sends Claudia Lindner. The chain has three links now.",
        Meet("lindner", Origin.RECOMMENDATION, referrer="Herr Hartmann vom Autohaus"),
        Comes("lindner", Stage.EXPECTATION),
        New(TaskKind.THANK_REFERRER, "hartmann", "lindner"),
        New(TaskKind.ASK_REFERRAL_DETAILS, "lindner")),
    chapter(146, "Lena asks Frau Lindner what was said about us.",
        Note("lindner", {"spiral_recommended_words": "Keine Ausreden, nur Lösungen."}),
        Gone(TaskKind.ASK_REFERRAL_DETAILS, "lindner")),
    chapter(150, "90 days after the ask that was answered, Frau Dr. Sommer may be asked again.",
        Offer("shop", "lindner", "Onlineshop", 6_900),
        Rate("hartmann", RatingValue.DELIGHTED),
        New(TaskKind.ASK_REFERRAL_FIRM, "sommer"),
        New(TaskKind.MIND_EXPECTATION, "lindner")),
    chapter(155, "Lena asks her.",
        Done(TaskKind.ASK_REFERRAL_FIRM, "sommer")),
    chapter(165, "Frau Lindner buys her online shop.",
        Win("shop"),
        Comes("lindner", Stage.EXPERIENCE),
        Gone(TaskKind.MIND_EXPECTATION, "lindner"),
        New(TaskKind.TELL_OUTCOME, "hartmann", "lindner"),
        New(TaskKind.MIND_EXPECTATION, "lindner")),
    chapter(170, "And Frau Dr. Sommer sends Michael Braun.",
        Meet("braun", Origin.RECOMMENDATION, referrer="Katrin Sommer",
             words="Bei denen ruft wirklich jemand zurück."),
        Comes("braun", Stage.EXPECTATION),
        New(TaskKind.THANK_REFERRER, "sommer", "braun")),
    chapter(172, "Braun wants to move his servers.",
        Offer("servers", "braun", "Serverumzug", 9_800),
        New(TaskKind.MIND_EXPECTATION, "braun")),
    chapter(179, "Two weeks after Frau Lindner's purchase nobody has asked how it went.",
        New(TaskKind.CHECK_EXPERIENCE, "lindner")),
    chapter(180, "Hartmann is delighted a second time, and has recommended us: loyalty.",
        RateAgain("hartmann"),
        Comes("hartmann", Stage.LOYALTY)),
    chapter(186, "Lena asks Frau Lindner how it went: fine.",
        Done(TaskKind.CHECK_EXPERIENCE, "lindner"),
        Rate("lindner", RatingValue.SATISFIED),
        Comes("lindner", Stage.SATISFACTION)),
    chapter(190, "Braun buys.",
        Win("servers"),
        Comes("braun", Stage.EXPERIENCE),
        Gone(TaskKind.MIND_EXPECTATION, "braun"),
        New(TaskKind.TELL_OUTCOME, "sommer", "braun"),
        New(TaskKind.MIND_EXPECTATION, "braun")),
    chapter(195, "Lists are done.",
        WorkOff()),
    chapter(200, "Braun is delighted at once. One delight is a good start: satisfaction.",
        Rate("braun", RatingValue.DELIGHTED),
        Comes("braun", Stage.SATISFACTION)),
    chapter(215, "Her third: Thomas Meyer. A super-referrer gets care, and no more asks.",
        Meet("meyer", Origin.RECOMMENDATION, referrer="Frau Sommer (Stadtbäckerei Sonnenkorn)",
             words="Ehrliche Leute."),
        Comes("meyer", Stage.EXPECTATION),
        New(TaskKind.THANK_REFERRER, "sommer", "meyer"),
        New(TaskKind.CARE_SUPER_REFERRER, "sommer")),
    chapter(220, "Lena invites Frau Dr. Sommer for coffee. Meyer asks for an offer.",
        Done(TaskKind.CARE_SUPER_REFERRER, "sommer"),
        Offer("scales", "meyer", "Kasse mit Waage", 4_100),
        New(TaskKind.MIND_EXPECTATION, "meyer")),
    chapter(224, "Hartmann is loyal and his pause is over: ask at the latest now.",
        New(TaskKind.ASK_REFERRAL_FIRM, "hartmann")),
    chapter(230, "Jonas asks Hartmann. Braun is delighted again: two steps in one day.",
        Done(TaskKind.ASK_REFERRAL_FIRM, "hartmann"),
        RateAgain("braun"),
        Comes("braun", Stage.ENTHUSIASM),
        New(TaskKind.ASK_REFERRAL, "braun")),
    chapter(235, "Meyer finds the offer too dear. His referrer should hear that, too.",
        Lose("scales"),
        Gone(TaskKind.MIND_EXPECTATION, "meyer"),
        New(TaskKind.TELL_OUTCOME, "sommer", "meyer")),
    chapter(236, "Hartmann sends Rolf Petersen, his second.",
        Meet("petersen", Origin.RECOMMENDATION, referrer="Peter Hartmann",
             words="Nimm die, die kennen sich mit Flotten aus.", service="Telematik"),
        Comes("petersen", Stage.EXPECTATION),
        New(TaskKind.THANK_REFERRER, "hartmann", "petersen")),
    chapter(240, "Petersen wants all his lorries equipped.",
        Offer("lorries", "petersen", "Telematik", 15_000),
        New(TaskKind.MIND_EXPECTATION, "petersen")),
    chapter(250, "Lists are done. Thomas Maier comes in; nobody asks him how he heard of us.",
        WorkOff(),
        Meet("maier"),
        Comes("maier", Stage.EXPECTATION)),
    chapter(252, "He wants a website.",
        Offer("website", "maier", "Homepage", 1_900)),
    chapter(260, "Maier buys. Where did he first hear of us?",
        Win("website"),
        Comes("maier", Stage.EXPERIENCE),
        New(TaskKind.ASK_ORIGIN, "maier")),
    chapter(262, "Petersen buys.",
        Win("lorries"),
        Comes("petersen", Stage.EXPERIENCE),
        New(TaskKind.TELL_OUTCOME, "hartmann", "petersen"),
        New(TaskKind.MIND_EXPECTATION, "petersen")),
    chapter(270, "Maier is satisfied.",
        Rate("maier", RatingValue.SATISFIED),
        Comes("maier", Stage.SATISFACTION)),
    chapter(275, "“Originally? I searched the web.”",
        Done(TaskKind.ASK_ORIGIN, "maier"),
        Note("maier", {"spiral_origin": Origin.WEB_SEARCH})),
    chapter(276, "Two weeks after Petersen's purchase: how did it go?",
        New(TaskKind.CHECK_EXPERIENCE, "petersen")),
    chapter(280, "Well, says Petersen. Lists are done.",
        Done(TaskKind.CHECK_EXPERIENCE, "petersen"),
        Rate("petersen", RatingValue.SATISFIED),
        WorkOff(),
        Comes("petersen", Stage.SATISFACTION)),
    chapter(300, "Franke sends Sabine Krüger. Meyer is back, with a smaller wish.",
        Meet("krueger", Origin.RECOMMENDATION, referrer="Dieter Franke",
             words="Seitdem schlafe ich ruhig.", service="Datensicherung"),
        Offer("till", "meyer", "Kasse", 2_900),
        Comes("krueger", Stage.EXPECTATION),
        New(TaskKind.THANK_REFERRER, "franke", "krueger")),
    chapter(305, "Frau Krüger wants the same for her files.",
        Offer("backup", "krueger", "Datensicherung", 3_600),
        New(TaskKind.MIND_EXPECTATION, "krueger")),
    chapter(310, "This time Meyer buys.",
        Win("till"),
        Comes("meyer", Stage.EXPERIENCE),
        New(TaskKind.TELL_OUTCOME, "sommer", "meyer"),
        New(TaskKind.MIND_EXPECTATION, "meyer")),
    chapter(318, "Frau Krüger buys.",
        Win("backup"),
        Comes("krueger", Stage.EXPERIENCE),
        Gone(TaskKind.MIND_EXPECTATION, "krueger"),
        New(TaskKind.TELL_OUTCOME, "franke", "krueger"),
        New(TaskKind.MIND_EXPECTATION, "krueger")),
    chapter(320, "Meyer is satisfied. Hartmann may be asked again.",
        Rate("meyer", RatingValue.SATISFIED),
        Comes("meyer", Stage.SATISFACTION),
        New(TaskKind.ASK_REFERRAL_FIRM, "hartmann")),
    chapter(325, "Frau Krüger is satisfied. Lists are done.",
        Rate("krueger", RatingValue.SATISFIED),
        WorkOff(),
        Comes("krueger", Stage.SATISFACTION)),
    chapter(330, "Jonas asks Hartmann. This time nobody comes: half a year of peace for him.",
        Done(TaskKind.ASK_REFERRAL_FIRM, "hartmann")),
    chapter(350, "Our own Jonas tells a hotel keeper about us: employees refer as well.",
        Meet("winkler", Origin.RECOMMENDATION, referrer="Jonas Keller",
             words="Wir machen das bei Ihnen wie für uns selbst.", pillar=Pillar.EMPLOYEE),
        Comes("winkler", Stage.EXPECTATION),
        New(TaskKind.THANK_REFERRER, "winkler")),
    chapter(355, "Frau Winkler wants WLAN for her guests.",
        Offer("guests", "winkler", "Gäste-WLAN", 8_800),
        New(TaskKind.MIND_EXPECTATION, "winkler")),
    chapter(370, "She buys.",
        Win("guests"),
        Comes("winkler", Stage.EXPERIENCE),
        Gone(TaskKind.MIND_EXPECTATION, "winkler"),
        New(TaskKind.MIND_EXPECTATION, "winkler")),
    chapter(375, "Lists are done.",
        WorkOff()),
    chapter(380, "Frau Winkler is delighted, but this webhook never reaches us …",
        Swallow(),
        Rate("winkler", RatingValue.DELIGHTED)),
    chapter(382, "… the next one does, and the CRM's history tells what was missed, with its day.",
        Note("winkler", {"spiral_contact_consent": "phone;email"}),
        Comes("winkler", Stage.SATISFACTION)),
    chapter(400, "“And I came through Frau Lindner”, jokes Frau Dr. Sommer. A circle: refused.",
        Note("sommer", {"spiral_referrer_name": "Claudia Lindner"}),
        New(TaskKind.RESOLVE_REFERRER, "sommer")),
    chapter(404, "Lena and Frau Dr. Sommer laugh about it.",
        Done(TaskKind.RESOLVE_REFERRER, "sommer")),
    chapter(410, "Braun's enthusiasm has held for 180 days: loyalty, and a firmer ask.",
        Comes("braun", Stage.LOYALTY),
        Gone(TaskKind.ASK_REFERRAL, "braun"),
        New(TaskKind.ASK_REFERRAL_FIRM, "braun")),
    chapter(420, "Jonas asks Braun at last.",
        Done(TaskKind.ASK_REFERRAL_FIRM, "braun")),
    chapter(450, "Eva Neumann was sent by “Frau Wagner von der Gärtnerei”. Nobody here knows her.",
        Meet("neumann", Origin.RECOMMENDATION, referrer="Frau Wagner von der Gärtnerei",
             words="Unkompliziert."),
        Comes("neumann", Stage.EXPECTATION),
        New(TaskKind.RESOLVE_REFERRER, "neumann")),
    chapter(455, "Frau Neumann wants a website.",
        Offer("pottery", "neumann", "Homepage", 1_600),
        New(TaskKind.MIND_EXPECTATION, "neumann")),
    chapter(470, "Ulrike Wagner asks for a catalogue: so that is who it was. Linked by itself.",
        Meet("wagner"),
        Comes("wagner", Stage.EXPECTATION),
        Gone(TaskKind.RESOLVE_REFERRER, "neumann"),
        New(TaskKind.THANK_REFERRER, "wagner", "neumann")),
    chapter(480, "Frau Neumann buys.",
        Win("pottery"),
        Comes("neumann", Stage.EXPERIENCE),
        Gone(TaskKind.MIND_EXPECTATION, "neumann"),
        New(TaskKind.TELL_OUTCOME, "wagner", "neumann"),
        New(TaskKind.MIND_EXPECTATION, "neumann")),
    chapter(490, "Lists are done.",
        WorkOff()),
    chapter(494, "Two weeks after Frau Neumann's purchase: how did it go?",
        New(TaskKind.CHECK_EXPERIENCE, "neumann")),
    chapter(500, "Maier does not want to be asked. Then no stage is kept of him either.",
        Note("maier", {"spiral_do_not_ask": "true"}),
        Comes("maier", None)),
    chapter(510, "Frau Neumann is delighted; told twice, too. Hartmann's half year is up.",
        Done(TaskKind.CHECK_EXPERIENCE, "neumann"),
        Rate("neumann", RatingValue.DELIGHTED),
        SendTwice(),
        Comes("neumann", Stage.SATISFACTION),
        New(TaskKind.ASK_REFERRAL_FIRM, "hartmann")),
    chapter(520, "Jonas asks Hartmann, once more for nothing. Birgit Lorenz has read about us.",
        Done(TaskKind.ASK_REFERRAL_FIRM, "hartmann"),
        Meet("lorenz", Origin.PRESS),
        Comes("lorenz", Stage.EXPECTATION)),
    chapter(525, "Frau Lorenz asks for an offer.",
        Offer("records", "lorenz", "Aktenarchiv", 2_400)),
    chapter(535, "She buys.",
        Win("records"),
        Comes("lorenz", Stage.EXPERIENCE)),
    chapter(545, "She is delighted.",
        Rate("lorenz", RatingValue.DELIGHTED),
        Comes("lorenz", Stage.SATISFACTION)),
    chapter(600, "Frau Lorenz is delighted again. Frau Lindner wants more. Braun may be asked.",
        RateAgain("lorenz"),
        Offer("drivers", "lindner", "Lieferplanung", 2_300),
        Comes("lorenz", Stage.ENTHUSIASM),
        Comes("lindner", Stage.SYMPATHY),
        New(TaskKind.ASK_REFERRAL, "lorenz"),
        New(TaskKind.ASK_REFERRAL_FIRM, "braun")),
    chapter(608, "Frau Lorenz writes from elsewhere, and somebody makes a second record of her.",
        Meet("lorenz_twin"),
        Comes("lorenz_twin", Stage.EXPECTATION)),
    chapter(610, "Jonas asks Frau Lorenz.",
        Done(TaskKind.ASK_REFERRAL, "lorenz")),
    chapter(612, "Andreas Vogt names that address as who sent him. Frau Lindner buys again.",
        Meet("vogt", Origin.RECOMMENDATION, referrer="kanzlei.lorenz@example.com",
             words="Die erklären es so, dass man es versteht."),
        Win("drivers"),
        Comes("vogt", Stage.EXPECTATION),
        New(TaskKind.THANK_REFERRER, "lorenz_twin", "vogt"),
        New(TaskKind.ASK_REFERRAL_SOFT, "lindner")),
    chapter(615, "An offer for Vogt.",
        Offer("school", "vogt", "Telefonanlage", 3_900),
        New(TaskKind.MIND_EXPECTATION, "vogt")),
    chapter(618, "The two records of Frau Lorenz are merged: the ask is answered, she is loyal.",
        Merge("lorenz", "lorenz_twin"),
        Comes("lorenz", Stage.LOYALTY)),
    chapter(625, "Lena softly asks Frau Lindner.",
        Done(TaskKind.ASK_REFERRAL_SOFT, "lindner")),
    chapter(630, "Vogt decides against the telephones.",
        Lose("school"),
        Gone(TaskKind.MIND_EXPECTATION, "vogt"),
        New(TaskKind.TELL_OUTCOME, "lorenz", "vogt")),
    chapter(640, "Frau Krüger lost a file: the negative spiral. Vogt wants another offer.",
        Rate("krueger", RatingValue.DISSATISFIED),
        Offer("cloud", "vogt", "Telefonie aus der Cloud", 3_300),
        Comes("krueger", Stage.NEGATIVE),
        New(TaskKind.REPAIR, "krueger"),
        New(TaskKind.PROTECT_REFERRER, "franke", "krueger")),
    chapter(650, "Vogt buys.",
        Win("cloud"),
        Comes("vogt", Stage.EXPERIENCE),
        New(TaskKind.TELL_OUTCOME, "lorenz", "vogt"),
        New(TaskKind.MIND_EXPECTATION, "vogt")),
    chapter(655, "Lena puts things right with Frau Krüger. Vogt complains; that is held up.",
        Done(TaskKind.REPAIR, "krueger"),
        HoldUp(),
        Rate("vogt", RatingValue.DISSATISFIED)),
    chapter(658, "Vogt is satisfied after all; this arrives first.",
        Rate("vogt", RatingValue.SATISFIED),
        Comes("vogt", Stage.SATISFACTION)),
    chapter(659, "Now his complaint arrives, overtaken: repaired already, a pause follows.",
        LetGo()),
    chapter(665, "Lists are done.",
        WorkOff()),
    chapter(668, "Frau Krüger is satisfied again: out of the spiral, 90 days without asks.",
        Rate("krueger", RatingValue.SATISFIED),
        Comes("krueger", Stage.SATISFACTION),
        Gone(TaskKind.PROTECT_REFERRER, "franke", "krueger")),
    chapter(698, "Jürgen Scholz calls.",
        Meet("scholz"),
        Comes("scholz", Stage.EXPECTATION)),
    chapter(700, "Frau Lorenz is loyal and her pause is over: ask at the latest now.",
        New(TaskKind.ASK_REFERRAL_FIRM, "lorenz")),
    chapter(702, "An offer for Scholz.",
        Offer("printers", "scholz", "Telefonanlage", 2_700)),
    chapter(712, "Scholz buys. Where did he first hear of us?",
        Win("printers"),
        Comes("scholz", Stage.EXPERIENCE),
        New(TaskKind.ASK_ORIGIN, "scholz")),
    chapter(714, "“Thomas Mayer sent me”, says Nina Albrecht. Maier or Meyer? A rep has to ask.",
        Meet("albrecht", Origin.RECOMMENDATION, referrer="Thomas Mayer",
             words="Schnell und sauber."),
        Comes("albrecht", Stage.EXPECTATION),
        New(TaskKind.RESOLVE_REFERRER, "albrecht")),
    chapter(716, "An offer for her surgery; the CRM does not know yet whose it is …",
        Offer("surgery", "albrecht", "Praxis-IT", 7_200, attached=False)),
    chapter(718, "… and now it does.",
        Attach("surgery"),
        New(TaskKind.MIND_EXPECTATION, "albrecht")),
    chapter(720, "Frau Winkler is delighted again: enthusiasm, a good moment to ask.",
        RateAgain("winkler"),
        Comes("winkler", Stage.ENTHUSIASM),
        New(TaskKind.ASK_REFERRAL, "winkler")),
    chapter(722, "Franke has sold his firm and his record is deleted: whom he sent needs care now.",
        Leave("franke"),
        New(TaskKind.CARE_FOR_REFERRED, "krueger")),
    chapter(724, "Tobias Ziegler names two: one whom nobody knows, and Frau Lorenz.",
        Meet("ziegler", Origin.RECOMMENDATION, referrer="Frau Zander aus dem Chor; Birgit Lorenz"),
        Comes("ziegler", Stage.EXPECTATION),
        New(TaskKind.RESOLVE_REFERRER, "ziegler"),
        New(TaskKind.THANK_REFERRER, "lorenz", "ziegler"),
        New(TaskKind.ASK_REFERRAL_DETAILS, "ziegler")),
    chapter(725, "Meyer is still satisfied, a year on: he likes us, and may be phoned.",
        RateAgain("meyer"),
        Note("meyer", {"spiral_contact_consent": "phone"}),
        Comes("meyer", Stage.SYMPATHY),
        New(TaskKind.ASK_REFERRAL_SOFT, "meyer")),
    chapter(726, "Two weeks after Scholz's purchase: how did it go?",
        New(TaskKind.CHECK_EXPERIENCE, "scholz")),
    chapter(727, "Petersen is angry. Hartmann, who sent him, should hear it from us first.",
        Rate("petersen", RatingValue.ANGRY),
        Comes("petersen", Stage.NEGATIVE),
        New(TaskKind.REPAIR, "petersen"),
        New(TaskKind.PROTECT_REFERRER, "hartmann", "petersen")),
    chapter(728, "A first complaint from loyal Braun: forgiven, but first made good.",
        Rate("braun", RatingValue.DISSATISFIED),
        Gone(TaskKind.ASK_REFERRAL_FIRM, "braun"),
        New(TaskKind.REPAIR, "braun")),
)
# fmt: on


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


# fmt: off
ENDING: Mapping[str, Standing] = {
    "sommer": Standing(  # a super-referrer, who is cared for
        stage=Stage.LOYALTY, since=130, readiness=Readiness.COOLING_DOWN,
        tier=Tier.SUPER, given=3, won=3, value=12_500 + 9_800 + 2_900),
    "hartmann": Standing(  # asked twice in vain
        stage=Stage.LOYALTY, since=180, readiness=Readiness.COOLING_DOWN, referrer="sommer",
        tier=Tier.REPEAT, given=2, won=2, value=6_900 + 2_300 + 15_000),
    "lindner": Standing(  # asked 105 days ago
        stage=Stage.SYMPATHY, since=600, readiness=Readiness.COOLING_DOWN, referrer="hartmann"),
    "braun": Standing(  # a forgiven complaint
        stage=Stage.LOYALTY, since=410, readiness=Readiness.REPAIR_FIRST, referrer="sommer"),
    "meyer": Standing(
        stage=Stage.SYMPATHY, since=725, readiness=Readiness.FIRST_MOMENT, referrer="sommer"),
    "petersen": Standing(
        stage=Stage.NEGATIVE, since=727, readiness=Readiness.REPAIR_FIRST, referrer="hartmann"),
    "maier": Standing(
        stage=None, since=None, readiness=Readiness.DO_NOT_ASK),
    "krueger": Standing(  # 62 days after the repair; the name of her referrer went with his record
        stage=Stage.SATISFACTION, since=668, readiness=Readiness.COOLING_DOWN),
    "winkler": Standing(
        stage=Stage.ENTHUSIASM, since=720, readiness=Readiness.GOOD_MOMENT, referrer="jonas"),
    "neumann": Standing(
        stage=Stage.SATISFACTION, since=510, readiness=Readiness.NOT_YET, referrer="wagner"),
    "wagner": Standing(  # since the day her name was told, though nobody knew her yet
        stage=Stage.EXPECTATION, since=450, readiness=Readiness.NOT_YET,
        tier=Tier.ONE_TIME, given=1, won=1, value=1_600),
    "lorenz": Standing(  # Ziegler named her second: won and value follow the first name
        stage=Stage.LOYALTY, since=612, readiness=Readiness.ASK_NOW,
        tier=Tier.REPEAT, given=2, won=1, value=3_300),
    "vogt": Standing(  # the complaint that came late ended 72 days ago
        stage=Stage.SATISFACTION, since=658, readiness=Readiness.COOLING_DOWN, referrer="lorenz"),
    "albrecht": Standing(  # a deal is open
        stage=Stage.EXPECTATION, since=714, readiness=Readiness.COOLING_DOWN),
    "ziegler": Standing(
        stage=Stage.EXPECTATION, since=724, readiness=Readiness.NOT_YET),
    "scholz": Standing(
        stage=Stage.EXPERIENCE, since=712, readiness=Readiness.NOT_YET),
}
# fmt: on


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """What is played, and how everybody should stand after it."""

    chapters: tuple[Chapter, ...]
    ending: Mapping[str, Standing]


SCRIPT = Script(chapters=CHAPTERS, ending=ENDING)


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A task that should be in the CRM today: made on ``day``, and ``end`` is what became of it,
    ``open``, ``done`` by a person or ``withdrawn`` by the plugin."""

    kind: TaskKind
    contacts: frozenset[str]
    day: int
    end: str = "open"


def written_tasks(chapters: Iterable[Chapter] = CHAPTERS) -> tuple[Written, ...]:
    """Every task the story brings forth, in order of days.

    Raises ``ValueError`` where something ends a task that is not open, or is one of several.
    """
    tasks: list[Written] = []
    for one in chapters:
        for effect in one.effects:
            if isinstance(effect, Gone):
                tasks = _ended(tasks, effect.kind, effect.contacts, "withdrawn")
        for action in one.actions:
            tasks = _after(tasks, action)
        tasks += [
            Written(kind=effect.kind, contacts=effect.contacts, day=one.day)
            for effect in one.effects
            if isinstance(effect, New)
        ]
    return tuple(tasks)


def _after(tasks: list[Written], action: Action) -> list[Written]:
    match action:
        case Done(kind=kind, on=on):
            return _ended(tasks, kind, frozenset({on}), "done")
        case WorkOff():
            return [
                replace(one, end="done") if one.end == "open" and one.kind in ROUTINE else one
                for one in tasks
            ]
        case Merge(keep=keep, drop=drop):
            return [
                replace(one, contacts=one.contacts - {drop} | {keep})
                if drop in one.contacts
                else one
                for one in tasks
            ]
        case Leave(who=who):
            return [replace(one, contacts=one.contacts - {who}) for one in tasks]
        case _:
            return tasks


def _ended(
    tasks: list[Written], kind: TaskKind, contacts: frozenset[str], end: str
) -> list[Written]:
    """The tasks, of which the one open of this kind on these contacts has ended."""
    same = [one for one in tasks if (one.kind, one.contacts, one.end) == (kind, contacts, "open")]
    if len(same) != 1:
        raise ValueError(f"{len(same)} open tasks {kind} on {' and '.join(sorted(contacts))}")
    return [replace(one, end=end) if one is same[0] else one for one in tasks]
