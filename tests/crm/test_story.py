"""Two years of a dozen customers, played through a real CRM."""

from __future__ import annotations

import pytest

from plugin.manifest import manifest
from plugin.sandbox.bottlecrm.crm import BottleCrm
from plugin.sandbox.demo import calendar
from plugin.sandbox.ending import Difference, differences
from plugin.sandbox.people import People
from plugin.sandbox.stage import Site
from tests.crm.conftest import Tell

pytestmark = pytest.mark.crm


@pytest.fixture(scope="module")
def found(site: Site, tell: Tell) -> list[Difference]:
    """What is not as the story says once it was played to its end."""
    people = People(site.crm, calendar())
    telling = tell(people)
    telling.play(site.stage.script.chapters)
    telling.return_to_the_present()
    return differences(people, site.stage.script, telling.moves)


def test_all_comes_as_the_story_says(found: list[Difference]) -> None:
    """Stages, the days they were reached, readiness, referrers, sums, and every task, once."""
    assert found == []


def test_the_crm_has_every_field_of_the_manifest_and_no_other_of_ours(
    found: list[Difference], crm: BottleCrm
) -> None:
    """The plugin made them itself, by its token."""
    defined = crm.call("GET", "/api/custom-fields/", target_model="Contact")["definitions"]
    assert sorted(one["key"] for one in defined) == sorted(one.key for one in manifest().fields)


def test_every_webhook_was_taken_at_once_and_none_is_left(
    found: list[Difference], crm: BottleCrm
) -> None:
    """Real signatures, made by the CRM's clock and checked by ours; two years of them."""
    failed = [one["error"] for one in crm.deliveries() if one["status"] != "succeeded"]
    assert failed == []


def test_our_own_writes_come_back_and_end_there(
    found: list[Difference], site: Site, crm: BottleCrm
) -> None:
    """BottleCRM tells every write, ours as well: looking again finds nothing to write."""
    before = crm.deliveries()[0]["id"]
    site.bell.pause(2)
    assert crm.deliveries()[0]["id"] == before
