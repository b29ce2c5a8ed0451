"""The thresholds of the referral model, with the defaults of the house.

An admin changes them in a policy file (``plugin/policy.py`` reads it); the model only
ever sees this frozen value.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from plugin.referral.model import TaskKind


@dataclass(frozen=True, kw_only=True, slots=True)
class SpiralPolicy:
    """Thresholds of the stages. Days are calendar days."""

    sympathy_after_days: int = 14
    """Between the first positive rating and a second that counts as a wish for more."""
    enthusiasm_delights: int = 2
    """Delighted ratings on different days."""
    loyalty_after_days: int = 180
    """Enthusiasm held without a negative rating."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AskPolicy:
    """When a contact may be asked for a referral. Days are calendar days."""

    wait_after_repair_days: int = 90
    wait_after_answered_days: int = 90
    wait_after_unanswered_days: int = 180
    unanswered_after_days: int = 60
    stop_after_unanswered: int = 2
    per_owner_and_week: int = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class MatchPolicy:
    """How sure a match must be before it is linked. Scores lie between 0 and 1."""

    link_score: float = 0.75
    link_lead: float = 0.15
    candidate_score: float = 0.4
    max_candidates: int = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskPolicy:
    """Which tasks are made. ``due`` is in working days."""

    off: frozenset[TaskKind] = frozenset()
    check_experience_after_days: int = 14
    quiet_after_days: int = 90
    super_from_referrals: int = 3
    due: dict[TaskKind, int] = field(
        default_factory=lambda: {
            TaskKind.REPAIR: 0,
            TaskKind.PROTECT_REFERRER: 0,
            TaskKind.THANK_REFERRER: 1,
            TaskKind.MIND_EXPECTATION: 1,
            TaskKind.ASK_ORIGIN: 3,
            TaskKind.ASK_REFERRAL_DETAILS: 3,
            TaskKind.RESOLVE_REFERRER: 3,
            TaskKind.TELL_OUTCOME: 3,
            TaskKind.CARE_FOR_REFERRED: 3,
            TaskKind.CARE_SUPER_REFERRER: 3,
            TaskKind.CAMPAIGN_ASK_ORIGIN: 3,
            TaskKind.CHECK_EXPERIENCE: 5,
            TaskKind.ASK_REFERRAL_SOFT: 5,
            TaskKind.ASK_REFERRAL: 5,
            TaskKind.ASK_REFERRAL_FIRM: 5,
        }
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """All thresholds. ``pipelines`` None: every pipeline is a purchase; ``company_domains``:
    e-mail domains whose contacts are employees; ``csat_maximum``: the top of the CSAT scale;
    ``rate_share``: how much of the CRM's call limit the plugin may use (0–1); ``daily_budget``:
    what the CRM lets the account spend a day where it does not tell, 0 for the least."""

    spiral: SpiralPolicy = SpiralPolicy()
    asks: AskPolicy = AskPolicy()
    matching: MatchPolicy = MatchPolicy()
    tasks: TaskPolicy = field(default_factory=TaskPolicy)
    pipelines: frozenset[str] | None = None
    company_domains: frozenset[str] = frozenset()
    csat_maximum: int = 5
    rate_share: float = 0.8
    daily_budget: int = 0
