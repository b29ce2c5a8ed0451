"""``kill -9`` in the middle of a story."""

from __future__ import annotations

import pytest

from plugin.sandbox import story
from plugin.sandbox.demo import calendar
from plugin.sandbox.ending import in_moves, in_tasks
from plugin.sandbox.people import People
from plugin.sandbox.stage import Site
from plugin.sandbox.story import Script
from tests.crm.conftest import Tell

pytestmark = pytest.mark.crm

LAST = 170
"""The day up to which it is played: long enough for tasks of most kinds."""
KILLED_ON = frozenset({66, 85, 165})
"""A referral is matched; a deal is won, which is told twice; four tasks come and go at once."""


class Merciless(People):
    """On some days the worker is killed just when there is something to do for it."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.crm, calendar())
        self._site = site
        self.kills = 0

    def act(self, action: story.Action, day: int) -> None:
        super().act(action, day)
        if day in KILLED_ON and not isinstance(action, story.SendTwice):
            self._site.bell.pause(0.2 + 0.1 * self.kills)  # it has begun, more or less far
            self._site.processes.kill(self._site.worker)
            self._site.start_worker()
            self.kills += 1


def test_a_worker_killed_while_it_works_loses_and_doubles_nothing(site: Site, tell: Tell) -> None:
    """The next one goes on: stages, tasks and their days are as the story says."""
    people = Merciless(site)
    chapters = tuple(one for one in site.stage.script.chapters if one.day <= LAST)
    script = Script(chapters=chapters, ending={})
    telling = tell(people)
    telling.play(chapters)
    assert people.kills == len(KILLED_ON)
    assert [*in_moves(people, script, telling.moves), *in_tasks(people, script)] == []
