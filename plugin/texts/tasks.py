"""What the tasks say: for every kind a subject, the reason, and what to do.

Both languages stand side by side in one function per kind. Which facts a kind has is told in
``plugin.referral.playbook``. Bodies are plain text, one thought a line; the marker by which a
task is found again is not in them, the pipeline appends it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from plugin.manifest import Text
from plugin.referral.model import (
    Candidate,
    Channel,
    Facts,
    MatchOutcome,
    Pillar,
    RatingValue,
    Readiness,
    TaskKind,
    Tier,
    WantedTask,
)
from plugin.texts.formats import Voice, safe

_SUBJECT: Final = 90
"""The most characters of a subject."""
_SHORT_NAME: Final = 28
"""The most characters of a name where a subject holds two."""
_NAMES: Final = 120
"""The most characters of several names in one."""
_WORDS: Final = 400
"""The most characters of what somebody said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskText:
    """What a task says. ``subject`` is one line, ``body`` several, without the marker."""

    subject: str
    body: str


def task_text(task: WantedTask, language: str) -> TaskText:
    """The text of a task as it should be created."""
    return _WRITERS[task.kind](task.facts, Voice(language))


def withdrawal_note(reason: str, language: str) -> str:
    """The line that says why the plugin took a task back.

    ``reason`` is a key of ``WITHDRAWALS``; any other raises ``KeyError``.
    """
    return WITHDRAWALS[reason][language]


def erased_text(language: str) -> TaskText:
    """What stands in place of a task that named a person whose data had to be erased."""
    voice = Voice(language)
    return TaskText(
        subject=voice.say("Inhalt aus Datenschutzgründen entfernt", "Removed for privacy reasons"),
        body=voice.say(
            "Diese Aufgabe nannte eine Person, deren Daten auf Wunsch gelöscht wurden.\n"
            "Es ist nichts mehr zu tun.",
            "This task named a person whose data were erased on request.\n"
            "There is nothing left to do.",
        ),
    )


WITHDRAWALS: Final = {
    "no_longer_wanted": Text(
        de="Zurückgezogen: Der Anlass besteht nicht mehr.",
        en="Withdrawn: the reason no longer holds.",
    ),
    "replaced": Text(
        de="Zurückgezogen: Eine andere Aufgabe ist an diese Stelle getreten.",
        en="Withdrawn: another task has taken its place.",
    ),
    "contact_gone": Text(
        de="Zurückgezogen: Den Kontakt gibt es nicht mehr.",
        en="Withdrawn: the contact no longer exists.",
    ),
    "uninstalled": Text(
        de="Zurückgezogen: Das Plugin wurde entfernt.",
        en="Withdrawn: the plugin has been removed.",
    ),
}

MATCH_REASONS: Final = {
    "record_id": Text(de="Datensatz-ID genannt", en="record id given"),
    "email": Text(de="gleiche E-Mail-Adresse", en="same e-mail address"),
    "phone": Text(de="gleiche Telefonnummer", en="same phone number"),
    "surname": Text(de="gleicher Nachname", en="same surname"),
    "surname_sounds": Text(de="Nachname klingt gleich", en="surname sounds the same"),
    "surname_similar": Text(de="Nachname ähnlich", en="similar surname"),
    "given_name": Text(de="gleicher Vorname", en="same first name"),
    "nickname": Text(de="Kurzform des Vornamens", en="short form of the first name"),
    "initial": Text(de="Anfangsbuchstabe des Vornamens passt", en="initial of the first name fits"),
    "given_name_sounds": Text(de="Vorname klingt gleich", en="first name sounds the same"),
    "given_name_differs": Text(de="Vorname weicht ab", en="different first name"),
    "company": Text(de="Firma passt", en="company fits"),
    "city": Text(de="Ort passt", en="city fits"),
    "employee": Text(de="gehört zum Haus", en="one of our own people"),
}
"""The reasons of a ``Candidate`` in words."""


def _written(voice: Voice, *, about: str, todo: str, why: str, steps: list[str]) -> TaskText:
    """A task's text. The subject is whom it is about and what to do: of a long name so much as
    fits. A step that begins with "•" belongs to the one above it."""
    who = voice.person(about, _SUBJECT - len(f": {todo}"))
    reason = voice.say(f"Warum: {why}", f"Why: {why}")
    lines = (step if step.startswith("•") else f"– {step}" for step in steps)
    return TaskText(subject=f"{who}: {todo}", body="\n".join([reason, "", *lines]))


