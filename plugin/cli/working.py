"""Working: the worker, replays, sweeps, the database."""

from __future__ import annotations

import signal

import click

from plugin import clock
from plugin.app import Parts, create_worker
from plugin.cli.command import (
    account_option,
    crm_argument,
    holding_lane,
    open_for_command,
    session_of,
)
from plugin.errors import ConfigurationError
from plugin.pipeline.outbox import Outbox
from plugin.pipeline.upkeep import Upkeep
from plugin.ports import Adapter
from plugin.storage import accounts, deliveries, hints
from plugin.storage.hints import HintKind


@click.command()
@click.option("--until-idle", is_flag=True, help="Work off all that is due, then end.")
def worker(until_idle: bool) -> None:
    """Work: digest deliveries, write fields and tasks."""
    parts = open_for_command()
    working = create_worker(parts)

    def stop(_signal: int, _frame: object) -> None:
        working.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    working.run(until_idle=until_idle)
    if until_idle:
        _tell_what_waits(parts)


def _tell_what_waits(parts: Parts) -> None:
    """Work that is not due, because the CRM has to be waited for."""
    with parts.database.read() as connection:
        for account in accounts.all_accounts(connection):
            if (account.blocked_until or 0) > clock.now_ms():
                click.echo(
                    f"account {account.crm_id} is waiting, see status: {account.blocked_reason}",
                    err=True,
                )


@click.command()
@click.argument("delivery_id", type=click.IntRange(1, 2**63 - 1), required=False)
@click.option("--quarantined", is_flag=True, help="Every delivery that could not be read.")
@click.option("--parked", is_flag=True, help="Every record that waits for a person.")
def replay(delivery_id: int | None, quarantined: bool, parked: bool) -> None:
    """Have stored deliveries, or parked records, worked on again."""
    if (delivery_id is not None) + quarantined + parked != 1:
        raise ConfigurationError("name one of: DELIVERY_ID, --quarantined, --parked")
    parts = open_for_command()
    with parts.database.write() as connection:
        if parked:
            n = hints.unpark(connection, None, now=clock.now_ms())
            click.echo(f"{n} parked records are looked at again.")
            return
        n = deliveries.replay(connection, delivery_id)
    if delivery_id is not None and not n:
        raise ConfigurationError(f"DELIVERY_ID {delivery_id}: no such delivery is stored")
    click.echo(f"{n} deliveries are digested again.")


@click.command()
@crm_argument
@account_option
def sweep(crm: Adapter, account_id: str | None) -> None:
    """Find what webhooks missed: modified records, tasks, vanished contacts."""
    parts = open_for_command()
    with parts.database.read() as connection:
        account = accounts.choose(connection, crm.declaration.name, account_id)
    session = session_of(parts, account)
    with holding_lane(parts, account) as lane:
        upkeep = Upkeep(
            parts.database, account, session, lane,
            batch_size=crm.declaration.batch_size, now_ms=clock.now_ms,
        )  # fmt: skip
        outbox = Outbox(parts.database, account, session, lane, now_ms=clock.now_ms)
        upkeep.read_users()
        found = upkeep.sweep()
        changed = upkeep.read_tasks(outbox)
        vanished = upkeep.check_ids()
    click.echo(
        f"{found} modified records and {vanished} vanished contacts are looked at again; "
        f"{changed} contacts have tasks that changed."
    )


@click.command()
@crm_argument
@click.argument("contact_id")
@account_option
def erase(crm: Adapter, contact_id: str, account_id: str | None) -> None:
    """Privacy deletion: have every trace of a person removed, here and from our fields and tasks.

    For CRMs that do not tell such a deletion by themselves. The contact has to be deleted in the
    CRM first: what is still there would be learned anew.
    """
    parts = open_for_command()
    with parts.database.read() as connection:
        account = accounts.choose(connection, crm.declaration.name, account_id)
    if session_of(parts, account).existing([contact_id]):
        raise ConfigurationError(
            f"CONTACT_ID {contact_id} is still in {crm.declaration.title}: delete it there first"
        )
    with parts.database.write() as connection:
        hints.mark(connection, account.id, HintKind.ERASE, [contact_id], due_at=clock.now_ms())
    click.echo(f"The worker erases contact {contact_id} of account {account.crm_id}.")


@click.group()
def db() -> None:
    """The database."""


@db.command()
def upgrade() -> None:
    """Bring the database schema up to date."""
    parts = open_for_command(migrate=False)
    parts.database.upgrade()
    click.echo("The database schema is up to date.")
