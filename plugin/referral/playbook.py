"""The playbook: which tasks sales reps should have about one contact now.

Each rule below is one row of the playbook and yields the tasks that should exist, whether or
not they exist already. X is the contact of the case, R a referrer of X. What the text of a
task is made from, besides X's ``name``:

========================  =====================================================================
ask_origin                on (first purchase), deal_name
ask_referral_details      words_missing, referrer_missing
resolve_referrer          text, outcome, candidates
thank_referrer            on (recorded), referrer_name, referrer_is_user, referred_name
tell_outcome              on (outcome), deal_name, won, referrer_name, referred_name
mind_expectation          on (opened or won), deal_name, won, referrer_name (all), service, words
check_experience          on (first purchase), deal_name
repair                    on (start of the complaint), grade, forgiven
protect_referrer          on (start of the complaint), grade, referrer_name, referred_name
care_for_referred         left, or on and grade; referrer_name, referrer_is_user, referred_name
care_super_referrer       given, won_count
the three asks            stage, consent, came_by_referral
========================  =====================================================================

A cause is made of ``;``-separated tokens. Contacts and users stand in it only as whole tokens
``referrer=<id>`` and ``user=<id>``, so that a merge of contacts can rename them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from plugin.referral.advocates import Standing
from plugin.referral.model import (
    LADDER,
    Ask,
    AskCandidate,
    Assessment,
    Case,
    Complaint,
    Deal,
    Facts,
    MatchOutcome,
    Origin,
    Priority,
    Readiness,
    Ready,
    Referral,
    Referrer,
    Stage,
    TaskKind,
    Tier,
    WantedTask,
)
from plugin.referral.policy import TaskPolicy

_REFUSED = (MatchOutcome.REFUSED_SELF, MatchOutcome.REFUSED_CIRCLE)

_ASKS = {
    Readiness.FIRST_MOMENT: TaskKind.ASK_REFERRAL_SOFT,
    Readiness.GOOD_MOMENT: TaskKind.ASK_REFERRAL,
    Readiness.ASK_NOW: TaskKind.ASK_REFERRAL_FIRM,
}

_ID_WIDTH = 20


def wanted(
    case: Case, assessment: Assessment, standing: Standing, policy: TaskPolicy, today: date
) -> tuple[WantedTask, ...]:
    """The tasks that should exist about this contact now, except the asks.

    ``assessment`` is what the evidence says, also where ``do_not_ask`` or a lock hides it.
    """
    view = _View(case=case, assessment=assessment, standing=standing, policy=policy, today=today)
    return tuple(task for rule in _RULES for task in rule(view) if task.kind not in policy.off)


def ask_candidate(
    case: Case,
    assessment: Assessment,
    stage: Stage | None,
    ready: Ready,
    policy: TaskPolicy,
) -> AskCandidate | None:
    """The ask this contact may get now, with its place among those of the same owner."""
    kind = _ASKS.get(ready.value)
    if kind is None or stage is None or kind in policy.off:
        return None
    came_by_referral = case.origin is Origin.RECOMMENDATION or bool(_told(case))
    task = WantedTask(
        kind=kind,
        causes=(_ask_cause(case, assessment, stage),),
        target_id=case.crm_id,
        owner_id=case.owner_id,
        due_working_days=policy.due[kind],
        priority=_ask_priority(kind, case.asks),
        facts=Facts(
            name=case.name,
            on=None if case.locked_stage else assessment.since,
            stage=stage,
            consent=case.consent,
            came_by_referral=came_by_referral,
        ),
    )
    return AskCandidate(
        task=task,
        order=(
            0 if came_by_referral else 1,
            -LADDER.index(stage),
            assessment.since.isoformat(),
            _sortable(case.crm_id),
        ),
    )


def check_experience_on(case: Case, assessment: Assessment, policy: TaskPolicy) -> date | None:
    """The day the first purchase is old enough to ask how it went; None where nobody asks."""
    if case.do_not_ask or assessment.spiral or assessment.rated_since_purchase:
        return None
    purchase = _purchase_to_ask_about(assessment, policy)
    return purchase and purchase[1] + timedelta(days=policy.check_experience_after_days)


def complaint_of(assessment: Assessment) -> Complaint | None:
    """What there is to repair: the negative spiral, or a forgiven ``dissatisfied``."""
    return assessment.spiral or assessment.forgiven


# ------------------------------------------------------------------------ what rules see


@dataclass(frozen=True, kw_only=True, slots=True)
class _View:
    case: Case
    assessment: Assessment
    standing: Standing
    policy: TaskPolicy
    today: date

    def on_contact(
        self,
        kind: TaskKind,
        *causes: str,
        facts: Facts,
        deal: Deal | None = None,
        owner_id: str | None = None,
        priority: Priority = Priority.MEDIUM,
        mentions: tuple[str, ...] = (),
    ) -> WantedTask:
        """A task that stands on X, for X's owner unless another is given."""
        return WantedTask(
            kind=kind,
            causes=causes,
            target_id=self.case.crm_id,
            owner_id=owner_id or self.case.owner_id,
            deal_id=deal.crm_id if deal else None,
            due_working_days=self.policy.due[kind],
            priority=priority,
            facts=facts,
            mentions=mentions,
        )

    def on_referrer(
        self,
        kind: TaskKind,
        referrer: Referrer,
        *causes: str,
        facts: Facts,
        deal: Deal | None = None,
        priority: Priority = Priority.MEDIUM,
    ) -> WantedTask:
        """A task that stands on the referrer, for the referrer's owner, and speaks of X."""
        return WantedTask(
            kind=kind,
            causes=causes,
            target_id=referrer.crm_id,
            owner_id=referrer.owner_id,
            deal_id=deal.crm_id if deal else None,
            also_on=(self.case.crm_id,),
            due_working_days=self.policy.due[kind],
            priority=priority,
            facts=facts,
            mentions=(self.case.crm_id,),
        )