def _both(facts: Facts, voice: Voice) -> tuple[str, str]:
    """The names of the contact and of the referrer."""
    return voice.person(facts.name), voice.person(facts.referrer_name)


# ---------------------------------------------------------- the origin and the referrer


def _ask_origin(facts: Facts, voice: Voice) -> TaskText:
    deal, on = voice.deal(facts.deal_name), voice.on(facts.on)
    why = voice.say(
        f"Erster Kauf{deal}{on}; was den Kontakt zu uns geführt hat, ist noch unbekannt.",
        f"First purchase{deal}{on}; what led this contact to us is not known yet.",
    )
    return _origin_task(facts, voice, why)


def _campaign_ask_origin(facts: Facts, voice: Voice) -> TaskText:
    since = voice.since(facts.on)
    why = voice.say(
        f"Schon Kunde{since}, aber was ursprünglich zu uns geführt hat, wurde nie festgehalten.",
        f"A customer{since}, but what originally led them to us was never noted down.",
    )
    return _origin_task(facts, voice, why)


def _origin_task(facts: Facts, voice: Voice, why: str) -> TaskText:
    origin, referrer = voice.field("spiral_origin"), voice.field("spiral_referrer_name")
    return _written(
        voice,
        about=facts.name,
        todo=voice.say(
            "fragen, was ursprünglich zu uns führte",
            "ask what originally led them to us",
        ),
        why=why,
        steps=[
            voice.say(
                "Im nächsten Gespräch eine dieser Fragen stellen, nur eine:",
                "In the next conversation, ask one of these questions, just one:",
            ),
            voice.say(
                "• „Wo ist Ihnen unser Name zuallererst begegnet?“",
                "• “Where did you first of all come across our name?”",
            ),
            voice.say(
                "• „Was hat Sie ursprünglich zu uns geführt?“",
                "• “What originally brought you to us?”",
            ),
            voice.say(
                "• „Wer oder was gab ursprünglich den Ausschlag für uns?“",
                "• “Who or what originally tipped the balance in our favour?”",
            ),
            voice.say(
                "„Ursprünglich“ oder „zuallererst“ dabei mitsagen: Gefragt ist der erste Anstoß, "
                "nicht der letzte Klick.",
                "Do say “originally” or “first of all”: the very first prompt is wanted, not the "
                "latest click.",
            ),
            voice.say(
                "Passt die Frage gerade nicht, weglassen und die Aufgabe abschließen.",
                "If it does not fit the situation, leave it out and complete the task.",
            ),
            voice.say(
                f"Die Antwort ins Feld {origin} eintragen; war es eine Empfehlung, den Namen ins "
                f"Feld {referrer}.",
                f"Put the answer into the field {origin}; if it was a recommendation, put the name "
                f"into {referrer}.",
            ),
        ],
    )


def _ask_referral_details(facts: Facts, voice: Voice) -> TaskText:
    who = voice.person(facts.name)
    both = facts.words_missing and facts.referrer_missing
    if both:
        todo = voice.say("nach der Empfehlung fragen", "ask about the recommendation")
        gap = voice.say(
            "wer es war und was gesagt wurde, wissen wir noch nicht",
            "who it was and what was said is missing",
        )
    elif facts.referrer_missing:
        todo = voice.say("fragen, wer uns empfohlen hat", "ask who recommended us")
        gap = voice.say("wer es war, wissen wir noch nicht", "who it was is missing")
    else:
        todo = voice.say("fragen, was über uns gesagt wurde", "ask what was said about us")
        gap = voice.say("was dabei gesagt wurde, wissen wir noch nicht", "what was said is missing")
    return _written(
        voice,
        about=facts.name,
        todo=todo,
        why=voice.say(
            f"{who} kam{voice.on(facts.on)} auf Empfehlung zu uns; {gap}.",
            f"{who} came to us by recommendation{voice.on(facts.on)}; {gap}.",
        ),
        steps=[
            *([_what_was_said(voice)] if facts.words_missing else []),
            *([_who_was_it(voice)] if facts.referrer_missing else []),
            voice.say(
                "Wer es nicht erzählen möchte, muss es nicht; dann nicht weiter nachfragen.",
                "Nobody has to tell; if they would rather not, leave it.",
            ),
        ],
    )


def _what_was_said(voice: Voice) -> str:
    words = voice.field("spiral_recommended_words")
    service = voice.field("spiral_recommended_service")
    return voice.say(
        f"„Was hat man Ihnen von uns erzählt?“ Die Antwort möglichst wörtlich ins Feld {words}, "
        f"die Leistung ins Feld {service}.",
        f"“What were you told about us?” Put the answer, as literally as possible, into {words}, "
        f"and the service into {service}.",
    )


