"""Accounts with addresses, secrets and budgets of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from random import Random
from uuid import uuid4

import pytest
import requests

from plugin.pipeline import receive
from tests.e2e.shop import Shop, opened, stand_in
from tests.stand_in import Fault


@pytest.fixture
def open_shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitStack]:
    """Secrets that are over are forgotten at once, and not within seconds."""
    monkeypatch.setattr(receive, "SECRETS_REMEMBERED", 0)
    with ExitStack() as stack:
        yield stack


def shop_of(name: str, stack: ExitStack, folder: Path) -> Shop:
    """Connected, subscribed, installed."""
    shop = stack.enter_context(opened(folder, name))
    shop.connect()
    shop.settle()
    return shop


# --------------------------------------------------------------------------- addresses


def test_two_accounts_of_one_crm_have_nothing_in_common(
    open_shop: ExitStack, tmp_path: Path
) -> None:
    """Each has its own address, and one's secret is no good at the other's."""
    shop = shop_of("bottlecrm", open_shop, tmp_path)
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


def test_connecting_again_keeps_address_and_secrets(open_shop: ExitStack, tmp_path: Path) -> None:
    """A new token changes nothing about the webhooks."""
    shop = shop_of("pipedrive", open_shop, tmp_path)
    before = shop.account()
    shop.command("connect", "pipedrive", typed=f"{shop.crm.token}\n")
    after = shop.account()

    assert (after.endpoint, after.own_secrets) == (before.endpoint, before.own_secrets)
    contact = shop.crm.contact("Erika", "Beispiel")
    shop.settle()
    assert shop.stage(contact) == "expectation"


@pytest.mark.parametrize("name", ["pipedrive", "espocrm"])
def test_webhooks_are_renewed_with_new_secrets(
    name: str, open_shop: ExitStack, tmp_path: Path
) -> None:
    """What was signed with the old ones is refused from then on."""
    shop = shop_of(name, open_shop, tmp_path)
    shop.crm.contact("Erika", "Beispiel")
    old = list(shop.crm.deliveries)
    shop.crm.deliveries.clear()
    shop.command("subscribe", name, "--renew")
    contact = shop.crm.contact("Otto", "Beispiel")
    shop.settle()
    assert shop.stage(contact) == "expectation"

    shop.crm.deliveries[:] = old
    assert set(shop.crm.flush()) == {401}


def test_a_secret_made_by_hand_may_be_rotated(open_shop: ExitStack, tmp_path: Path) -> None:
    """The one before stays valid for what is still on its way, until it is replaced."""
    shop = shop_of("bottlecrm", open_shop, tmp_path)
    shop.crm.contact("Erika", "Beispiel")
    late = list(shop.crm.deliveries)
    shop.crm.deliveries.clear()

    shop.command("secret", "bottlecrm", typed="whsec_another-one-made-in-the-crm\n")
    shop.crm.deliveries[:] = late
    assert set(shop.crm.flush()) == {204}

    shop.command("secret", "bottlecrm", "--replace", typed="whsec_another-one-made-in-the-crm\n")
    shop.crm.deliveries[:] = late
    assert set(shop.crm.flush()) == {401}


def test_an_outdated_signature_is_accepted_until_told_not_to(
    open_shop: ExitStack, tmp_path: Path
) -> None:
    """EspoCRM's legacy header; the other one is good before and after."""
    shop = shop_of("espocrm", open_shop, tmp_path)
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


def test_what_is_left_to_do_is_said(open_shop: ExitStack, tmp_path: Path) -> None:
    """Without a secret nothing is believed, and ``status`` names the command."""
    shop = open_shop.enter_context(opened(tmp_path, "bottlecrm"))
    shop.command("connect", "bottlecrm", typed=f"{shop.crm.token}\n")

    status = shop.command("status")
    assert "no secret yet: run `python -m plugin secret bottlecrm`" in status
    assert "not installed yet: run `python -m plugin install bottlecrm`" in status
    shop.crm.subscribe_by_hand(shop.environ["PUBLIC_URL"] + shop.account().path)
    shop.crm.contact("Erika", "Beispiel")
    assert shop.crm.flush() == [401]


def test_without_an_administrator_fields_are_made_by_hand(
    open_shop: ExitStack, tmp_path: Path
) -> None:
    """The list says what to make where; once an administrator helps, all is there."""
    shop = open_shop.enter_context(opened(tmp_path, "espocrm"))
    shop.command("connect", "espocrm", typed=f"{shop.crm.token}\n")
    user, _, password = shop.environ.pop("ESPOCRM_ADMIN").partition(":")

    listed = shop.command("install", "espocrm", "--dry-run")
    assert "- spiral_stage: Administration > Entity Manager > Contact > Fields" in listed
    refused = shop.command("install", "espocrm", code=1)
    assert refused == "none of the fields is there: nothing can be written, see the plan\n"
    assert shop.account().fields is None

    shop.command("install", "espocrm", "--admin", user, typed=f"{password}\n")
    assert len(shop.account().fields or ()) == 19


def test_a_person_still_in_the_crm_is_not_erased(open_shop: ExitStack, tmp_path: Path) -> None:
    """They would be learned anew: delete them there first."""
    shop = shop_of("espocrm", open_shop, tmp_path)
    contact = shop.crm.contact("Erika", "Beispiel")
    shop.settle()

    said = shop.command("erase", "espocrm", contact, code=2)
    assert said == f"CONTACT_ID {contact} is still in EspoCRM: delete it there first\n"


# -------------------------------------------------------------------------------- budgets


def test_a_spent_budget_is_waited_for_and_shown(open_shop: ExitStack, tmp_path: Path) -> None:
    """The plugin stops at its share of the day and loses nothing; with a larger one it goes on."""
    policy = tmp_path / "policy.toml"
    shop = shop_of("pipedrive", open_shop, tmp_path)
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
    open_shop: ExitStack, tmp_path: Path
) -> None:
    """A revoked key: the account waits an hour, and connecting anew ends it."""
    shop = shop_of("espocrm", open_shop, tmp_path)
    contact = shop.crm.contact("Erika", "Beispiel")
    shop.crm.faults.append(Fault(status=401))
    shop.crm.flush()
    shop.work()
    assert "401" in shop.command("status")

    shop.command("connect", "espocrm", typed=f"{shop.crm.token}\n")
    shop.settle()
    assert shop.stage(contact) == "expectation"
