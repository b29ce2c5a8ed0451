"""The story as it goes with BottleCRM: all that plays out differently there, and why."""

from __future__ import annotations

from dataclasses import replace

from plugin.referral.model import Readiness, Stage, TaskKind
from plugin.sandbox import story
from plugin.sandbox.story import (
    CAST,
    Chapter,
    Comes,
    Gone,
    Merge,
    New,
    Note,
    Script,
    chapter,
)

CORRECTED_ON = 617

# It does not tell that records were merged: the plugin hears of one that was deleted, with all
# the referrals it had given. So the rep names the one that will stay before merging them, as
# docs/adapters/bottlecrm.md tells; the referral is hers from that day on. Her thanks for it are
# made anew, and the ones on the record that goes are taken back.
MERGING = (
    chapter(CORRECTED_ON, "The two records of Frau Lorenz are one person. Jonas names the one "
            "that stays as who sent Vogt: the ask is answered, she is loyal.",
        Note("vogt", {"spiral_referrer_name": CAST["lorenz"].email}),
        Comes("lorenz", Stage.LOYALTY),
        Gone(TaskKind.THANK_REFERRER, "lorenz_twin", "vogt"),
        New(TaskKind.THANK_REFERRER, "lorenz", "vogt")),
    chapter(618, "Now he merges them. BottleCRM tells only that one of them is gone.",
        Merge("lorenz", "lorenz_twin")),
)  # fmt: skip

# It keeps no history, and its webhooks carry no values: what was changed again before the plugin
# could look has never been. The plugin is told of Frau Winkler's delight two days late and dates
# it by the day it was seen; Vogt's complaint it never sees, so no pause follows.
TEXTS = {
    382: "… the next one does: the delight is seen now, and dated by today.",
    655: "Lena puts things right with Frau Krüger. Vogt complains; nobody can be told just now.",
    659: "Now word of his complaint arrives, but what it said has been overwritten.",
}

ENDING = {
    **story.ENDING,
    "lorenz": replace(story.ENDING["lorenz"], since=CORRECTED_ON),
    "vogt": replace(story.ENDING["vogt"], readiness=Readiness.NOT_YET),
}


def _chapters() -> tuple[Chapter, ...]:
    merged = next(one for one in story.CHAPTERS if Merge("lorenz", "lorenz_twin") in one.actions)
    at = story.CHAPTERS.index(merged)
    chapters = (*story.CHAPTERS[:at], *MERGING, *story.CHAPTERS[at + 1 :])
    return tuple(replace(one, text=TEXTS.get(one.day, one.text)) for one in chapters)


SCRIPT = Script(chapters=_chapters(), ending=ENDING)
