"""Accounts with addresses, secrets and budgets of their own."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
import requests
from gunicorn.http.errors import InvalidChunkSize

from plugin.app import close_app, create_app
from plugin.pipeline import receive
from plugin.pipeline.lanes import Lane, Lanes
from plugin.ports import AccountFacts
from plugin.storage import accounts
from plugin.storage.database import Database
from plugin.storage.inbox import Inbox
from tests.databases import Databases
from tests.e2e.shop import Shop, opened, stand_in
from tests.stand_in import Fault


@pytest.fixture
def open_shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitStack]:
    """Secrets that are over are forgotten at once, and not within seconds."""
    monkeypatch.setattr(receive, "SECRETS_REMEMBERED", 0)
    with ExitStack() as stack:
        yield stack


def shop_of(name: str, stack: ExitStack, databases: Databases) -> Shop:
    """Connected, subscribed, installed."""
    shop = stack.enter_context(opened(databases, name))
    shop.connect()
    shop.settle()
    return shop


# --------------------------------------------------------------------------- addresses


def test_two_accounts_of_one_crm_have_nothing_in_common(
    open_shop: ExitStack, databases: Databases
) -> None:
    """Each has its own address, and one's secret is no good at the other's."""
    shop = shop_of("bottlecrm", open_shop, databases)
    other = stand_in("bottlecrm")
    other._dice = Random(1)  # type: ignore[attr-defined]
    other._org.id = other.account_crm_id = str(uuid4())  # type: ignore[attr-defined]
    url = open_shop.enter_context(other.serving())
    told = shop.command("connect", "bottlecrm", "--url", url, typed=f"{other.token}\n")
    target = told.partition("Webhooks go to ")[2].split()[0]
    secret = other.subscribe_by_hand(target)
    name = ("--account", other.account_crm_id)
    shop.command("secret", "bottlecrm", *name, typed=f"{secret}\n")
    shop.command("install", "bottlecrm", *name)

    theirs = other.contact("Otto", "Beispiel")
    ours = shop.crm.contact("Erika", "Beispiel")
    assert other.flush() == [204]
    shop.settle()
    assert other.value(theirs, "spiral_stage") == "expectation"
    assert shop.stage(ours) == "expectation"

    other.change(theirs, city="Köln")
    here = shop.crm.deliveries
    here[:] = [replace(one, url=shop.environ["PUBLIC_URL"] + shop.account().path)
               for one in other.deliveries]  # fmt: skip
    assert set(shop.crm.flush()) == {401}


def test_connecting_again_keeps_address_and_secrets(
    open_shop: ExitStack, databases: Databases
) -> None:
    """A new token changes nothing about the webhooks."""
    shop = shop_of("pipedrive", open_shop, databases)
    before = shop.account()
    shop.command("connect", "pipedrive", typed=f"{shop.crm.token}\n")
    after = shop.account()

    assert (after.endpoint, after.own_secrets) == (before.endpoint, before.own_secrets)
    contact = shop.crm.contact("Erika", "Beispiel")
    shop.settle()
    assert shop.stage(contact) == "expectation"


@pytest.mark.parametrize("name", ["pipedrive", "espocrm"])
def test_webhooks_are_renewed_with_new_secrets(
    name: str, open_shop: ExitStack, databases: Databases
) -> None:
    """What was signed with the old ones is refused from then on."""
    shop = shop_of(name, open_shop, databases)
    shop.crm.contact("Erika", "Beispiel")
    old = list(shop.crm.deliveries)
    shop.crm.deliveries.clear()
    shop.command("subscribe", name, "--renew")
    contact = shop.crm.contact("Otto", "Beispiel")
    shop.settle()
    assert shop.stage(contact) == "expectation"

    shop.crm.deliveries[:] = old
    assert set(shop.crm.flush()) == {401}


def test_a_secret_made_by_hand_may_be_rotated(open_shop: ExitStack, databases: Databases) -> None:
    """The one before stays valid for what is still on its way, until it is replaced."""
    shop = shop_of("bottlecrm", open_shop, databases)
    shop.crm.contact("Erika", "Beispiel")
    late = list(shop.crm.deliveries)
    shop.crm.deliveries.clear()

    shop.command("secret", "bottlecrm", typed="whsec_another-one-made-in-the-crm\n")
    shop.crm.deliveries[:] = late
    assert set(shop.crm.flush()) == {204}

    shop.command("secret", "bottlecrm", "--replace", typed="whsec_another-one-made-in-the-crm\n")
    shop.crm.deliveries[:] = late
    assert set(shop.crm.flush()) == {401}


def test_a_replaced_secret_is_over_though_the_clock_is_set_back(databases: Databases) -> None:
    """What was read before seems to be of the future then."""
    with ExitStack() as stack:
        shop = shop_of("bottlecrm", stack, databases)
        shop.crm.contact("Erika", "Beispiel")
        late = list(shop.crm.deliveries)
        assert set(shop.crm.flush()) == {204}

        shop.wait(hours=-1)
        shop.command("secret", "bottlecrm", "--replace", typed="whsec_another-one-of-the-crm\n")
        shop.crm.deliveries[:] = late
        assert set(shop.crm.flush()) == {401}


def test_an_outdated_signature_is_accepted_until_told_not_to(
    open_shop: ExitStack, databases: Databases
) -> None:
    """EspoCRM's legacy header; the other one is good before and after."""
    shop = shop_of("espocrm", open_shop, databases)
    shop.crm.contact("Erika", "Beispiel")
    (one,) = shop.crm.deliveries
    legacy = {name: value for name, value in one.headers.items() if name != "Signature"}
    assert shop.crm.flush() == [204]

    def answer(headers: dict[str, str]) -> int:
        return requests.post(one.url, data=one.body, headers=headers, timeout=10).status_code

    assert answer(legacy) == 204
    shop.command("subscribe", "espocrm", "--strict")
    assert [answer(legacy), answer(dict(one.headers))] == [401, 204]


