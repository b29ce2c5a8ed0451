"""What is kept of keys that were rotated out: without it, contacts erased under them would come
back with a late delivery."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from plugin.storage.tables import retired_key


def retired_keys(connection: sa.Connection) -> list[str]:
    """The tokens that ``Vault.retired_keys`` made."""
    return list(connection.execute(sa.select(retired_key.c.token)).scalars())


def replace_retired_keys(connection: sa.Connection, tokens: Iterable[str]) -> None:
    connection.execute(sa.delete(retired_key))
    for token in tokens:
        connection.execute(sa.insert(retired_key).values(token=token))