def _who_was_it(voice: Voice) -> str:
    referrer = voice.field("spiral_referrer_name")
    return voice.say(
        f"„Bei wem dürfen wir uns dafür bedanken?“ Den Namen ins Feld {referrer}, am besten mit "
        "Firma oder Ort.",
        f"“Whom may we thank for it?” Put the name into {referrer}, best with company or city.",
    )


def _resolve_referrer(facts: Facts, voice: Voice) -> TaskText:
    who, told, on = voice.person(facts.name), voice.quote(facts.text), voice.on(facts.on)
    short = voice.quote(facts.text, _SHORT_NAME)
    problem = voice.text(_UNRESOLVED[facts.outcome]).format(who=who)
    return _written(
        voice,
        about=facts.name,
        todo=voice.say(f"klären, wer {short} ist", f"find out who {short} is"),
        why=voice.say(
            f"Als Empfehlungsgeber von {who} wurde{on} {told} eingetragen. {problem}",
            f"{told} was entered as the referrer of {who}{on}. {problem}",
        ),
        steps=[*_candidates(facts.candidates, voice), *_answers(facts.outcome, voice)],
    )


_UNRESOLVED: dict[MatchOutcome | None, Text] = {
    MatchOutcome.AMBIGUOUS: Text(
        de="Die Übereinstimmung reicht nicht, um ohne Rückfrage zu verknüpfen.",
        en="The match is not sure enough to be linked without asking.",
    ),
    MatchOutcome.NONE: Text(
        de="Dazu passt kein Kontakt.",
        en="No contact matches.",
    ),
    MatchOutcome.REFUSED_SELF: Text(
        de="Das ist {who} selbst, und niemand empfiehlt sich selbst.",
        en="That is {who}, and nobody refers themselves.",
    ),
    MatchOutcome.REFUSED_CIRCLE: Text(
        de="Damit schlösse sich ein Kreis: Diese Person kam selbst, direkt oder über andere, "
        "durch {who} zu uns. Was zuerst gesagt wurde, gilt.",
        en="That would close a circle: this person came to us through {who}, directly or by way "
        "of others. What was said first stands.",
    ),
    MatchOutcome.LINKED: Text(
        de="Bitte prüfen, ob der richtige Kontakt verknüpft ist.",
        en="Please check that the right contact is linked.",
    ),
    None: Text(
        de="Wer das ist, steht noch nicht fest.",
        en="Who that is, is not settled yet.",
    ),
}


def _candidates(candidates: tuple[Candidate, ...], voice: Voice) -> list[str]:
    if not candidates:
        return []
    lines = [f"• {_candidate(candidate, voice)}" for candidate in candidates]
    return [voice.say("Im CRM gefunden:", "Found in the CRM:"), *lines]


def _candidate(candidate: Candidate, voice: Voice) -> str:
    places = (safe(place, _SHORT_NAME) for place in (candidate.company, candidate.city))
    who = ", ".join([voice.person(candidate.name), *filter(None, places)])
    record = _record(candidate, voice)
    reasons = ", ".join(_match_reason(reason, voice) for reason in candidate.reasons)
    return f"{who} ({record})" + (f": {reasons}" if reasons else "")


def _record(candidate: Candidate, voice: Voice) -> str:
    """What a candidate is; with the id, which is an answer too, where it is a contact."""
    if candidate.is_user:
        return voice.option("spiral_referrer_pillar", Pillar.EMPLOYEE)
    crm_id = safe(candidate.crm_id, _SHORT_NAME)
    return voice.say(f"Datensatz {crm_id}", f"record {crm_id}")


def _match_reason(reason: str, voice: Voice) -> str:
    # A reason without a wording is a slip of ours, and no ground to withhold the task.
    return voice.text(MATCH_REASONS[reason]) if reason in MATCH_REASONS else safe(reason)


def _answers(outcome: MatchOutcome | None, voice: Voice) -> list[str]:
    field = voice.field("spiral_referrer_name")
    answer = voice.say(
        f"Die Antwort ins Feld {field}: der Name mit Firma und Ort, eine E-Mail-Adresse oder die "
        "Datensatz-ID. Andere Namen dort, mit Semikolon getrennt, stehen lassen.",
        f"Answer in the field {field}: the name with company and city, an e-mail address or the "
        "record id. Leave other names there, separated by semicolons, as they are.",
    )
    match outcome:
        case MatchOutcome.REFUSED_SELF | MatchOutcome.REFUSED_CIRCLE:
            first = voice.say(
                "Prüfen, ob jemand anders gemeint war. Wenn nicht, den Namen aus dem Feld nehmen.",
                "Check whether somebody else was meant. If not, take the name out of the field.",
            )
            return [first, answer]
        case MatchOutcome.NONE:
            last = voice.say(
                "Fehlt die Person im CRM noch: anlegen, dann wird sie von selbst gefunden.",
                "If the person is not in the CRM yet: add them, and they will be found.",
            )
            return [answer, last]
        case _:
            first = voice.say(
                "Im Zweifel nachfragen, nicht raten.", "If in doubt, ask; do not guess."
            )
            return [first, answer]


