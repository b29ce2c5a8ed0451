"""A new key: everything stays readable, and whoever was erased stays erased."""

from __future__ import annotations

import logging
import tracemalloc
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from unittest.mock import patch

import pytest
import sqlalchemy as sa

from plugin.app import create_app, open_parts, open_to_serve
from plugin.errors import ConfigurationError
from plugin.pipeline import receive
from plugin.settings import load_settings
from plugin.storage.tables import account
from tests.databases import Databases, contents
from tests.e2e.installation import serving
from tests.e2e.shop import Shop, opened
from tests.listening import free_port
from tests.stand_in import Outgoing

FIRST = "a-test-key-of-32-characters-long"
SECOND = "another-key-of-32-characters-lon"
THIRD = "the-third-key-of-32-characters-l"


@pytest.fixture
def shop(databases: Databases) -> Iterator[Shop]:
    """A CRM whose accounts have secrets of their own, and whose webhooks tell names."""
    with opened(databases, "pipedrive") as shop:
        assert shop.environ["SECRET_KEY"] == FIRST
        shop.connect()
        shop.settle()
        yield shop


@contextmanager
def restarted(shop: Shop, keys: str) -> Iterator[str]:
    """Web server and worker with another SECRET_KEY; the web server's address."""
    shop.environ["SECRET_KEY"] = keys
    port = free_port()
    settings = load_settings(shop.environ)
    before = shop.parts
    with closing((parts := open_parts(settings)).database), serving(create_app(settings), port):
        shop.parts = parts
        yield f"http://127.0.0.1:{port}"
    shop.parts = before


def post(shop: Shop, deliveries: list[Outgoing], address: str) -> list[int]:
    """Deliver to a web server that runs elsewhere since."""
    public_url = shop.environ["PUBLIC_URL"]
    moved = [replace(one, url=one.url.replace(public_url, address)) for one in deliveries]
    with shop.crm.lock:
        shop.crm.deliveries[:] = moved
    return shop.crm.flush()


def taken(shop: Shop) -> list[Outgoing]:
    """What the CRM wants to deliver; it gets stuck on the way."""
    with shop.crm.lock:
        waiting, shop.crm.deliveries[:] = list(shop.crm.deliveries), []
    return waiting


def erased(shop: Shop) -> list[Outgoing]:
    """Somebody is erased; deliveries that tell of her and are still under way."""
    contact = shop.crm.contact("Rosalinde", "Quittenbaum", email="rosalinde@example.com")
    shop.crm.win(shop.crm.deal(contact))
    shop.settle()
    shop.crm.change(contact, spiral_rating="satisfied")
    late = taken(shop)
    shop.crm.delete(contact)
    shop.settle()
    shop.command("erase", shop.crm.name, contact)
    shop.wait(minutes=2)
    shop.settle()
    assert late
    assert not traces(shop)
    return late


def traces(shop: Shop) -> list[str]:
    """Where the database tells of her."""
    shop.parts.database.forget_freed_pages()
    stored = contents(shop.parts.database)
    return [name for name, content in stored.items() if b"quittenbaum" in content]


def served(shop: Shop, address: str) -> list[Outgoing]:
    """Somebody buys: the deliveries that tell it, which are taken and worked off."""
    contact = shop.crm.contact("Erika", "Muster")
    shop.crm.win(shop.crm.deal(contact))
    told = taken(shop)
    assert post(shop, told, address) == [204] * len(told)
    shop.work()
    assert shop.stage(contact) == "experience"
    return told


def test_after_rotating_the_old_key_is_needed_no_more(shop: Shop) -> None:
    """The CRM is reached, webhooks are authentic, and a late delivery of somebody who was erased
    under the old key brings nobody back."""
    late = erased(shop)
    with restarted(shop, f"{SECOND},{FIRST}"):
        assert shop.command("keys", "rotate") == (
            "Accounts whose credentials have the first key now: 1.\n"
            "Former keys by which erased contacts are still known: 1.\n"
            "The other keys can be taken out of SECRET_KEY. Restart web server and workers then.\n"
        )
    with restarted(shop, SECOND) as address, patch.object(receive, "SECRETS_REMEMBERED", 0):
        assert post(shop, late, address) == [204] * len(late)
        shop.work()
        assert not traces(shop)

        told = served(shop, address)
        forged = [replace(one, headers={**one.headers, "Authorization": "Basic eA=="})
                  for one in told]  # fmt: skip
        assert post(shop, forged, address) == [401] * len(told)


