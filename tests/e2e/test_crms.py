"""The main job beside every CRM of the registry: real HTTP both ways, the product's own commands.

What the model decides is tested elsewhere; here it has to arrive, once, whatever the CRM lacks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from plugin.cli import command
from plugin.manifest import manifest
from plugin.ports import ReferrerForm, Webhooks
from plugin.registry import adapters
from plugin.storage import accounts
from tests.databases import Databases, contents
from tests.e2e.shop import Shop, opened
from tests.stand_in import Fault, Unsupported

WRITES = ("POST", "PUT", "PATCH", "DELETE")


@pytest.fixture(params=list(adapters()))
def fresh(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Shop]:
    """Nothing is connected yet."""
    with opened(databases, request.param) as shop:
        yield shop


@pytest.fixture
def shop(fresh: Shop) -> Shop:
    """Connected, subscribed, installed; nobody was there before."""
    fresh.connect()
    fresh.settle()
    return fresh


def delighted(shop: Shop, first: str = "Erika", last: str = "Beispiel") -> str:
    """A customer who bought and is delighted."""
    contact = shop.crm.contact(first, last, email=f"{first.lower()}@example.com")
    shop.crm.win(shop.crm.deal(contact))
    shop.settle()
    shop.wait(days=1)
    shop.crm.change(contact, spiral_rating="delighted")
    shop.settle()
    return contact


def test_a_purchase_and_a_rating_become_a_stage_with_its_reason(shop: Shop) -> None:
    """From the CRM's webhook to fields and a task in the CRM; what is not ours stays."""
    crm = shop.crm
    contact = crm.contact("Erika", "Beispiel", email="erika@example.com", owner=crm.owner_id)
    deal = crm.deal(contact)
    shop.settle()
    assert shop.stage(contact) == "expectation"

    crm.win(deal)
    shop.settle()
    assert shop.stage(contact) == "experience"
    assert shop.tasks(contact) == [("ask_origin", "open")]
    assert [one.owner_id for one in crm.tasks()] == [crm.owner_id]
    theirs = crm.foreign(contact)

    shop.wait(days=1)
    crm.change(contact, spiral_rating="delighted", spiral_origin="press")
    shop.settle()
    assert shop.stage(contact) == "satisfaction"
    assert crm.value(contact, "spiral_explanation")
    assert crm.value(contact, "spiral_readiness") == "not_yet"
    assert crm.value(contact, "spiral_referrals_given") == "0"
    assert shop.tasks(contact) == [("ask_origin", "done")]
    assert crm.foreign(contact) == theirs


def test_our_own_writes_come_to_rest(shop: Shop) -> None:
    """After everything has come back as an echo, nothing is written any more."""
    contact = delighted(shop)
    before = len(shop.crm.calls)

    shop.crm.change(contact, city="Köln")
    shop.settle()
    shop.settle()

    written = [one for one in shop.crm.calls[before:] if one.method in WRITES]
    reads = ("search", "read")
    assert [one.path for one in written if not one.path.endswith(reads)] == []


def test_who_recommended_whom_is_linked_and_thanked_once(shop: Shop) -> None:
    """The name a rep typed becomes the referrer, in the form this CRM can hold."""
    crm = shop.crm
    referrer = delighted(shop, "Frieda", "Vormann")
    referred = crm.contact("Karl", "Neumann", email="karl@example.com")
    crm.change(referred, spiral_origin="recommendation", spiral_referrer_name="Frieda Vormann")
    shop.settle()

    if shop.adapter.declaration.referrer is not ReferrerForm.TEXT:
        assert crm.referrer(referred) == referrer
    if shop.adapter.declaration.referrer is not ReferrerForm.LINK:
        assert crm.value(referred, "spiral_referrer") == f"Frieda Vormann ({referrer})"
    assert crm.value(referrer, "spiral_referrals_given") == "1"
    assert ("thank_referrer", "open") in shop.tasks(referrer)

    crm.change(referred, spiral_referrer_name="")
    shop.settle()
    assert crm.referrer(referred) is None
    assert crm.value(referrer, "spiral_referrals_given") == "0"
    assert ("thank_referrer", "done") in shop.tasks(referrer)
    assert len(set(shop.keys())) == len(shop.keys())


def test_a_task_whose_answer_was_lost_is_there_once(shop: Shop) -> None:
    """The CRM made it and hung up: it is found again by its marker."""
    crm = shop.crm
    contact = crm.contact("Erika", "Beispiel", email="erika@example.com")
    deal = crm.deal(contact)
    shop.settle()
    tasks = "POST .*(tasks|Task|activities)(/batch/create|/)?$"
    crm.faults.append(Fault(on=tasks, lost=True))
    crm.win(deal)
    for _ in range(4):
        shop.settle()
        shop.wait(minutes=2)

    assert crm.faults[0].times == 0
    assert shop.tasks(contact) == [("ask_origin", "open")]


