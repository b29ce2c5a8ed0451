"""``python -m plugin …``: what an admin does with the plugin.

Exit codes: 0 done · 1 the CRM or the database would not · 2 a setting or option is wrong.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from plugin import clock
from plugin.app import Parts, create_worker, open_parts, start_logging
from plugin.errors import ConfigurationError, PluginError
from plugin.manifest import manifest
from plugin.pipeline.lanes import Lane, Lanes, account_lane
from plugin.pipeline.outbox import Outbox
from plugin.pipeline.upkeep import Upkeep
from plugin.pipeline.worker import link_of
from plugin.policy import load_policy
from plugin.ports import AccountLink, Adapter, PlanAction, PlanStep, Session
from plugin.registry import adapter as adapter_of
from plugin.registry import adapters
from plugin.settings import load_settings
from plugin.storage import accounts, deliveries, hints, tasks
from plugin.storage.accounts import Account, instant
from plugin.storage.hints import HintKind
from plugin.storage.tables import account as account_table
from plugin.storage.tables import alias, contact, counter, delivery, hint, referral, task
from plugin.storage.tasks import LIVE, TaskState

LANE_PATIENCE = 60.0  # seconds a command waits for a lane that a worker holds
RATING_KINDS = ("nps", "csat")

account_option = click.option(
    "--account", "account_id", metavar="ID", help="Which account, where several are connected."
)


def main() -> None:
    """Run a command; every fault is one clear sentence and an exit code."""
    try:
        _group()(prog_name="python -m plugin", standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except ConfigurationError as error:
        _fail(str(error), 2)
    except PluginError as error:
        _fail(str(error), 1)
    except sa.exc.OperationalError as error:
        _fail(f"DATABASE_URL: {error.orig}", 1)


def _fail(message: str, code: int) -> None:
    click.echo(message, err=True)
    sys.exit(code)


def _group() -> click.Group:
    """The commands; those that are about one CRM take its name, so that a new CRM needs none."""
    group = click.Group("plugin", help="Referral spiral: a referral plugin for your CRM.")
    for command in (
        worker, connect, configure, pause, resume, install, uninstall, status, explain, replay,
        sweep, db,
    ):  # fmt: skip
        group.add_command(command)
    for name in adapters():
        group.add_command(_project_command(name))
    return group


def _parts(*, migrate: bool = True) -> Parts:
    settings = load_settings()
    start_logging(settings.log_level)
    return open_parts(settings, migrate=migrate)


def _session(parts: Parts, account: Account) -> Session:
    return adapter_of(account.crm).connect(link_of(parts.settings, parts.vault, account))


@contextmanager
def _holding(parts: Parts, account: Account) -> Iterator[Lane]:
    """The account's lane, waited for: commands and workers never write at the same time."""
    lanes = Lanes(parts.database, clock.now_ms)
    try:
        started = clock.now_ms()
        while (lane := lanes.take(account_lane(account.id))) is None:
            if clock.now_ms() - started > LANE_PATIENCE * 1000:
                raise PluginError(
                    f"account {account.crm_id} is busy; try again, or stop the worker first"
                )
            signal.sigtimedwait([], 0.1)
        try:
            yield lane
        finally:
            lanes.release(lane)
    finally:
        lanes.close()


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


# --------------------------------------------------------------------------------- worker


@click.command()
@click.option("--until-idle", is_flag=True, help="Work off all that is due, then end.")
def worker(until_idle: bool) -> None:
    """Work: digest deliveries, write fields and tasks."""
    parts = _parts()
    working = create_worker(parts)

    def stop(_signal: int, _frame: object) -> None:
        working.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    working.run(until_idle=until_idle)


# --------------------------------------------------------------------- connect, configure


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
        if rating_from and (not name or kind not in RATING_KINDS):
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


def _token(crm: Adapter, default: str) -> str:
    """The token from the environment, else from standard input; a terminal is asked."""
    declared = crm.declaration
    token = default
    if not token and sys.stdin.isatty():
        token = click.prompt(f"Access token of {declared.title}", hide_input=True, err=True).strip()
    elif not token:
        try:
            token = sys.stdin.readline().strip()
        except UnicodeDecodeError:
            raise ConfigurationError("the token on standard input is no plain text") from None
    if not token:
        raise ConfigurationError(
            f"no token: set {declared.token_setting}, or pipe it in: "
            f"`python -m plugin connect {declared.name} < token.txt`"
        )
    return token


