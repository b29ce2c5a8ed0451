"""names that nobody was found for are not searched for again without a reason; other keys;
indexes that no statement passes by"""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from plugin.referral.matching import Person, keys_of_person, keys_of_told
from plugin.referral.names import parse_name

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

AT_ONCE = 1000  # rows in memory

_contact = sa.table(
    "contact",
    *map(sa.column, ("account_id", "crm_id", "first_name", "last_name", "email", "gone_at")),
    sa.column("phones", sa.JSON),
)
_referral = sa.table("referral", *map(sa.column, ("id", "account_id", "text", "outcome")))
_contact_key = sa.table("contact_key", *map(sa.column, ("account_id", "key", "contact_id")))
_referral_key = sa.table("referral_key", *map(sa.column, ("account_id", "key", "referral_id")))


def upgrade() -> None:
    # The parts of a surname (x:, y:, z:) gave way to what is left of it without a letter (t:),
    # which is there where this was undone before.
    for table in (_contact_key, _referral_key):
        parts = [sa.column("key").startswith(f"{one}:") for one in "txyz"]
        op.execute(sa.delete(table).where(sa.or_(*parts)))
    for rows in _portions(sa.select(_contact).where(_contact.c.gone_at.is_(None))):
        _add(_contact_key, [
            {"account_id": row.account_id, "key": key, "contact_id": row.crm_id}
            for row in rows
            for key in _typos(keys_of_person(_person(row)))
        ])  # fmt: skip
    waiting = sa.select(_referral).where(_referral.c.outcome.in_(("ambiguous", "none")))
    for rows in _portions(waiting):
        _add(_referral_key, [
            {"account_id": row.account_id, "key": key, "referral_id": row.id}
            for row in rows
            for key in _typos(keys_of_told(parse_name(row.text)))
        ])  # fmt: skip
    with op.batch_alter_table("contact_deal") as contact_deal:
        contact_deal.drop_index("ix_contact_deal_account_id_deal_id")
        contact_deal.create_index("ix_contact_deal_deal", ["account_id", "deal_id", "contact_id"])
    with op.batch_alter_table("alias") as alias:
        alias.drop_index("ix_alias_new_id")
        alias.create_index("ix_alias_account_id_new_id", ["account_id", "new_id"])
    # Last: it keeps everybody out of the table.
    with op.batch_alter_table("referral") as referral:
        referral.add_column(sa.Column("searched_by", sa.String(length=64), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("referral") as referral:
        referral.drop_column("searched_by")
    with op.batch_alter_table("alias") as alias:
        alias.drop_index("ix_alias_account_id_new_id")
        alias.create_index("ix_alias_new_id", ["new_id"])
    with op.batch_alter_table("contact_deal") as contact_deal:
        contact_deal.drop_index("ix_contact_deal_deal")
        contact_deal.create_index("ix_contact_deal_account_id_deal_id", ["account_id", "deal_id"])


def _portions(query: sa.Select[Any]) -> Iterator[Sequence[sa.Row[Any]]]:
    """Not all rows at once in memory: there may be a million."""
    found = op.get_bind().execute(query, execution_options={"yield_per": AT_ONCE})
    return found.partitions()


def _person(row: sa.Row[Any]) -> Person:
    return Person(
        crm_id=row.crm_id,
        first_name=row.first_name,
        last_name=row.last_name,
        email=row.email,
        phones=tuple(row.phones),
    )


def _typos(keys: frozenset[str]) -> set[str]:
    return {key[:160] for key in keys if key.startswith("t:")}


def _add(table: sa.TableClause, rows: list[dict[str, object]]) -> None:
    if rows:
        op.get_bind().execute(sa.insert(table), rows)
