"""Connecting accounts and changing their settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import click
import sqlalchemy as sa

from plugin import clock
from plugin.app import Parts
from plugin.cli.command import (
    account_option,
    crm_argument,
    look_again,
    open_for_command,
    session_of,
    shown_address,
    typed_secret,
    words_for,
)
from plugin.cli.printing import say
from plugin.errors import ConfigurationError
from plugin.pipeline.lanes import wake
from plugin.pipeline.subscribe import SECRET_BYTES
from plugin.policy import load_policy
from plugin.ports import AccountFacts, AccountLink, Adapter, Session, Webhooks
from plugin.reach import Network, Reach
from plugin.settings import SECRET_LENGTH, CrmSettings
from plugin.storage import accounts
from plugin.storage.accounts import Account
from plugin.storage.tables import Id
from plugin.storage.tables import account as account_table

RATING_KINDS = ("nps", "csat")
PROPERTY = re.compile(r"[A-Za-z0-9_.-]+")
ENDPOINT_BYTES = 18
ID_LENGTH = Id.length or 0


def _settings_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--mode", type=click.Choice(["write", "observe"]),
                     help="observe: decide and show everything, write nothing. At first: write."),
        click.option("--policy", "policy_file", type=click.Path(path_type=Path),
                     help="TOML file with thresholds (plugin/policy_default.toml shows all)."),
        click.option("--rating-from", metavar="PROPERTY:nps|csat",
                     help="Also take ratings from this property of the CRM."),
        click.option("--fallback-owner", metavar="ID",
                     help="Who gets tasks of contacts without an active owner."),
        click.option("--language", type=click.Choice(["de", "en"]),
                     help="Language of fields and tasks. At first: de."),
    ):  # fmt: skip
        command = option(command)
    return command


def _account_values(
    language: str | None,
    fallback_owner: str | None,
    rating_from: str | None,
    policy_file: Path | None,
    mode: str | None,
) -> dict[str, Any]:
    """The options that were given, checked, as columns of the account."""
    values: dict[str, Any] = {}
    if language:
        values["language"] = language
    if mode:
        values["mode"] = mode
    if fallback_owner is not None:
        values["fallback_owner"] = fallback_owner or None
    if rating_from is not None:
        name, _, kind = rating_from.rpartition(":")
        if rating_from and (not PROPERTY.fullmatch(name) or kind not in RATING_KINDS):
            raise ConfigurationError(
                f"--rating-from must look like PROPERTY:nps or PROPERTY:csat, not {rating_from!r}"
            )
        values["rating_property"] = name or None
        values["rating_kind"] = kind or None
    if policy_file is not None:
        try:
            text = policy_file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"--policy {policy_file} cannot be read: {error}") from error
        load_policy(text, name=str(policy_file))
        values["policy"] = text
    return values


@click.command()
@crm_argument
@click.option("--url", metavar="URL", help="Address of the API, where the settings do not say it.")
@click.option("--app-id", metavar="N", help="This account has an app of its own: its id.")
@_settings_options
def connect(crm: Adapter, url: str | None, app_id: str | None, **options: Any) -> None:
    """Connect an account. The token is read from standard input or the environment.

    With --app-id the client secret set in the environment right now is kept for this account
    alone, which then has an address of its own.
    """
    parts = open_for_command()
    given = _account_values(**options)
    own = parts.settings.crm(crm.declaration.name)
    base_url = _base_url(crm, own, url, parts.settings.crm_networks)
    if app_id:
        _check_app(crm, own)
    token = _token(crm, own)
    session = crm.connect(
        AccountLink(
            crm_id="",
            base_url=base_url,
            token=token,
            app_id=app_id or own.app_id,
            networks=parts.settings.crm_networks,
        )
    )
    found = session.account()
    if len(found.crm_id) > ID_LENGTH:
        raise ConfigurationError(
            f"--url: {crm.declaration.title} gives this account an id of more than {ID_LENGTH} "
            "characters, which cannot be kept; a shorter address may help"
        )
    _check_owner(session, given)  # asks the CRM: not while the database is locked
    with parts.database.write() as connection:
        before = accounts.find(connection, crm.declaration.name, found.crm_id)
        values = {
            **given,
            **_found_values(crm, found),
            **_address(parts, crm, own, found.crm_id, app_id, before),
            "token": parts.vault.encrypt(token),
            **({"base_url": base_url} if url or not crm.declaration.default_url else {}),
        }
        if before:
            wake(connection, [before.id], at=clock.now_ms())
            accounts.save(connection, before.id, **values)
            if given:
                look_again(connection, before, history="rating_property" in given)
        else:
            created = connection.execute(
                sa.insert(account_table)
                .values(**values, connected_at=clock.now_ms())
                .returning(account_table.c.id)
            ).scalar_one()
            wake(connection, [created], at=clock.now_ms())
        account = accounts.choose(connection, crm.declaration.name, found.crm_id)
        every = accounts.all_accounts(connection, crm=crm.declaration.name)
    say(
        f"{'Reconnected' if before else 'Connected'} {crm.declaration.title} account "
        f"{found.crm_id}."
    )
    words = words_for(account, every)
    if before and not app_id and "own_secrets" in values:
        _tell_of_new_secrets(crm, words)
    _warn_of_twins(crm, account, every)
    _tell_what_next(parts, crm, account, words)


def _warn_of_twins(crm: Adapter, account: Account, every: Sequence[Account]) -> None:
    """The same records under another id: both would be worked for, and every task made twice."""
    for one in every:
        if one.id != account.id and one.record_url and one.record_url == account.record_url:
            say(
                f"Account {one.crm_id} has the same records. If both are one "
                f"{crm.declaration.title} under two addresses, every task is made twice; this one "
                f"stops with: python -m plugin pause {words_for(account, every)}"
            )


def _token(crm: Adapter, own: CrmSettings) -> str:
    declared = crm.declaration
    return typed_secret(f"Access token of {declared.title}", own.token, declared.token_setting)


def _base_url(
    crm: Adapter, own: CrmSettings, url: str | None, networks: tuple[Network, ...]
) -> str:
    base_url = (url or own.base_url).rstrip("/")
    if not base_url:
        raise ConfigurationError(
            f"--url is missing: the address of your {crm.declaration.title}, such as "
            f"https://crm.example.com (or set {crm.declaration.url_setting})"
        )
    if fault := Reach(hosts=crm.declaration.hosts, networks=networks).url_fault(base_url):
        raise ConfigurationError(f"--url {fault}")
    return base_url


def _check_app(crm: Adapter, own: CrmSettings) -> None:
    if crm.declaration.webhooks is not Webhooks.PROJECT:
        raise ConfigurationError(f"--app-id: {crm.declaration.title} has no apps of that kind")
    if not own.secrets:
        raise ConfigurationError(
            f"--app-id needs the client secret of that app in {crm.declaration.secret_setting}"
        )


def _found_values(crm: Adapter, found: AccountFacts) -> dict[str, Any]:
    """What the CRM says of the account, which answers: nothing blocks it any more."""
    return {
        "crm": crm.declaration.name,
        "crm_id": found.crm_id,
        "name": found.name,
        "time_zone": accounts.zone_of(found.time_zone).key,
        "record_url": found.record_url,
        "blocked_until": None,
        "blocked_reason": None,
        "failures": 0,
        **({"currency": found.currency} if found.currency else {}),
    }


def _address(
    parts: Parts,
    crm: Adapter,
    own: CrmSettings,
    crm_id: str,
    app_id: str | None,
    before: Account | None,
) -> dict[str, Any]:
    """The account's own address and secrets, where it has such and not yet."""
    if app_id:
        secrets = parts.vault.encrypt_all(own.secrets)
        return {"app_id": app_id, "endpoint": crm_id, "own_secrets": secrets}
    kept = (before.own_secrets if before else None) or ""
    lost = kept != "" and not parts.vault.reads(kept)
    if crm.declaration.webhooks is Webhooks.PROJECT:
        if lost:
            raise ConfigurationError(
                "--app-id is missing: this account has an app of its own, whose client secret was "
                f"kept under a SECRET_KEY that is lost; set {crm.declaration.secret_setting} to it"
            )
        return {}
    if before and before.endpoint:
        return {"own_secrets": _new_secrets(parts, crm)} if lost else {}
    endpoint = token_urlsafe(ENDPOINT_BYTES)
    if crm.declaration.webhooks is Webhooks.BY_HAND:
        return {"endpoint": endpoint}
    return {
        "endpoint": endpoint, "own_secrets": parts.vault.encrypt(token_urlsafe(SECRET_BYTES)),
    }  # fmt: skip


