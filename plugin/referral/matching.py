"""Who is meant: a told name scored against a directory of people, with reasons.

Never a silent guess. A person is linked only with a high score and a clear lead over the
next; everything between is left to the rep, with the candidates and their reasons. The result
depends on the set of people and on when the name was told, on nothing else: not on their
order, and not on who was created after a link was possible.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, lru_cache
from typing import NamedTuple

from rapidfuzz import fuzz
from rapidfuzz.distance import OSA

from plugin.referral.model import Candidate, MatchOutcome, Pillar
from plugin.referral.names import (
    Reading,
    ToldName,
    are_nicknames,
    given_names,
    parse_name,
    phone_digits,
    sound_alike,
    surname_of,
    word_set,
    words_of,
)
from plugin.referral.policy import MatchPolicy

POINTS = {
    "record_id": 1.0,
    "email": 1.0,
    "phone": 0.98,
    "surname": 0.50,
    "surname_sounds": 0.42,
    "surname_similar": 0.35,
    "given_name": 0.35,
    "nickname": 0.30,
    "given_name_sounds": 0.25,
    "initial": 0.20,
    "given_name_differs": -0.30,
    "company": 0.30,
    "city": 0.15,
    "employee": 0.05,
}
"""What each reason is worth. A surname needs a given name or a company beside it to link."""

_EXACT = frozenset({"record_id", "email", "phone"})
_SAME_GIVEN_NAME = frozenset({"given_name", "nickname"})
_TYPO_IN_GIVEN_NAME = -0.10
_PART_OF_COMPANY = 0.15
_NAME_CONTRADICTS = 0.30
_SIMILAR = 85.0
# Below these lengths no two words are similar: one letter more or less is too much for a word of
# two letters, another one or two swapped for a word of six.
_ONE_LETTER = 3
_OTHER_LETTER = 7
_LONGEST = 40  # letters of a surname that is looked for with a typo: each letter is a key
_SAME_COMPANY = 88.0

_NO_COMPANY = word_set(
    "gmbh ggmbh mbh ag kg kgaa ohg gbr ug se ev eg ek co inc ltd llc llp corp plc sa sarl bv nv "
    "srl spa haftungsbeschraenkt firma fa der die das dem den des the und and of in im bei beim "
    "aus vom von from at am zum zur fuer"
)
"""Words of a company's name that tell nothing about which company it is."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody in the directory: a contact, or with ``is_user`` a CRM user.

    ``created_at`` is None where unknown: then the person counts as always there.
    """

    crm_id: str
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    phones: tuple[str, ...] = ()
    company: str = ""
    city: str = ""
    created_at: datetime | None = None
    is_user: bool = False

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()

    @cached_property
    def readings(self) -> tuple[Reading, ...]:
        """The name; where all of it stands in one field, each plain way to read it."""
        named = _named(self.first_name, self.last_name)
        return tuple(replace(reading, given=given) for given, reading in named)

    @cached_property
    def address(self) -> str:
        return self.email.strip().casefold()

    @cached_property
    def numbers(self) -> frozenset[str]:
        return frozenset(filter(None, map(phone_digits, self.phones)))


@lru_cache(maxsize=20_000)
def _company_words(company: str) -> tuple[str, ...]:
    """The words of a company's name that tell which company it is."""
    return _telling(words_of(company))


@lru_cache(maxsize=2_000)
def _city_words(city: str) -> tuple[str, ...]:
    return words_of(city)


def _named(first_name: str, last_name: str) -> tuple[tuple[tuple[str, ...], Reading], ...]:
    """Given names and surname of a record; where all of it stands in one field, of each plain way
    to read it."""
    given, surname = given_names(first_name), surname_of(last_name)
    if given and surname.surname:
        return ((given, surname),)
    told = parse_name(f"{first_name} {last_name}".strip()).readings
    return tuple((reading.given, reading) for reading in told if not reading.doubt)


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """What became of a told name.

    ``candidates`` are the best people with their reasons, best first: at the moment the link
    became possible where there is a ``winner``, else of all.
    """

    outcome: MatchOutcome
    winner: Candidate | None = None
    candidates: tuple[Candidate, ...] = ()


# --------------------------------------------------------------------------- finding