def test_of_several_tasks_one_answer_may_be_lost(shop: Shop) -> None:
    """Each is there once, and those before and after it are not in doubt."""
    crm = shop.crm
    contacts = [crm.contact("Erika", f"Beispiel{n}") for n in range(3)]
    deals = [crm.deal(one) for one in contacts]
    shop.settle()
    tasks = "POST .*(tasks|Task|activities)(/batch/create|/)?$"
    crm.faults += [Fault(on=tasks, lost=True)]
    for one in deals:
        crm.win(one)
    for _ in range(4):
        shop.settle()
        shop.wait(minutes=2)

    assert [shop.tasks(one) for one in contacts] == [[("ask_origin", "open")]] * 3
    assert len(set(shop.keys())) == len(shop.keys()) == 3


def test_a_rating_is_dated_by_when_it_was_told(shop: Shop) -> None:
    """Though the worker was down for days; a day later its date would be wrong for ever."""
    crm = shop.crm
    contact = crm.contact("Erika", "Beispiel")
    crm.win(crm.deal(contact))
    shop.settle()
    shop.wait(days=1)
    told_on = shop.account().day(shop.present()).isoformat()
    crm.change(contact, spiral_rating="satisfied")
    crm.flush()
    shop.wait(days=3)
    shop.settle()

    assert shop.stage(contact) == "satisfaction"
    assert crm.value(contact, "spiral_stage_since") == told_on


def test_an_old_delivery_that_comes_again_tells_nothing_new(shop: Shop) -> None:
    """A complaint that was made good weeks ago does not become one of today."""
    crm = shop.crm
    contact = crm.contact("Erika", "Beispiel")
    crm.win(crm.deal(contact))
    shop.settle()
    shop.wait(days=1)
    crm.change(contact, spiral_rating="dissatisfied")
    old = list(crm.deliveries)
    shop.settle()
    assert shop.stage(contact) == "negative"
    shop.wait(days=1)
    crm.change(contact, spiral_rating="satisfied")
    shop.settle()
    shop.wait(days=40)
    shop.settle()
    before = crm.value(contact, "spiral_explanation"), crm.value(contact, "spiral_readiness")

    crm.deliveries[:] = old
    assert set(crm.flush()) <= {204, 401}
    shop.wait(days=1)
    shop.settle()
    after = crm.value(contact, "spiral_explanation"), crm.value(contact, "spiral_readiness")
    assert after == before
    told = shop.rows("SELECT value FROM field_change WHERE field = 'spiral_rating' ORDER BY at")
    assert told == [("dissatisfied",), ("satisfied",)]


def test_what_cannot_be_read_was_not_emptied(shop: Shop) -> None:
    """Our fields were gone for a while and come back with what people typed: no new rating."""
    crm = shop.crm
    contact = delighted(shop)
    shop.command("uninstall", crm.name)
    shop.command("configure", crm.name, "--mode", "observe")
    shop.command("resume", crm.name)
    crm.change(contact, city="Köln")
    shop.wait(days=1)
    shop.settle()
    shop.command("configure", crm.name, "--mode", "write")
    shop.command("install", crm.name)
    shop.wait(days=1)
    shop.settle()

    assert shop.stage(contact) == "satisfaction"


def test_tasks_of_somebody_who_left_go_to_the_fallback_owner(shop: Shop) -> None:
    """Whoever was deactivated gets no new ones."""
    crm = shop.crm
    contact = crm.contact("Erika", "Beispiel", owner=crm.other_owner_id)
    deal = crm.deal(contact)
    shop.settle()
    shop.command("configure", crm.name, "--fallback-owner", crm.owner_id)
    crm.deactivate(crm.other_owner_id)
    shop.wait(hours=1.1)
    shop.settle()
    crm.win(deal)
    shop.settle()

    assert [one.owner_id for one in crm.tasks()] == [crm.owner_id]


def test_a_completed_task_is_left_alone(shop: Shop) -> None:
    """A rep has done it: it is neither reopened nor made again."""
    crm = shop.crm
    contact = crm.contact("Erika", "Beispiel", email="erika@example.com")
    crm.win(crm.deal(contact))
    shop.settle()
    crm.complete(crm.tasks()[0].crm_id)
    shop.wait(hours=2)
    shop.settle()
    crm.change(contact, city="Köln")
    shop.settle()

    assert shop.tasks(contact) == [("ask_origin", "done")]