@click.command()
@crm_argument
@click.option("--app-id", metavar="N", help="This account has an app of its own: its id.")
@_settings_options
def connect(crm: Adapter, app_id: str | None, **options: Any) -> None:
    """Connect an account. The token is read from standard input or the environment.

    With --app-id the client secret set in the environment right now is kept for this account
    alone, which then has an address of its own.
    """
    parts = _parts()
    values = _account_values(**options)
    own = parts.settings.crm(crm.declaration.name)
    if app_id and not own.secrets:
        raise ConfigurationError(
            f"--app-id needs the client secret of that app in {crm.declaration.secret_setting}"
        )
    token = _token(crm, own.token)
    session = crm.connect(
        AccountLink(crm_id="", base_url=own.base_url, token=token, app_id=app_id or own.app_id)
    )
    found = session.account()
    with parts.database.write() as connection:
        before = accounts.find(connection, crm.declaration.name, found.crm_id)
        _check_owner(session, values)
        zone = accounts.zone_of(found.time_zone)
        values |= {
            "crm": crm.declaration.name,
            "crm_id": found.crm_id,
            "name": found.name,
            "token": parts.vault.encrypt(token),
            "app_id": app_id or "",
            "own_secrets": parts.vault.encrypt(",".join(own.secrets)) if app_id else None,
            "time_zone": zone.key,
            "record_url": found.record_url,
            "blocked_until": None,
            "blocked_reason": None,
            "failures": 0,
            **({"currency": found.currency} if found.currency else {}),
        }
        if before:
            accounts.save(connection, before.id, **values)
        else:
            connection.execute(
                sa.insert(account_table).values(**values, connected_at=clock.now_ms())
            )
    click.echo(
        f"{'Reconnected' if before else 'Connected'} {crm.declaration.title} account "
        f"{found.crm_id}."
    )
    path = f"/webhooks/{crm.declaration.name}" + (f"/{found.crm_id}" if app_id else "")
    click.echo(f"Webhooks go to {parts.settings.public_url or 'PUBLIC_URL'}{path}")
    if before is None or before.fields is None:
        click.echo(f"Next: python -m plugin install {crm.declaration.name}")


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
    parts = _parts()
    values = _account_values(**options)
    if not values:
        raise ConfigurationError("nothing to change: name at least one option (see --help)")
    with parts.database.read() as connection:
        account = accounts.choose(connection, crm.declaration.name, account_id)
    _check_owner(_session(parts, account), values)
    with parts.database.write() as connection:
        accounts.save(connection, account.id, **values)
        again = _look_again(connection, account, history="rating_property" in values)
    click.echo(f"Configured account {account.crm_id}; {again} contacts are looked at again.")


def _look_again(connection: sa.Connection, account: Account, *, history: bool = False) -> int:
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


def _set_paused(crm: Adapter, account_id: str | None, paused: bool) -> Account:
    parts = _parts()
    with parts.database.write() as connection:
        account = accounts.choose(connection, crm.declaration.name, account_id)
        values: dict[str, Any] = {"paused": paused}
        if not paused:
            values |= {"blocked_until": None, "blocked_reason": None, "failures": 0}
        accounts.save(connection, account.id, **values)
    return account


@click.command()
@crm_argument
@account_option
def pause(crm: Adapter, account_id: str | None) -> None:
    """Stop working for an account; its deliveries are kept."""
    account = _set_paused(crm, account_id, True)
    click.echo(f"Paused account {account.crm_id}. Deliveries are kept until `resume`.")


@click.command()
@crm_argument
@account_option
def resume(crm: Adapter, account_id: str | None) -> None:
    """Go on working for an account, at once even where it was waiting."""
    account = _set_paused(crm, account_id, False)
    click.echo(f"Resumed account {account.crm_id}.")


