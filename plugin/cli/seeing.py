"""Seeing what is going on: ``status`` and ``explain``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any

import click
import sqlalchemy as sa
from rich.markup import escape

from plugin import clock
from plugin.cli.command import (
    account_option,
    crm_argument,
    moved_to,
    open_for_command,
    words_for,
)
from plugin.cli.printing import PlainConsole, say
from plugin.errors import ConfigurationError
from plugin.manifest import manifest
from plugin.ports import Adapter, Allowance, Webhooks
from plugin.registry import adapter as adapter_of
from plugin.secrets import Vault
from plugin.storage import accounts, deliveries, tasks
from plugin.storage.accounts import Account, instant
from plugin.storage.hints import HintKind
from plugin.storage.tables import contact, counter, delivery, hint, referral, task
from plugin.storage.tasks import LIVE, TaskState
from plugin.texts import safe

SHOWN = 20  # lines of one kind
LOOKED_AFTER = 26 * 3_600_000  # milliseconds: the worker looks after webhooks once a day


def _when(milliseconds: int | None, account: Account | None = None) -> str:
    if milliseconds is None:
        return "–"
    zone = account.zone if account else UTC
    return instant(milliseconds).astimezone(zone).strftime("%Y-%m-%d %H:%M")


@click.command()
def status() -> None:
    """What is connected, what waits, and what needs a person."""
    parts = open_for_command()
    console = PlainConsole(soft_wrap=True, highlight=False)
    with parts.database.read() as connection:
        every = accounts.all_accounts(connection)
        if not every:
            console.print("No account is connected. Begin with `python -m plugin connect --help`.")
        for account in every:
            _account_status(console, connection, account, words_for(account, every), parts.vault)
        _delivery_status(console, connection)


def _account_state(account: Account, words: str, vault: Vault) -> str:
    now = clock.now_ms()
    if account.paused:
        return "paused"
    try:
        vault.decrypt(account.token)
    except ConfigurationError as error:
        return f"stopped: {error}"
    if until := account.waits_until(now):
        return f"waiting until {_when(until, account)}: {account.blocked_reason}"
    if account.fields is None and not account.observing:
        return f"not installed yet: run `python -m plugin install {words}`"
    return "observing, nothing is written" if account.observing else "working"


def _webhooks_state(account: Account, words: str) -> str:
    """How webhooks stand where each account has its own; "" where accounts share them, and where
    none are wanted: after ``uninstall``, or before a start that was put off."""
    if account.paused and account.fields is None:
        return ""
    match adapter_of(account.crm).declaration.webhooks:
        case Webhooks.API:
            return _subscription(account, words)
        case Webhooks.BY_HAND if account.own_secrets is None:
            return f"no secret yet: run `python -m plugin secret {words}`"
        case _:
            return ""


def _subscription(account: Account, words: str) -> str:
    again = f"run `python -m plugin subscribe {words}`"
    if account.subscribed_at is None:
        return f"none yet: {again}"
    if not account.subscribed_at:
        return f"not made to the end: the worker tries again, or {again}"
    seen = _when(account.subscribed_at, account)
    if clock.now_ms() - account.subscribed_at < LOOKED_AFTER:
        return f"in order on {seen}"
    return f"not seen in order since {seen}: the worker looks daily, or {again}"


def _budget(account: Account, told: Allowance) -> str:
    share = round(told.limit * account.policy.rate_share)
    if accounts.milliseconds(told.ends_at) <= clock.now_ms():
        return f"none of {share:,} {told.unit} used by the plugin today"
    left = "" if told.left is None else f"; {told.left:,} left of all {told.limit:,}"
    until = told.ends_at.astimezone(account.zone).strftime("%Y-%m-%d %H:%M")
    return f"{told.used:,} of {share:,} {told.unit} used by the plugin until {until}{left}"


def _account_status(
    console: PlainConsole, connection: sa.Connection, account: Account, words: str, vault: Vault
) -> None:
    """``words``: see ``words_for``."""
    mine = account.id

    def number(query: Any) -> int:
        return connection.scalar(query) or 0

    count = sa.func.count()
    title, name = escape(f"{account.crm} {account.crm_id}"), escape(safe(account.name))
    console.print(f"[bold]{title}[/] {name}", markup=True)
    console.print(f"  state       {_account_state(account, words, vault)}", markup=False)
    people = number(
        sa.select(count).where(contact.c.account_id == mine, contact.c.gone_at.is_(None))
    )
    seen = number(
        sa.select(count).where(
            contact.c.account_id == mine,
            contact.c.seen_at.is_not(None),
            contact.c.gone_at.is_(None),
        )
    )
    read = "" if account.directory_read_at else " (still reading the directory)"
    console.print(f"  contacts    {people} known, {seen} decided{read}")
    waiting = number(sa.select(count).where(hint.c.account_id == mine, hint.c.parked.is_(None)))
    console.print(f"  waiting     {waiting} records")
    by_state = connection.execute(
        sa.select(task.c.state, count)
        .where(task.c.account_id == mine)
        .group_by(task.c.state)
        .order_by(task.c.state)
    )
    shown = ", ".join(f"{n} {state}" for state, n in by_state) or "none"
    console.print(f"  tasks       {shown}")
    unowned = number(
        sa.select(count).where(
            task.c.account_id == mine, task.c.owner_id.is_(None), task.c.state.in_(LIVE)
        )
    )
    if unowned:
        console.print(
            f"  unassigned  {unowned} open tasks have no owner: set one with "
            f"`python -m plugin configure {words} --fallback-owner ID`",
            markup=False,
        )
    console.print(f"  last sweep  {_when(account.swept_at, account)}")
    if webhooks := _webhooks_state(account, words):
        console.print(f"  webhooks    {webhooks}", markup=False)
    if account.allowance:
        console.print(f"  budget      {_budget(account, account.allowance)}", markup=False)
    _show_trouble(console, connection, account.id)


def _show_trouble(console: PlainConsole, connection: sa.Connection, account_id: int) -> None:
    """Records and tasks that need a person."""
    parked = connection.execute(
        sa.select(hint.c.kind, hint.c.record_id, hint.c.parked)
        .where(hint.c.account_id == account_id, hint.c.parked.is_not(None))
        .order_by(hint.c.due_at)
    )
    _show_some(console, [f"parked      {r.kind} {r.record_id}: {r.parked}" for r in parked])
    refused = connection.execute(
        sa.select(task.c.kind, task.c.target_id, task.c.reason)
        .where(task.c.account_id == account_id, task.c.state == TaskState.REFUSED)
        .order_by(task.c.id)
    )
    _show_some(
        console, [f"refused     task {r.kind} on {r.target_id}: {r.reason}" for r in refused]
    )


def _show_some(console: PlainConsole, lines: Sequence[str]) -> None:
    """The first lines, and how many more there are."""
    for line in lines[:SHOWN]:
        console.print(f"  {line}", markup=False)
    if len(lines) > SHOWN:
        console.print(f"  … and {len(lines) - SHOWN} more", markup=False)


def _delivery_status(console: PlainConsole, connection: sa.Connection) -> None:
    by_state = connection.execute(
        sa.select(delivery.c.state, sa.func.count())
        .group_by(delivery.c.state)
        .order_by(delivery.c.state)
    )
    shown = ", ".join(f"{n} {state}" for state, n in by_state) or "none yet"
    console.print(f"[bold]deliveries[/] {shown}", markup=True)
    quarantined = connection.execute(
        sa.select(delivery.c.id, delivery.c.reason)
        .where(delivery.c.state == deliveries.DeliveryState.QUARANTINED)
        .order_by(delivery.c.id.desc())
    )
    _show_some(console, [f"quarantined {row.id}: {row.reason}" for row in quarantined])
    for row in connection.execute(sa.select(counter).order_by(counter.c.name, counter.c.subject)):
        words = {
            "refused": "refused (bad signature)",
            "too_large": "refused (too large)",
            "not_connected": "dropped (account not connected)",
        }.get(row.name, row.name)
        console.print(
            f"  {words}: {row.n} for {row.subject}, last {_when(row.last_at)} UTC", markup=False
        )


@click.command()
@crm_argument
@click.argument("contact_id")
@account_option
def explain(crm: Adapter, contact_id: str, account_id: str | None) -> None:
    """Why a contact stands where it stands.

    And which tasks follow."""
    parts = open_for_command()
    with parts.database.read() as connection:
        account = accounts.choose(connection, crm.declaration.name, account_id)
        moved = moved_to(connection, account, contact_id)
        wanted = moved or contact_id
        row = connection.execute(
            sa.select(contact).where(contact.c.account_id == account.id, contact.c.crm_id == wanted)
        ).one_or_none()
        parked = connection.scalar(
            sa.select(hint.c.parked).where(
                hint.c.account_id == account.id,
                hint.c.kind == HintKind.CONTACT,
                hint.c.record_id == wanted,
            )
        )
        own = tasks.of_subjects(connection, account.id, [wanted])
        links = connection.execute(
            sa.select(referral).where(
                referral.c.account_id == account.id, referral.c.referred_id == wanted
            )
        ).all()
    if row is None and parked is None:
        raise ConfigurationError(f"CONTACT_ID {contact_id}: no such contact is known here")
    if moved:
        say(f"{contact_id} was merged into {moved}.")
    if row is None:
        say(f"(not read yet) · {wanted}\nParked: {parked}")
        return
    _show_contact(account, row, parked, own, links)


def _show_contact(
    account: Account, row: Any, parked: str | None, own: Sequence[Any], links: Sequence[Any]
) -> None:
    name = safe(f"{row.first_name} {row.last_name}") or safe(row.email)
    say(f"{name or '(no name)'} · {row.crm_id}")
    if row.gone_at is not None:
        say(f"Not in the CRM any more since {_when(row.gone_at, account)}.")
    if parked:
        say(f"Parked: {parked}")
    if row.decision is None:
        say("Not decided about yet: nothing has been heard of this contact.")
    else:
        say(f"\n{row.decision['explanation']}\n")
    for link in links:
        say(f"Referrer told: {link.text!r} → {link.outcome} {link.referrer_id or ''}")
    labels = manifest().task_labels
    for one in own:
        label = labels[one.kind][account.language]
        say(
            f"Task {label}: {one.state}, due {one.due_on}, on {one.target_id}, "
            f"because {one.cause}" + (f" ({one.reason})" if one.reason else "")
        )
    if account.observing and row.decision:
        for planned in row.decision["tasks"]:
            say(f"Would make: {planned['subject']} (on {planned['on']})")
