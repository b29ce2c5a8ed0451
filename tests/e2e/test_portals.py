"""Several portals side by side, each with its own secret, records and settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.databases import Databases
from tests.e2e.plant import Plant
from tests.e2e.side_by_side import FIRST, OWN_APP, two_portals

SHARED = "/webhooks/hubspot"
OWN = f"{SHARED}/{OWN_APP.portal_id}"

Pair = tuple[Plant, Plant]


def connect(plant: Plant, *options: str, **environ: str) -> str:
    """Connect the portal and install its fields; returns what `connect` said."""
    said = plant.call("connect", "hubspot", *options, **environ)
    assert said.returncode == 0, said.stderr
    account = str(plant.crm.portal.portal_id)
    done = plant.call("install", "hubspot", "--account", account)
    assert done.returncode == 0, done.stderr
    return said.stdout


@pytest.fixture
def shared(databases: Databases) -> Iterator[Pair]:
    """Two portals that use one app."""
    with two_portals(databases) as (one, two):
        connect(one)
        connect(two)
        yield one, two


@pytest.fixture
def apart(databases: Databases) -> Iterator[Pair]:
    """The second portal has an app of its own."""
    with two_portals(databases, OWN_APP) as (one, two):
        connect(one)
        said = connect(two, "--app-id", "777", HUBSPOT_CLIENT_SECRET=OWN_APP.secret)
        assert f"Webhooks go to {one.environ['PUBLIC_URL']}{OWN}\n" in said
        yield one, two


def settle(pair: Pair) -> None:
    one, two = pair
    for _ in range(2):
        two.deliver()
        one.settle()


def city(plant: Plant, contact_id: str) -> bytes:
    """A delivery about a contact of this portal."""
    portal = plant.crm.portal
    event: dict[str, Any] = {
        "portalId": portal.portal_id,
        "appId": portal.app_id,
        "occurredAt": int(plant.present().timestamp() * 1000),
        "subscriptionType": "object.propertyChange",
        "objectTypeId": "0-1",
        "objectId": int(contact_id),
        "propertyName": "city",
        "propertyValue": "Kassel",
    }
    return str([event]).replace("'", '"').encode()


def bought_unheard(plant: Plant) -> str:
    """A purchase of which no webhook told."""
    plant.unheard()
    anna = plant.contact("Anna", "Sommer")
    plant.bought(anna)
    return anna


def test_portals_of_one_app_share_address_and_secret(shared: Pair) -> None:
    """Told apart by their id alone: records of the same number are not mixed up."""
    one, two = shared
    anna, zoe = one.contact("Anna", "Sommer"), two.contact("Zoe", "Winter")
    assert anna == zoe  # both portals count from the same number
    one.bought(anna)
    two.rate(zoe, "angry")
    settle(shared)

    assert (one.stage(anna), two.stage(zoe)) == ("experience", "negative")
    assert (one.tasks(), two.tasks()) == ([("ask_origin", "open")], [("repair", "open")])
    assert one.rows("SELECT account_id, first_name FROM contact ORDER BY account_id") == [
        (1, "Anna"),
        (2, "Zoe"),
    ]
    names = one.call("explain", "hubspot", anna, "--account", "1001").stdout.splitlines()[0]
    assert names == f"Anna Sommer · {anna}"


def test_a_referrer_is_only_looked_for_in_the_same_portal(shared: Pair) -> None:
    """What one customer of ours knows is nobody else's."""
    one, two = shared
    one.contact("Anna", "Sommer", email="anna@example.com")
    settle(shared)
    bernd = two.contact("Bernd", "Keller", spiral_referrer_name="anna@example.com")
    settle(shared)

    assert two.fields(bernd, "referrer") == {"referrer": None}
    assert two.open_tasks(bernd) == ["resolve_referrer"]
    assert one.tasks() == []


def test_commands_ask_which_portal_is_meant(shared: Pair) -> None:
    """Where several are connected none is guessed; settings of one leave the other alone."""
    one, _ = shared

    unclear = one.call("pause", "hubspot")
    unknown = one.call("pause", "hubspot", "--account", "3003")
    paused = one.call("pause", "hubspot", "--account", "2002")

    assert (unclear.returncode, unclear.stderr) == (
        2,
        "several hubspot accounts are connected: name one with --account (1001, 2002)\n",
    )
    assert (unknown.returncode, unknown.stderr) == (
        2,
        "--account 3003: no such hubspot account is connected\n",
    )
    assert paused.stdout == (
        "Paused account 2002. Deliveries are kept until `resume`; what is just being worked on is "
        "finished.\n"
    )
    assert one.rows("SELECT crm_id, paused FROM account ORDER BY id") == [
        ("1001", False),
        ("2002", True),
    ]


