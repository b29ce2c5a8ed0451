"""What the plugin adds to a CRM: installing, removing, the app project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import sqlalchemy as sa
from rich.table import Table
from rich.text import Text

from plugin import clock
from plugin.app import Parts
from plugin.cli.command import (
    account_option,
    crm_argument,
    holding_lane,
    look_again,
    open_for_command,
    session_of,
    shown_address,
    typed_secret,
    words_for,
)
from plugin.cli.printing import PlainConsole, say
from plugin.errors import ConfigurationError, CrmError, PluginError
from plugin.manifest import manifest
from plugin.pipeline.lanes import Lane
from plugin.pipeline.outbox import Outbox
from plugin.pipeline.subscribe import subscribe as subscribe_webhooks
from plugin.pipeline.todo import withdraw
from plugin.plain import one_line
from plugin.ports import Adapter, PlanAction, PlanStep, Session, Webhooks
from plugin.registry import adapter as adapter_of
from plugin.storage import accounts
from plugin.storage.accounts import Account
from plugin.storage.tables import task
from plugin.storage.tasks import LIVE, TaskState

_WORDS = {
    PlanAction.CREATE: "create",
    PlanAction.REPAIR: "repair",
    PlanAction.KEEP: "keep",
    PlanAction.REMOVE: "remove",
    PlanAction.DOES_NOT_FIT: "does not fit",
    PlanAction.BY_HAND: "by hand",
    PlanAction.FOREIGN: "left alone",
}


def _show_plan(crm: Adapter, steps: Sequence[PlanStep]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("what", "plan", "why"):
        table.add_column(column, overflow="fold")
    by_hand = [step for step in steps if step.action is PlanAction.BY_HAND]
    for step in steps:
        why = "see below" if step in by_hand else step.why
        table.add_row(Text(one_line(step.what)), _WORDS[step.action], Text(one_line(why)))
    PlainConsole(soft_wrap=False).print(table)
    if by_hand:
        say(
            f"\nBy hand, as an administrator of {crm.declaration.title} (or run this again with "
            "--admin USER):"
        )
    for step in by_hand:
        say(f"- {step.what}: {step.why}")


admin_option = click.option(
    "--admin", metavar="USER", help="An administrator of the CRM, where fields need one; the"
    " password is read from standard input and not kept.",
)  # fmt: skip


@click.command()
@crm_argument
@account_option
@click.option("--dry-run", is_flag=True, help="Show the plan, change nothing.")
@admin_option
def install(crm: Adapter, account_id: str | None, dry_run: bool, admin: str | None) -> None:
    """Make the CRM's fields match manifest.json.

    Never touches what is not ours."""
    parts = open_for_command()
    subscribes = crm.declaration.webhooks is Webhooks.API
    if subscribes and not dry_run:
        _require_address(parts)
    with parts.database.read() as connection:
        account = accounts.choose(connection, crm.declaration.name, account_id)
        words = words_for(account, accounts.all_accounts(connection))
    session = session_of(parts, account, admin=_admin(parts, crm, admin))
    steps = session.plan_install()
    _show_plan(crm, steps)
    if dry_run:
        say("Dry run: nothing was changed.")
        return
    with holding_lane(parts, account, session) as (lane, account):
        facts = dict(session.install(steps))
        fields = session.installed_fields()
        if not fields:
            raise PluginError("none of the fields is there: nothing can be written, see the plan")
        with lane.write() as connection:
            accounts.save(
                connection, account.id, facts=facts, fields=sorted(fields),
                blocked_until=None, blocked_reason=None, failures=0,
            )  # fmt: skip
            look_again(connection, account)
        if subscribes:
            try:
                _subscribe(parts, account, session, lane)
            except CrmError as error:
                raise PluginError(
                    f"{error}\nThe fields are there, the webhooks are not: "
                    f"`python -m plugin subscribe {words}` tries again."
                ) from error
    if account.paused:
        say(f"The account is paused: python -m plugin resume {words}")
    say(f"Installed: {len(fields)} of {len(manifest().fields)} fields are there.")


def _admin(parts: Parts, crm: Adapter, user: str | None) -> str:
    """``user:password``: from the environment, or the user as named and the password as typed."""
    setting = crm.declaration.admin_setting
    if user is None:
        return parts.settings.crm(crm.declaration.name).admin
    if not setting:
        raise ConfigurationError(f"--admin: {crm.declaration.title} needs none, the token will do")
    if not user or ":" in user:
        raise ConfigurationError(
            f"--admin takes the user name alone: its password is read from standard input (or set "
            f"both in {setting})"
        )
    return f"{user}:{typed_secret(f'Password of {user}', '', setting)}"


@click.command()
@crm_argument
@account_option
@click.option("--renew", is_flag=True, help="Make them anew, with new secrets; old ones end.")
@click.option("--strict", is_flag=True, help="Accept no outdated form of signature any more.")
def subscribe(crm: Adapter, account_id: str | None, renew: bool, strict: bool) -> None:
    """Have the CRM send its webhooks here.

    ``install`` does it, and the worker daily."""
    if crm.declaration.webhooks is not Webhooks.API:
        raise ConfigurationError(
            f"{crm.declaration.title}'s webhooks are not made by the plugin: see `connect`"
        )
    if strict and not crm.declaration.outdated_signature:
        raise ConfigurationError(f"--strict: {crm.declaration.title} has one form of signature")
    parts = open_for_command()
    _require_address(parts)
    with parts.database.read() as connection:
        account = accounts.choose(connection, crm.declaration.name, account_id)
    session = session_of(parts, account)
    with holding_lane(parts, account, session) as (lane, account):
        _subscribe(parts, account, session, lane, renew=renew, strict=strict)


def _require_address(parts: Parts) -> None:
    if not parts.settings.public_url:
        raise ConfigurationError("PUBLIC_URL is missing: the webhooks need an address")


def _subscribe(
    parts: Parts,
    account: Account,
    session: Session,
    lane: Lane,
    *,
    renew: bool = False,
    strict: bool = False,
) -> None:
    subscribe_webhooks(
        account, session, lane,
        vault=parts.vault, public_url=parts.settings.public_url, now_ms=clock.now_ms,
        renew=renew, strict=strict,
    )  # fmt: skip
    say(f"Webhooks lead to {shown_address(parts, account)}")


@click.command()
@crm_argument
@account_option
@click.option("--dry-run", is_flag=True, help="Show the plan, change nothing.")
@click.option("--delete-data", is_flag=True, help="Remove fields that people filled, too.")
@admin_option
def uninstall(
    crm: Adapter, account_id: str | None, dry_run: bool, delete_data: bool, admin: str | None
) -> None:
    """Close our open tasks and remove our fields."""
    parts = open_for_command()
    with parts.database.read() as connection:
        account = accounts.choose(connection, crm.declaration.name, account_id)
        open_tasks = connection.scalar(
            sa.select(sa.func.count()).where(
                task.c.account_id == account.id, task.c.state.in_(LIVE)
            )
        )
    session = session_of(parts, account, admin=_admin(parts, crm, admin))
    steps = session.plan_uninstall(delete_data=delete_data)
    _show_plan(crm, steps)
    say(f"Open tasks to close: {open_tasks}")
    if dry_run:
        say("Dry run: nothing was changed.")
        return
    with holding_lane(parts, account, session) as (lane, account):
        with lane.write() as connection:
            accounts.save(connection, account.id, paused=True, fields=None)
            for row in connection.execute(
                sa.select(task).where(
                    task.c.account_id == account.id,
                    task.c.state.in_((*LIVE, TaskState.REFUSED)),
                )
            ).all():
                withdraw(connection, row, reason="uninstalled")
        outbox = Outbox(parts.database, account, session, lane, now_ms=clock.now_ms)
        while outbox.work():  # again: what had no answer is found first, and closed then
            pass
        _require_closed(parts, account)
        session.uninstall(steps)
        session.unsubscribe(f"{parts.settings.public_url}{account.path}")
        with lane.write() as connection:
            accounts.save(connection, account.id, facts={}, subscribed_at=None)
    say(f"Uninstalled; account {account.crm_id} is paused.")


def _require_closed(parts: Parts, account: Account) -> None:
    """Raises ``PluginError`` where a task is not closed, or nobody knows whether it is there: the
    fields stay until somebody mended the cause."""
    with parts.database.read() as connection:
        left = connection.execute(
            sa.select(task.c.crm_id, task.c.target_id, task.c.state, task.c.reason).where(
                task.c.account_id == account.id,
                task.c.state.in_((TaskState.REFUSED, TaskState.WITHDRAWING)),
            )
        ).all()
    if left:
        first = left[0]
        which = first.crm_id or f"one of contact {first.target_id}"
        refused = first.state == TaskState.REFUSED
        why = first.reason if refused else "not known yet whether it was made"
        raise PluginError(
            f"{len(left)} tasks could not be closed ({which}: {why}); "
            f"the fields were kept and account {account.crm_id} is paused: try again"
        )


def project_command(name: str) -> click.Command:
    """``<crm>-project DIR``: the files that the CRM's own command line uploads."""

    @click.command(f"{name}-project")
    @click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
    def project(directory: Path) -> None:
        parts = open_for_command()
        _require_address(parts)
        with parts.database.read() as connection:
            mapped = {
                one.rating_property
                for one in accounts.all_accounts(connection, crm=name)
                if one.rating_property
            }
        files = adapter_of(name).project_files(
            public_url=parts.settings.public_url, rating_properties=sorted(mapped)
        )
        try:
            for path, content in files.items():
                target = directory / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(content, "utf-8")
                say(str(target))
        except OSError as error:
            raise ConfigurationError(f"DIRECTORY cannot be written: {error}") from error

    title = manifest().crms[name].title
    project.help = f"Write the files {title}'s own tooling uploads.\n\nThe app and its webhooks."
    return project
