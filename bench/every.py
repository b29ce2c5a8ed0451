"""All parts, in the order in which they are measured and shown."""

from __future__ import annotations

from bench import (
    accounts,
    answers,
    calls,
    crms,
    digest,
    latency,
    memory,
    processor,
    rate,
    storage,
)
from bench.parts import Part

PARTS: dict[str, Part] = {
    part.name: part
    for part in (
        answers.PART,
        latency.PART,
        processor.PART,
        digest.PART,
        rate.PART,
        calls.PART,
        crms.PART,
        memory.PART,
        accounts.PART,
        storage.PART,
    )
}