# ------------------------------------------------------------------- what the admin is told


def test_what_is_left_to_do_is_said(open_shop: ExitStack, databases: Databases) -> None:
    """Without a secret nothing is believed, and ``status`` names the command."""
    shop = open_shop.enter_context(opened(databases, "bottlecrm"))
    shop.command("connect", "bottlecrm", typed=f"{shop.crm.token}\n")

    status = shop.command("status")
    assert "no secret yet: run `python -m plugin secret bottlecrm`" in status
    assert "not installed yet: run `python -m plugin install bottlecrm`" in status
    shop.crm.subscribe_by_hand(shop.environ["PUBLIC_URL"] + shop.account().path)
    shop.crm.contact("Erika", "Beispiel")
    assert shop.crm.flush() == [401]


def test_without_an_administrator_fields_are_made_by_hand(
    open_shop: ExitStack, databases: Databases
) -> None:
    """The list says what to make where; once an administrator helps, all is there."""
    shop = open_shop.enter_context(opened(databases, "espocrm"))
    shop.command("connect", "espocrm", typed=f"{shop.crm.token}\n")
    user, _, password = shop.environ.pop("ESPOCRM_ADMIN").partition(":")

    listed = shop.command("install", "espocrm", "--dry-run")
    assert "- spiral_stage: Administration > Entity Manager > Contact > Fields" in listed
    refused = shop.command("install", "espocrm", code=1)
    assert refused == "none of the fields is there: nothing can be written, see the plan\n"
    assert shop.account().fields is None

    shop.command("install", "espocrm", "--admin", user, typed=f"{password}\n")
    assert len(shop.account().fields or ()) == 19


def test_a_person_still_in_the_crm_is_not_erased(
    open_shop: ExitStack, databases: Databases
) -> None:
    """They would be learned anew: delete them there first."""
    shop = shop_of("espocrm", open_shop, databases)
    contact = shop.crm.contact("Erika", "Beispiel")
    shop.settle()

    said = shop.command("erase", "espocrm", contact, code=2)
    assert said == f"CONTACT_ID {contact} is still in EspoCRM: delete it there first\n"


