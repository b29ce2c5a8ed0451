"""Plans of what to install and what to remove, as far as they are the same for all CRMs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from plugin.errors import CrmRejected
from plugin.manifest import Direction, Field, manifest
from plugin.ports import PlanAction, PlanStep


def fields_to(action: PlanAction, steps: Iterable[PlanStep]) -> list[Field]:
    """The fields a plan wants this for, in the manifest's order."""
    wanted = {step.what for step in steps if step.action is action}
    return [field for field in manifest().fields if field.key in wanted]


def create_each(fields: Sequence[Field], create: Callable[[Field], CrmRejected | None]) -> None:
    """Create fields; one that is refused is left out, as the next plan will show.

    ``create`` returns the refusal if there was one; raises the first where all were refused.
    """
    refusals = [error for field in fields if (error := create(field))]
    if refusals and len(refusals) == len(fields):
        raise refusals[0]


def removal(field: Field, *, foreign: str, delete_data: bool) -> PlanStep:
    """What uninstalling does to a field. ``foreign``: why the one that is there is not ours, ""
    where it is. What people typed goes only where ``delete_data`` says so."""
    if foreign:
        return PlanStep(action=PlanAction.FOREIGN, what=field.key, why=foreign)
    if field.direction is Direction.IN and not delete_data:
        why = "It keeps what people typed."
        return PlanStep(action=PlanAction.FOREIGN, what=field.key, why=why)
    return PlanStep(action=PlanAction.REMOVE, what=field.key)
