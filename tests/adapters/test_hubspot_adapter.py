"""The adapter as the core sees it."""

from __future__ import annotations

from adapters.hubspot import ADAPTER, HubSpotAdapter
from plugin.manifest import manifest
from plugin.ports import (
    AccountLink,
    Declaration,
    Echo,
    ReferrerForm,
    Webhooks,
)
from tests.adapters.conftest import TOKEN, Wire, batch, record

HUBSPOT = "https://api.hubapi.com"
READ = "POST /crm/objects/2026-09/contacts/batch/read"


def link(**more: object) -> AccountLink:
    return AccountLink(**{"crm_id": "1", "base_url": HUBSPOT, "token": TOKEN, **more})  # type: ignore[arg-type]


def test_the_declaration_says_what_hubspot_can() -> None:
    """Sizes, settings and addresses, in one value."""
    assert ADAPTER.declaration == Declaration(
        name="hubspot",
        title="HubSpot",
        docs_url="https://developers.hubspot.com/docs/api-reference/latest",
        batch_size=100,
        history_batch_size=50,
        webhooks=Webhooks.PROJECT,
        signed=True,
        replay_window=True,
        echo=Echo.MARKED,
        tells_changes=True,
        tells_merges=True,
        tells_erasure=True,
        referrer=ReferrerForm.LABEL,
        tells_task_ids=True,
        secret_setting="HUBSPOT_CLIENT_SECRET",
        url_setting="HUBSPOT_API_URL",
        default_url=HUBSPOT,
        hosts=("api.hubapi.com",),
        token_setting="HUBSPOT_TOKEN",
        app_id_setting="HUBSPOT_APP_ID",
        event_types=manifest().crms["hubspot"].event_types,
    )


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