def test_an_app_of_its_own_has_an_address_of_its_own(apart: Pair) -> None:
    """Its webhooks arrive there; the secret was read when it was connected, not later."""
    one, two = apart
    anna, zoe = one.contact("Anna", "Sommer"), two.contact("Zoe", "Winter")
    one.bought(anna)
    two.bought(zoe)
    settle(apart)

    assert (one.stage(anna), two.stage(zoe)) == ("experience", "experience")
    assert two.environ["HUBSPOT_CLIENT_SECRET"] == FIRST.secret
    assert one.rows("SELECT DISTINCT endpoint FROM delivery ORDER BY endpoint") == [
        ("",),
        ("2002",),
    ]
    encrypted = one.rows("SELECT own_secrets FROM account ORDER BY id")
    assert encrypted[0] == (None,)
    assert OWN_APP.secret not in str(encrypted)


def test_a_secret_is_good_only_for_its_own_portals(apart: Pair) -> None:
    """At the wrong address it is refused; at the right one it cannot speak for another portal."""
    one, two = apart
    anna, zoe = bought_unheard(one), bought_unheard(two)
    about_anna, about_zoe = city(one, anna), city(two, zoe)

    answers = {
        "shared secret at the own address": one.post(about_zoe, OWN, FIRST.secret),
        "own secret at the shared address": one.post(about_zoe, SHARED, OWN_APP.secret),
        "own secret, another's records": one.post(about_anna, OWN, OWN_APP.secret),
        "shared secret, the other's records": one.post(about_zoe, SHARED, FIRST.secret),
    }
    settle(apart)

    assert answers == {
        "shared secret at the own address": 401,
        "own secret at the shared address": 401,
        "own secret, another's records": 204,
        "shared secret, the other's records": 204,
    }
    assert (one.stage(anna), two.stage(zoe)) == (None, None)
    status = one.call("status").stdout
    for said in (
        "dropped (account not connected): 1 for hubspot/1001",
        "dropped (account not connected): 1 for hubspot/2002",
        "refused (bad signature): 1 for hubspot/2002",
    ):
        assert said in status

    assert one.post(about_anna, SHARED, FIRST.secret) == 204
    assert one.post(about_zoe, OWN, OWN_APP.secret) == 204
    settle(apart)
    assert (one.stage(anna), two.stage(zoe)) == ("experience", "experience")


def test_the_secret_of_an_own_app_is_rotated_by_connecting_again(
    apart: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are good while HubSpot changes over, then only the new one."""
    monkeypatch.setattr("plugin.pipeline.receive.SECRETS_REMEMBERED", -1)
    one, two = apart
    new = "the-next-secret-of-that-app"

    def answers() -> list[int]:
        return [one.post(b"[]", OWN, secret) for secret in (OWN_APP.secret, new)]

    assert answers() == [204, 401]
    connect(two, "--app-id", "777", HUBSPOT_CLIENT_SECRET=f"{OWN_APP.secret},{new}")
    assert answers() == [204, 204]
    connect(two, "--app-id", "777", HUBSPOT_CLIENT_SECRET=new)
    assert answers() == [401, 204]


def test_an_own_app_needs_its_secret(apart: Pair) -> None:
    """Without one nothing is connected, and the setting is named."""
    _, two = apart

    refused = two.call("connect", "hubspot", "--app-id", "888", HUBSPOT_CLIENT_SECRET="")

    assert (refused.returncode, refused.stderr) == (
        2,
        "--app-id needs the client secret of that app in HUBSPOT_CLIENT_SECRET\n",
    )


def test_events_of_a_portal_that_is_not_connected_are_counted_and_dropped(
    databases: Databases,
) -> None:
    """HubSpot gets its 2xx; one delivery may hold events of several portals."""
    with two_portals(databases) as (one, two):
        connect(one)
        anna, zoe = bought_unheard(one), bought_unheard(two)
        mixed = city(one, anna)[:-1] + b"," + city(two, zoe)[1:-1] + b"," + city(two, zoe)[1:]

        assert one.post(mixed) == 204
        one.settle()

        assert one.stage(anna) == "experience"
        assert "dropped (account not connected): 2 for hubspot/2002" in one.call("status").stdout
        assert one.rows("SELECT DISTINCT account_id FROM contact") == [(1,)]
        assert one.count("SELECT count(*) FROM hint") == 0
        assert two.crm.calls.total() == 0