def test_what_webhooks_lost_is_found_by_the_sweep(shop: Shop) -> None:
    """A won deal and a rating nobody told us of, an hour later."""
    crm = shop.crm
    contact = crm.contact("Erika", "Beispiel", email="erika@example.com")
    deal = crm.deal(contact)
    shop.settle()
    crm.win(deal)
    crm.change(contact, spiral_rating="satisfied")
    crm.deliveries.clear()
    shop.wait(hours=1.1)
    shop.settle()

    assert shop.stage(contact) == "satisfaction"


def test_a_deal_taken_back_takes_its_evidence_with_it(shop: Shop) -> None:
    """The stage is what the evidence says now."""
    crm = shop.crm
    contact = crm.contact("Erika", "Beispiel", email="erika@example.com")
    deal = crm.deal(contact)
    crm.win(deal)
    shop.settle()
    crm.delete_deal(deal)
    shop.settle()

    assert shop.stage(contact) == "expectation"


def test_a_deal_belongs_to_all_its_contacts(shop: Shop) -> None:
    """Evidence for each of them; its task is made once."""
    crm = shop.crm
    first, second = (crm.contact(name, "Beispiel") for name in ("Erika", "Otto"))
    deal = crm.deal(first, second)
    shop.settle()
    crm.win(deal)
    shop.settle()

    assert [shop.stage(one) for one in (first, second)] == ["experience", "experience"]
    assert shop.tasks() == [("ask_origin", "open")]


def test_a_deleted_contact_is_let_go(shop: Shop) -> None:
    """Its open tasks are taken back; the referral stays in the counts."""
    crm = shop.crm
    referrer = delighted(shop, "Frieda", "Vormann")
    referred = crm.contact("Karl", "Neumann", email="karl@example.com")
    crm.change(referred, spiral_origin="recommendation", spiral_referrer_name="Frieda Vormann")
    shop.settle()
    crm.delete(referred)
    shop.settle()
    shop.wait(minutes=2)
    shop.settle()

    gone = shop.rows("SELECT crm_id FROM contact WHERE gone_at IS NOT NULL")
    assert gone == [(referred,)]
    assert crm.value(referrer, "spiral_referrals_given") == "1"


def test_who_was_let_go_makes_no_more_calls(shop: Shop) -> None:
    """The deals they had are looked at once, and then nothing is asked any more."""
    crm = shop.crm
    contact, other = (crm.contact(name, "Beispiel") for name in ("Erika", "Otto"))
    crm.win(crm.deal(contact, other))
    crm.win(crm.deal(contact))
    shop.settle()
    crm.delete(contact)
    for _ in range(6):
        shop.settle()
        shop.wait(minutes=2)
    before = len(crm.calls)
    for _ in range(6):
        shop.settle()
        shop.wait(minutes=2)

    assert len(crm.calls) == before
    assert shop.rows("SELECT * FROM hint") == []


def test_merged_contacts_are_one(shop: Shop) -> None:
    """The purchase of the one counts for the one that is left; where the CRM tells of merges, all
    else that was known of the other, too."""
    crm = shop.crm
    told = shop.adapter.declaration.tells_merges
    double = delighted(shop, "Frieda", "Vormann")
    keep = crm.contact("Frieda", "Vormann", email="frieda.vormann@example.com")
    shop.settle()
    try:
        left = crm.merge(keep, double)
    except Unsupported:
        assert not told
        return
    for _ in range(2):
        shop.settle()
        shop.wait(minutes=2)

    assert shop.stage(left) in (("satisfaction",) if told else ("experience", "satisfaction"))
    present = {
        crm_id for (crm_id,) in shop.rows("SELECT crm_id FROM contact WHERE gone_at IS NULL")
    }
    assert double not in present


def test_a_crm_that_is_down_is_waited_for(shop: Shop) -> None:
    """Nothing is lost, and ``status`` says why it waits."""
    crm = shop.crm
    contact = crm.contact("Erika", "Beispiel", email="erika@example.com")
    crm.win(crm.deal(contact))
    crm.faults.append(Fault(status=503, times=3))
    crm.flush()
    shop.work()
    assert "503" in shop.command("status")
    shop.wait(minutes=2)
    shop.settle()

    assert shop.stage(contact) == "experience"


