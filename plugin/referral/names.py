"""What a rep typed about a referrer, read as names: pure text, no directory.

Free text is rarely unambiguous ("Anna von Hagen" is one name, "Meyer von Siemens" a name and a
company), so a text has several *readings*; ``matching`` takes the one that fits a person best.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

LONGEST = 200
"""Characters of a text that are read; what follows is no name any more."""


def word_set(words: str) -> frozenset[str]:
    """A table of words, written with spaces between them."""
    return frozenset(words.split())


# ------------------------------------------------------------------------- letters

_LETTERS = str.maketrans(
    {
        **{"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "œ": "oe", "ø": "oe"},
        **{"å": "aa", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"},
        **dict.fromkeys("‐‑–—−", "-"),
        **dict.fromkeys("’‘´`ʼ", "'"),
    }
)


def fold(text: str) -> str:
    """Lower case without accents: ``Müller`` and ``MUELLER`` are both ``mueller``."""
    if text.isascii() and text.isprintable():
        return text.lower()
    lowered = unicodedata.normalize("NFKC", text).casefold().translate(_LETTERS)
    return "".join(map(_plain, unicodedata.normalize("NFKD", lowered)))


def _plain(character: str) -> str:
    """Control characters become spaces; marks and what nobody sees disappear."""
    category = unicodedata.category(character)
    if category == "Cc":
        return " "
    return "" if category[0] == "C" or category == "Mn" else character


def text_key(fragment: str) -> str:
    """Identity of what was told: equal for texts that differ in case, spaces or umlauts only."""
    return " ".join(fold(fragment).split())


def split_referrers(text: str) -> tuple[str, ...]:
    """The single referrers of a text, parted by ``;``, without empty ones and repetitions."""
    told: dict[str, str] = {}
    for fragment in text.split(";"):
        told.setdefault(text_key(fragment), fragment.strip())
    told.pop("", None)
    return tuple(told.values())


# -------------------------------------------------------------------------- sounds

_DIGITS = {
    **dict.fromkeys("aeijouy", "0"),
    **dict.fromkeys("bp", "1"),
    **dict.fromkeys("dt", "2"),
    **dict.fromkeys("fvw", "3"),
    **dict.fromkeys("gkq", "4"),
    "l": "5",
    **dict.fromkeys("mn", "6"),
    "r": "7",
    **dict.fromkeys("sz", "8"),
}


@lru_cache(maxsize=8192)
def cologne(word: str) -> str:
    """The Kölner Phonetik of a word, "" for one without Latin letters.

    Hans Joachim Postel, "Die Kölner Phonetik", IBM-Nachrichten 19 (1969), 925–931; table as in
    https://de.wikipedia.org/wiki/Kölner_Phonetik
    """
    letters = re.sub(r"[^a-z]", "", fold(word))
    neighbours = zip(" " + letters, letters, letters[1:] + " ", strict=False)
    digits = "".join(_digit(*letter) for letter in neighbours)
    squeezed = re.sub(r"(.)\1+", r"\1", digits)
    return squeezed[:1] + squeezed[1:].replace("0", "")


def _digit(before: str, letter: str, after: str) -> str:
    if letter == "c":
        if before == " ":
            return "4" if after in "ahkloqrux" else "8"
        return "4" if before not in "sz" and after in "ahkoqux" else "8"
    if letter == "x":
        return "8" if before in "ckq" else "48"
    if letter in "dt" and after in "csz":
        return "8"
    if letter == "p" and after == "h":
        return "3"
    return _DIGITS.get(letter, "")


_VOWEL = re.compile(r"ae[uy]|[ae][iy]|eu|o[iy]|[ao]u|[aou]e|ie|ee|aa|oo|[aeiouy]")
_VOWEL_SOUNDS = {
    **dict.fromkeys(("ai", "ay", "ei", "ey", "aey"), "1"),
    **dict.fromkeys(("aeu", "eu", "oi", "oy"), "2"),
    **{"au": "3", "oe": "4", "ue": "5"},
    **dict.fromkeys(("ae", "ee", "e"), "e"),
    **dict.fromkeys(("aa", "a"), "a"),
    **dict.fromkeys(("oo", "o"), "o"),
    **dict.fromkeys(("ou", "u"), "u"),
    **dict.fromkeys(("ie", "i", "y"), "i"),
}


@lru_cache(maxsize=8192)
def vowel_sounds(word: str) -> str:
    """The vowels of a folded word as they are heard, after one sign for how it begins.

    The Kölner Phonetik drops vowels, and so hears no difference between Meyer and Mohr, Hahn
    and Jahn, Daniel and Daniela. This is the rest of the sound.
    """
    begin = word[:1] if word[:1] in ("h", "j") else "-"
    return begin + "".join(_VOWEL_SOUNDS[vowel] for vowel in _VOWEL.findall(word))


def sound_alike(one: str, other: str) -> bool:
    """Whether two folded given names are spellings of one: Stefan and Stephan, not Stefanie."""
    if vowel_sounds(one) != vowel_sounds(other):
        return False
    code = cologne(one)
    return bool(code) and code == cologne(other)


# ----------------------------------------------------------------------- nicknames

# Folded; a short form may stand in several groups (Uli is Ulrich or Ulrike, who are two people).
_NICKNAMES = (
    "johannes johann hans hannes hansi john",
    "john johnny jack jonathan jon",
    "josef joseph sepp seppl beppo jupp joe",
    "josefine josefa pepi fini josie",
    "georg george schorsch",
    "michael michi michel mike mick maik",
    "michaela michi",
    "matthias mathias hias matze matthew matt",
    "andreas andi andy anderl",
    "andrew andy drew",
    "andrea andi",
    "alexander alex sascha xander",
    "alexandra alex sandra sascha",
    "maximilian max maxi",
    "christian chris",
    "christoph christopher chris stoffel",
    "christine christina kristin christl tina chris",
    "katharina katherine catherine kathi kathy kati kaethe katja kate katie",
    "katrin kathi kati",
    "elisabeth elizabeth lisa liesl sissi sisi lisbeth else elli betty beth liz",
    "margarete margaretha margaret grete gretl gretel greta marga maggie peggy meg",
    "maria mitzi mia marie mary",
    "anna anne anni annie ann",
    "johanna hanna hannah hanni jo",
    "barbara babsi baerbel barb",
    "brigitte gitte gitti",
    "gabriele gabriela gabi gaby",
    "susanne susanna susan susi suzy sue",
    "ulrich uli ulli",
    "ulrike uli ulli ulla rike",
    "friedrich fritz friedl frederick fred",
    "wilhelm willi willy william will bill billy",
    "heinrich heinz heiner hein heini henry",
    "henry harry hank",
    "karl carl kalle charles charlie",
    "ludwig lutz wiggerl luis louis",
    "rudolf rudi rolf",
    "siegfried siggi sigi",
    "sigrid siggi sigi",
    "wolfgang wolf wolfi",
    "walter walther walt",
    "robert bob bobby rob bert",
    "albert bert al",
    "herbert bert herb",
    "norbert bert",
    "bernhard bernd berni",
    "gerhard gerd hardy",
    "reinhard reini hardy",
    "konrad kurt conny",
    "cornelia conny nelly",
    "nikolaus nicholas klaus niko nico nick",
    "nicole nicki nici",
    "jakob james jim jimmy",
    "joachim jochen achim jo",
    "stefan steven stephen steve",
    "stefanie steffi",
    "steffen steffi",
    "thomas tom tommy",
    "tobias tobi",
    "benjamin ben benni",
    "daniel dani dan danny",
    "daniela dani",
    "sebastian bastian basti wastl",
    "florian flo",
    "philipp phil",
    "patrick pat paddy",
    "patricia pat patty trisha",
    "dietrich dieter",
    "ferdinand ferdl ferdi",
    "leopold poldi leo",
    "leonhard leo hartl",
    "alois luis loisl",
    "veronika vroni",
    "theresia theresa therese resi tess",
    "magdalena lena leni magda",
    "helene helena lena leni",
    "eva evi",
    "monika moni",
    "angelika geli",
    "waltraud traudl",
    "gertrud trude traudl",
    "hildegard hilde",
    "rosemarie rosi",
    "franz franzl francis frank",
    "franziska franzi fanny",
    "sabine bine",
    "antonia toni",
    "anton toni anthony tony",
    "eduard edward edi ed eddie ted",
    "manfred manni fredi",
    "alfred fred fredi",
    "samuel sam sammy",
    "samantha sam",
    "richard rick dick",
    "david dave",
    "jennifer jenny jen",
)


def _groups() -> dict[str, frozenset[int]]:
    groups: dict[str, frozenset[int]] = {}
    for number, names in enumerate(_NICKNAMES):
        for name in names.split():
            groups[name] = groups.get(name, frozenset()) | {number}
    return groups


_GROUPS_OF = _groups()


def are_nicknames(one: str, other: str) -> bool:
    """Whether two folded given names are used for each other, such as ``sepp`` and ``josef``."""
    return not _GROUPS_OF.get(one, frozenset()).isdisjoint(_GROUPS_OF.get(other, frozenset()))


# -------------------------------------------------------------------- what was told


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One way to read a name; all words are folded.

    ``supports`` are further texts, each a company or a city. ``doubt`` (0–1) is how much less
    this reading is worth than a plain one. ``first_decides``: the first support may as well be
    a given name ("Meyer, Xaveria, Stadtbäckerei"): where it supports nothing, none does.
    """

    given: tuple[str, ...] = ()
    surname: tuple[str, ...]
    particles: tuple[str, ...] = ()
    supports: tuple[tuple[str, ...], ...] = ()
    doubt: float = 0.0
    first_decides: bool = False

    @cached_property
    def full_surname(self) -> str:
        """In one piece and without particles: ``meyerschmidt``, ``hagen``."""
        return "".join(self.surname)

    @cached_property
    def joined(self) -> frozenset[str]:
        """In one piece, without and with particles: Vandenberg is van den Berg."""
        return frozenset({self.full_surname, "".join(self.particles) + self.full_surname})

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(self.surname)

    @cached_property
    def code(self) -> str:
        return cologne(self.full_surname)

    @cached_property
    def sound(self) -> str:
        """How the surname begins and its first vowel, the stressed one."""
        return vowel_sounds(self.full_surname)[:2]


