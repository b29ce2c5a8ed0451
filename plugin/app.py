"""The one place where the parts are joined."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import NoReturn

import sqlalchemy as sa
from flask import Flask, request

from plugin import clock
from plugin.errors import ConfigurationError, DatabaseUnavailable
from plugin.pipeline.receive import Receiver
from plugin.pipeline.worker import Worker
from plugin.plain import LogFormatter
from plugin.registry import adapters
from plugin.secrets import Vault
from plugin.settings import Settings, load_settings
from plugin.storage import accounts
from plugin.storage.database import Database, said
from plugin.storage.inbox import Inbox
from plugin.storage.keys import retired_keys
from plugin.web.health import health
from plugin.web.webhooks import webhooks

AGAIN_IN = 1.0  # seconds
APP_LOAD_ERROR = 4  # gunicorn stops on this exit code instead of starting workers again and again


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What web, worker and commands have in common."""

    settings: Settings
    database: Database
    vault: Vault


def open_parts(settings: Settings, *, migrate: bool = True, retired: bool = True) -> Parts:
    """Connect to the database; ``migrate`` makes sure that its schema fits. ``retired``: contacts
    that were erased under former keys are to be known."""
    former: list[str] = []
    with ExitStack() as stack:
        database = stack.enter_context(closing(Database(settings.database_url)))
        if migrate:
            database.require_current()
        if migrate and retired:
            with database.read() as connection:
                former = retired_keys(connection)
        vault = Vault(settings.secret_keys, retired=former)
        stack.pop_all()  # all is well: it stays open
    return Parts(settings=settings, database=database, vault=vault)


def open_to_serve(settings: Settings) -> Parts:
    """Raises ``ConfigurationError`` where webhooks could not be taken."""
    with ExitStack() as stack:
        parts = open_parts(settings)
        stack.callback(parts.database.close)
        with parts.database.read() as connection:
            own = accounts.any_endpoint(connection)
        settings.require_serving(own_addresses=own)
        require_key(parts)
        stack.pop_all()  # all is well: it stays open
    return parts


def require_key(parts: Parts) -> None:
    """Raises ``ConfigurationError`` where SECRET_KEY fits none of the accounts: it is mistyped, or
    another installation's. One that fits some is good for these."""
    unread = 0
    with parts.database.read() as connection, closing(accounts.tokens(connection)) as tokens:
        for token in tokens:
            if parts.vault.reads(token):
                return
            unread += 1
    if unread:
        raise ConfigurationError(
            f"SECRET_KEY fits none of {unread} connected accounts: put the key back that was "
            "there before. If it is lost for good, connect them again"
        )


class _Application(Flask):
    """Flask would log the path of a request that failed, and addresses of accounts are secrets."""

    def log_exception(
        self,
        exc_info: tuple[type, BaseException, TracebackType] | tuple[None, None, None],
    ) -> None:
        kind = exc_info[0]
        self.logger.error("%s in %s", kind.__name__ if kind else "a fault", request.endpoint)


def create_app(settings: Settings) -> Flask:
    """The web application. Raises ``ConfigurationError`` where a setting is missing."""
    parts = open_to_serve(settings)
    inbox = Inbox(parts.database, clock.now_ms)
    receiver = Receiver(
        settings,
        adapters(),
        parts.database,
        inbox,
        parts.vault,
        now_ms=clock.now_ms,
        utc_now=clock.utc_now,
    )
    app = _Application("plugin", static_folder=None)
    app.url_map.merge_slashes = False  # or "//" would be answered by a redirect
    app.register_blueprint(webhooks(receiver))
    app.register_blueprint(health(inbox))
    app.extensions["to_close"] = (inbox, parts.database)
    return app


def close_app(app: Flask) -> None:
    """End what ``create_app`` began, where the process goes on without it."""
    for part in app.extensions["to_close"]:
        part.close()


def create_worker(parts: Parts, *, utc_now: Callable[[], datetime] = clock.utc_now) -> Worker:
    """A worker; ``utc_now`` is what the referral model calls today."""
    return Worker(
        parts.settings,
        adapters(),
        parts.database,
        parts.vault,
        now_ms=clock.now_ms,
        utc_now=utc_now,
    )


def start_logging(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormatter())
    logging.basicConfig(level=level, handlers=[handler])
    # At INFO it would say at every start which kind of database this is.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def check() -> None:
    """For gunicorn, before its workers: whatever would keep them from starting stops it here."""
    with _no_start():
        settings = load_settings()
        start_logging(settings.log_level)
        open_to_serve(settings).database.close()


def serve() -> Flask:
    """For gunicorn: the application from the environment; a fault stops gunicorn as a whole."""
    with _no_start():
        settings = load_settings()
        start_logging(settings.log_level)
        return create_app(settings)


@contextmanager
def _no_start() -> Iterator[None]:
    try:
        yield
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(APP_LOAD_ERROR) from None
    except DatabaseUnavailable as error:
        _try_again(str(error))
    except sa.exc.OperationalError as error:  # it went while it was read
        _try_again(f"DATABASE_URL: {said(error)}")


def _try_again(why: str) -> NoReturn:
    sys.stderr.write(f"{why}\n")
    time.sleep(AGAIN_IN)  # whoever starts us again does so at once
    raise SystemExit(1) from None
