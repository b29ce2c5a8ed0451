"""Receiving from every CRM of the registry, all connected to one server at the same time: what is
authentic at its own address is kept, and nothing is anywhere else."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import chain

import pytest
import requests
import sqlalchemy as sa

from plugin.pipeline import receive
from plugin.ports import Webhooks
from plugin.registry import adapters
from plugin.storage.inbox import Inbox
from plugin.storage.tables import counter
from plugin.web.webhooks import MAX_BODY
from tests.databases import Databases
from tests.e2e.shop import Shop, opened, stand_in
from tests.stand_in import Outgoing

CRMS = tuple(adapters())
PATIENCE = 20.0  # seconds
ODD_PARTS = ("x" * 65, "%00", "a%00", "a%2Fb", "%2F", "a%20b", "%C3%A9", "a/b", "a%0Ab", "%25", "*")
"""What no part of an address is."""
UNTHINKABLE = "Teleporter.beamed"
"""A topic that an address may have, and no CRM does."""


@pytest.fixture(scope="module")
def shops(databases: Databases) -> Iterator[Mapping[str, Shop]]:
    """One server, one database, an account of each CRM, installed."""
    declared = {name: adapter.declaration for name, adapter in adapters().items()}
    (first,) = (name for name in CRMS if declared[name].secret_setting)
    with ExitStack() as stack:
        shop = stack.enter_context(opened(databases, first))
        found = {first: shop}
        for name in CRMS:
            if name != first:
                crm = stand_in(name)
                url = stack.enter_context(crm.serving())
                shop.environ[declared[name].url_setting] = url
                if declared[name].admin_setting:
                    shop.environ[declared[name].admin_setting] = crm.admin
                found[name] = Shop(crm, adapters()[name], shop.parts, shop.environ)
        for one in found.values():
            one.connect()
        yield found


@pytest.fixture(params=CRMS)
def shop(shops: Mapping[str, Shop], request: pytest.FixtureRequest) -> Shop:
    found: Shop = shops[request.param]
    return found


def fresh(shop: Shop) -> Outgoing:
    """A delivery that was just made and not sent yet."""
    shop.crm.deliveries.clear()
    shop.crm.contact("Erika", "Beispiel")
    made = shop.crm.deliveries[-1]
    shop.crm.deliveries.clear()
    return made


def answer(one: Outgoing, *, url: str = "", body: bytes | Iterator[bytes] = b"") -> int:
    """The status; ``url`` and ``body`` may be others than the CRM's."""
    return requests.post(
        url or one.url, data=body or one.body, headers=dict(one.headers), timeout=10
    ).status_code


def kept(shop: Shop) -> list[tuple[object, ...]]:
    return shop.rows("SELECT crm, endpoint, topic, body FROM delivery ORDER BY id")


def root(shop: Shop) -> str:
    """Below which all addresses of this CRM are."""
    return f"{shop.environ['PUBLIC_URL']}/webhooks/{shop.crm.name}"


def below(shop: Shop, one: Outgoing) -> list[str]:
    """The parts of its address behind the CRM's name: the account's own, the topic."""
    return one.url.removeprefix(root(shop)).strip("/").split("/")


def test_an_authentic_delivery_is_kept_byte_for_byte(shop: Shop) -> None:
    """For the account whose address it came to, with what the address said."""
    one = fresh(shop)
    shared = shop.adapter.declaration.webhooks is Webhooks.PROJECT
    topic = "" if shared else (*below(shop, one), "")[1]

    assert answer(one) == 204
    account = "" if shared else shop.crm.account_crm_id
    assert kept(shop)[-1] == (shop.crm.name, account, topic, one.body)


def test_a_delivery_is_good_at_its_own_crms_address_only(
    shop: Shop, shops: Mapping[str, Shop]
) -> None:
    """Neither at that of another CRM's account, nor at one like ours with another CRM's name, nor
    where accounts share one."""
    one = fresh(shop)
    others = [other for other in shops.values() if other is not shop]
    addresses = [
        *(fresh(other).url for other in others),
        *(one.url.replace(root(shop), root(other)) for other in others),
        *(root(other) for other in others),
    ]
    before = kept(shop)

    answers = {url: answer(one, url=url) for url in addresses}

    assert {url: status for url, status in answers.items() if status not in (401, 404)} == {}
    assert kept(shop) == before
    assert answer(one) == 204


