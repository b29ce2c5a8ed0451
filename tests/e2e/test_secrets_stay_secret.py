"""Connect, install, work, fail, rotate: no secret is to be read anywhere afterwards.

``tests/conformance/failing.py`` looks at each adapter's own log lines, ``tests/test_cli.py`` at the
list of processes; here it is the whole installation, beside every CRM.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import click
import pytest
import requests

from plugin import cli
from plugin.cli import command
from plugin.pipeline.worker import link_of
from plugin.ports import Webhooks
from plugin.registry import adapters
from plugin.settings import load_settings
from tests.databases import Databases, contents
from tests.e2e.shop import Shop, opened
from tests.stand_in import Fault

FORMER_KEY = "a-test-key-of-32-characters-long"
KEY = "another-key-of-32-characters-lon"
QUOTING = 'HTTP 500: x-api-key {0}, Authorization: Bearer {0}, {{"token": "{0}"}}'


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the story left behind: by place, as text."""

    secrets: dict[str, str]
    """Name → secret; all that there are."""
    endpoint: str
    """The last part of the account's own address, which is a secret, too; "" where it has none."""
    by_hand: bool
    """Whether the admin has to type that address into the CRM."""
    logs: str
    output: str
    database: str
    reprs: str


@pytest.fixture(scope="module", params=list(adapters()))
def told(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Told]:
    """One CRM's whole story, with every logger at its finest, urllib3's too."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with opened(databases, request.param) as shop:
            output = "".join(_story(shop))
            yield Told(
                secrets=_secrets(shop),
                endpoint=shop.account().endpoint or "",
                by_hand=shop.adapter.declaration.webhooks is Webhooks.BY_HAND,
                logs=stream.getvalue(),
                output=output,
                database=b"".join(contents(shop.parts.database).values()).decode("latin-1"),
                reprs=_reprs(shop),
            )
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def _story(shop: Shop) -> Iterator[str]:
    """What the commands print."""
    name, crm = shop.crm.name, shop.crm
    printing = shop.command
    printed: list[str] = []

    def noting(*words: str, typed: str = "", code: int = 0) -> str:
        printed.append(printing(*words, typed=typed, code=code))
        return printed[-1]

    shop.command = noting  # type: ignore[method-assign]
    shop.connect()
    shop.settle()
    contact = crm.contact("Erika", "Muster", email="erika@example.com")
    crm.win(crm.deal(contact))
    late = list(crm.deliveries)
    shop.settle()
    noting("status")
    noting("explain", name, contact)
    for status, times in ((500, 9), (401, 1), (403, 1), (429, 1), (302, 1)):
        quoted = QUOTING.format(crm.token).encode()
        headers = {"Retry-After": "1"} if status == 429 else {"Location": f"/?{crm.token}"}
        crm.faults[:] = [Fault(status=status, times=times, body=quoted, headers=headers)]
        noting("connect", name, typed=f"{crm.token}\n", code=1)
        crm.faults[:] = [Fault(status=status, times=times, body=quoted, headers=headers)]
        crm.change(contact, spiral_rating="satisfied" if status == 500 else "delighted")
        crm.flush()
        shop.work()
        noting("status")
        crm.faults.clear()
        shop.wait(hours=2)
    for one in late:
        wrong = {key: f"{value}x" for key, value in one.headers.items()}
        requests.post(one.url, data=one.body, headers=wrong, timeout=10)
    shop.settle()
    shop.environ["SECRET_KEY"] = f"{KEY},{FORMER_KEY}"
    noting("keys", "rotate")
    noting("uninstall", name)
    yield from printed


def _secrets(shop: Shop) -> dict[str, str]:
    crm = shop.crm
    own = shop.parts.vault  # of the former key: read before it is gone
    kept = shop.rows("SELECT own_secrets FROM account")[0][0]
    vault = type(own)([KEY])
    found = {
        "token": crm.token,
        "admin": crm.admin.partition(":")[2],
        "signing": crm.shared_secret,
        "key": KEY,
        "former key": FORMER_KEY,
        **{
            f"own {n}": one
            for n, one in enumerate(vault.decrypt_all(str(kept) if kept else None))
            for one in one.split(":")[-1:]
        },
    }
    return {name: secret for name, secret in found.items() if len(secret) >= 8}


def _reprs(shop: Shop) -> str:
    settings = load_settings(shop.environ)
    vault = type(shop.parts.vault)([KEY])
    account = shop.account()
    link = link_of(settings, vault, account)
    session = adapters()[account.crm].connect(link)
    things = (settings, vault, account, link, session, vars(session), shop.parts)
    return "\n".join(map(repr, (*things, command.session_of)))


def found_in(told: Told, text: str) -> list[str]:
    folded = text.casefold()
    return [name for name, secret in told.secrets.items() if secret.casefold() in folded]


def test_no_secret_is_logged(told: Told) -> None:
    """At no level, by no logger, in no traceback."""
    assert "HTTP/1.1" in told.logs, "urllib3 tells its calls"
    assert found_in(told, told.logs) == []


def test_no_secret_is_printed(told: Told) -> None:
    """By no command, not by one that fails, and not where the CRM repeats what was sent."""
    assert "Connected" in told.output
    assert found_in(told, told.output) == []


def test_an_address_is_printed_only_for_whoever_has_to_type_it(told: Told) -> None:
    """Where the plugin tells it to the CRM by itself, nobody needs to see it."""
    shown = bool(told.endpoint) and told.endpoint in told.output
    assert shown is told.by_hand


def test_no_address_is_logged(told: Told) -> None:
    """But by the stand-in, whose deliveries pass through this process."""
    lines = [line for line in told.logs.splitlines() if '"POST /webhooks/' not in line]
    assert [line for line in lines if told.endpoint and told.endpoint in line] == []


def test_no_secret_is_stored_as_it_is(told: Told) -> None:
    """Not even in the reason why an account waits."""
    assert "gaaaaab" in told.database, "they are stored encrypted"
    assert found_in(told, told.database) == []


def test_no_secret_is_in_a_repr(told: Told) -> None:
    """What a debugger or an error tracker would show of our own objects."""
    assert "AccountLink" in told.reprs
    assert found_in(told, told.reprs) == []


def test_no_secret_is_an_argument() -> None:
    """Every machine shows the arguments of its processes to everybody: secrets are typed, piped
    in, or come from the environment."""
    words = ("token", "secret", "password", "key", "credential")
    options = [
        (path, option.name)
        for path, one in _commands(cli._group())
        for option in one.params
        if isinstance(option, click.Option | click.Argument) and not getattr(option, "is_flag", 0)
    ]
    assert len(options) > 20
    assert [one for one in options if any(word in str(one[1]) for word in words)] == []


def _commands(one: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    yield path, one
    if isinstance(one, click.Group):
        for name, child in one.commands.items():
            yield from _commands(child, f"{path} {name}".strip())
