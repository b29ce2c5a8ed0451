"""What the commands share: opening the parts, naming a CRM and an account, holding a lane."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import click
import sqlalchemy as sa

from plugin import clock
from plugin.app import Parts, open_parts, start_logging
from plugin.errors import ConfigurationError, PluginError
from plugin.pipeline.lanes import Lane, Lanes, account_lane
from plugin.pipeline.upkeep import keep_allowance
from plugin.pipeline.worker import link_of
from plugin.ports import Adapter, Session, Webhooks
from plugin.registry import adapter as adapter_of
from plugin.registry import adapters
from plugin.settings import load_settings
from plugin.storage import accounts, aliases, hints
from plugin.storage.accounts import Account
from plugin.storage.hints import HintKind
from plugin.storage.tables import contact

LANE_PATIENCE = 60.0  # seconds a command waits for a lane that a worker holds

account_option = click.option(
    "--account", "account_id", metavar="ID", help="Which account, where several are connected."
)


def open_for_command(*, migrate: bool = True, retired: bool = True) -> Parts:
    """The parts from the environment; see ``open_parts``. Raises ``ConfigurationError``."""
    settings = load_settings()
    start_logging(settings.log_level)
    return open_parts(settings, migrate=migrate, retired=retired)


def session_of(parts: Parts, account: Account, *, admin: str = "") -> Session:
    """Talk to an account's CRM. ``admin``: see ``AccountLink``."""
    link = link_of(parts.settings, parts.vault, account)
    return adapter_of(account.crm).connect(replace(link, admin=admin))


def shown_address(parts: Parts, account: Account) -> str:
    """Where an account's webhooks arrive. An address of its own is a secret: it is printed in full
    only where somebody has to type it in."""
    by_itself = adapter_of(account.crm).declaration.webhooks is Webhooks.API
    path = f"/webhooks/{account.crm}/…" if by_itself else account.path
    return f"{parts.settings.public_url or 'PUBLIC_URL'}{path}"


def typed_secret(what: str, default: str, setting: str) -> str:
    """A secret from the environment, else from standard input; a terminal is asked.

    Raises ``ConfigurationError`` where there is none.
    """
    secret = default
    if not secret and sys.stdin.isatty():
        secret = click.prompt(what, hide_input=True, err=True).strip()
    elif not secret:
        try:
            secret = sys.stdin.readline().strip()
        except UnicodeDecodeError:
            raise ConfigurationError(f"{what}: standard input is no plain text") from None
    if not secret:
        how = f"set {setting}, or " if setting else ""
        raise ConfigurationError(f"{what} is missing: {how}pipe it in: `… < secret.txt`")
    return secret


@contextmanager
def holding_lane(
    parts: Parts, account: Account, session: Session
) -> Iterator[tuple[Lane, Account]]:
    """The account's lane, waited for, and the account as it is by then: commands and workers
    never write at the same time. What ``session`` spends of a day's budget is kept."""
    lanes = Lanes(parts.database)
    try:
        started = clock.now_ms()
        while (lane := lanes.take(account_lane(account.id))) is None:
            if clock.now_ms() - started > LANE_PATIENCE * 1000:
                raise PluginError(
                    f"account {account.crm_id} is busy; try again, or stop the worker first"
                )
            time.sleep(0.1)
        try:
            with parts.database.read() as connection:
                present = accounts.choose(connection, account.crm, account.crm_id)
            session.follow(present.allowance, guard=lane.check)
            try:
                yield lane, present
            finally:
                keep_allowance(present, session, lane)
        finally:
            lanes.release(lane, due_at=lambda *_: clock.now_ms())  # a worker looks what is next
    finally:
        lanes.close()


def words_for(account: Account, every: Sequence[Account]) -> str:
    """How a command names an account: ``CRM``, and ``--account ID`` where there are several."""
    several = sum(one.crm == account.crm for one in every) > 1
    return f"{account.crm} --account {account.crm_id}" if several else account.crm


def moved_to(connection: sa.Connection, account: Account, contact_id: str) -> str | None:
    """The contact that a merged-away id means now; None where it was not merged."""
    return aliases.present_ids(connection, account.id, [contact_id]).get(contact_id)


class _Crm(click.ParamType[Adapter]):
    name = "crm"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002
        return "|".join(adapters())

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> Adapter:
        if value not in adapters():
            self.fail(f"{value!r} is not one of: {', '.join(adapters())}", param, ctx)
        return adapter_of(value)


crm_argument = click.argument("crm", type=_Crm())


def look_again(connection: sa.Connection, account: Account, *, history: bool = False) -> int:
    """Have every contact that was decided about decided again."""
    ids = list(
        connection.execute(
            sa.select(contact.c.crm_id).where(
                contact.c.account_id == account.id,
                contact.c.seen_at.is_not(None),
                contact.c.gone_at.is_(None),
            )
        ).scalars()
    )
    for start in range(0, len(ids), 1000):
        hints.mark(
            connection, account.id, HintKind.CONTACT, ids[start : start + 1000],
            due_at=clock.now_ms(), history=history,
        )  # fmt: skip
    return len(ids)