def test_an_address_of_odd_parts_is_nobodys(shop: Shop) -> None:
    """Too long, with a zero byte, with slashes, with blanks: in place of an account's own part or
    as its topic."""
    one = fresh(shop)
    own = "/".join([root(shop), *below(shop, one)[:1]]).rstrip("/")
    before = kept(shop)
    addresses = chain.from_iterable(
        (f"{root(shop)}/{part}", f"{root(shop)}/{part}/topic", f"{own}/{part}")
        for part in ODD_PARTS
    )

    answers = {url: answer(one, url=url) for url in addresses}

    assert {url: status for url, status in answers.items() if status != 404} == {}
    assert kept(shop) == before


def test_an_unknown_topic_stops_nobody(shop: Shop) -> None:
    """Refused, or, where addresses tell nothing, read as what it says."""
    one = fresh(shop)
    own = "/".join([root(shop), *below(shop, one)[:1]]).rstrip("/")
    before = kept(shop)

    status = answer(one, url=f"{own}/{UNTHINKABLE}")

    assert status in (204, 401, 404)
    assert len(kept(shop)) - len(before) == (status == 204)
    shop.work()
    assert shop.rows("SELECT id FROM delivery WHERE state = 'new'") == []
    shop.settle()


def test_a_body_that_is_too_large_gets_the_declared_answer(shop: Shop) -> None:
    """Also where its length is not told beforehand; what would never come again is not dropped."""
    one = fresh(shop)
    large = one.body + b" " * (MAX_BODY + 1 - len(one.body))
    before = kept(shop)

    answers = [answer(one, body=large), answer(one, body=iter([large[:9], large[9:]]))]

    assert answers == [shop.adapter.declaration.too_large_status] * 2
    assert kept(shop) == before


def too_large(shop: Shop) -> dict[str, int]:
    """How many were counted, by CRM."""
    with shop.parts.database.read() as connection:
        rows = connection.execute(sa.select(counter).where(counter.c.name == "too_large"))
        return {row.subject: row.n for row in rows}


def test_bodies_that_are_too_large_are_counted(shop: Shop) -> None:
    """For the CRM, as whose they were is not looked up; what is no CRM's is not."""
    name = shop.crm.name
    large = b" " * (MAX_BODY + 1)
    before = too_large(shop).get(name, 0)
    elsewhere = f"{shop.environ['PUBLIC_URL']}/webhooks/no{name}"

    assert answer(fresh(shop), url=elsewhere, body=large) == 413
    for _ in range(3):
        answer(fresh(shop), body=large)
    deadline = time.monotonic() + PATIENCE
    while too_large(shop).get(name, 0) < before + 3:  # more where an earlier test's come late
        assert time.monotonic() < deadline, too_large(shop)
        time.sleep(0.1)

    assert re.search(
        rf"^  refused \(too large\): \d+ for {name}, last ", shop.command("status"), re.M
    )
    assert too_large(shop).keys() <= set(CRMS)


@pytest.mark.parametrize(
    "error",
    [TimeoutError(), OSError(), sa.exc.OperationalError("", {}, Exception())],
    ids=lambda error: type(error).__name__,
)
def test_what_cannot_be_kept_is_to_be_sent_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """503 to every CRM; the very same delivery is taken once the database is well."""
    one = fresh(shop)

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Inbox, "put", fail)
        failed = answer(one)

    assert (failed, answer(one)) == (503, 204)


def test_a_secret_that_was_replaced_is_no_good(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command that is meant for this CRM; the other one says so and changes nothing."""
    monkeypatch.setattr(receive, "SECRETS_REMEMBERED", 0)
    monkeypatch.setattr(receive, "SECRETS_RENEWED", 0)
    name, one = shop.crm.name, fresh(shop)
    if shop.adapter.declaration.webhooks is Webhooks.BY_HAND:
        secret = shop.crm.subscribe_by_hand(one.url)
        shop.command("secret", name, "--replace", typed=f"{secret}\n")
    else:
        said = shop.command("secret", name, "--replace", typed="another-secret-0123456\n", code=2)
        assert "needs no secret by hand" in said
        assert answer(one) == 204
        shared = shop.adapter.declaration.webhooks is Webhooks.PROJECT
        shop.command("subscribe", name, "--renew", code=2 if shared else 0)

    replaced = shop.adapter.declaration.webhooks is not Webhooks.PROJECT
    assert answer(one) == (401 if replaced else 204)
    assert answer(fresh(shop)) == 204