def _in_order(case: Case) -> tuple[Referral, ...]:
    """All that was told, the primary first. A name told twice counts once."""
    by_name: dict[str, Referral] = {}
    for referral in sorted(case.referrals, key=lambda referral: referral.position):
        by_name.setdefault(referral.text_key, referral)
    return tuple(by_name.values())


def _told(case: Case) -> tuple[Referral, ...]:
    """What was told and not refused."""
    return tuple(referral for referral in _in_order(case) if referral.outcome not in _REFUSED)


def _linked(case: Case) -> tuple[tuple[Referral, Referrer], ...]:
    """The matched referrals. Somebody told under two names counts once."""
    linked: dict[tuple[bool, str], tuple[Referral, Referrer]] = {}
    for referral in _told(case):
        referrer = referral.referrer
        if referral.outcome is MatchOutcome.LINKED and referrer is not None:
            linked.setdefault((referrer.is_user, referrer.crm_id), (referral, referrer))
    return tuple(linked.values())


def _contacts_to_speak_to(case: Case) -> tuple[tuple[Referral, Referrer], ...]:
    """The matched referrals whose referrer is a contact that is still there."""
    return tuple(
        (referral, referrer)
        for referral, referrer in _linked(case)
        if not (referrer.is_user or referrer.gone)
    )


def _is_old(deal: Deal, day: date, policy: TaskPolicy) -> bool:
    """Was this day long past when the plugin first saw the deal? What is old stays quiet."""
    return (deal.first_seen_on - day).days > policy.quiet_after_days


def _first_purchase(assessment: Assessment) -> tuple[Deal, date] | None:
    """The first purchase and its day."""
    deal = assessment.first_purchase
    return (deal, deal.won_on) if deal and deal.won_on else None


def _purchase_to_ask_about(assessment: Assessment, policy: TaskPolicy) -> tuple[Deal, date] | None:
    """The first purchase, where asking about it is up to X and not old news."""
    purchase = _first_purchase(assessment)
    if purchase is None or not purchase[0].lead or _is_old(*purchase, policy):
        return None
    return purchase


def _by_day(days: Iterable[tuple[Deal, date]]) -> list[tuple[Deal, date]]:
    """Deals with the day that matters, in order of days; each once."""
    return sorted(set(days), key=lambda item: (item[1], _sortable(item[0].crm_id)))


def _sortable(crm_id: str) -> str:
    """Ids are mostly numbers; with zeros before them they sort as such."""
    return crm_id.rjust(_ID_WIDTH, "0")


def _tokens(complaint: Complaint) -> list[str]:
    """The complaint's part of a cause, once for each rating by which it may be known."""
    return [f"complaint={rating.recorded_at.isoformat()}" for rating in complaint.ratings]


def _name(referral: Referral, referrer: Referrer | None) -> str:
    return (referrer.name if referrer else "") or referral.text


# ---------------------------------------------------------- the origin and the referrer


