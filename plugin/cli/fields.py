"""What the plugin adds to a CRM: installing, removing, the app project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from plugin import clock
from plugin.app import Parts
from plugin.cli.command import (
    account_option,
    crm_argument,
    holding_lane,
    look_again,
    open_for_command,
    session_of,
)
from plugin.errors import ConfigurationError, PluginError
from plugin.manifest import manifest
from plugin.pipeline.outbox import Outbox
from plugin.ports import Adapter, PlanAction, PlanStep
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
    PlanAction.FOREIGN: "left alone",
}


def _show_plan(steps: Sequence[PlanStep]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("what", "plan", "why"):
        table.add_column(column, overflow="fold")
    for step in steps:
        table.add_row(step.what, _WORDS[step.action], step.why)
    Console(soft_wrap=False).print(table)


@click.command()
@crm_argument
@account_option
@click.option("--dry-run", is_flag=True, help="Show the plan, change nothing.")
def install(crm: Adapter, account_id: str | None, dry_run: bool) -> None:
    """Make the CRM's fields match manifest.json; never touches what is not ours."""
    parts = open_for_command()
    with parts.database.read() as connection:
        account = accounts.choose(connection, crm.declaration.name, account_id)
    session = session_of(parts, account)
    steps = session.plan_install()
    _show_plan(steps)
    if dry_run:
        click.echo("Dry run: nothing was changed.")
        return
    with holding_lane(parts, account) as lane:
        facts = dict(session.install(steps))
        fields = session.installed_fields()
        with lane.write() as connection:
            accounts.save(
                connection, account.id, facts=facts, fields=sorted(fields),
                blocked_until=None, blocked_reason=None, failures=0,
            )  # fmt: skip
            look_again(connection, account)
    if account.paused:
        click.echo(f"The account is paused: python -m plugin resume {crm.declaration.name}")
    click.echo(f"Installed: {len(fields)} of {len(manifest().fields)} fields are there.")


@click.command()
@crm_argument
@account_option
@click.option("--dry-run", is_flag=True, help="Show the plan, change nothing.")
@click.option("--delete-data", is_flag=True, help="Remove fields that people filled, too.")
def uninstall(crm: Adapter, account_id: str | None, dry_run: bool, delete_data: bool) -> None:
    """Close our open tasks and remove our fields."""
    parts = open_for_command()
    with parts.database.read() as connection:
        account = accounts.choose(connection, crm.declaration.name, account_id)
        open_tasks = connection.scalar(
            sa.select(sa.func.count()).where(
                task.c.account_id == account.id, task.c.state.in_(LIVE)
            )
        )
    session = session_of(parts, account)
    steps = session.plan_uninstall(delete_data=delete_data)
    _show_plan(steps)
    click.echo(f"Open tasks to close: {open_tasks}")
    if dry_run:
        click.echo("Dry run: nothing was changed.")
        return
    with holding_lane(parts, account) as lane:
        with lane.write() as connection:
            accounts.save(connection, account.id, paused=True, fields=None)
            for state, goal in (
                (TaskState.INTENDED, TaskState.WITHDRAWN),
                (TaskState.SENDING, TaskState.WITHDRAWING),
                (TaskState.OPEN, TaskState.WITHDRAWING),
                (TaskState.REOPENING, TaskState.WITHDRAWING),
                (TaskState.REFUSED, TaskState.WITHDRAWING),
            ):
                connection.execute(
                    sa.update(task)
                    .where(task.c.account_id == account.id, task.c.state == state)
                    .values(state=goal, reason="uninstalled")
                )
        Outbox(parts.database, account, session, lane, now_ms=clock.now_ms).work()
        _require_closed(parts, account)
        session.uninstall(steps)
        with lane.write() as connection:
            accounts.save(connection, account.id, facts={})
    click.echo(f"Uninstalled; account {account.crm_id} is paused.")


def _require_closed(parts: Parts, account: Account) -> None:
    """Raises ``PluginError`` where the CRM did not let us close a task: the fields stay until
    somebody mended the cause."""
    with parts.database.read() as connection:
        left = connection.execute(
            sa.select(task.c.crm_id, task.c.reason).where(
                task.c.account_id == account.id,
                task.c.state.in_((TaskState.REFUSED, TaskState.WITHDRAWING, TaskState.SENDING)),
                task.c.crm_id.is_not(None),
            )
        ).all()
    if left:
        raise PluginError(
            f"{len(left)} tasks could not be closed ({left[0].crm_id}: {left[0].reason}); "
            f"the fields were kept and account {account.crm_id} is paused: try again"
        )


def project_command(name: str) -> click.Command:
    """``<crm>-project DIR``: the files that the CRM's own command line uploads."""

    @click.command(f"{name}-project")
    @click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
    def project(directory: Path) -> None:
        parts = open_for_command()
        if not parts.settings.public_url:
            raise ConfigurationError("PUBLIC_URL is missing: the webhooks need an address")
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
                click.echo(str(target))
        except OSError as error:
            raise ConfigurationError(f"DIRECTORY cannot be written: {error}") from error

    title = manifest().crms[name].title
    project.help = f"Write the app project (app and webhooks) that {title}'s own tooling uploads."
    return project