def keys_of_person(person: Person) -> frozenset[str]:
    """Index keys of a person: about 12, for a table to search before scoring.

    Recall is complete: whoever has a score above 0 for a text shares a key with it. By the id,
    e-mail or phone (``i:``, ``e:``, ``p:`` last 7 digits); by a surname or one word of it
    (``w:``) or its sound (``n:``, Kölner Phonetik); by a surname with one typo (``t:``: its
    length, and what is left of it without one of its letters; two words of one length with one
    other letter, or two swapped, leave the same).
    """
    keys = set() if person.is_user else {f"i:{person.crm_id}"}
    if person.address:
        keys.add(f"e:{person.address}")
    keys.update(_phone_key(number) for number in person.numbers)
    keys.update(_names(person.readings))
    for surname in _surnames(person.readings):
        keys.update(f"t:{len(surname)}:{rest}" for rest in (surname, *_shortened(surname)))
    return frozenset(keys)


def keys_of_told(told: ToldName) -> frozenset[str]:
    """The keys under which everybody stands whom this text may mean. See ``keys_of_person``."""
    keys = {f"i:{record_id}" for record_id in told.record_ids}
    if told.email:
        keys.add(f"e:{told.email}")
    if told.phone:
        keys.add(_phone_key(told.phone))
    keys.update(_names(told.readings))
    for surname in _surnames(told.readings):
        keys.update(_with_a_typo(surname))
    return frozenset(keys)


def _phone_key(number: str) -> str:
    return f"p:{number[-7:]}"


def _names(readings: Iterable[Reading]) -> Iterator[str]:
    """The words of the surnames, the surnames in one piece, and their sound."""
    for reading in readings:
        yield from (f"w:{spelling}" for spelling in reading.words | reading.joined)
        if reading.code:
            yield f"n:{reading.code}"


def _surnames(readings: Iterable[Reading]) -> frozenset[str]:
    """What ``_one_typo`` compares, where it is neither too short nor too long for it."""
    return frozenset(
        reading.full_surname
        for reading in readings
        if _ONE_LETTER <= len(reading.full_surname) <= _LONGEST
    )


def _shortened(word: str) -> frozenset[str]:
    """The word without one of its letters, whichever."""
    return frozenset(word[:place] + word[place + 1 :] for place in range(len(word)))


def _with_a_typo(word: str) -> Iterator[str]:
    """The keys of the words that ``_one_typo`` finds similar."""
    size = len(word)
    yield f"t:{size + 1}:{word}"  # who has one letter more leaves it when that is taken out
    for rest in _shortened(word):
        if size > _ONE_LETTER:
            yield f"t:{size - 1}:{rest}"
        if size >= _OTHER_LETTER:
            yield f"t:{size}:{rest}"


# --------------------------------------------------------------------------- scoring


class _Fit(NamedTuple):  # thousands of them are made for a frequent name
    """How well one reading of the text fits one of a person's name. ``place``: of the reading;
    ``agrees``: it may be this person's name."""

    place: int
    points: float
    reasons: tuple[str, ...]
    agrees: bool


def score(
    told: ToldName, person: Person, *, pillar: Pillar | None = None
) -> tuple[float, tuple[str, ...]]:
    """How surely the text means this person (0 to 1, in hundredths), and the reasons.

    The reasons are keys of ``POINTS``. Without an exact e-mail, phone or record id nothing
    counts unless a surname fits. An exact hit whose name contradicts is worth less.
    """
    return _Scales(told, pillar=pillar).weigh(person)