def _thank_referrer(facts: Facts, voice: Voice) -> TaskText:
    return _thank_colleague(facts, voice) if facts.referrer_is_user else _thank(facts, voice)


def _thank(facts: Facts, voice: Voice) -> TaskText:
    who, referrer = _both(facts, voice)
    short = voice.person(facts.name, _SHORT_NAME)
    return _written(
        voice,
        about=facts.referrer_name,
        todo=voice.say(
            f"danken, {short} kam auf Empfehlung",
            f"say thank you for sending {short}",
        ),
        why=_came_by(facts, voice),
        steps=[
            voice.say(
                "Gleich danken, persönlich oder am Telefon, auch wenn es schon länger her ist.",
                "Say thank you at once, in person or by phone, even if it was long ago.",
            ),
            voice.say(
                f"Gut von {who} sprechen: sagen, wie sehr uns diese Bekanntschaft freut.",
                f"Speak well of {who}: say how glad we are to have met.",
            ),
            voice.say(
                "Ein kleines, symbolisches Dankeschön genügt, etwa eine handgeschriebene Karte.",
                "A small, symbolic thank-you is enough, such as a handwritten card.",
            ),
            voice.say(
                f"Datenschutz: {referrer} erfährt hierdurch, dass der Name bei uns gespeichert "
                "ist. Offen sagen, woher wir ihn haben und wozu; auf Wunsch löschen.",
                f"Privacy: this is how {referrer} learns that we hold their name. Say openly where "
                "it came from and what it is for; erase it on request.",
            ),
        ],
    )


def _thank_colleague(facts: Facts, voice: Voice) -> TaskText:
    who, referrer = _both(facts, voice)
    short = voice.person(facts.referrer_name, _SHORT_NAME)
    return _written(
        voice,
        about=facts.name,
        todo=voice.say(
            f"Dank an {short} für die Empfehlung",
            f"thank our colleague {short}",
        ),
        why=_came_by(facts, voice),
        steps=[
            voice.say(
                f"{referrer} gehört zum Haus: gleich und persönlich danken, auch wenn es schon "
                "länger her ist.",
                f"{referrer} is one of our own people: say thank you at once and in person, even "
                "if it was long ago.",
            ),
            voice.say(
                f"Gut von {who} sprechen: sagen, wie sehr uns diese Bekanntschaft freut.",
                f"Speak well of {who}: say how glad we are to have met.",
            ),
            voice.say(
                "Ein kleines, symbolisches Dankeschön genügt, gern vor dem ganzen Team.",
                "A small, symbolic thank-you is enough, gladly before the whole team.",
            ),
        ],
    )


def _came_by(facts: Facts, voice: Voice) -> str:
    who, referrer = _both(facts, voice)
    noted = voice.say(f" (eingetragen{voice.on(facts.on)})", f" (noted{voice.on(facts.on)})")
    return voice.say(
        f"{who} kam auf Empfehlung von {referrer} zu uns{noted if facts.on else ''}.",
        f"{who} came to us on the recommendation of {referrer}{noted if facts.on else ''}.",
    )


# --------------------------------------------------------------- what came of a referral