@dataclass(frozen=True, kw_only=True, slots=True)
class ToldName:
    """What a text says about one referrer. ``email`` and ``phone`` are "" where not told."""

    email: str = ""
    phone: str = ""
    record_ids: frozenset[str] = frozenset()
    readings: tuple[Reading, ...] = ()


_RECORD_ID = r"[0-9A-Za-z][0-9A-Za-z_-]*"
_OPAQUE_ID = re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[0-9A-Za-z][0-9A-Za-z_-]{11,63}")
_URL = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_EMAIL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[\w-]+(?:\.[\w-]+)+")
_PHONE = re.compile(r"(?<![\w+])(?:\+ ?)?\(?[0-9][0-9 ()/.-]{4,}[0-9](?!\w)")
_SHORTEST_PHONE = 6
_BARE_NUMBER = re.compile(r"(?:^|\()\s*(?:#|id\b:?)?\s*([1-9][0-9]{2,})\s*(?:\)|$)", re.IGNORECASE)
_LABEL = re.compile(
    r"\b(?:mailto|e-?mail|mail|telefon|tel|fon|phone|mobile?|handy|id)\b[.:]*", re.IGNORECASE
)


def parse_name(fragment: str, *, record_url: str | None = None) -> ToldName:
    """Read one fragment of ``split_referrers``.

    ``record_url`` is how a link to a contact looks, with one ``{id}``
    (``ports.AccountFacts.record_url``). A number without separators may be a record id or a
    phone number and is read as both.
    """
    text = unicodedata.normalize("NFKC", fragment[:LONGEST])[:LONGEST]  # NFKC may lengthen
    text = "".join(" " if unicodedata.category(c) == "Cc" else c for c in text)
    text = text.translate(str.maketrans("‐‑–—−", "-----"))
    ids, text = _take_link(text, record_url)
    email, text = _take(_EMAIL, _URL.sub(" ", text))
    ids |= _opaque_ids(text)
    phone, text = _take_phone(_without(ids, text))
    ids |= set(_BARE_NUMBER.findall(text))
    if phone.isdecimal() and not phone.startswith("0"):
        ids.add(phone)
    text = _without(ids, text)
    if email or phone or ids:
        text = _LABEL.sub(" ", text)
    return ToldName(
        email=email.casefold(),
        phone=phone_digits(phone),
        record_ids=frozenset(ids),
        readings=_readings(text),
    )