class _Scales:
    """One text against many people. The same names, companies and cities come again and again
    among those whom it may mean: each is compared once.

    Whoever cannot reach ``floor`` by the name and has nothing exact weighs nothing.
    """

    def __init__(self, told: ToldName, *, pillar: Pillar | None, floor: float = 0.0) -> None:
        self._told = told
        self._pillar = pillar
        self._floor = floor
        supports = [(reading.supports, reading.first_decides) for reading in told.readings]
        self._alike = [supports.index(one) for one in supports]  # readings with the same supports
        self._fits: dict[tuple[str, str], tuple[_Fit, ...]] = {}
        self._surnames: dict[tuple[tuple[str, ...], tuple[str, ...]], list[tuple[int, str]]] = {}
        self._supports: dict[tuple[int, str, str], tuple[float, tuple[str, ...]]] = {}
        self._cities: dict[tuple[int, str], bool] = {}

    def weigh(self, person: Person) -> tuple[float, tuple[str, ...]]:
        """The score and its reasons."""
        fits = self._by_name(person.first_name, person.last_name)
        exact = _exact_reasons(self._told, person)
        if not exact and not any(
            self._may_reach_floor(fit, person.city, is_user=person.is_user) for fit in fits
        ):
            return 0.0, ()
        points, reasons = 0.0, exact
        if fits:
            points, by_name = max(
                (self._supported(fit, person.company, person.city) for fit in fits), key=_points
            )
            reasons += by_name
        if exact:
            best = max(POINTS[reason] for reason in exact)
            named = _may_be_named(self._told, person, fits)
            points = best + (points if named else -_NAME_CONTRADICTS)
        if points <= 0:
            return 0.0, ()
        if person.is_user and self._pillar is Pillar.EMPLOYEE:
            points += POINTS["employee"]
            reasons += ("employee",)
        elif person.is_user and self._pillar is not None:
            points -= POINTS["employee"]
        return round(min(max(points, 0.0), 1.0), 2), reasons

    def may_weigh(self, first_name: str, last_name: str, company: str, city: str) -> bool:
        """Whether a contact of this name may reach the floor, or has something exact."""
        if _tells_exactly(self._told):
            return True
        return any(
            self._may_reach_floor(fit, city)
            and self._supported(fit, company, city)[0] >= self._floor
            for fit in self._by_name(first_name, last_name)
        )

    def _by_name(self, first_name: str, last_name: str) -> tuple[_Fit, ...]:
        name = first_name, last_name
        if name not in self._fits:
            self._fits[name] = tuple(
                fit for given, own in _named(*name) for fit in self._compared(given, own)
            )
        return self._fits[name]

    def _compared(self, given: tuple[str, ...], own: Reading) -> Iterator[_Fit]:
        for place, surname in self._compared_surname(own):
            reason, points = _given_name(self._told.readings[place].given, given)
            yield _Fit(
                place=place,
                points=POINTS[surname] + points,
                reasons=(surname, reason) if reason else (surname,),
                agrees=reason != "given_name_differs",
            )

    def _compared_surname(self, own: Reading) -> Sequence[tuple[int, str]]:
        """Which readings of the text may tell of this surname, and how well it fits."""
        one = own.surname, own.particles
        if one not in self._surnames:
            compared = (_surname_reason(told, own) for told in self._told.readings)
            self._surnames[one] = [
                (place, reason) for place, reason in enumerate(compared) if reason
            ]
        return self._surnames[one]

    def _may_reach_floor(self, fit: _Fit, city: str, *, is_user: bool = False) -> bool:
        """Whether it can, whatever the company is."""
        told = self._told.readings[fit.place]
        lacking = self._floor - (fit.points - told.doubt)
        if is_user:
            lacking -= POINTS["employee"]
        if told.supports:
            lacking -= POINTS["company"]
            # Cities are few, companies many: most who share no more than a surname need not be
            # compared further.
            if lacking > 0 and self._fits_city(fit.place, city):
                lacking -= POINTS["city"]
        return lacking <= 0

    def _fits_city(self, place: int, city: str) -> bool:
        at = self._alike[place], city
        if at not in self._cities:
            words = _city_words(city)
            told = self._told.readings[place].supports
            self._cities[at] = any(_is_city(support, words) for support in told)
        return self._cities[at]

    def _supported(self, fit: _Fit, company: str, city: str) -> tuple[float, tuple[str, ...]]:
        """What a name that fits is worth together with company and city."""
        told = self._told.readings[fit.place]
        support, reasons = _NOTHING
        if told.supports:
            at = self._alike[fit.place], company, city
            if at not in self._supports:
                found = _support(told, company, city)
                self._supports[at] = sum(found.values()), tuple(found)
            support, reasons = self._supports[at]
        points = max(fit.points + support - told.doubt, 0.0)
        return (points, fit.reasons + reasons) if points else _NOTHING


_NOTHING: tuple[float, tuple[str, ...]] = (0.0, ())


def _points(weighed: tuple[float, tuple[str, ...]]) -> float:
    return weighed[0]


def _tells_exactly(told: ToldName) -> bool:
    return bool(told.email or told.phone or told.record_ids)


def _exact_reasons(told: ToldName, person: Person) -> tuple[str, ...]:
    if not _tells_exactly(told):
        return ()
    found = {
        # Users have ids of their own, which no link to a contact can mean.
        "record_id": not person.is_user and person.crm_id in told.record_ids,
        "email": bool(told.email) and told.email == person.address,
        "phone": bool(told.phone) and told.phone in person.numbers,
    }
    return tuple(reason for reason, true in found.items() if true)


def _may_be_named(told: ToldName, person: Person, fits: Sequence[_Fit]) -> bool:
    """Whether no name contradicts: one is missing, or one reading fits, or (people marry) the
    given name alone does."""
    return (
        not (told.readings and person.readings)
        or any(fit.agrees for fit in fits)
        or any(
            _given_name(reading.given, own.given)[0] in _SAME_GIVEN_NAME
            for own in person.readings
            for reading in told.readings
        )
    )


