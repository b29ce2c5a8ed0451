"""Working: the worker, replays, sweeps, the database."""

from __future__ import annotations

import logging
import os
import signal
import sys

import click
import sqlalchemy as sa

from plugin import clock
from plugin.app import Parts, create_worker, require_key
from plugin.cli.command import (
    account_option,
    crm_argument,
    holding_lane,
    moved_to,
    open_for_command,
    session_of,
    words_for,
)
from plugin.cli.printing import say
from plugin.errors import ConfigurationError, CrmError, PluginError
from plugin.pipeline import retention
from plugin.pipeline.lanes import wake, wake_all
from plugin.pipeline.outbox import Outbox
from plugin.pipeline.upkeep import Upkeep
from plugin.ports import Adapter
from plugin.storage import accounts, deliveries, hints
from plugin.storage.accounts import Account
from plugin.storage.deliveries import DeliveryState
from plugin.storage.hints import HintKind
from plugin.storage.tables import alias, contact, contact_deal, delivery, hint, referral, task

log = logging.getLogger(__name__)

delivery_ids = click.IntRange(1, 2**63 - 1)


@click.command()
@click.option("--until-idle", is_flag=True, help="Work off all that is due, then end.")
def worker(until_idle: bool) -> None:
    """Work: digest deliveries, write fields and tasks."""
    parts = open_for_command()
    require_key(parts)
    working = create_worker(parts)

    def stop(_signal: int, _frame: object) -> None:
        working.stop()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    if not working.run(until_idle=until_idle):
        # A call that hangs would keep the process: it ends here, as after a crash.
        log.warning("ended before all that was in hand was done; it is taken up again")
        logging.shutdown()
        os._exit(0)
    if until_idle:
        _tell_what_waits(parts)


def _tell_what_waits(parts: Parts) -> None:
    """Work that is not due, because the CRM has to be waited for."""
    with parts.database.read() as connection:
        for account in accounts.all_accounts(connection):
            if account.waits_until(clock.now_ms()):
                say(
                    f"account {account.crm_id} is waiting, see status: {account.blocked_reason}",
                    err=True,
                )


@click.command()
@click.argument("delivery_id", type=delivery_ids, required=False)
@click.option("--quarantined", is_flag=True, help="Every delivery that could not be read.")
@click.option("--parked", is_flag=True, help="Every record that waits for a person.")
def replay(delivery_id: int | None, quarantined: bool, parked: bool) -> None:
    """Have deliveries, or parked records, worked on again."""
    if (delivery_id is not None) + quarantined + parked != 1:
        raise ConfigurationError("name one of: DELIVERY_ID, --quarantined, --parked")
    parts = open_for_command()
    with parts.database.write() as connection:
        if parked:
            now = clock.now_ms()
            wake_all(connection, at=now)
            n = hints.unpark(connection, None, now=now)
            say(f"{n} parked records are looked at again.")
            return
        n = deliveries.replay(connection, delivery_id)
    if delivery_id is not None and not n:
        raise ConfigurationError(f"DELIVERY_ID {delivery_id}: no such delivery is stored")
    say(f"{n} deliveries are digested again.")


@click.command()
@click.argument("delivery_id", type=delivery_ids, required=False)
@click.option("--quarantined", is_flag=True, help="Every delivery that could not be read.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def discard(delivery_id: int | None, quarantined: bool, yes: bool) -> None:
    """Forget quarantined deliveries for good.

    What could be read in them has been worked on.
    """
    if (delivery_id is not None) + quarantined != 1:
        raise ConfigurationError("name one of: DELIVERY_ID, --quarantined")
    parts = open_for_command()
    with parts.database.read() as connection:
        n, last = _quarantined(connection, delivery_id)
    if not n and delivery_id is not None:
        raise ConfigurationError(f"DELIVERY_ID {delivery_id}: no such delivery is in quarantine")
    if n and not yes:
        _require_consent(f"Forget {n} quarantined deliveries for good?")
    gone = 0
    while more := _discard(parts, first=delivery_id or 1, last=last):
        gone += more
    say(f"{gone} deliveries are forgotten.")


def _quarantined(connection: sa.Connection, delivery_id: int | None) -> tuple[int, int]:
    """How many there are, with this id or at all, and the last one's id: what comes while
    somebody is asked was not asked about."""
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.max(delivery.c.id), 0)).where(
        delivery.c.state == DeliveryState.QUARANTINED
    )
    if delivery_id is not None:
        query = query.where(delivery.c.id == delivery_id)
    n, last = connection.execute(query).one()
    return n, last


def _require_consent(question: str) -> None:
    """Raises ``Abort`` where the answer is no, ``ConfigurationError`` where nobody can be asked."""
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{question} Nobody can be asked here: say --yes")
    click.confirm(question, abort=True, err=True)