def _ask_origin(view: _View) -> Iterator[WantedTask]:
    case = view.case
    purchase = _purchase_to_ask_about(view.assessment, view.policy)
    if purchase is None or case.do_not_ask or case.origin or case.referrals:
        return
    deal, won_on = purchase
    yield view.on_contact(
        TaskKind.ASK_ORIGIN,
        f"deal={deal.crm_id}",
        facts=Facts(name=case.name, on=won_on, deal_name=deal.name),
        deal=deal,
    )


def _ask_referral_details(view: _View) -> Iterator[WantedTask]:
    case = view.case
    words_missing = not case.recommended_words.strip()
    referrer_missing = not case.referrals
    if case.do_not_ask or case.origin is not Origin.RECOMMENDATION:
        return
    if words_missing or referrer_missing:
        yield view.on_contact(
            TaskKind.ASK_REFERRAL_DETAILS,
            "origin=recommendation",
            facts=Facts(
                name=case.name, words_missing=words_missing, referrer_missing=referrer_missing
            ),
        )


def _resolve_referrer(view: _View) -> Iterator[WantedTask]:
    for referral in _in_order(view.case):
        if referral.outcome is not MatchOutcome.LINKED:
            yield view.on_contact(
                TaskKind.RESOLVE_REFERRER,
                f"name={referral.text_key};outcome={referral.outcome}",
                facts=Facts(
                    name=view.case.name,
                    on=referral.recorded_on,
                    text=referral.text,
                    outcome=referral.outcome,
                    candidates=referral.candidates,
                ),
                mentions=tuple(
                    candidate.crm_id for candidate in referral.candidates if not candidate.is_user
                ),
            )


def _thank_referrer(view: _View) -> Iterator[WantedTask]:
    for referral, referrer in _linked(view.case):
        if referrer.gone:
            continue
        facts = Facts(
            name=view.case.name,
            on=referral.recorded_on,
            referrer_name=_name(referral, referrer),
            referrer_is_user=referrer.is_user,
            referred_name=view.case.name,
        )
        if referrer.is_user:
            # An employee has no contact record: the task stands on X, for X's owner.
            yield view.on_contact(TaskKind.THANK_REFERRER, f"user={referrer.crm_id}", facts=facts)
        else:
            yield view.on_referrer(
                TaskKind.THANK_REFERRER, referrer, f"referrer={referrer.crm_id}", facts=facts
            )


# --------------------------------------------------------------- what came of a referral


def _tell_outcome(view: _View) -> Iterator[WantedTask]:
    outcomes = [
        (deal, day) for deal, day in _outcomes_to_tell(view) if not _is_old(deal, day, view.policy)
    ]
    for referral, referrer in _contacts_to_speak_to(view.case):
        for deal, day in outcomes:
            if deal.crm_id in referral.tells_deal_ids:
                continue
            outcome = "won" if deal.won_on else "lost"
            yield view.on_referrer(
                TaskKind.TELL_OUTCOME,
                referrer,
                f"referrer={referrer.crm_id};deal={deal.crm_id};outcome={outcome}",
                facts=Facts(
                    name=view.case.name,
                    on=day,
                    deal_name=deal.name,
                    won=deal.won_on is not None,
                    referrer_name=_name(referral, referrer),
                    referred_name=view.case.name,
                ),
                deal=deal,
            )


def _outcomes_to_tell(view: _View) -> list[tuple[Deal, date]]:
    """The first won deal and those lost before it: later business is no news of the referral."""
    purchase = _first_purchase(view.assessment)
    until = purchase[1] if purchase else date.max
    outcomes = [
        (deal, deal.lost_on)
        for deal in view.case.evidence.deals
        if deal.lost_on and deal.lost_on < until
    ]
    return _by_day([*outcomes, purchase] if purchase else outcomes)


def _mind_expectation(view: _View) -> Iterator[WantedTask]:
    told = _told(view.case)
    if not told:
        return
    names = dict.fromkeys(_name(referral, referral.referrer) for referral in told)
    for deal, day in _deals_to_mind(view):
        if not deal.lead or _is_old(deal, day, view.policy):
            continue
        yield view.on_contact(
            TaskKind.MIND_EXPECTATION,
            f"deal={deal.crm_id};phase={'won' if deal.won_on else 'opened'}",
            facts=Facts(
                name=view.case.name,
                on=day,
                deal_name=deal.name,
                won=deal.won_on is not None,
                referrer_name=", ".join(names),
                service=view.case.recommended_service,
                words=view.case.recommended_words,
            ),
            deal=deal,
            owner_id=deal.owner_id,
            mentions=tuple(
                referrer.crm_id for _, referrer in _linked(view.case) if not referrer.is_user
            ),
        )