def _surname_reason(told: Reading, own: Reading) -> str:
    """How well the surnames fit, "" for not at all. Parts may stand in any order."""
    if told.words == own.words or not told.joined.isdisjoint(own.joined):
        return "surname"
    if told.code and told.code == own.code:
        return "surname_sounds" if told.sound == own.sound else "surname_similar"
    if _one_typo(told.full_surname, own.full_surname):
        return "surname_similar"
    shared = told.words & own.words
    return "surname_similar" if any(len(word) > 2 for word in shared) else ""


def _one_typo(one: str, other: str) -> bool:
    """One letter more, less, other, or two swapped, in a word long enough to stay the same."""
    return (
        max(len(one), len(other)) <= _LONGEST
        and abs(len(one) - len(other)) <= 1
        and OSA.distance(one, other, score_cutoff=1) <= 1
        and fuzz.ratio(one, other) >= _SIMILAR
    )


@lru_cache(maxsize=50_000)  # names given are few
def _given_name(told: tuple[str, ...], own: tuple[str, ...]) -> tuple[str, float]:
    """How well the given names fit, ("", 0) where one side has none.

    One of two words compared is always the first of its side: Anna Maria is Maria, but not
    Eva Maria.
    """
    if not told or not own:
        return "", 0.0
    pairs = [(one, other) for one in told for other in own if one == told[0] or other == own[0]]
    same = any(one == other and len(one) > 1 for one, other in pairs)
    if same or "".join(told) == "".join(own):
        reason = "given_name"
    elif any(are_nicknames(*pair) for pair in pairs):
        reason = "nickname"
    elif any(sound_alike(*pair) for pair in pairs):
        reason = "given_name_sounds"
    elif _begins(told[0], own[0]):
        reason = "initial"
    elif any(_typo_in_given_name(*pair) for pair in pairs):
        return "given_name_differs", _TYPO_IN_GIVEN_NAME
    else:
        reason = "given_name_differs"
    return reason, POINTS[reason]


def _begins(one: str, other: str) -> bool:
    """An initial or abbreviation of at most three letters."""
    short, long = sorted((one, other), key=len)
    return len(short) <= 3 and long.startswith(short)


def _typo_in_given_name(one: str, other: str) -> bool:
    """Micheal for Michael; never another ending, which makes another name (Daniela)."""
    return min(len(one), len(other)) >= 5 and one[-1] == other[-1] and _one_typo(one, other)


def _support(told: Reading, company: str, city: str) -> dict[str, float]:
    """Company and city that fit, with their points."""
    found: dict[str, float] = {}
    company_words, city_words = _company_words(company), _city_words(city)
    for place, words in enumerate(told.supports):
        in_city = _is_city(words, city_words)
        rest = [word for word in words if word not in city_words] if in_city else words
        points = _company_points(_telling(rest), company_words)
        if place == 0 and told.first_decides and not (in_city or points):
            return {}
        if points:
            found["company"] = max(points, found.get("company", 0.0))
        if in_city:
            found["city"] = POINTS["city"]
    return {reason: found[reason] for reason in ("company", "city") if reason in found}


def _is_city(words: Sequence[str], city: Sequence[str]) -> bool:
    return _set_ratio(words, city) >= _SAME_COMPANY


def _company_points(told: Sequence[str], company: Sequence[str]) -> float:
    """Whole points for the whole name or its beginning, half for another part of it: who is
    "aus Rosenheim" need not work at Autohaus Rosenheim."""
    if _set_ratio(told, company) >= _SAME_COMPANY and company[0] in told:
        return POINTS["company"]
    if fuzz.token_sort_ratio(" ".join(told), " ".join(company)) >= _SAME_COMPANY and company:
        return POINTS["company"]
    if fuzz.ratio("".join(told), "".join(company)) >= _SAME_COMPANY and company:
        return POINTS["company"]
    return _PART_OF_COMPANY if _set_ratio(told, company) >= _SAME_COMPANY else 0.0


def _set_ratio(told: Sequence[str], own: Sequence[str]) -> float:
    if not told or not own:
        return 0.0
    return fuzz.token_set_ratio(" ".join(told), " ".join(own))


def _telling(words: Sequence[str]) -> tuple[str, ...]:
    """The words of a company's name that tell which company it is."""
    return tuple(word for word in words if len(word) > 1 and word not in _NO_COMPANY)


# -------------------------------------------------------------------------- deciding