def _tell_outcome(facts: Facts, voice: Voice) -> TaskText:
    who, referrer = _both(facts, voice)
    short = voice.person(facts.name, _SHORT_NAME)
    deal, on = voice.deal(facts.deal_name), voice.on(facts.on)
    if facts.won:
        why = voice.say(
            f"{who}, empfohlen von {referrer}: Der Deal{deal} wurde{on} gewonnen.",
            f"{who}, recommended by {referrer}: the deal{deal} was won{on}.",
        )
        tell = voice.say(
            f"{referrer} noch einmal danken und erzählen, dass aus der Empfehlung etwas wurde.",
            f"Thank {referrer} once more and tell them that something came of it.",
        )
    else:
        why = voice.say(
            f"{who}, empfohlen von {referrer}: Der Deal{deal} ging{on} verloren.",
            f"{who}, recommended by {referrer}: the deal{deal} was lost{on}.",
        )
        tell = voice.say(
            f"{referrer} trotzdem danken: Es hat diesmal nicht gepasst, die Empfehlung bleibt "
            "wertvoll. Niemandem die Schuld geben.",
            f"Thank {referrer} all the same: it did not work out this time, the recommendation is "
            "still worth a lot. Blame nobody.",
        )
    return _written(
        voice,
        about=facts.referrer_name,
        todo=voice.say(
            f"erzählen, wie es mit {short} weiterging",
            f"tell them how it went with {short}",
        ),
        why=why,
        steps=[
            voice.say(
                f"Zuerst {who} fragen, was weitererzählt werden darf.",
                f"First ask {who} what may be passed on.",
            ),
            tell,
            voice.say(
                "Nicht mehr sagen als erlaubt; ohne Zustimmung beim Dank bleiben. Beträge und "
                "Einzelheiten nie nennen.",
                "Say no more than was agreed; without consent leave it at thanks. Never amounts "
                "or details.",
            ),
        ],
    )


def _mind_expectation(facts: Facts, voice: Voice) -> TaskText:
    who = voice.person(facts.name)
    referrer = voice.person(facts.referrer_name, _NAMES)
    deal, on = voice.deal(facts.deal_name), voice.on(facts.on)
    if facts.won:
        todo = voice.say(
            "bald nachfragen, die Erwartung ist hoch", "check in early, expectations are high"
        )
        event = voice.say(f"erster Kauf{deal}{on}", f"first purchase{deal}{on}")
        step = voice.say(
            "Früh nach der Lieferung nachfragen, ob gehalten wurde, was die Empfehlung versprach.",
            "Check in early after delivery whether we have lived up to the recommendation.",
        )
    else:
        todo = voice.say(
            "hohe Erwartung, kommt auf Empfehlung", "high expectations, came recommended"
        )
        event = voice.say(f"erster Deal{deal}, angelegt{on}", f"first deal{deal}, opened{on}")
        step = voice.say(
            "An der Empfehlung werden wir gemessen: im Angebot darauf eingehen und nur zusagen, "
            "was sicher ist.",
            "The recommendation is what we are measured by: address it in the offer, and promise "
            "only what is certain.",
        )
    return _written(
        voice,
        about=facts.name,
        todo=todo,
        why=voice.say(
            f"{who} kam auf Empfehlung von {referrer}; {event}.",
            f"{who} came on the recommendation of {referrer}; {event}.",
        ),
        steps=[
            _service(facts, voice),
            *([_words(facts, voice)] if safe(facts.words) else []),
            step,
            voice.say(
                f"Eine Enttäuschung träfe nicht nur uns, sondern auch {referrer}.",
                f"A disappointment would hurt not only us but {referrer} as well.",
            ),
        ],
    )


def _service(facts: Facts, voice: Voice) -> str:
    if safe(facts.service):
        service = voice.quote(facts.service)
        return voice.say(
            f"Empfohlen wurde {service}: Hier sind die Erwartungen besonders hoch.",
            f"Recommended was {service}: expectations are especially high here.",
        )
    field = voice.field("spiral_recommended_service")
    return voice.say(
        f"Was genau empfohlen wurde, ist unbekannt: nachfragen und im Feld {field} festhalten.",
        f"What exactly was recommended is not known: ask, and note it in the field {field}.",
    )


def _words(facts: Facts, voice: Voice) -> str:
    words = voice.quote(facts.words, _WORDS)
    return voice.say(f"Mit diesen Worten: {words}", f"In these words: {words}")


# ------------------------------------------------------------------- the experience


def _check_experience(facts: Facts, voice: Voice) -> TaskText:
    deal, on = voice.deal(facts.deal_name), voice.on(facts.on)
    rating, options = voice.field("spiral_rating"), voice.options("spiral_rating")
    delighted = voice.quoted_option("spiral_rating", RatingValue.DELIGHTED)
    return _written(
        voice,
        about=facts.name,
        todo=voice.say("fragen, wie es war", "ask how it went"),
        why=voice.say(
            f"Erster Kauf{deal}{on}, seither ist keine Bewertung eingetragen.",
            f"First purchase{deal}{on}, and no rating has been entered since.",
        ),
        steps=[
            voice.say(
                "Offen fragen: „Wie ging es Ihnen mit uns? Was hätte besser laufen können?“",
                "Ask openly: “How was it for you? What could have gone better?”",
            ),
            voice.say(
                "Zuhören und auch für Kritik danken.",
                "Listen, and say thank you for criticism too.",
            ),
            voice.say(
                f"Den Eindruck im Feld {rating} festhalten: {options}.",
                f"Record the impression in the field {rating}: {options}.",
            ),
            voice.say(
                f"{delighted} nur, wenn die Erwartungen übertroffen wurden.",
                f"{delighted} only if expectations were exceeded.",
            ),
        ],
    )