def test_a_forged_delivery_changes_nothing(shop: Shop) -> None:
    """Refused, counted and not stored."""
    crm = shop.crm
    crm.contact("Erika", "Beispiel", email="erika@example.com")
    crm.deliveries[:] = [
        replace(one, headers={name: _forged(value) for name, value in one.headers.items()})
        for one in crm.deliveries
    ]
    stored = shop.rows("SELECT count(*) FROM delivery")

    assert set(crm.flush()) == {401}
    assert shop.rows("SELECT count(*) FROM delivery") == stored


def _forged(value: str) -> str:
    at = len(value) * 3 // 4
    return value[:at] + ("B" if value[at] == "A" else "A") + value[at + 1 :]


def test_an_address_nobody_has_answers_404(shop: Shop) -> None:
    """Whoever guesses addresses learns nothing."""
    crm = shop.crm
    crm.contact("Erika", "Beispiel", email="erika@example.com")
    public = shop.environ["PUBLIC_URL"]
    crm.deliveries[:] = [
        replace(one, url=f"{public}/webhooks/{crm.name}/guessed") for one in crm.deliveries
    ]

    assert set(crm.flush()) == {404}


def test_webhooks_the_crm_gave_up_are_made_anew(shop: Shop) -> None:
    """Within a day, by the worker, where the plugin makes them itself."""
    crm = shop.crm
    if shop.adapter.declaration.webhooks is not Webhooks.API:
        assert shop.account().subscribed_at is None
        return
    before = crm.subscriptions()
    assert before
    crm.drop_subscriptions()
    shop.wait(hours=24.5)
    shop.settle()
    contact = crm.contact("Erika", "Beispiel", email="erika@example.com")
    shop.settle()

    assert crm.subscriptions() == before
    assert shop.stage(contact) == "expectation"


def test_webhooks_that_are_refused_do_not_stop_the_sweep(shop: Shop) -> None:
    """What webhooks miss is found by it, all the more where there are none."""
    crm = shop.crm
    if shop.adapter.declaration.webhooks is not Webhooks.API:
        assert shop.account().subscribed_at is None
        return
    crm.drop_subscriptions()
    crm.faults.append(Fault(on="POST .*[wW]ebhook", status=400, body=b"{}", times=100))
    contact = crm.contact("Erika", "Beispiel")
    shop.wait(hours=24.5)
    for _ in range(3):
        shop.settle()
        shop.wait(hours=1.1)

    assert shop.stage(contact) == "expectation"
    assert shop.account().blocked_reason is None


def test_uninstalling_leaves_what_people_typed_and_nothing_of_ours_open(shop: Shop) -> None:
    """Open tasks are closed, webhooks gone, and only fields that people fill are left."""
    crm = shop.crm
    contact = crm.contact("Erika", "Beispiel", email="erika@example.com")
    crm.win(crm.deal(contact))
    shop.settle()
    crm.change(contact, spiral_rating="satisfied")
    shop.command("uninstall", crm.name)

    assert shop.tasks(contact) == [("ask_origin", "done")]
    assert crm.value(contact, "spiral_rating") == "satisfied"
    with shop.parts.database.read() as connection:
        (account,) = accounts.all_accounts(connection)
    left = command.session_of(shop.parts, account).installed_fields()
    assert left == set(manifest().keys_in)
    if shop.adapter.declaration.webhooks is Webhooks.API:
        assert crm.subscriptions() == []


def test_a_privacy_deletion_by_command_leaves_no_trace(shop: Shop) -> None:
    """For CRMs that do not tell one: the person's name is nowhere in our database."""
    crm = shop.crm
    contact = crm.contact("Rosalinde", "Quittenbaum", email="rosalinde@example.com")
    crm.win(crm.deal(contact))
    shop.settle()
    crm.delete(contact)
    shop.settle()
    shop.command("erase", crm.name, contact)
    shop.wait(minutes=2)
    shop.settle()
    shop.parts.database.forget_freed_pages()

    stored = contents(shop.parts.database)
    assert [name for name, content in stored.items() if b"quittenbaum" in content] == []


def test_every_field_of_the_manifest_has_a_place(shop: Shop) -> None:
    """All of them are installed, whatever types the CRM has."""
    assert shop.account().fields == {field.key for field in manifest().fields}


def test_nothing_is_written_while_observing(fresh: Shop) -> None:
    """Decisions are there for ``explain``; no field and no task is."""
    fresh.connect("--mode", "observe")
    crm = fresh.crm
    contact = crm.contact("Erika", "Beispiel", email="erika@example.com")
    crm.win(crm.deal(contact))
    fresh.settle()

    assert (crm.value(contact, "spiral_stage"), crm.tasks()) == ("", [])
    assert "Stufe „Erfahrung“" in fresh.command("explain", crm.name, contact)