# -------------------------------------------------------------------------------- budgets


def test_a_spent_budget_is_waited_for_and_shown(
    open_shop: ExitStack, databases: Databases, tmp_path: Path
) -> None:
    """The plugin stops at its share of the day and loses nothing; with a larger one it goes on."""
    policy = tmp_path / "policy.toml"
    shop = shop_of("pipedrive", open_shop, databases)
    used = shop.account().allowance
    assert used
    policy.write_text("[accounts]\nrate_share = 0.5\n", "utf-8")
    shop.crm.daily_limit = 2 * used.used + 40  # type: ignore[attr-defined]
    shop.command("configure", "pipedrive", "--policy", str(policy))
    contacts = [shop.crm.contact(f"Erika{n}", "Beispiel") for n in range(8)]
    shop.crm.flush()
    shop.work()
    assert "tokens of this day is used up" in shop.command("status")
    assert [one for one in contacts if not shop.stage(one)]

    policy.write_text("[accounts]\nrate_share = 1\n", "utf-8")
    shop.command("configure", "pipedrive", "--policy", str(policy))
    shop.command("resume", "pipedrive")
    shop.settle()
    assert {shop.stage(one) for one in contacts} == {"expectation"}


def test_refusals_of_one_call_block_the_account_with_the_reason(
    open_shop: ExitStack, databases: Databases
) -> None:
    """A revoked key: the account waits an hour, and connecting anew ends it."""
    shop = shop_of("espocrm", open_shop, databases)
    contact = shop.crm.contact("Erika", "Beispiel")
    shop.crm.faults.append(Fault(status=401))
    shop.crm.flush()
    shop.work()
    assert "401" in shop.command("status")

    shop.command("connect", "espocrm", typed=f"{shop.crm.token}\n")
    shop.settle()
    assert shop.stage(contact) == "expectation"


# ------------------------------------------------------------------------ addresses are secret


class _Cut(io.RawIOBase):
    """A body that cannot be read to its end."""

    def __init__(self, fault: Exception) -> None:
        self._fault = fault

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        raise self._fault


def _locked(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "the lock file")

    monkeypatch.setattr(Inbox, "put", fail)
    return {}