def _repair(facts: Facts, voice: Voice) -> TaskText:
    since, grade = voice.since(facts.on), _grade(facts, voice)
    rating = voice.field("spiral_rating")
    effect = voice.say("die negative Spirale hat begonnen", "the negative spiral has begun")
    if facts.forgiven:
        effect = voice.say(
            "aus Verbundenheit noch verziehen, ein zweites Mal nicht",
            "forgiven this once out of loyalty, not a second time",
        )
    return _written(
        voice,
        about=facts.name,
        todo=voice.say(f"heute in Ordnung bringen ({grade})", f"put things right today ({grade})"),
        why=voice.say(
            f"Offene Beschwerde{since}, Bewertung {grade}; {effect}.",
            f"Open complaint{since}, rated {grade}; {effect}.",
        ),
        steps=[
            voice.say(
                "Sich noch heute melden, persönlich oder am Telefon, nicht schriftlich.",
                "Get in touch today, in person or by phone, not in writing.",
            ),
            voice.say(
                "Erst zuhören und ausreden lassen, dann um Entschuldigung bitten.",
                "Listen first and let them finish, then apologise.",
            ),
            voice.say(
                "Eine Lösung mit Termin zusagen und einhalten.",
                "Promise a solution with a date, and keep it.",
            ),
            voice.say(
                f"Notieren, was war. Ist alles wieder gut, die neue Bewertung ins Feld {rating} "
                "eintragen.",
                f"Note what happened. Once all is well, enter the new rating in {rating}.",
            ),
            voice.say(
                "Bis dahin nicht um Empfehlungen bitten.", "Until then, do not ask for referrals."
            ),
        ],
    )


def _protect_referrer(facts: Facts, voice: Voice) -> TaskText:
    who, referrer = _both(facts, voice)
    since, grade = voice.since(facts.on), _grade(facts, voice)
    short = voice.person(facts.name, _SHORT_NAME)
    return _written(
        voice,
        about=facts.referrer_name,
        todo=voice.say(
            f"gleich ansprechen, {short} ist enttäuscht",
            f"speak first, {short} is let down",
        ),
        why=voice.say(
            f"{who} kam auf Empfehlung von {referrer}; offene Beschwerde{since}, "
            f"Bewertung {grade}.",
            f"{who} came on the recommendation of {referrer}; open complaint{since}, "
            f"rated {grade}.",
        ),
        steps=[
            voice.say(
                f"Heute mit {referrer} sprechen, bevor andere es tun: Die Enttäuschung fällt "
                "auf den zurück, der uns empfohlen hat.",
                f"Speak to {referrer} today, before others do: the disappointment falls back on "
                "whoever recommended us.",
            ),
            voice.say(
                "Sagen, dass etwas nicht gut lief und dass wir es gerade in Ordnung bringen.",
                "Say that something did not go well and that we are putting it right.",
            ),
            voice.say(
                f"Einzelheiten nur, soweit {who} einverstanden ist.",
                f"Details only as far as {who} agrees.",
            ),
            voice.say(
                "Bescheid geben, sobald es gelöst ist.", "Let them know as soon as it is solved."
            ),
        ],
    )


# ------------------------------------------------------------------------------- care


def _care_for_referred(facts: Facts, voice: Voice) -> TaskText:
    who, referrer = _both(facts, voice)
    short = voice.person(facts.referrer_name, _SHORT_NAME)
    if facts.left:
        todo = voice.say(f"{short} ist nicht mehr da", f"{short} has left")
        event = _departure(facts, voice)
    else:
        todo = voice.say(f"{short} ist enttäuscht", f"{short} is let down")
        event = voice.say(
            f"dort gibt es{voice.since(facts.on)} eine Beschwerde, Bewertung "
            f"{_grade(facts, voice)}",
            f"they have been unhappy themselves{voice.since(facts.on)}, rated "
            f"{_grade(facts, voice)}",
        )
    return _written(
        voice,
        about=facts.name,
        todo=voice.say(f"sich kümmern, {todo}", f"take care, {todo}"),
        why=voice.say(
            f"{who} kam auf Empfehlung von {referrer}; {event}.",
            f"{who} came on the recommendation of {referrer}; {event}.",
        ),
        steps=[
            voice.say(
                f"Sich bei {who} melden und hören, ob alles gut läuft.",
                f"Get in touch with {who} and hear whether all is well.",
            ),
            voice.say(
                "Wer empfohlen wurde, bleibt oft nur, solange auch sein Empfehlungsgeber bleibt: "
                "jetzt eine eigene Bindung schaffen.",
                "Those who were recommended often stay only as long as their referrer does: build "
                "a bond of their own now.",
            ),
            voice.say(
                f"Nicht über {referrer} reden, auch nicht auf Nachfrage.",
                f"Do not talk about {referrer}, not even when asked.",
            ),
        ],
    )


