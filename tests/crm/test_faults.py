"""What goes wrong between a real CRM and the plugin, and comes right again by itself.

The worker is the production one here, and all live in the present.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from plugin.pipeline.receive import SECRETS_REMEMBERED
from plugin.sandbox.bottlecrm.crm import BottleCrm
from plugin.sandbox.bottlecrm.stage import BottleStage
from plugin.sandbox.stage import Site
from plugin.sandbox.story import CAST

pytestmark = pytest.mark.crm

PATIENCE = 60.0  # seconds


@pytest.fixture(scope="module", autouse=True)
def worker(site: Site) -> None:
    """It replaces the one that lives in a story's time."""
    site.processes.stop(site.worker)
    start_worker(site)


@pytest.fixture(autouse=True)
def present(crm: BottleCrm) -> Iterator[None]:
    yield
    crm.travel(None)


def start_worker(site: Site) -> None:
    site.worker = site.processes.start("worker", "plugin", "worker")


def come_to(site: Site, crm: BottleCrm, contact_id: str, field: str, value: str) -> None:
    """Until the plugin has written it."""
    deadline = time.monotonic() + PATIENCE
    while (found := crm.contacts()[contact_id][field]) != value:
        assert time.monotonic() < deadline, f"{field} is {found!r}{site.processes.tails()}"
        site.bell.pause(0.2)


def try_again(crm: BottleCrm) -> None:
    """What BottleCRM does by itself a minute after a webhook failed."""
    crm.travel(datetime.now(UTC) + timedelta(seconds=61))
    crm.retry()


def last_of(crm: BottleCrm, contact_id: str) -> tuple[str, int | None]:
    """Status of the last webhook about a contact, and how it was answered."""
    last = next(one for one in crm.deliveries() if one["payload"]["data"]["id"] == contact_id)
    return last["status"], last["response_status"]


def stop_asking(crm: BottleCrm, contact_id: str, rep: str) -> None:
    crm.edit(contact_id, {"spiral_do_not_ask": "true"}, by=rep)


def test_a_webhook_signed_with_a_secret_we_were_not_told_is_refused(
    site: Site, crm: BottleCrm
) -> None:
    """Told the new one, the plugin takes it when the CRM tries again."""
    contact = crm.meet(CAST["winkler"], {})
    come_to(site, crm, contact, "spiral_readiness", "not_yet")
    site.bell.pause(1)  # what we wrote comes back

    secret = crm.rotate_secret()
    stop_asking(crm, contact, "lena")
    assert last_of(crm, contact) == ("pending", 401)
    site.bell.pause(1)
    assert crm.contacts()[contact]["spiral_readiness"] == "not_yet"

    site.processes.run("secret", "plugin", "secret", "bottlecrm", typed=f"{secret}\n")
    site.bell.pause(SECRETS_REMEMBERED / 1000)
    try_again(crm)
    come_to(site, crm, contact, "spiral_readiness", "do_not_ask")


def test_webhooks_we_were_not_there_for_arrive_later(site: Site, crm: BottleCrm) -> None:
    """The CRM keeps them and tries again."""
    contact = crm.meet(CAST["wagner"], {})
    come_to(site, crm, contact, "spiral_readiness", "not_yet")
    site.bell.pause(1)

    site.processes.stop(site.receiver)
    stop_asking(crm, contact, "lena")
    assert last_of(crm, contact) == ("pending", None)

    site.start_receiver()
    try_again(crm)
    come_to(site, crm, contact, "spiral_readiness", "do_not_ask")


def test_a_crm_that_is_down_gets_everything_once_it_is_back(site: Site, crm: BottleCrm) -> None:
    """What was heard before stays to be done."""
    contact = crm.meet(CAST["scholz"], {})
    come_to(site, crm, contact, "spiral_readiness", "not_yet")
    site.bell.pause(1)

    site.processes.stop(site.worker)
    stop_asking(crm, contact, "lena")
    assert last_of(crm, contact) == ("succeeded", 204)
    stop_crm(site)
    start_worker(site)
    site.bell.pause(3)  # it fails meanwhile
    site.processes.check()  # and goes on

    site.stage.start(site.processes)
    come_to(site, crm, contact, "spiral_readiness", "do_not_ask")


def stop_crm(site: Site) -> None:
    assert isinstance(site.stage, BottleStage)
    site.processes.stop(site.stage.running)