def phone_digits(text: str) -> str:
    """A phone number as country code and digits; a national ``0`` is taken as German.

    "" for what is too short to be a phone number.
    """
    digits = re.sub(r"[^0-9]", "", text.replace("(0)", ""))
    if digits.startswith("00"):
        digits = digits[2:]
    elif digits.startswith("0"):
        digits = "49" + digits[1:]
    if digits.startswith("490"):  # "+49 089 …": the 0 was left in by mistake
        digits = "49" + digits[3:]
    return digits if len(digits) >= _SHORTEST_PHONE else ""


def _take(pattern: re.Pattern[str], text: str) -> tuple[str, str]:
    """The first thing of that form in the text, and the text without it."""
    found = pattern.search(text)
    if not found:
        return "", text
    return found.group(), f"{text[: found.start()]} {text[found.end() :]}"


def _take_phone(text: str) -> tuple[str, str]:
    found, rest = _take(_PHONE, text)
    return (found.strip("() "), rest) if phone_digits(found) else ("", text)


def _take_link(text: str, record_url: str | None) -> tuple[set[str], str]:
    """The id of the record that is linked to, and the text without the link."""
    if not record_url or "{id}" not in record_url:
        return set(), text
    before = re.sub(r"^https?://", "", record_url).partition("{id}")[0]
    pattern = rf"(?:https?://)?{re.escape(before)}({_RECORD_ID})\S*"
    found = re.search(pattern, text, re.IGNORECASE)
    if not found:
        return set(), text
    return {found.group(1)}, f"{text[: found.start()]} {text[found.end() :]}"