def _departure(facts: Facts, voice: Voice) -> str:
    on = voice.since(facts.on)
    if facts.referrer_is_user:
        return voice.say(
            f"das zugehörige Benutzerkonto ist{on} nicht mehr aktiv",
            f"that user is no longer active{on}",
        )
    return voice.say(f"diesen Kontakt gibt es{on} nicht mehr", f"that contact no longer exists{on}")


def _care_super_referrer(facts: Facts, voice: Voice) -> TaskText:
    who = voice.person(facts.name)
    tier = voice.option("spiral_advocate_tier", Tier.SUPER)
    return _written(
        voice,
        about=facts.name,
        todo=voice.say(f"pflegen, nicht fragen ({tier})", f"to be cared for, not asked ({tier})"),
        why=voice.say(
            f"{facts.given} Empfehlungen von {who}, {facts.won_count} davon gewonnen.",
            f"{facts.given} referrals by {who}, {facts.won_count} of them won.",
        ),
        steps=[
            voice.say(
                "Sich Zeit nehmen und danken, ohne etwas zu wollen.",
                "Take time and say thank you, without wanting anything.",
            ),
            voice.say(
                "Etwas Persönliches tun: eine Einladung, ein früher Blick auf Neues, ein direkter "
                "Draht zu uns.",
                "Do something personal: an invitation, an early look at what is new, a direct line "
                "to us.",
            ),
            voice.say(
                "Nicht um weitere Empfehlungen bitten; die kommen von selbst.",
                "Do not ask for more referrals: they come by themselves.",
            ),
        ],
    )


# ------------------------------------------------------------------------------- asks


def _ask_softly(facts: Facts, voice: Voice) -> TaskText:
    return _asking(
        facts,
        voice,
        Readiness.FIRST_MOMENT,
        todo=voice.say("behutsam um eine Empfehlung bitten", "gently ask for a referral"),
        steps=[
            voice.say(
                "Ein kleines Geschenk mitbringen: als Dank für den Auftrag, nicht als Lohn für "
                "Empfehlungen.",
                "Bring a small gift: as thanks for the order, not as pay for referrals.",
            ),
            voice.say(
                "Dann beiläufig: „Fällt Ihnen jemand ein, dem wir auch helfen könnten?“",
                "Then, in passing: “Does anybody come to mind whom we could help as well?”",
            ),
            voice.say(
                "Um eine Vorstellung bitten, nicht um Telefonnummern; ein Zögern als Nein gelten "
                "lassen.",
                "Ask for an introduction, not for phone numbers; take hesitation for a no.",
            ),
        ],
    )


def _ask(facts: Facts, voice: Voice) -> TaskText:
    return _asking(
        facts,
        voice,
        Readiness.GOOD_MOMENT,
        todo=voice.say("um eine Empfehlung bitten", "ask for a referral"),
        steps=[
            voice.say(
                "Bei dem anfangen, was zuletzt begeistert hat.",
                "Start with what delighted them last.",
            ),
            voice.say(
                "Dann fragen: „Wem in Ihrem Umfeld würde das ebenfalls guttun?“",
                "Then ask: “Who among the people you know would enjoy that too?”",
            ),
            voice.say(
                "Am meisten hilft es, persönlich vorgestellt zu werden.",
                "A personal introduction helps most.",
            ),
        ],
    )