def _with_another_key(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    with shop.parts.database.write() as connection:
        connection.exec_driver_sql("UPDATE account SET own_secrets = 'of another key'")
    return {}


def _with_a_bug(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError(shop.account().path)

    monkeypatch.setattr(receive.Receiver, "receive", fail)
    return {}


@pytest.mark.parametrize(
    ("meet", "status", "told"),
    [
        (_locked, 503, ["a delivery could not be stored: PermissionError"]),
        (_with_another_key, 503, ["a delivery could not be stored: a stored credential cannot be"]),
        (_with_a_bug, 500, ["ZeroDivisionError in webhooks.receive"]),
    ],
)
def test_no_fault_tells_the_address(
    meet: Callable[[Shop, pytest.MonkeyPatch], dict[str, Any]],
    status: int,
    told: list[str],
    open_shop: ExitStack,
    databases: Databases,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Who knows it could deliver: it is neither logged nor answered."""
    shop = shop_of("pipedrive", open_shop, databases)
    shop.crm.contact("Erika", "Beispiel")
    one = shop.crm.deliveries[0]
    caplog.clear()
    app = create_app(replace(shop.parts.settings, **meet(shop, monkeypatch)))
    open_shop.callback(close_app, app)

    answer = app.test_client().post(shop.account().path, data=one.body, headers=dict(one.headers))
    assert answer.status_code == status
    assert [text[: len(start)] for text, start in zip(caplog.messages, told, strict=True)] == told
    endpoint = str(shop.account().endpoint)
    assert endpoint not in caplog.text + answer.text


@pytest.mark.parametrize("fault", [OSError("hung up"), InvalidChunkSize(b"ZZ")])
def test_a_body_that_breaks_off_is_no_fault_of_ours(
    fault: Exception, open_shop: ExitStack, databases: Databases, caplog: pytest.LogCaptureFixture
) -> None:
    """400, and nothing in the log."""
    shop = shop_of("pipedrive", open_shop, databases)
    app = create_app(shop.parts.settings)
    open_shop.callback(close_app, app)
    caplog.clear()
    answer = app.test_client().post(
        shop.account().path,
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={
            "wsgi.input": io.BufferedReader(_Cut(fault)),
            "wsgi.input_terminated": True,
        },
    )
    assert (answer.status_code, answer.text) == (400, "the request is broken\n")
    assert caplog.messages == []


@pytest.mark.parametrize(
    "path",
    [
        "/webhooks/<img src=x onerror=alert(1)>",
        "/webhooks/pipedrive/nobodys-address",
        "/webhooks/pipedrive/a%00b",
        "/webhooks/pipedrive/%C3%A4",
        f"/webhooks/pipedrive/{'x' * 65}",
    ],
)
def test_an_unknown_address_is_refused_without_repeating_it(
    path: str, open_shop: ExitStack, databases: Databases
) -> None:
    """404 in plain text."""
    shop = open_shop.enter_context(opened(databases, "pipedrive"))
    answer = requests.post(shop.environ["PUBLIC_URL"] + path, data=b"{}", timeout=10)
    assert (answer.status_code, answer.text) == (404, "no such address\n")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_what_cannot_be_an_address_is_not_looked_up(
    open_shop: ExitStack, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL takes no NUL in a text."""
    shop = open_shop.enter_context(opened(databases, "pipedrive"))
    app = create_app(shop.parts.settings)
    open_shop.callback(close_app, app)

    def fail(_: object) -> None:
        raise AssertionError("the database is asked")

    monkeypatch.setattr(Database, "read", fail)
    assert app.test_client().post("/webhooks/pipedrive/a%00b").status_code == 404


# ------------------------------------------------------------------------------- erasing


def test_what_was_never_heard_of_is_not_erased(open_shop: ExitStack, databases: Databases) -> None:
    """The id may be somebody's one day: a tombstone would make us deaf to them."""
    shop = shop_of("pipedrive", open_shop, databases)
    known = shop.crm.contact("Otto", "Beispiel")
    shop.settle()
    unborn = str(int(known) + 1)

    said = shop.command("erase", "pipedrive", unborn, code=2)
    assert said == (
        f"CONTACT_ID {unborn}: nothing is known of such a contact here, so there is nothing to "
        "erase\n"
    )
    contact = shop.crm.contact("Erika", "Beispiel")
    assert contact == unborn
    shop.settle()
    assert shop.stage(contact) == "expectation"


def test_an_id_that_was_merged_away_erases_the_present_one(
    open_shop: ExitStack, databases: Databases
) -> None:
    """The person, whatever they were called; and only once they are deleted in the CRM."""
    shop = shop_of("pipedrive", open_shop, databases)
    one = shop.crm.contact("Rosalinde", "Quittenbaum", email="rosa@example.com")
    other = shop.crm.contact("Rosa", "Quittenbaum", email="r@example.com")
    shop.settle()
    left = shop.crm.merge(one, other)
    old = other if left == one else one
    shop.settle()
    refused = shop.command("erase", "pipedrive", old, code=2)
    assert refused == f"CONTACT_ID {left} is still in Pipedrive: delete it there first\n"
    shop.crm.delete(left)
    shop.settle()

    assert shop.command("erase", "pipedrive", old) == (
        f"{old} was merged into {left}.\n"
        f"The worker erases contact {left} of account {shop.account().crm_id}.\n"
    )
    shop.work()
    assert shop.rows("SELECT crm_id FROM contact") == []


def test_a_paused_account_erases_once_it_is_resumed(
    open_shop: ExitStack, databases: Databases
) -> None:
    """Which is said."""
    shop = shop_of("espocrm", open_shop, databases)
    contact = shop.crm.contact("Rosalinde", "Quittenbaum")
    shop.settle()
    shop.crm.delete(contact)
    shop.settle()
    shop.command("pause", "espocrm")

    said = shop.command("erase", "espocrm", contact)
    assert said.endswith(
        "The account is paused: it happens after `python -m plugin resume espocrm`.\n"
    )
    shop.work()
    assert shop.rows("SELECT crm_id FROM contact") == [(contact,)]
    shop.command("resume", "espocrm")
    shop.work()
    assert shop.rows("SELECT crm_id FROM contact") == []


def test_an_erasure_need_not_wait_for_the_crm(open_shop: ExitStack, databases: Databases) -> None:
    """Whoever knows that the contact is deleted there says so."""
    shop = shop_of("espocrm", open_shop, databases)
    contact = shop.crm.contact("Rosalinde", "Quittenbaum")
    shop.settle()
    shop.crm.delete(contact)
    shop.settle()
    shop.crm.faults.append(Fault(status=401, times=9))

    refused = shop.command("erase", "espocrm", contact, code=1)
    assert "401" in refused
    assert refused.endswith("--already-deleted does not ask the CRM.\n")
    shop.command("erase", "espocrm", contact, "--already-deleted")
    assert shop.rows("SELECT kind, record_id FROM hint") == [("erase", contact)]


# ------------------------------------------------------------------ what commands take care of


def test_one_installation_under_two_addresses_is_noticed(
    open_shop: ExitStack, databases: Databases
) -> None:
    """``connect`` warns, and every further hint names the account."""
    shop = shop_of("espocrm", open_shop, databases)
    first, url = shop.account().crm_id, shop.environ["ESPOCRM_URL"]
    again = url.replace("127.0.0.1", "localhost")
    second = again.removeprefix("http://")
    ran = shop.command("connect", "espocrm", "--url", again, typed=f"{shop.crm.token}\n")
    assert (
        f"Account {first} has the same records. If both are one EspoCRM under two addresses, every "
        f"task is made twice; this one stops with: python -m plugin pause espocrm --account "
        f"{second}\n"
    ) in ran
    assert ran.endswith(f"Next: python -m plugin install espocrm --account {second}\n")

    shown = shop.command("status")
    assert f"run `python -m plugin install espocrm --account {second}`" in shown
    assert f"run `python -m plugin subscribe espocrm --account {second}`" in shown


def test_without_a_public_address_no_fields_are_made(
    open_shop: ExitStack, databases: Databases
) -> None:
    """What the command needs is said before it begins."""
    shop = open_shop.enter_context(opened(databases, "pipedrive"))
    shop.environ["PUBLIC_URL"] = ""
    shop.command("connect", "pipedrive", typed=f"{shop.crm.token}\n")
    needs = "PUBLIC_URL is missing: the webhooks need an address\n"
    assert shop.command("install", "pipedrive", code=2) == needs
    assert shop.command("subscribe", "pipedrive", code=2) == needs
    assert "spiral_stage" in shop.command("install", "pipedrive", "--dry-run")
    assert shop.account().fields is None


def test_fields_stay_where_webhooks_could_not_be_made(
    open_shop: ExitStack, databases: Databases
) -> None:
    """The message says what is there, and what tries the rest again."""
    shop = open_shop.enter_context(opened(databases, "pipedrive"))
    shop.command("connect", "pipedrive", typed=f"{shop.crm.token}\n")
    shop.crm.faults.append(Fault(on="POST .*/webhooks", status=403))

    said = shop.command("install", "pipedrive", code=1)
    assert said.endswith(
        "The fields are there, the webhooks are not: `python -m plugin subscribe pipedrive` tries "
        "again.\n"
    )
    assert len(shop.account().fields or ()) == 19
    shop.command("subscribe", "pipedrive")
    assert "webhooks    in order on" in shop.command("status")


def test_secrets_renewed_while_a_command_waits_are_not_undone(
    open_shop: ExitStack, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It works with the account as it is once the lane is free."""
    shop = shop_of("pipedrive", open_shop, databases)
    take = Lanes.take
    renewed: list[str | None] = []

    def others_first(lanes: Lanes, name: str) -> Lane | None:
        if not renewed:
            renewed.append("")
            shop.command("subscribe", "pipedrive", "--renew")
            renewed[0] = shop.account().own_secrets
        return take(lanes, name)

    monkeypatch.setattr(Lanes, "take", others_first)
    shop.command("subscribe", "pipedrive")
    vault = shop.parts.vault
    assert vault.decrypt(shop.account().own_secrets or "") == vault.decrypt(renewed[0] or "")


def test_what_a_command_spends_of_the_days_budget_is_kept(
    open_shop: ExitStack, databases: Databases
) -> None:
    """The worker goes on from it."""
    shop = shop_of("pipedrive", open_shop, databases)
    before = shop.account().allowance
    shop.command("sweep", "pipedrive")
    after = shop.account().allowance
    assert before is not None
    assert after is not None
    assert after.used > before.used


# ----------------------------------------------------------------------------- what status says


def test_webhooks_are_in_order_only_while_somebody_looks(
    open_shop: ExitStack, databases: Databases
) -> None:
    """A worker that has not looked for more than a day knows nothing of them."""
    shop = shop_of("pipedrive", open_shop, databases)
    assert "webhooks    in order on" in shop.command("status")
    shop.wait(hours=27)
    shown = shop.command("status")
    assert "webhooks    not seen in order since" in shown
    assert "run `python -m plugin subscribe pipedrive`" in shown


def test_a_budget_that_is_over_is_not_todays(open_shop: ExitStack, databases: Databases) -> None:
    """The CRM's next day began with a new one."""
    shop = shop_of("pipedrive", open_shop, databases)
    assert "tokens used by the plugin until" in shop.command("status")
    shop.wait(hours=25)
    assert "budget      none of 24,000 tokens used by the plugin today" in shop.command("status")


def test_after_uninstalling_nothing_is_advised(open_shop: ExitStack, databases: Databases) -> None:
    """Paused is what it is meant to be."""
    shop = shop_of("pipedrive", open_shop, databases)
    shop.command("uninstall", "pipedrive")
    shown = shop.command("status")
    assert "state       paused" in shown
    assert "python -m plugin" not in shown
    assert "webhooks" not in shown


def test_a_name_is_shown_as_it_is(open_shop: ExitStack, databases: Databases) -> None:
    """Whatever brackets it has."""
    shop = open_shop.enter_context(opened(databases, "espocrm"))
    shop.command("connect", "espocrm", typed=f"{shop.crm.token}\n")
    with shop.parts.database.write() as connection:
        accounts.save(connection, shop.account().id, name="[red]ACME[/b] GmbH")
    assert "[red]ACME[/b] GmbH" in shop.command("status")


# ------------------------------------------------------------------------ administrators, ids


def test_an_administrator_is_named_alone(open_shop: ExitStack, databases: Databases) -> None:
    """The password is typed, and a name has no colon."""
    shop = open_shop.enter_context(opened(databases, "espocrm"))
    shop.command("connect", "espocrm", typed=f"{shop.crm.token}\n")
    said = shop.command("install", "espocrm", "--admin", "admin:hidden", typed="hidden\n", code=2)
    assert said == (
        "--admin takes the user name alone: its password is read from standard input (or set both "
        "in ESPOCRM_ADMIN)\n"
    )


def test_an_account_with_an_endless_id_is_refused(
    open_shop: ExitStack, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some databases would not take it."""
    shop = open_shop.enter_context(opened(databases, "espocrm"))
    long = f"{shop.environ['ESPOCRM_URL']}/{'deep/' * 20}".rstrip("/")
    session = type(shop.adapter.connect(shop.crm.link()))
    facts = AccountFacts(crm_id=long[7:], name="", time_zone=None, currency=None)
    monkeypatch.setattr(session, "account", lambda _: facts)
    said = shop.command("connect", "espocrm", "--url", long, typed=f"{shop.crm.token}\n", code=2)
    assert said.startswith("--url: EspoCRM gives this account an id of more than 64 characters")
    assert shop.rows("SELECT id FROM account") == []
