"""``python -m plugin …``: what an admin does with the plugin.

Exit codes: 0 done · 1 the CRM or the database would not · 2 a setting or option is wrong.
"""

from __future__ import annotations

import sys

import click
import sqlalchemy as sa

from plugin.cli.accounts import configure, connect, pause, resume, secret
from plugin.cli.fields import install, project_command, subscribe, uninstall
from plugin.cli.keys import keys
from plugin.cli.printing import say
from plugin.cli.seeing import explain, status
from plugin.cli.working import db, discard, erase, replay, sweep, worker
from plugin.errors import ConfigurationError, PluginError
from plugin.ports import Webhooks
from plugin.registry import adapters
from plugin.storage.database import said


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
    except sa.exc.IntegrityError:
        _fail("somebody else did the same at the same time: nothing was changed, try again", 1)
    except sa.exc.OperationalError as error:
        _fail(f"DATABASE_URL: {said(error)}", 1)


def _fail(message: str, code: int) -> None:
    say(message, err=True)
    sys.exit(code)


def _group() -> click.Group:
    """The commands; those that are about one CRM take its name, so that a new CRM needs none."""
    group = click.Group("plugin", help="Referral spiral: a referral plugin for your CRM.")
    for command in (
        worker, connect, configure, secret, pause, resume, install, subscribe, uninstall, status,
        explain, replay, discard, sweep, erase, keys, db,
    ):  # fmt: skip
        group.add_command(command)
    for name, crm in adapters().items():
        if crm.declaration.webhooks is Webhooks.PROJECT:
            group.add_command(project_command(name))
    return group
