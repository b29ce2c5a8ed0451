"""What a CRM told lately, so that it is not asked the same again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """An answer that is good for ``seconds``: ``get`` asks anew where it is older."""

    def __init__(
        self,
        ask: Callable[[], T],
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._seconds = seconds
        self._clock = clock
        self._known: tuple[float, T] | None = None

    def get(self) -> T:
        """Raises what asking raises; the former answer is forgotten by then."""
        if self._known is None or self._clock() - self._known[0] >= self._seconds:
            return self.renewed()
        return self._known[1]

    def renewed(self) -> T:
        """Asked now, whatever is known. It counts as old as the question."""
        asked_at = self._clock()
        self._known = None
        answer = self._ask()
        self._known = asked_at, answer
        return answer
