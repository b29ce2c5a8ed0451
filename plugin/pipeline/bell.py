"""A bell that wakes threads which wait for work."""

from __future__ import annotations

import threading


class Bell:
    """Rung by whoever leaves work behind. A ring between looking and waiting is not missed."""

    def __init__(self) -> None:
        self._rung = threading.Condition()
        self._rings = 0

    @property
    def rings(self) -> int:
        """How often it has rung: to be asked before looking for work."""
        return self._rings

    def ring(self) -> None:
        with self._rung:
            self._rings += 1
            self._rung.notify_all()

    def wait(self, *, since: int, timeout: float) -> None:
        """Until it has rung more than ``since`` times, or for ``timeout`` seconds."""
        with self._rung:
            self._rung.wait_for(lambda: self._rings > since, timeout)