def _opaque_ids(text: str) -> set[str]:
    """Ids that are no plain numbers (hexadecimal, UUID), as the whole text or in brackets."""
    parts = (part.strip() for part in re.split(r"[()]", text))
    return {part for part in parts if _OPAQUE_ID.fullmatch(part)}


def _without(taken: set[str], text: str) -> str:
    for part in taken:
        text = text.replace(part, " ")
    return text


# ------------------------------------------------------------------------- readings

# Taken away where they stand before a name and something is left.
_TITLES = word_set(
    "herr herrn hr frau fr fraeulein mr mrs ms miss mister familie fam eheleute ehepaar "
    "dr ddr doktor prof professor dipl mag ing pd univ firma fa kollege kollegin "
    "der die das den dem the mein meine meinem meiner unser unsere unserem unserer "
    "durch ueber via by empfohlen empfehlung recommended tipp bei beim vom aus from at of"
)
_AFTER_A_TITLE = word_set(
    "med phil rer nat jur iur pol oec techn dent vet theol habil mult hc kfm kffr inf psych "
    "fh und u and"
)
_ADDRESS = word_set("herr herrn hr frau fr mr mrs ms dr prof familie fam")
_AFTER_A_NAME = word_set("jun jr junior sen sr senior mba msc phd")
_PARTICLES = word_set(
    "von van vom zu zum zur de del della der den dem di da do dos du la le ten ter af av"
)
_BEFORE_SUPPORT = word_set("vom bei beim aus from of at in im fa firma")
_AND = word_set("und and u")