def _new_secrets(parts: Parts, crm: Adapter) -> str | None:
    """In place of those that were encrypted under a key that is lost."""
    by_hand = crm.declaration.webhooks is Webhooks.BY_HAND
    return None if by_hand else parts.vault.encrypt(token_urlsafe(SECRET_BYTES))


def _tell_of_new_secrets(crm: Adapter, words: str) -> None:
    by_hand = crm.declaration.webhooks is Webhooks.BY_HAND
    say(
        "Its webhooks cannot be checked any more, since SECRET_KEY has changed; then run: "
        f"python -m plugin {f'secret {words}' if by_hand else f'subscribe {words} --renew'}"
    )


def _tell_what_next(parts: Parts, crm: Adapter, account: Account, words: str) -> None:
    """``words``: see ``words_for``."""
    target = shown_address(parts, account)
    say(f"Webhooks go to {target}")
    if account.paused:
        say(f"It is paused: python -m plugin resume {words}")
    if account.fields is None:
        if guide := crm.guide(target):
            say(f"\n{guide}\n")
        say(f"Next: python -m plugin install {words}")


def _check_owner(session: Session, values: dict[str, Any]) -> None:
    owner = values.get("fallback_owner")
    if not owner:
        return
    active = {one.crm_id: one.name for one in session.users() if one.active}
    if owner not in active:
        known = ", ".join(f"{key} ({name})" for key, name in sorted(active.items())[:20])
        raise ConfigurationError(f"--fallback-owner {owner}: no active user has this id: {known}")


