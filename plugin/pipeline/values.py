"""What a decision means for the fields in the CRM, and what of it is not there yet."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from plugin.manifest import FieldType, manifest
from plugin.referral.model import Case, Decision, Referrer
from plugin.texts import explain, safe

LOCKED = ("spiral_stage", "spiral_stage_since")


def field_values(decision: Decision, case: Case, language: str) -> dict[str, str]:
    """Every *out* field in the manifest's own form; a locked stage is left out."""
    assessment = decision.assessment
    values = {
        "spiral_stage": str(decision.stage) if decision.stage else "",
        "spiral_stage_since": assessment.since.isoformat() if assessment else "",
        "spiral_explanation": explain(decision, case, language),
        "spiral_readiness": str(decision.ready.value) if decision.ready else "",
        "spiral_referrer": _shown(decision.primary_referrer),
        "spiral_referrals_given": str(decision.referrals_given),
        "spiral_referrals_won": str(decision.referrals_won),
        "spiral_referral_value": plain(decision.value.total),
        "spiral_advocate_tier": str(decision.tier),
    }
    if case.locked_stage and not case.do_not_ask:
        for key in LOCKED:
            del values[key]
    return values


def _shown(referrer: Referrer | None) -> str:
    if referrer is None or not referrer.name:
        return ""
    return f"{safe(referrer.name)} ({referrer.crm_id})"


def plain(amount: Decimal) -> str:
    """A number without exponent or trailing zeros."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def difference(wanted: Mapping[str, str], present: Mapping[str, str]) -> dict[str, str]:
    """Those of the wanted values that are not there yet, for fields that exist in the CRM."""
    return {
        key: value
        for key, value in wanted.items()
        if key in present and value != present[key] and not same(key, value, present[key])
    }


def same(key: str, wanted: str, present: str) -> bool:
    """Whether two texts mean the same value of this field."""
    match manifest().field(key).type:
        case FieldType.NUMBER | FieldType.MONEY:
            return _number(wanted) == _number(present)
        case FieldType.TEXT | FieldType.LINE:
            return _lines(wanted) == _lines(present)
        case _:
            return wanted == present


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]