# --------------------------------------------------------------------- install, uninstall

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
    parts = _parts()
    with parts.database.read() as connection:
        account = accounts.choose(connection, crm.declaration.name, account_id)
    session = _session(parts, account)
    steps = session.plan_install()
    _show_plan(steps)
    if dry_run:
        click.echo("Dry run: nothing was changed.")
        return
    with _holding(parts, account) as lane:
        facts = dict(session.install(steps))
        fields = session.installed_fields()
        with lane.write() as connection:
            accounts.save(
                connection, account.id, facts=facts, fields=sorted(fields),
                blocked_until=None, blocked_reason=None, failures=0,
            )  # fmt: skip
            _look_again(connection, account)
    click.echo(f"Installed: {len(fields)} of {len(manifest().fields)} fields are there.")


@click.command()
@crm_argument
@account_option
@click.option("--dry-run", is_flag=True, help="Show the plan, change nothing.")
@click.option("--delete-data", is_flag=True, help="Remove fields that people filled, too.")
def uninstall(crm: Adapter, account_id: str | None, dry_run: bool, delete_data: bool) -> None:
    """Close our open tasks and remove our fields."""
    parts = _parts()
    with parts.database.read() as connection:
        account = accounts.choose(connection, crm.declaration.name, account_id)
        open_tasks = connection.scalar(
            sa.select(sa.func.count()).where(
                task.c.account_id == account.id, task.c.state.in_(LIVE)
            )
        )
    session = _session(parts, account)
    steps = session.plan_uninstall(delete_data=delete_data)
    _show_plan(steps)
    click.echo(f"Open tasks to close: {open_tasks}")
    if dry_run:
        click.echo("Dry run: nothing was changed.")
        return
    with _holding(parts, account) as lane:
        with lane.write() as connection:
            accounts.save(connection, account.id, paused=True, fields=None)
            for state, goal in (
                (TaskState.INTENDED, TaskState.WITHDRAWN),
                (TaskState.SENDING, TaskState.WITHDRAWING),
                (TaskState.OPEN, TaskState.WITHDRAWING),
                (TaskState.REOPENING, TaskState.WITHDRAWING),
            ):
                connection.execute(
                    sa.update(task)
                    .where(task.c.account_id == account.id, task.c.state == state)
                    .values(state=goal, reason="uninstalled")
                )
        Outbox(parts.database, account, session, lane, now_ms=clock.now_ms).work()
        session.uninstall(steps)
        with lane.write() as connection:
            accounts.save(connection, account.id, facts={})
    click.echo(f"Uninstalled; account {account.crm_id} is paused.")


# ------------------------------------------------------------------------ status, explain


def _when(milliseconds: int | None, account: Account | None = None) -> str:
    if milliseconds is None:
        return "–"
    zone = account.zone if account else UTC
    return instant(milliseconds).astimezone(zone).strftime("%Y-%m-%d %H:%M")


@click.command()
def status() -> None:
    """What is connected, what waits, and what needs a person."""
    parts = _parts()
    console = Console(soft_wrap=True, highlight=False)
    with parts.database.read() as connection:
        every = accounts.all_accounts(connection)
        if not every:
            console.print("No account is connected. Begin with `python -m plugin connect --help`.")
        for account in every:
            _account_status(console, connection, account)
        _delivery_status(console, connection)


def _account_state(account: Account) -> str:
    now = clock.now_ms()
    if account.paused:
        return "paused"
    if (account.blocked_until or 0) > now:
        return f"waiting until {_when(account.blocked_until, account)}: {account.blocked_reason}"
    if account.fields is None and not account.observing:
        return f"not installed yet: run `python -m plugin install {account.crm}`"
    return "observing, nothing is written" if account.observing else "working"


def _account_status(console: Console, connection: sa.Connection, account: Account) -> None:
    mine = account.id

    def number(query: Any) -> int:
        return connection.scalar(query) or 0

    count = sa.func.count()
    console.print(f"[bold]{account.crm} {account.crm_id}[/] {account.name}", markup=True)
    console.print(f"  state       {_account_state(account)}", markup=False)
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
            f"`python -m plugin configure {account.crm} --fallback-owner ID`"
        )
    console.print(f"  last sweep  {_when(account.swept_at, account)}")
    for row in connection.execute(
        sa.select(hint.c.kind, hint.c.record_id, hint.c.parked)
        .where(hint.c.account_id == mine, hint.c.parked.is_not(None))
        .limit(20)
    ):
        console.print(f"  parked      {row.kind} {row.record_id}: {row.parked}", markup=False)
    for row in connection.execute(
        sa.select(task.c.kind, task.c.target_id, task.c.reason)
        .where(task.c.account_id == mine, task.c.state == TaskState.REFUSED)
        .limit(20)
    ):
        console.print(
            f"  refused     task {row.kind} on {row.target_id}: {row.reason}", markup=False
        )