def _discard(parts: Parts, *, first: int, last: int) -> int:
    with parts.database.write() as connection:
        return deliveries.discard(connection, first=first, last=last, limit=retention.BATCH)


@click.command()
@crm_argument
@account_option
def sweep(crm: Adapter, account_id: str | None) -> None:
    """Find modified records that webhooks missed.

    Also tasks that were changed, and contacts that vanished."""
    parts = open_for_command()
    with parts.database.read() as connection:
        account = accounts.choose(connection, crm.declaration.name, account_id)
    session = session_of(parts, account)
    with holding_lane(parts, account, session) as (lane, account):
        upkeep = Upkeep(
            parts.database, account, session, lane,
            batch_size=crm.declaration.batch_size, now_ms=clock.now_ms,
        )  # fmt: skip
        outbox = Outbox(parts.database, account, session, lane, now_ms=clock.now_ms)
        upkeep.read_users()
        state, found = upkeep.sweep(None)
        while state:
            state, more = upkeep.sweep(state)
            found += more
        changed = upkeep.read_tasks(outbox)
        last, vanished = upkeep.check_ids(None)
        while last:
            last, more = upkeep.check_ids(last)
            vanished += more
    say(
        f"{found} modified records and {vanished} vanished contacts are looked at again; "
        f"{changed} contacts have tasks that changed."
    )


@click.command()
@crm_argument
@click.argument("contact_id")
@account_option
@click.option("--already-deleted", is_flag=True, help="Do not ask the CRM whether it is gone.")
def erase(crm: Adapter, contact_id: str, account_id: str | None, already_deleted: bool) -> None:
    """Privacy deletion: have every trace of a person removed.

    Here, and from our fields and tasks. For CRMs that do not tell such a deletion by themselves.
    The contact has to be deleted in the CRM first: what is still there would be learned anew.
    """
    parts = open_for_command()
    with parts.database.read() as connection:
        account = accounts.choose(connection, crm.declaration.name, account_id)
        words = words_for(account, accounts.all_accounts(connection))
        moved = moved_to(connection, account, contact_id)
        present = moved or contact_id
        if not _is_known(connection, account, present):
            # What was erased is never learned again: this may become somebody's id some day.
            raise ConfigurationError(
                f"CONTACT_ID {contact_id}: nothing is known of such a contact here, so there is "
                "nothing to erase"
            )
    if moved:
        say(f"{contact_id} was merged into {moved}.")
    if not already_deleted:
        _require_gone(parts, crm, account, present)
    with parts.database.write() as connection:
        wake(connection, [account.id], at=clock.now_ms())
        hints.mark(connection, account.id, HintKind.ERASE, [present], due_at=clock.now_ms())
    say(f"The worker erases contact {present} of account {account.crm_id}.")
    if account.paused:
        say(f"The account is paused: it happens after `python -m plugin resume {words}`.")


def _is_known(connection: sa.Connection, account: Account, contact_id: str) -> bool:
    """Whether anything here is about this contact."""
    columns = (
        (contact, (contact.c.crm_id,)),
        (alias, (alias.c.new_id,)),
        (referral, (referral.c.referred_id, referral.c.referrer_id)),
        (task, (task.c.subject_id, task.c.target_id)),
        (contact_deal, (contact_deal.c.contact_id,)),
    )
    queries = [
        sa.select(sa.literal(1)).where(
            table.c.account_id == account.id, sa.or_(*(one == contact_id for one in ids))
        )
        for table, ids in columns
    ]
    queries.append(
        sa.select(sa.literal(1)).where(
            hint.c.account_id == account.id,
            hint.c.kind.in_((HintKind.CONTACT, HintKind.ERASE)),
            hint.c.record_id == contact_id,
        )
    )
    return connection.execute(sa.union_all(*queries).limit(1)).first() is not None


def _require_gone(parts: Parts, crm: Adapter, account: Account, contact_id: str) -> None:
    """Raises ``ConfigurationError`` where the CRM still has the contact, and ``PluginError`` where
    it does not say."""
    try:
        there = session_of(parts, account).existing([contact_id])
    except CrmError as error:
        raise PluginError(
            f"{error}\nIf the contact is deleted there: --already-deleted does not ask the CRM."
        ) from error
    if there:
        raise ConfigurationError(
            f"CONTACT_ID {contact_id} is still in {crm.declaration.title}: delete it there first"
        )


@click.group()
def db() -> None:
    """The database."""


@db.command()
def upgrade() -> None:
    """Bring the database schema up to date."""
    parts = open_for_command(migrate=False)
    parts.database.upgrade()
    say("The database schema is up to date.")