@click.command()
@crm_argument
@account_option
@_settings_options
def configure(crm: Adapter, account_id: str | None, **options: Any) -> None:
    """Change an account's settings; those not named stay."""
    parts = open_for_command()
    values = _account_values(**options)
    if not values:
        raise ConfigurationError("nothing to change: name at least one option (see --help)")
    with parts.database.read() as connection:
        account = accounts.choose(connection, crm.declaration.name, account_id)
    _check_owner(session_of(parts, account), values)
    with parts.database.write() as connection:
        wake(connection, [account.id], at=clock.now_ms())
        accounts.save(connection, account.id, **values)
        again = look_again(connection, account, history="rating_property" in values)
    say(f"Configured account {account.crm_id}; {again} contacts are looked at again.")


def _set_paused(crm: Adapter, account_id: str | None, paused: bool) -> Account:
    parts = open_for_command()
    with parts.database.write() as connection:
        account = accounts.choose(connection, crm.declaration.name, account_id)
        wake(connection, [account.id], at=clock.now_ms())
        values: dict[str, Any] = {"paused": paused}
        if not paused:
            values |= {"blocked_until": None, "blocked_reason": None, "failures": 0}
        accounts.save(connection, account.id, **values)
    return account


@click.command()
@crm_argument
@account_option
@click.option("--replace", is_flag=True, help="Forget the one before, which else stays valid, too.")
def secret(crm: Adapter, account_id: str | None, replace: bool) -> None:
    """Take over the secret of the CRM's webhooks.

    The one with which it signs them, from standard input."""
    if crm.declaration.webhooks is not Webhooks.BY_HAND:
        raise ConfigurationError(
            f"{crm.declaration.title} needs no secret by hand, see `connect` and `install`"
        )
    parts = open_for_command()
    with parts.database.read() as connection:
        account = accounts.choose(connection, crm.declaration.name, account_id)
    new = typed_secret(f"Webhook secret of {crm.declaration.title}", "", "")
    if len(new) < SECRET_LENGTH or "," in new:
        raise ConfigurationError("this is no webhook secret: copy all of what the CRM shows")
    with parts.database.write() as connection:
        wake(connection, [account.id], at=clock.now_ms())
        account = accounts.choose(connection, crm.declaration.name, account.crm_id)
        kept = parts.vault.decrypt_all(account.own_secrets)
        secrets = [new] if replace else list(dict.fromkeys([new, *kept[:1]]))
        accounts.save(connection, account.id, own_secrets=parts.vault.encrypt_all(secrets))
    say(f"Webhooks of account {account.crm_id} are checked with this secret from now on.")


@click.command()
@crm_argument
@account_option
def pause(crm: Adapter, account_id: str | None) -> None:
    """Stop working for an account; its deliveries are kept."""
    account = _set_paused(crm, account_id, True)
    say(
        f"Paused account {account.crm_id}. Deliveries are kept until `resume`; what "
        "is just being worked on is finished."
    )


@click.command()
@crm_argument
@account_option
def resume(crm: Adapter, account_id: str | None) -> None:
    """Go on working for an account.

    At once, even where it was waiting."""
    account = _set_paused(crm, account_id, False)
    say(f"Resumed account {account.crm_id}.")
