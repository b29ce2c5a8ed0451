"""Subscribe: see to it that the CRM's webhooks reach us, where the plugin itself can."""

from __future__ import annotations

import logging
from collections.abc import Callable
from secrets import token_urlsafe

from plugin.pipeline.lanes import Lane
from plugin.ports import SIGNATURE_ONLY, Session
from plugin.secrets import Vault
from plugin.storage import accounts
from plugin.storage.accounts import Account, put_off_until

log = logging.getLogger(__name__)

DAY = 24 * 3_600_000  # milliseconds
SECRET_BYTES = 32


def subscription_due_at(account: Account, now: int) -> int | None:
    """Once subscribed, webhooks are looked after daily: some CRMs give them up by themselves.
    UTC milliseconds; ``now`` also where what it goes by lies so far ahead that nobody can have
    meant it: then the clock was set back."""
    since = account.subscribed_at
    if since is None:
        return None
    return put_off_until(max(since + DAY, account.subscribe_after or 0), now)


def put_off(account: Account, lane: Lane, *, until: int) -> None:
    """Webhooks that could not be made are tried again then."""
    with lane.write() as connection:
        accounts.save(connection, account.id, subscribe_after=until)


def subscribe(
    account: Account,
    session: Session,
    lane: Lane,
    *,
    vault: Vault,
    public_url: str,
    now_ms: Callable[[], int],
    renew: bool = False,
    strict: bool = False,
) -> None:
    """Make the account's webhooks lead to its address, and keep the secrets that sign them.

    ``renew``: make them anew with new secrets. What the CRM would have told in between is found
    by the next sweep. ``strict``: accept no outdated form of signature from now on.
    """
    target = f"{public_url}{account.path}"
    before = vault.decrypt_all(account.own_secrets)
    kept = (token_urlsafe(SECRET_BYTES),) if renew else before
    strict |= SIGNATURE_ONLY in before
    # Before the CRM is asked: no delivery must come that cannot be told from a forgery, and what
    # fails half way is finished by the worker.
    with lane.write() as connection:
        accounts.save(connection, account.id, own_secrets=vault.encrypt_all(kept), subscribed_at=0)
    if renew:
        session.unsubscribe(target)
    after = session.subscribe(target, kept)
    if strict and SIGNATURE_ONLY not in after:
        after = (SIGNATURE_ONLY, *after)
    values: dict[str, object] = {"subscribed_at": now_ms(), "subscribe_after": None}
    if after != before:
        values["own_secrets"] = vault.encrypt_all(after)
        if account.subscribed_at and not renew and not strict:
            log.warning("webhooks of account %s had to be made anew", account.id)
    with lane.write() as connection:
        accounts.save(connection, account.id, **values)