class Search:
    """A told name and how it is searched for. ``record_url``: see ``parse_name``."""

    def __init__(
        self,
        told_text: str,
        *,
        policy: MatchPolicy,
        pillar: Pillar | None = None,
        record_url: str | None = None,
    ) -> None:
        self._told = parse_name(told_text, record_url=record_url)
        self._policy = policy
        self._floor = _floor(policy)
        self._scales = _Scales(self._told, pillar=pillar, floor=self._floor)

    @property
    def keys(self) -> frozenset[str]:
        return keys_of_told(self._told)

    def may_find(self, first_name: str, last_name: str, company: str, city: str) -> bool:
        """Whether such a contact may make a difference to ``match``: of a frequent name most
        do not, and need not be read whole."""
        return self._scales.may_weigh(first_name, last_name, company, city)

    def match(self, recorded_at: datetime, people: Iterable[Person]) -> Match:
        """See the function of that name."""
        present: list[Candidate] = []
        late: list[tuple[datetime, Candidate]] = []
        for person in set(people):
            points, reasons = self._scales.weigh(person)
            if not points or (points < self._floor and _EXACT.isdisjoint(reasons)):
                continue
            candidate = _candidate(person, points, reasons)
            if person.created_at is None or person.created_at <= recorded_at:
                present.append(candidate)
            else:
                late.append((person.created_at, candidate))
        winner = _winner(sorted(present, key=_best_first), self._policy)
        for _, candidate in sorted(late, key=lambda one: (one[0], _by_id(one[1]))):
            if winner:
                break
            # Whoever joins can only stand in the way of the others: nobody else may win now.
            if _wins(candidate, present, self._policy):
                winner = candidate
            present.append(candidate)
        return _match(winner, present, self._policy)


def match(
    told_text: str,
    recorded_at: datetime,
    people: Iterable[Person],
    *,
    policy: MatchPolicy,
    pillar: Pillar | None = None,
    record_url: str | None = None,
) -> Match:
    """Who is meant by ``told_text``, told at ``recorded_at`` (aware UTC).

    First among those who were there then; if nobody wins, people created later join one at a
    time, and the first who wins is linked. So a link that was possible once stays, whoever
    is created afterwards. ``record_url``: see ``parse_name``.
    """
    search = Search(told_text, policy=policy, pillar=pillar, record_url=record_url)
    return search.match(recorded_at, people)


def _floor(policy: MatchPolicy) -> float:
    """Who scores less neither wins, nor is shown, nor stands in anybody's way (less the hundredth
    that scores are rounded to)."""
    return min(policy.candidate_score, policy.link_score - policy.link_lead) - 0.01


def _match(winner: Candidate | None, present: list[Candidate], policy: MatchPolicy) -> Match:
    ranked = sorted(present, key=_best_first)
    likely = [one for one in ranked if one.score >= policy.candidate_score]
    candidates = tuple(likely[: policy.max_candidates])
    if winner:
        return Match(outcome=MatchOutcome.LINKED, winner=winner, candidates=candidates)
    outcome = MatchOutcome.AMBIGUOUS if candidates else MatchOutcome.NONE
    return Match(outcome=outcome, candidates=candidates)


def _candidate(person: Person, points: float, reasons: tuple[str, ...]) -> Candidate:
    return Candidate(
        crm_id=person.crm_id,
        is_user=person.is_user,
        name=person.name,
        company=person.company,
        city=person.city,
        score=points,
        reasons=reasons,
    )


def _by_id(candidate: Candidate) -> tuple[int, str, bool]:
    return len(candidate.crm_id), candidate.crm_id, candidate.is_user


def _best_first(candidate: Candidate) -> tuple[float, tuple[int, str, bool]]:
    return -candidate.score, _by_id(candidate)


def _exact(candidate: Candidate) -> bool:
    return not _EXACT.isdisjoint(candidate.reasons)


def _winner(ranked: Sequence[Candidate], policy: MatchPolicy) -> Candidate | None:
    best = next(filter(_exact, ranked), ranked[0] if ranked else None)
    if best and _wins(best, [one for one in ranked if one is not best], policy):
        return best
    return None


def _wins(candidate: Candidate, others: Sequence[Candidate], policy: MatchPolicy) -> bool:
    """High enough and far enough ahead. An exact e-mail, phone or id has only exact rivals; a
    name alone never wins against one, as then the text tells of two people."""
    if candidate.score < policy.link_score:
        return False
    exact = _exact(candidate)
    if not exact and any(map(_exact, others)):
        return False
    rivals = (one.score for one in others if _exact(one) == exact)
    return all(round(candidate.score - rival, 2) >= policy.link_lead for rival in rivals)