def test_a_key_may_change_again_and_again(shop: Shop) -> None:
    """What was erased under the first of three keys is known under the third, and rotating twice
    is as good as once."""
    late = erased(shop)
    for keys in (f"{SECOND},{FIRST}", f"{THIRD},{SECOND}"):
        with restarted(shop, keys):
            first, again = (shop.command("keys", "rotate") for _ in range(2))
            assert first == again
    assert "still known: 2." in again
    with restarted(shop, THIRD) as address:
        assert post(shop, late, address) == [204] * len(late)
        shop.work()
        assert not traces(shop)


def test_without_rotating_the_late_delivery_would_be_seen(shop: Shop) -> None:
    """Otherwise the tests above would prove nothing: a key that is simply lost takes the
    tombstones along."""
    late = erased(shop)
    with restarted(shop, f"{SECOND},{FIRST}"):
        shop.command("keys", "rotate")
        with shop.parts.database.write() as connection:
            connection.exec_driver_sql("DELETE FROM retired_key")
    with restarted(shop, SECOND) as address:
        post(shop, late, address)
        shop.work()
        assert traces(shop)


def test_one_key_alone_cannot_be_rotated(shop: Shop) -> None:
    """The command says what is missing."""
    assert shop.command("keys", "rotate", code=2) == (
        "SECRET_KEY has one key only: put the new one in front of it, with a comma between "
        "(SECRET_KEY=new,old), restart the web server and the workers, then run this again\n"
    )


def test_a_key_that_is_missing_is_told(shop: Shop) -> None:
    """Nothing is lost: all goes on with the former key alone, and with the right one beside the new
    the same command works."""
    before = shop.rows("SELECT token, own_secrets FROM account")
    shop.environ["SECRET_KEY"] = f"{THIRD},{SECOND}"
    said = shop.command("keys", "rotate", code=2)
    assert said == (
        f"not readable with any key of SECRET_KEY: pipedrive {shop.crm.account_crm_id}; nothing "
        "was changed. Add the key they were connected under, behind a comma, and run this again; "
        "or connect them again\n"
    )
    assert shop.rows("SELECT token, own_secrets FROM account") == before
    with restarted(shop, FIRST) as address:
        served(shop, address)

    shop.environ["SECRET_KEY"] = f"{THIRD},{SECOND},{FIRST}"
    assert "first key now: 1.\n" in shop.command("keys", "rotate")
    assert shop.rows("SELECT token, own_secrets FROM account") != before


def test_where_one_account_cannot_be_read_none_is_changed(shop: Shop) -> None:
    """Nor is a former key kept: it may be a mistyped one."""
    with shop.parts.database.write() as connection:
        connection.exec_driver_sql("UPDATE account SET own_secrets = 'of another key'")
    before = shop.rows("SELECT token, own_secrets FROM account")
    shop.environ["SECRET_KEY"] = f"{SECOND},{FIRST}"
    assert shop.command("keys", "rotate", code=2).startswith("not readable with any key")
    assert shop.rows("SELECT token, own_secrets FROM account") == before
    assert shop.rows("SELECT token FROM retired_key") == []


def test_after_rotating_a_wrong_key_stops_the_start(shop: Shop) -> None:
    """Rather than forget who was erased."""
    shop.environ["SECRET_KEY"] = f"{SECOND},{FIRST}"
    shop.command("keys", "rotate")
    with pytest.raises(ConfigurationError, match=r"^what is kept of a former key"):
        open_parts(load_settings({**shop.environ, "SECRET_KEY": THIRD}))