def _ask_firmly(facts: Facts, voice: Voice) -> TaskText:
    question = voice.say(
        "„Sie kennen uns inzwischen so gut: Wem würden Sie uns vorstellen?“",
        "“You know us so well by now: whom would you introduce us to?”",
    )
    if facts.came_by_referral:
        question = voice.say(
            "„Sie kamen ja selbst auf Empfehlung zu uns: Wem würden Sie uns weiterempfehlen?“",
            "“You came to us by recommendation yourself: to whom would you pass it on?”",
        )
    return _asking(
        facts,
        voice,
        Readiness.ASK_NOW,
        todo=voice.say("jetzt um eine Empfehlung bitten", "ask for a referral now"),
        steps=[
            voice.say(
                "Nicht länger aufschieben: spätestens jetzt fragen.",
                "Put it off no longer: ask now at the latest.",
            ),
            voice.say(f"Offen und direkt: {question}", f"Openly and directly: {question}"),
            voice.say(
                "Gemeinsam überlegen, wer infrage kommt und wie ein Kennenlernen gelingt.",
                "Think together about who it might be and how best to meet.",
            ),
        ],
    )


def _asking(
    facts: Facts, voice: Voice, ready: Readiness, *, todo: str, steps: list[str]
) -> TaskText:
    """What all asks have in common: the reason, how to close it, and the channels allowed."""
    referrer = voice.field("spiral_referrer_name")
    return _written(
        voice,
        about=facts.name,
        todo=todo,
        why=_moment(facts, voice, ready),
        steps=[
            *steps,
            voice.say(
                f"Wird jemand genannt: beim neuen Kontakt das Feld {referrer} ausfüllen. Diese "
                "Aufgabe erst abschließen, wenn gefragt wurde.",
                f"If somebody is named, fill in {referrer} on the new contact. Complete this task "
                "only once you have asked.",
            ),
            _channels(facts.consent, voice),
        ],
    )


def _moment(facts: Facts, voice: Voice, ready: Readiness) -> str:
    moment, since = voice.quoted_option("spiral_readiness", ready), voice.since(facts.on)
    stage = ""
    if facts.stage is not None:
        label = voice.quoted_option("spiral_stage", facts.stage)
        stage = voice.say(f"Stufe {label}{since}, ", f"Stage {label}{since}, ")
    return voice.say(f"{stage}Bereitschaft {moment}.", f"{stage}readiness {moment}.")


def _channels(consent: frozenset[Channel], voice: Voice) -> str:
    """The ways on which this contact may be asked; an ask is advertising (§ 7 UWG)."""
    if not consent:
        return voice.say(
            "Erlaubte Wege (§ 7 UWG): Besuch. Eine Einwilligung ist nicht eingetragen, also keine "
            "E-Mail; anrufen nur im B2B, wenn eine Einwilligung zu vermuten ist.",
            "Channels allowed (§ 7 UWG): a visit. No consent is on file, so no e-mail; a call only "
            "in B2B where consent may be presumed.",
        )
    given = voice.all_of(_channel(channel, voice) for channel in Channel if channel in consent)
    lacking = "".join(
        voice.say(
            f" Für {_channel(channel, voice)} fehlt sie.",
            f" Not by {_channel(channel, voice).lower()}, for lack of it.",
        )
        for channel in Channel
        if channel not in consent
    )
    return voice.say(
        f"Erlaubte Wege (§ 7 UWG): Besuch; {given}, da eine Einwilligung eingetragen ist.{lacking}",
        f"Channels allowed (§ 7 UWG): a visit; {given.lower()}, as consent is on file.{lacking}",
    )


def _channel(channel: Channel, voice: Voice) -> str:
    return voice.option("spiral_contact_consent", channel)


def _grade(facts: Facts, voice: Voice) -> str:
    return voice.quoted_option("spiral_rating", facts.grade or RatingValue.DISSATISFIED)


_WRITERS: Final[dict[TaskKind, Callable[[Facts, Voice], TaskText]]] = {
    TaskKind.ASK_ORIGIN: _ask_origin,
    TaskKind.ASK_REFERRAL_DETAILS: _ask_referral_details,
    TaskKind.RESOLVE_REFERRER: _resolve_referrer,
    TaskKind.THANK_REFERRER: _thank_referrer,
    TaskKind.TELL_OUTCOME: _tell_outcome,
    TaskKind.MIND_EXPECTATION: _mind_expectation,
    TaskKind.CHECK_EXPERIENCE: _check_experience,
    TaskKind.ASK_REFERRAL_SOFT: _ask_softly,
    TaskKind.ASK_REFERRAL: _ask,
    TaskKind.ASK_REFERRAL_FIRM: _ask_firmly,
    TaskKind.REPAIR: _repair,
    TaskKind.PROTECT_REFERRER: _protect_referrer,
    TaskKind.CARE_FOR_REFERRED: _care_for_referred,
    TaskKind.CARE_SUPER_REFERRER: _care_super_referrer,
    TaskKind.CAMPAIGN_ASK_ORIGIN: _campaign_ask_origin,
}