def _deals_to_mind(view: _View) -> list[tuple[Deal, date]]:
    """The first deal while it is open, and the first one won."""
    first = _by_day((deal, deal.opened_on) for deal in view.case.evidence.deals)[:1]
    opened = [(deal, day) for deal, day in first if deal.is_open]
    purchase = _first_purchase(view.assessment)
    return [*opened, purchase] if purchase else opened


# ------------------------------------------------------------------- the experience


def _check_experience(view: _View) -> Iterator[WantedTask]:
    deal = view.assessment.first_purchase
    ask_on = check_experience_on(view.case, view.assessment, view.policy)
    if deal and ask_on and ask_on <= view.today:
        yield view.on_contact(
            TaskKind.CHECK_EXPERIENCE,
            f"deal={deal.crm_id}",
            facts=Facts(name=view.case.name, on=deal.won_on, deal_name=deal.name),
            deal=deal,
        )


def _repair(view: _View) -> Iterator[WantedTask]:
    complaint = complaint_of(view.assessment)
    if complaint:
        yield view.on_contact(
            TaskKind.REPAIR,
            *_tokens(complaint),
            facts=Facts(
                name=view.case.name,
                on=complaint.started_on,
                grade=complaint.grade,
                forgiven=view.assessment.spiral is None,
            ),
            priority=Priority.HIGH,
        )


def _protect_referrer(view: _View) -> Iterator[WantedTask]:
    complaint = view.assessment.spiral
    if complaint is None:
        return
    for referral, referrer in _contacts_to_speak_to(view.case):
        yield view.on_referrer(
            TaskKind.PROTECT_REFERRER,
            referrer,
            *(f"{token};referrer={referrer.crm_id}" for token in _tokens(complaint)),
            facts=Facts(
                name=view.case.name,
                on=complaint.started_on,
                grade=complaint.grade,
                referrer_name=_name(referral, referrer),
                referred_name=view.case.name,
            ),
            priority=Priority.HIGH,
        )


# ------------------------------------------------------------------------------- care


def _care_for_referred(view: _View) -> Iterator[WantedTask]:
    for referral, referrer in _linked(view.case):
        complaint = None if referrer.gone else referrer.spiral
        who = f"{'user' if referrer.is_user else 'referrer'}={referrer.crm_id}"
        if referrer.gone:
            causes = [f"{who};left"]
        elif complaint:
            causes = [f"{who};{token}" for token in _tokens(complaint)]
        else:
            continue
        yield view.on_contact(
            TaskKind.CARE_FOR_REFERRED,
            *causes,
            facts=Facts(
                name=view.case.name,
                on=complaint.started_on if complaint else None,
                grade=complaint.grade if complaint else None,
                left=referrer.gone,
                referrer_name=_name(referral, referrer),
                referrer_is_user=referrer.is_user,
                referred_name=view.case.name,
            ),
            mentions=() if referrer.is_user else (referrer.crm_id,),
        )


def _care_super_referrer(view: _View) -> Iterator[WantedTask]:
    if view.standing.tier is Tier.SUPER:
        yield view.on_contact(
            TaskKind.CARE_SUPER_REFERRER,
            "tier=super",
            facts=Facts(
                name=view.case.name, given=view.standing.given, won_count=view.standing.won
            ),
        )


_RULES: tuple[Callable[[_View], Iterator[WantedTask]], ...] = (
    _ask_origin,
    _ask_referral_details,
    _resolve_referrer,
    _thank_referrer,
    _tell_outcome,
    _mind_expectation,
    _check_experience,
    _repair,
    _protect_referrer,
    _care_for_referred,
    _care_super_referrer,
)


# ------------------------------------------------------------------------------- asks


def _ask_cause(case: Case, assessment: Assessment, stage: Stage) -> str:
    """The entry into the stage and the asks made since: after the wait it may come again."""
    made = [ask.made_on for ask in case.asks if ask.made_on]
    if case.locked_stage is not None:
        return f"stage={stage};since=locked;asks={len(made)}"
    asks = sum(day >= assessment.since for day in made)
    return f"stage={stage};since={assessment.since.isoformat()};asks={asks}"


def _ask_priority(kind: TaskKind, asks: tuple[Ask, ...]) -> Priority:
    """Loyal and never asked is the chance most often missed."""
    never_asked = not any(ask.made_on for ask in asks)
    firm = kind is TaskKind.ASK_REFERRAL_FIRM
    return Priority.HIGH if firm and never_asked else Priority.MEDIUM
