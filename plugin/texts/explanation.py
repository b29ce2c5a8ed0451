"""The text of ``spiral_explanation``: why a contact stands where it stands.

It is a function of the decision and the case alone, the same byte for byte, with no "today" in
it: a field that changes without a reason would be written again and again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date

from plugin.manifest import Text
from plugin.referral.model import (
    LADDER,
    Assessment,
    Because,
    Case,
    Complaint,
    Deal,
    Decision,
    Need,
    Pause,
    Rating,
    RatingValue,
    Readiness,
    Ready,
    Stage,
    Step,
    Tier,
)
from plugin.texts.formats import Voice

_MOST_LINES = 20


def explain(decision: Decision, case: Case, language: str) -> str:
    """One sentence, the dated evidence behind it, what is missing, and whether to ask.

    Employees and contacts who must not be asked get one sentence (and the money that no field
    can hold). No line break at the end.
    """
    voice = Voice(language)
    if case.employee:
        return "\n\n".join([_employee(voice), *_other_money(decision, voice)])
    assessment = decision.assessment
    if assessment is None:
        return "\n\n".join([_not_asked(voice), *_other_money(decision, voice)])
    blocks = [
        _sentence(assessment, case, voice),
        _evidence(assessment, case, voice),
        "\n".join(_outlook(decision, assessment, case, voice)),
    ]
    return "\n\n".join(blocks)


def _employee(voice: Voice) -> str:
    return voice.say(
        "Gehört zum eigenen Haus und wird deshalb nicht als Kunde eingestuft.",
        "One of our own people, and therefore not placed as a customer.",
    )


def _not_asked(voice: Voice) -> str:
    label = voice.field("spiral_do_not_ask")
    return voice.say(
        f"{label} ist gesetzt: Es wird keine Stufe geführt und nicht um Empfehlungen gebeten.",
        f"{label} is set: no stage is kept and no referral is asked for.",
    )


# --------------------------------------------------------------------- the first sentence


def _sentence(assessment: Assessment, case: Case, voice: Voice) -> str:
    stage = _stage(assessment.stage, voice)
    since = voice.since(assessment.since)
    because = _because(assessment.steps[-1], voice)
    locked = case.locked_stage
    if locked is None:
        return voice.say(f"Stufe {stage}{since}, {because}.", f"Stage {stage}{since}, {because}.")
    if locked is assessment.stage:
        return voice.say(
            f"Stufe {stage}{since}, {because}; von Hand festgehalten.",
            f"Stage {stage}{since}, {because}; locked by hand.",
        )
    held = _stage(locked, voice)
    return voice.say(
        f"Von Hand auf {held} festgehalten; das Plugin würde{since} {stage} sagen, {because}.",
        f"Locked by hand at {held};{since} the plugin would say {stage}, {because}.",
    )


_BECAUSE = {
    Because.KNOWN: Text(
        de="weil noch nichts gekauft wurde",
        en="because nothing has been bought yet",
    ),
    Because.FIRST_PURCHASE: Text(
        de="weil der erste Kauf{deal} zustande kam",
        en="because of the first purchase{deal}",
    ),
    Because.POSITIVE_RATING: Text(
        de="weil die Bewertung nach dem Kauf {rating} lautete",
        en="because the rating after the purchase was {rating}",
    ),
    Because.REPEAT_PURCHASE_IMPLIES: Text(
        de="weil ein weiterer Kauf{deal}, solange keine Bewertung vorliegt, für Zufriedenheit "
        "spricht",
        en="because a further purchase{deal}, with no rating on file, implies satisfaction",
    ),
    Because.FURTHER_DEAL_OPENED: Text(
        de="weil der Kunde zufrieden ist und ein weiterer Deal{deal} angelegt wurde",
        en="because the customer is satisfied and a further deal{deal} was opened",
    ),
    Because.FURTHER_PURCHASE: Text(
        de="weil der Kunde zufrieden ist und ein weiterer Kauf{deal} zustande kam",
        en="because the customer is satisfied and there was a further purchase{deal}",
    ),
    Because.SECOND_POSITIVE_RATING: Text(
        de="weil auch eine weitere Bewertung gut ausfiel ({rating})",
        en="because another rating was good as well ({rating})",
    ),
    Because.DELIGHTED_AGAIN: Text(
        de="weil Erwartungen wiederholt übertroffen wurden",
        en="because expectations were exceeded more than once",
    ),
    Because.HELD_LONG: Text(
        de="weil die Begeisterung über lange Zeit ohne negative Bewertung gehalten hat",
        en="because enthusiasm has held for a long time without a negative rating",
    ),
    Because.REFERRAL_GIVEN: Text(
        de="weil zur Begeisterung eine eigene Empfehlung kam",
        en="because enthusiasm has led to a referral",
    ),
    Because.NEGATIVE_RATING: Text(
        de="weil die Bewertung {rating} lautete",
        en="because the rating was {rating}",
    ),
    Because.SECOND_DISSATISFIED: Text(
        de="weil die Bewertung zum zweiten Mal {rating} lautete",
        en="because the rating was {rating} for the second time",
    ),
    Because.REPAIRED: Text(
        de="weil eine Beschwerde in Ordnung gebracht wurde (Bewertung {rating})",
        en="because a complaint has been put right (rating {rating})",
    ),
}


def _because(step: Step, voice: Voice) -> str:
    return voice.text(_BECAUSE[step.because]).format(
        deal=voice.deal(step.deal.name) if step.deal else "",
        rating=_rating(step.rating.value, voice) if step.rating else "",
    )


# ------------------------------------------------------------------------- the evidence


_Key = tuple[object, ...]
"""What a piece of evidence is told apart by, so that it is shown once."""


@dataclass(slots=True)
class _Line:
    """One dated piece of evidence, and the steps it led to, numbered as they were climbed."""

    day: date
    rank: int
    """Its place among things of one day that led to no step."""
    text: str
    steps: list[tuple[int, Step]] = field(default_factory=list)

    @property
    def order(self) -> tuple[date, bool, int, int, str]:
        """By day; on one day as the stages were climbed, then what led to none."""
        first = [number for number, step in self.steps if step.on == self.day][:1]
        return (self.day, not first, first[0] if first else 0, self.rank, self.text)

    def written(self, voice: Voice) -> str:
        stages = ", ".join(self._reached(step, voice) for _, step in self.steps)
        return f"– {voice.day(self.day)}: {self.text}" + (f" → {stages}" if stages else "")

    def _reached(self, step: Step, voice: Voice) -> str:
        label = voice.option("spiral_stage", step.stage)
        if step.because is Because.REPEAT_PURCHASE_IMPLIES:
            label += voice.say(" (aus erneutem Kauf geschlossen)", " (implied by repeat purchase)")
        return label if step.on == self.day else f"{label} ({voice.day(step.on)})"


def _evidence(assessment: Assessment, case: Case, voice: Voice) -> str:
    lines = [line.written(voice) for line in _lines(assessment, case, voice)]
    left_out = len(lines) - _MOST_LINES
    if left_out > 0:
        earlier = voice.say(
            f"– {left_out} frühere hier weggelassen", f"– {left_out} earlier left out here"
        )
        lines = [earlier, *lines[left_out:]]
    return "\n".join([voice.say("Grundlage:", "Evidence:"), *lines])


def _lines(assessment: Assessment, case: Case, voice: Voice) -> list[_Line]:
    """Ratings that count, purchases, and whatever else a step stands on; oldest first."""
    lines: dict[_Key, _Line] = {}
    bought = assessment.first_purchase.won_on if assessment.first_purchase else None
    for deal in case.evidence.deals:
        if deal.won_on is not None:
            lines[_purchase_key(deal)] = _purchase(deal, bought, voice)
    for rating in _counted(case.evidence.ratings):
        lines[_rating_key(rating)] = _rated(rating, bought, voice)
    for number, step in enumerate(assessment.steps):
        key, line = _behind(step, bought, case, voice)
        lines.setdefault(key, line).steps.append((number, step))
    return sorted(lines.values(), key=lambda line: line.order)


def _counted(ratings: tuple[Rating, ...]) -> Iterable[Rating]:
    """Of several ratings about one day the one recorded last."""
    return {r.day: r for r in sorted(ratings, key=lambda r: (r.recorded_at, r.value))}.values()


def _behind(step: Step, bought: date | None, case: Case, voice: Voice) -> tuple[_Key, _Line]:
    """The evidence a step stands on, under a key by which it is shown once."""
    deal = step.deal
    if deal is not None and step.because is Because.FURTHER_DEAL_OPENED:
        return ("opened", deal.crm_id), _opened(deal, voice)
    if deal is not None:
        return _purchase_key(deal), _purchase(deal, bought, voice)
    if step.rating is not None:
        return _rating_key(step.rating), _rated(step.rating, bought, voice)
    if step.because is Because.REFERRAL_GIVEN:
        day = max((d for d in case.evidence.referrals_given_on if d <= step.on), default=step.on)
        text = voice.say("Empfehlung gegeben", "Referral given")
        return ("referral", day), _Line(day=day, rank=3, text=text)
    if step.because is Because.HELD_LONG:
        text = voice.say("Begeisterung hat gehalten", "Enthusiasm has held")
        return ("held", step.on), _Line(day=step.on, rank=4, text=text)
    text = voice.say("Uns bekannt", "Known to us")
    return ("known", step.on), _Line(day=step.on, rank=0, text=text)


def _purchase_key(deal: Deal) -> _Key:
    return "won", deal.crm_id


def _rating_key(rating: Rating) -> _Key:
    return "rating", rating.day, rating.value


def _purchase(deal: Deal, bought: date | None, voice: Voice) -> _Line:
    day = deal.won_on or deal.opened_on
    name = voice.deal(deal.name)
    first = bought is None or day <= bought
    which = voice.say("erster Kauf", "first purchase")
    if not first:
        which = voice.say("weiterer Kauf", "further purchase")
    text = voice.say(f"Deal{name} gewonnen ({which})", f"Deal{name} won ({which})")
    return _Line(day=day, rank=1, text=text)


def _opened(deal: Deal, voice: Voice) -> _Line:
    name = voice.deal(deal.name)
    text = voice.say(f"Weiterer Deal{name} angelegt", f"Further deal{name} opened")
    return _Line(day=deal.opened_on, rank=2, text=text)


def _rated(rating: Rating, bought: date | None, voice: Voice) -> _Line:
    label = _rating(rating.value, voice)
    text = voice.say(f"Bewertung {label}", f"Rating {label}")
    if bought is None or rating.day < bought:
        text += voice.say(" (vor dem ersten Kauf)", " (before the first purchase)")
    return _Line(day=rating.day, rank=5, text=text)


# ----------------------------------------------------------------------------- the outlook


def _outlook(decision: Decision, assessment: Assessment, case: Case, voice: Voice) -> Iterator[str]:
    """What is missing, whether to ask, and what else must be known."""
    yield _missing(assessment, voice)
    if decision.ready is not None:
        yield _ready(decision.ready, assessment, case, voice)
    if assessment.forgiven is not None:
        yield _forgiven(assessment.forgiven, voice)
    yield from _other_money(decision, voice)


def _missing(assessment: Assessment, voice: Voice) -> str:
    missing = assessment.missing
    match missing.need:
        case Need.REPAIR:
            return _way_back(assessment, voice)
        case Need.NOTHING:
            return voice.say(
                "Es fehlt nichts: Das ist die oberste Stufe.",
                "Nothing is missing: this is the top stage.",
            )
        case Need.FIRST_PURCHASE:
            what = voice.say("der erste Kauf", "the first purchase")
        case Need.POSITIVE_RATING:
            what = voice.say("eine positive Bewertung", "a positive rating")
        case Need.FURTHER_DEAL_OR_RATING:
            what = _further(missing.earliest, voice)
        case Need.DELIGHT:
            what = _delight(missing.count, voice)
        case Need.TIME_OR_REFERRAL:
            what = _referral_or_time(missing.earliest, voice)
    stage = _stage(LADDER[LADDER.index(assessment.stage) + 1], voice)
    return voice.say(f"Zur Stufe {stage} fehlt {what}.", f"Missing for stage {stage}: {what}.")


def _way_back(assessment: Assessment, voice: Voice) -> str:
    back = Stage.SATISFACTION if assessment.first_purchase else Stage.EXPECTATION
    stage = _stage(back, voice)
    return voice.say(
        f"Zurück zu {stage} führt eine positive Bewertung, sobald alles in Ordnung gebracht ist.",
        f"The way back to {stage} is a positive rating, once things have been put right.",
    )


def _further(earliest: date | None, voice: Voice) -> str:
    counts = ""
    if earliest is not None:
        day = voice.day(earliest)
        counts = voice.say(f" (zählt ab {day})", f" (counts from {day})")
    return voice.say(
        f"ein weiterer Deal oder eine weitere positive Bewertung{counts}",
        f"a further deal or another positive rating{counts}",
    )


def _delight(count: int, voice: Voice) -> str:
    delighted = _rating(RatingValue.DELIGHTED, voice)
    if count > 1:
        return voice.say(
            f"noch {count}-mal die Bewertung {delighted}, an verschiedenen Tagen",
            f"{count} more ratings of {delighted}, on different days",
        )
    return voice.say(
        f"noch eine Bewertung {delighted} an einem weiteren Tag",
        f"one more rating of {delighted}, on another day",
    )


def _referral_or_time(earliest: date | None, voice: Voice) -> str:
    time = ""
    if earliest is not None:
        day = voice.day(earliest)
        time = voice.say(
            f"; ohne negative Bewertung ist die Stufe am {day} auch so erreicht",
            f"; without a negative rating the stage is reached on {day} anyway",
        )
    return voice.say(f"eine Empfehlung dieses Kunden{time}", f"a referral by this customer{time}")


_READY = {
    Readiness.DO_NOT_ASK: Text(
        de="Das ist so eingetragen",
        en="this has been set by hand",
    ),
    Readiness.REPAIR_FIRST: Text(
        de="Erst muss wieder gut sein, was nicht gut war",
        en="what went wrong has to be put right first",
    ),
    Readiness.COOLING_DOWN: Text(
        de="{pause}",
        en="{pause}",
    ),
    Readiness.FIRST_MOMENT: Text(
        de="Eine erste, behutsame Bitte passt jetzt",
        en="a first, gentle ask fits now",
    ),
    Readiness.GOOD_MOMENT: Text(
        de="Wer begeistert ist, empfiehlt gern",
        en="enthusiasm likes to be shared",
    ),
    Readiness.ASK_NOW: Text(
        de="Die Verbundenheit trägt; länger zu warten lohnt nicht",
        en="the bond is strong; waiting longer gains nothing",
    ),
    Readiness.NOT_YET: Text(
        de="Auf dieser Stufe käme eine Bitte zu früh",
        en="an ask would come too early on this stage",
    ),
}

_PAUSE = {
    Pause.NEGOTIATION: Text(
        de="Ein Deal{deal} ist noch offen",
        en="a deal{deal} is still open",
    ),
    Pause.AFTER_REPAIR: Text(
        de="Eine Beschwerde wurde{repaired} in Ordnung gebracht",
        en="a complaint was put right{repaired}",
    ),
    Pause.AFTER_ASK: Text(
        de="Zuletzt wurde{asked} gefragt",
        en="the last ask was made{asked}",
    ),
    Pause.TWO_UNANSWERED: Text(
        de="Mehrere Bitten blieben ohne Antwort",
        en="several asks were left unanswered",
    ),
    Pause.SUPER_REFERRER: Text(
        de="{tier}, also pflegen statt fragen",
        en="{tier}, to be cared for and not asked",
    ),
}


def _ready(ready: Ready, assessment: Assessment, case: Case, voice: Voice) -> str:
    label = voice.quoted_option("spiral_readiness", ready.value)
    pause = _pause(ready.pause, assessment, case, voice) if ready.pause else label
    reason = voice.text(_READY[ready.value]).format(pause=pause)
    ends = ""
    if ready.until is not None:
        day = voice.day(ready.until)
        ends = voice.say(f" Am {day} ist die Pause vorbei.", f" The pause is over on {day}.")
    return voice.say(f"Bereitschaft {label}: {reason}.", f"Readiness {label}: {reason}.") + ends


def _pause(pause: Pause, assessment: Assessment, case: Case, voice: Voice) -> str:
    asked = max((ask.made_on for ask in case.asks if ask.made_on), default=None)
    return voice.text(_PAUSE[pause]).format(
        deal=_open_deal(case, voice),
        repaired=voice.on(assessment.repaired_on),
        asked=voice.on(asked),
        tier=voice.option("spiral_advocate_tier", Tier.SUPER),
    )


def _open_deal(case: Case, voice: Voice) -> str:
    """The open deal that was opened first."""
    open_deals = (deal for deal in case.evidence.deals if deal.is_open)
    first = min(open_deals, key=lambda d: (d.opened_on, len(d.crm_id), d.crm_id), default=None)
    return voice.deal(first.name) if first else ""


def _forgiven(complaint: Complaint, voice: Voice) -> str:
    grade = _rating(complaint.grade, voice)
    day = voice.day(complaint.started_on)
    return voice.say(
        f"Verziehen: Die Bewertung {grade} vom {day} ändert die Stufe nicht; bis zur nächsten "
        "positiven Bewertung ruhen die Bitten um Empfehlungen.",
        f"Forgiven: the rating {grade} of {day} does not change the stage; until the next "
        "positive rating no referral is asked for.",
    )


def _other_money(decision: Decision, voice: Voice) -> Iterator[str]:
    value = decision.value
    if value.rest:
        label = voice.field("spiral_referral_value")
        rest = voice.all_of(voice.money(amount, code) for code, amount in sorted(value.rest))
        yield voice.say(
            f"In {label} nicht enthalten, weil in anderer Währung: {rest}.",
            f"Not included in {label}, being in another currency: {rest}.",
        )


# ------------------------------------------------------------------------------ the labels


def _stage(stage: Stage, voice: Voice) -> str:
    return voice.quoted_option("spiral_stage", stage)


def _rating(value: RatingValue, voice: Voice) -> str:
    return voice.quoted_option("spiral_rating", value)