def test_a_lost_key_is_got_over(shop: Shop) -> None:
    """Every command says what to do; then the account is connected again, with new secrets for
    its webhooks, and all goes on."""
    shop.environ["SECRET_KEY"] = f"{SECOND},{FIRST}"
    shop.command("keys", "rotate")
    shop.environ["SECRET_KEY"] = THIRD
    said = shop.command("status", code=2)
    assert said == (
        "what is kept of a former key, to know erased contacts again, cannot be read with "
        "SECRET_KEY: put the key it was rotated to back, behind the new one and a comma. "
        "If it is lost for good: python -m plugin keys forget\n"
    )
    said = shop.command("keys", "forget", code=2)
    assert said == (
        "SECRET_KEY fits 0 of 1 accounts, so it may be mistyped, or a key be missing in it; "
        "nothing was given up. If the right one is lost for good, `python -m plugin keys forget "
        "--yes` gives 1 former keys up\n"
    )
    assert shop.command("keys", "forget", "--yes") == (
        "Former keys given up: 1. Contacts erased under them are not known again: if a late "
        "delivery brings one back, erase it once more.\n"
    )
    assert shop.command("keys", "forget") == "Every former key can be read; none was given up.\n"
    said = shop.command("connect", "pipedrive", typed=f"{shop.crm.token}\n")
    assert said.startswith(
        f"Reconnected Pipedrive account {shop.crm.account_crm_id}.\n"
        "Its webhooks cannot be checked any more, since SECRET_KEY has changed; then run: "
        "python -m plugin subscribe pipedrive --renew\n"
    )
    with restarted(shop, THIRD) as address:
        shop.command("subscribe", "pipedrive", "--renew")
        served(shop, address)


def test_a_key_that_is_mistyped_gives_nothing_up(shop: Shop) -> None:
    """With the right one all is as before; where every account can be read, nobody is asked."""
    shop.environ["SECRET_KEY"] = f"{SECOND},{FIRST}"
    shop.command("keys", "rotate")
    before = shop.rows("SELECT token FROM retired_key")
    shop.environ["SECRET_KEY"] = f"{SECOND}x"
    said = shop.command("keys", "forget", code=2)
    assert said.startswith("SECRET_KEY fits 0 of 1 accounts")
    assert shop.rows("SELECT token FROM retired_key") == before

    shop.environ["SECRET_KEY"] = SECOND
    assert shop.command("keys", "forget") == "Every former key can be read; none was given up.\n"
    with shop.parts.database.write() as connection:
        connection.exec_driver_sql("UPDATE retired_key SET token = 'of another key'")
    assert shop.command("keys", "forget").startswith("Former keys given up: 1.")


def test_a_wrong_key_is_told_at_once(shop: Shop) -> None:
    """By ``status``; and neither worker nor web server starts with it."""
    shop.environ["SECRET_KEY"] = THIRD
    assert (
        "  state       stopped: a stored credential cannot be read with SECRET_KEY: it was "
        "encrypted under another key. "
    ) in shop.command("status")
    why = (
        "SECRET_KEY fits none of 1 connected accounts: put the key back that was there before. If "
        "it is lost for good, connect them again"
    )
    assert shop.command("worker", "--until-idle", code=2) == f"{why}\n"
    with pytest.raises(ConfigurationError, match=f"^{why}$"):
        create_app(load_settings(shop.environ))


def test_a_start_costs_the_same_however_many_accounts_there_are(shop: Shop) -> None:
    """Whether the key fits is known with the first: only that one's credentials are read."""
    values = {"crm": "pipedrive", "connected_at": 0}
    long = {"own_secrets": "x" * 2_000, "token": "y" * 2_000}
    many = [{**values, **long, "crm_id": f"{n}", "endpoint": f"e{n}"} for n in range(1_000, 3_000)]
    with shop.parts.database.write() as connection:
        connection.execute(sa.insert(account), many)
    settings = load_settings(shop.environ)
    open_to_serve(settings).database.close()  # what is made once and kept
    tracemalloc.start()
    try:
        open_to_serve(settings).database.close()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_500_000  # bytes; the secrets alone would take four million


def test_a_key_that_fits_some_accounts_is_good_for_these(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """The one that is left behind is named, in the log without a traceback: it was foreseen."""
    with shop.parts.database.write() as connection:
        other = {"crm": "pipedrive", "crm_id": "99", "endpoint": "elsewhere", "connected_at": 0}
        connection.execute(sa.insert(account).values(**other, token="of another key"))
    contact = shop.crm.contact("Erika", "Muster")
    shop.settle()
    assert shop.stage(contact) == "expectation"
    told = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert [(one.getMessage()[:60], one.exc_info) for one in told] == [
        ("account 2 has to wait: a stored credential cannot be read wi", None)
    ]
    assert shop.command("worker", "--until-idle") == ""
    states = [line for line in shop.command("status").splitlines() if line.startswith("  state ")]
    assert [state.partition(":")[0].split()[1] for state in states] == ["working", "stopped"]
