"""Apart: many records are asked for at once, and one odd record spoils the answer for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from plugin.errors import CrmRejected

T = TypeVar("T")


def apart(ids: Sequence[str], ask: Callable[[Sequence[str]], T]) -> tuple[list[T], dict[str, str]]:
    """What the CRM answers about these, and id → why, for those whose records nobody can read.

    Where an answer is odd it is asked about halves, until the odd one is alone. Other faults of
    the CRM are raised.
    """
    answers: list[T] = []
    odd: dict[str, str] = {}
    waiting = [ids]
    while waiting:
        part = waiting.pop()
        try:
            answers.append(ask(part))
        except CrmRejected as error:
            if len(part) == 1:
                odd[part[0]] = str(error)
            else:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
    return answers, odd