_TOKEN = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_ASIDE = re.compile(r"[(\[{]([^()\[\]{}]*)[)\]}]?")
_SEPARATOR = re.compile(r",|\s[-|/@]\s|@\s")

_REVERSED = 0.05
"""Doubt of surname first without a comma."""
_COMPANY_FIRST = 0.10
"""Doubt of a name that follows its company ("Stadtbäckerei, Anna Meyer")."""
_UNMARKED = 0.15
"""Doubt of a company that nothing introduces ("Meyer Stadtbäckerei")."""

_Tokens = Sequence[str]


def words_of(text: str) -> tuple[str, ...]:
    """The folded words of a text; hyphens part, apostrophes join (O'Brien is ``obrien``)."""
    return _apart(_tokens(text))


@lru_cache(maxsize=8192)  # frequent names are candidates again and again
def given_names(first_name: str) -> tuple[str, ...]:
    """The given names in a field of the CRM that holds nothing else."""
    return _core(_name_words(first_name))


@lru_cache(maxsize=8192)
def surname_of(last_name: str) -> Reading:
    """How a field of the CRM is read that holds nothing but the surname."""
    return _reading(given=(), surname=_name_words(last_name))


def _name_words(text: str) -> tuple[str, ...]:
    """The folded words of a name field of the CRM, without titles and what stands aside."""
    plain = _ASIDE.sub(" ", text).partition(",")[0]
    return _apart(_without_titles(_tokens(plain)))


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(fold(text).replace("'", ""))


def _apart(tokens: _Tokens) -> tuple[str, ...]:
    return tuple(word for token in tokens for word in token.split("-"))


def _core(tokens: _Tokens) -> tuple[str, ...]:
    """Without particles, unless nothing else is there."""
    return tuple(token for token in tokens if token not in _PARTICLES) or tuple(tokens)


def _without_titles(tokens: _Tokens) -> list[str]:
    rest = list(tokens)
    if rest[:1] == ["von"] and len(rest) > 1 and rest[1] in _ADDRESS:  # "von Frau Meyer"
        del rest[0]
    while len(rest) > 1 and all(part in _TITLES for part in rest[0].split("-")):
        del rest[0]
        while (honours := _honours(rest)) and len(rest) > honours:
            del rest[:honours]
    while len(rest) > 1 and rest[-1] in _AFTER_A_NAME:
        del rest[-1]
    return rest


def _honours(tokens: _Tokens) -> int:
    """How many of the first words go with the title before them ("med.", "h. c.")."""
    if tuple(tokens[:2]) == ("h", "c"):
        return 2
    return 1 if tokens[0] in _AFTER_A_TITLE else 0


def _readings(text: str) -> tuple[Reading, ...]:
    """All readings of a text from which e-mail, phone and ids have been taken."""
    asides = [
        words
        for aside in _ASIDE.findall(text)
        for part in aside.split(",")
        if (words := words_of(part))
    ]
    outside = _SEPARATOR.split(_ASIDE.sub(" ", text))
    pieces = [_without_titles(tokens) for piece in outside if (tokens := _tokens(piece))]
    if not pieces:
        return ()
    first, *others = pieces
    later = [_apart(piece) for piece in others]
    swapped = _may_be_swapped(pieces)
    if swapped and all(word in _GROUPS_OF for word in later[0]):
        readings = []
    else:
        alone = swapped and len(_core(first)) == 1
        readings = [*_in_order(first, [*later, *asides], first_decides=alone)]
        if others:
            behind = [_apart(first), *later[1:], *asides]
            readings += _in_order(others[0], behind, doubt=_COMPANY_FIRST)
    if swapped:
        readings += _surname_first(first, others[0], [*later[1:], *asides])
    return tuple(dict.fromkeys(readings))


