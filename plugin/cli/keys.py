"""Changing the key that credentials are encrypted with."""

from __future__ import annotations

import click
import sqlalchemy as sa

from plugin.app import Parts
from plugin.cli.command import open_for_command
from plugin.cli.printing import say
from plugin.errors import ConfigurationError
from plugin.secrets import Vault
from plugin.storage import accounts
from plugin.storage.keys import replace_retired_keys, retired_keys
from plugin.storage.tables import account


@click.group()
def keys() -> None:
    """The key in SECRET_KEY."""


@keys.command()
def rotate() -> None:
    """Encrypt all with the first key.

    The others may go then. Put a new key in front (SECRET_KEY=new,old), restart the web server and
    the workers, run this, then take the old key out. Web server and workers may run meanwhile.
    """
    parts = open_for_command()
    if len(parts.settings.secret_keys) == 1:
        raise ConfigurationError(
            "SECRET_KEY has one key only: put the new one in front of it, with a comma between "
            "(SECRET_KEY=new,old), restart the web server and the workers, then run this again"
        )
    every = _readable(parts)
    remembered = _retire(parts)
    for account_id in every:
        _rotate(parts, account_id)
    say(
        f"Accounts whose credentials have the first key now: {len(every)}.\n"
        f"Former keys by which erased contacts are still known: {remembered}."
    )
    say("The other keys can be taken out of SECRET_KEY. Restart web server and workers then.")


@keys.command()
@click.option("--yes", is_flag=True, help="Even if SECRET_KEY does not fit all accounts.")
def forget(yes: bool) -> None:
    """Give up former keys after a loss.

    Those that no key of SECRET_KEY reads any more. A late delivery may then bring back a contact
    that was erased under one of them.
    """
    parts = open_for_command(retired=False)
    with parts.database.write() as connection:
        tokens = retired_keys(connection)
        readable = [token for token in tokens if parts.vault.reads(token)]
        given_up = len(tokens) - len(readable)
        if given_up and not yes:
            _require_fit(parts, connection, given_up)
        replace_retired_keys(connection, readable)
    if not given_up:
        say("Every former key can be read; none was given up.")
        return
    say(
        f"Former keys given up: {given_up}. Contacts erased under them are not known again: if a "
        "late delivery brings one back, erase it once more."
    )


def _require_fit(parts: Parts, connection: sa.Connection, given_up: int) -> None:
    """Raises ``ConfigurationError`` where an account cannot be read either: then SECRET_KEY may
    merely be mistyped, and what is given up could have been kept."""
    fits = [parts.vault.reads(token) for token in accounts.tokens(connection)]
    if not all(fits):
        raise ConfigurationError(
            f"SECRET_KEY fits {sum(fits)} of {len(fits)} accounts, so it may be mistyped, or a key "
            f"be missing in it; nothing was given up. If the right one is lost for good, `python "
            f"-m plugin keys forget --yes` gives {given_up} former keys up"
        )


def _readable(parts: Parts) -> list[int]:
    """All accounts. Raises ``ConfigurationError`` where one cannot be read: the former key may be
    mistyped, and were that one kept instead of it, the right one would start nothing any more."""
    with parts.database.read() as connection:
        rows = connection.execute(
            sa.select(
                account.c.id,
                account.c.crm,
                account.c.crm_id,
                account.c.token,
                account.c.own_secrets,
            ).order_by(account.c.id)
        ).all()
    odd = [
        f"{row.crm} {row.crm_id}"
        for row in rows
        if not all(parts.vault.reads(token) for token in (row.token, row.own_secrets) if token)
    ]
    if odd:
        raise ConfigurationError(
            f"not readable with any key of SECRET_KEY: {', '.join(odd)}; nothing was changed. Add "
            "the key they were connected under, behind a comma, and run this again; or connect "
            "them again"
        )
    return [row.id for row in rows]


def _retire(parts: Parts) -> int:
    """Keep what is needed of the keys that will go; how many those are."""
    with parts.database.write() as connection:
        vault = Vault(parts.settings.secret_keys, retired=retired_keys(connection))
        tokens = vault.retired_keys()
        replace_retired_keys(connection, tokens)
    return len(tokens)


def _rotate(parts: Parts, account_id: int) -> None:
    with parts.database.write() as connection:
        this = account.c.id == account_id
        row = connection.execute(
            sa.select(account.c.token, account.c.own_secrets).where(this).with_for_update()
        ).one()
        values = {name: token and parts.vault.rotate(token) for name, token in row._mapping.items()}
        connection.execute(sa.update(account).where(this).values(**values))
