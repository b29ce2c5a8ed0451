"""A stand-in whose answers somebody has tampered with, on their way to us."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.stand_in import StandIn

Change = Callable[[str, Any], Any]
"""``METHOD /path`` and what is answered → what comes instead."""


@contextmanager
def tampered(crm: StandIn, change: Change) -> Iterator[None]:
    """Until the block ends, every good answer of the stand-in passes through ``change``."""
    honest = crm.answer

    def answer(
        method: str, path: str, query: Mapping[str, str], body: Any, headers: Mapping[str, str]
    ) -> tuple[int, Any, Mapping[str, str]]:
        status, content, more = honest(method, path, query, body, headers)
        if isinstance(content, bytes) and content:
            content = json.loads(content)
        if status < 300 and content:
            content = change(f"{method} {path}", content)
        return status, content, more

    crm.answer = answer  # type: ignore[method-assign]
    try:
        yield
    finally:
        del crm.answer