def _may_be_swapped(pieces: Sequence[_Tokens]) -> bool:
    """Whether the pieces may begin like "Meyer, Anna"."""
    if len(pieces) < 2 or not _BEFORE_SUPPORT.isdisjoint(pieces[0]):
        return False
    return len(_core(pieces[0])) <= 2


def _surname_first(
    surname: _Tokens, given: _Tokens, supports: Sequence[tuple[str, ...]]
) -> Iterator[Reading]:
    for name, support in _parted(given):
        yield _reading(
            given=_apart(_core(name)),
            surname=_apart(surname),
            supports=(*support, *supports),
        )


def _in_order(
    tokens: _Tokens,
    supports: Sequence[tuple[str, ...]],
    *,
    doubt: float = 0.0,
    first_decides: bool = False,
) -> Iterator[Reading]:
    for name, support in _parted(tokens):
        decides = first_decides and not support
        together = (*support, *supports)
        for given, surname, unmarked, unusual in _orders(name):
            yield _reading(
                given=_apart(given),
                surname=_apart(surname),
                supports=(*unmarked, *together),
                doubt=doubt + unusual,
                first_decides=decides,
            )


def _parted(tokens: _Tokens) -> Iterator[tuple[_Tokens, tuple[tuple[str, ...], ...]]]:
    """A name parted from the company or city that follows it.

    After "bei" or "aus" nothing else can follow; "von" may as well belong to the surname, so
    it yields both.
    """
    name, support = _cut(tokens, _BEFORE_SUPPORT)
    short, more = _cut(name, frozenset({"von"}))
    if more:
        yield short, more + support
    yield name, support


def _cut(
    tokens: _Tokens, connectors: frozenset[str]
) -> tuple[_Tokens, tuple[tuple[str, ...], ...]]:
    for place in range(1, len(tokens) - 1):
        if tokens[place] in connectors:
            return tokens[:place], (_apart(tokens[place + 1 :]),)
    return tokens, ()


def _orders(
    tokens: _Tokens,
) -> Iterator[tuple[_Tokens, _Tokens, tuple[tuple[str, ...], ...], float]]:
    """Given names, surname with particles, unmarked support and doubt of each order."""
    tokens = [token for token in tokens if token not in _AND]
    particle = next((n for n, token in enumerate(tokens) if token in _PARTICLES), None)
    if particle is not None and not _PARTICLES.issuperset(tokens[particle:]):
        yield tokens[:particle], tokens[particle:], (), 0.0
        if particle > 0:
            return
    tokens = [token for token in tokens if token not in _PARTICLES]
    if not tokens:
        return
    yield tokens[:-1], tokens[-1:], (), 0.0
    if len(tokens) > 2:
        yield tokens[:1], tokens[1:], (), 0.0
        yield tokens[:1], tokens[1:2], (_apart(tokens[2:]),), _UNMARKED
    if len(tokens) > 1:
        yield tokens[1:], tokens[:1], (), _REVERSED
        yield (), tokens[:1], (_apart(tokens[1:]),), _UNMARKED


def _reading(
    *,
    given: tuple[str, ...],
    surname: tuple[str, ...],
    supports: tuple[tuple[str, ...], ...] = (),
    doubt: float = 0.0,
    first_decides: bool = False,
) -> Reading:
    core = _core(surname)
    return Reading(
        given=given,
        surname=core,
        particles=tuple(word for word in surname if word in _PARTICLES) if core != surname else (),
        supports=supports,
        doubt=doubt,
        first_decides=first_decides,
    )
