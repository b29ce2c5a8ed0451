"""The adapter as the core sees it."""

from __future__ import annotations

import inspect

import pytest

from adapters.hubspot import ADAPTER, HubSpotAdapter
from plugin.manifest import manifest
from plugin.ports import AccountLink, Adapter, Declaration, Session
from tests.adapters.conftest import BASE, TOKEN, Wire, batch, record

READ = "POST /crm/objects/2026-09/contacts/batch/read"


def link(**more: object) -> AccountLink:
    return AccountLink(**{"crm_id": "1", "base_url": BASE, "token": TOKEN, **more})  # type: ignore[arg-type]


def test_the_declaration_says_what_hubspot_can() -> None:
    """Sizes, settings and addresses, in one value."""
    assert ADAPTER.declaration == Declaration(
        name="hubspot",
        title="HubSpot",
        docs_url="https://developers.hubspot.com/docs/api-reference/latest",
        batch_size=100,
        history_batch_size=50,
        labelled_links=True,
        secret_setting="HUBSPOT_CLIENT_SECRET",
        url_setting="HUBSPOT_API_URL",
        default_url="https://api.hubapi.com",
        token_setting="HUBSPOT_TOKEN",
        app_id_setting="HUBSPOT_APP_ID",
        event_types=manifest().crms["hubspot"].event_types,
    )


@pytest.mark.parametrize("port", [Adapter, Session])
def test_every_method_of_the_ports_is_there(port: type) -> None:
    """With the very parameters the core calls it by."""
    ours = HubSpotAdapter() if port is Adapter else HubSpotAdapter().connect(link())
    wanted = {name: one for name, one in vars(port).items() if inspect.isfunction(one)}

    for name, method in wanted.items():
        if not name.startswith("_"):
            parameters = list(inspect.signature(method).parameters)[1:]
            assert list(inspect.signature(getattr(ours, name)).parameters) == parameters


def test_a_session_speaks_to_the_linked_address(wire: Wire) -> None:
    """Base URL and token are the link's; calls are counted and can be counted anew."""
    wire.answers(READ, batch([record("1")]), always=True)
    session = HubSpotAdapter().connect(link())

    session.existing(["1"])
    session.existing(["1"])
    counted, session.calls = session.calls, 0

    assert (counted, session.calls) == (2, 0)
    assert wire.calls[0].headers["Authorization"] == f"Bearer {TOKEN}"


def test_sessions_of_one_account_share_its_limits(wire: Wire) -> None:
    """A lane that connects anew does not begin with a full budget; another account does."""
    adapter = HubSpotAdapter()
    one, again, other = (
        adapter.connect(chosen) for chosen in (link(), link(rate_share=0.5), link(crm_id="2"))
    )
    limits = [vars(vars(session)["_api"])["_limits"] for session in (one, again, other)]

    assert limits[0] is limits[1]
    assert limits[2] is not limits[0]
    assert [limits[0].general.allowed, limits[0].search.allowed] == [50, 2]
    assert [limits[2].general.allowed, limits[2].associations.allowed] == [80, 80]


def test_deliveries_are_read_and_redacted_through_the_adapter() -> None:
    """Both work on the bytes as they came."""
    body = (
        b'[{"portalId":1,"objectId":2,"occurredAt":1789372800000,"propertyName":"email",'
        b'"subscriptionType":"contact.propertyChange","propertyValue":"erika@example.com"}]'
    )

    (event,) = ADAPTER.parse(body).events
    left = ADAPTER.redact(body, account_crm_id="1", contact_ids=frozenset({"2"}), words=())

    assert event.record_id == "2"
    assert left is not None
    assert b"erika" not in left


def test_the_project_comes_through_the_adapter() -> None:
    """Installers ask the adapter, not its modules."""
    made = ADAPTER.project_files(public_url="https://spiral.example.com", rating_properties=["nps"])

    assert '"propertyName": "nps"' in made["src/app/webhooks/webhooks-hsmeta.json"]


def test_the_token_is_not_in_the_link() -> None:
    """Whoever prints a link prints no secret."""
    assert TOKEN not in repr(link())
