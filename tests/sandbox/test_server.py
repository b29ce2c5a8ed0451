"""The sandbox as a server on the loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from click.testing import CliRunner

from plugin.sandbox import __main__ as command
from plugin.sandbox.portal import Portal
from plugin.sandbox.records import Sandbox
from plugin.sandbox.server import serving
from plugin.sandbox.webhooks import Outbox

TOKEN = {"Authorization": "Bearer sandbox-token"}


@pytest.fixture
def served() -> Iterator[tuple[Sandbox, str]]:
    portal = Portal()
    sandbox = Sandbox(portal, outbox=Outbox(portal, linger=0))
    with serving(sandbox) as url:
        yield sandbox, url


def test_it_answers_over_http(served: tuple[Sandbox, str]) -> None:
    """The same wire as without a server."""
    _, url = served
    answer = requests.get(f"{url}/account-info/2026-09/details", headers=TOKEN, timeout=20)
    assert (answer.status_code, answer.json()["portalId"]) == (200, 4711001)
    assert answer.json()["uiDomain"] == url.removeprefix("http://")


def test_an_answer_without_body_ends(served: tuple[Sandbox, str]) -> None:
    """204 and nothing after it."""
    _, url = served
    answer = requests.delete(f"{url}/crm/objects/2026-09/contacts/1", headers=TOKEN, timeout=20)
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_dropped_answer_is_a_broken_connection(served: tuple[Sandbox, str]) -> None:
    """The work is done, and the caller cannot know."""
    _, url = served
    requests.post(f"{url}/sandbox/faults", json=[{"drop": True}], timeout=20)
    with pytest.raises(requests.ConnectionError):
        requests.post(
            f"{url}/crm/objects/2026-09/contacts",
            json={"properties": {"firstname": "Ana"}},
            headers=TOKEN,
            timeout=20,
        )
    state = requests.get(f"{url}/sandbox/state", timeout=20).json()
    assert [contact["properties"]["firstname"] for contact in state["contacts"]] == ["Ana"]


def test_the_command_takes_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """Account, secrets and target come from the command line; interrupting ends it."""
    monkeypatch.setattr("time.sleep", _interrupt)
    options = ["--port", "0", "--portal", "17", "--no-labels", "--target", "http://127.0.0.1:1/x"]
    result = CliRunner().invoke(command.main, options)
    assert result.exit_code == 0, result.output
    assert "(account 17); webhooks to http://127.0.0.1:1/x" in result.output


def _interrupt(_: float) -> None:
    raise KeyboardInterrupt