def _delivery_status(console: Console, connection: sa.Connection) -> None:
    by_state = connection.execute(
        sa.select(delivery.c.state, sa.func.count())
        .group_by(delivery.c.state)
        .order_by(delivery.c.state)
    )
    shown = ", ".join(f"{n} {state}" for state, n in by_state) or "none yet"
    console.print(f"[bold]deliveries[/] {shown}", markup=True)
    for row in connection.execute(
        sa.select(delivery.c.id, delivery.c.reason)
        .where(delivery.c.state == deliveries.DeliveryState.QUARANTINED)
        .order_by(delivery.c.id.desc())
        .limit(20)
    ):
        console.print(f"  quarantined {row.id}: {row.reason}", markup=False)
    for row in connection.execute(sa.select(counter).order_by(counter.c.name, counter.c.subject)):
        words = {
            "refused": "refused (bad signature)",
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
    """Why a contact stands where it stands, and which tasks follow."""
    parts = _parts()
    with parts.database.read() as connection:
        account = accounts.choose(connection, crm.declaration.name, account_id)
        moved = connection.scalar(
            sa.select(alias.c.new_id).where(
                alias.c.account_id == account.id, alias.c.old_id == contact_id
            )
        )
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
    if row is None:
        raise ConfigurationError(f"CONTACT_ID {contact_id}: no such contact is known here")
    if moved:
        click.echo(f"{contact_id} was merged into {moved}.")
    _show_contact(account, row, parked, own, links)


def _show_contact(
    account: Account, row: Any, parked: str | None, own: Sequence[Any], links: Sequence[Any]
) -> None:
    name = f"{row.first_name} {row.last_name}".strip() or row.email
    click.echo(f"{name or '(no name)'} · {row.crm_id}")
    if row.gone_at is not None:
        click.echo(f"Not in the CRM any more since {_when(row.gone_at, account)}.")
    if parked:
        click.echo(f"Parked: {parked}")
    if row.decision is None:
        click.echo("Not decided about yet: nothing has been heard of this contact.")
    else:
        click.echo(f"\n{row.decision['explanation']}\n")
    for link in links:
        click.echo(f"Referrer told: {link.text!r} → {link.outcome} {link.referrer_id or ''}")
    labels = manifest().task_labels
    for one in own:
        label = labels[one.kind][account.language]
        click.echo(
            f"Task {label}: {one.state}, due {one.due_on}, on {one.target_id}, "
            f"because {one.cause}" + (f" ({one.reason})" if one.reason else "")
        )
    if account.observing and row.decision:
        for planned in row.decision["tasks"]:
            click.echo(f"Would make: {planned['subject']} (on {planned['on']})")


# -------------------------------------------------------------------------- replay, sweep


@click.command()
@click.argument("delivery_id", type=int, required=False)
@click.option("--quarantined", is_flag=True, help="Every delivery that could not be read.")
@click.option("--parked", is_flag=True, help="Every record that waits for a person.")
def replay(delivery_id: int | None, quarantined: bool, parked: bool) -> None:
    """Have stored deliveries, or parked records, worked on again."""
    if (delivery_id is not None) + quarantined + parked != 1:
        raise ConfigurationError("name one of: DELIVERY_ID, --quarantined, --parked")
    parts = _parts()
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
    parts = _parts()
    with parts.database.read() as connection:
        account = accounts.choose(connection, crm.declaration.name, account_id)
    session = _session(parts, account)
    with _holding(parts, account) as lane:
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


# ----------------------------------------------------------------------- project, database


def _project_command(name: str) -> click.Command:
    """``<crm>-project DIR``: the files that the CRM's own command line uploads."""

    @click.command(f"{name}-project")
    @click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
    def project(directory: Path) -> None:
        parts = _parts()
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


@click.group()
def db() -> None:
    """The database."""


@db.command()
def upgrade() -> None:
    """Bring the database schema up to date."""
    parts = _parts(migrate=False)
    parts.database.upgrade()
    click.echo("The database schema is up to date.")
