"""indexes by which work is found at once, on both databases; two columns that nobody read"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_hint_due", "hint")
    _create_partial("ix_hint_due", "hint", ["account_id", "kind", "due_at", "record_id"],
                    "parked IS NULL")  # fmt: skip
    _create_partial("ix_delivery_done", "delivery", ["id"], "state = 'done'")
    op.drop_index("ix_lane_due_at", "lane")
    op.create_index("ix_lane_due", "lane", ["due_at", "account_id"])
    # Last: it keeps everybody out of the table.
    with op.batch_alter_table("referral") as referral:
        referral.drop_column("score")
        referral.drop_column("reasons")


def downgrade() -> None:
    with op.batch_alter_table("referral") as referral:
        referral.add_column(sa.Column("score", sa.Float(), nullable=False, server_default="0"))
        referral.add_column(sa.Column(
            "reasons", sa.JSON(none_as_null=True), nullable=False, server_default="[]"
        ))  # fmt: skip
    op.drop_index("ix_lane_due", "lane")
    op.create_index("ix_lane_due_at", "lane", ["due_at"])
    op.drop_index("ix_delivery_done", "delivery")
    op.drop_index("ix_hint_due", "hint")
    op.create_index("ix_hint_due", "hint", ["account_id", "kind", "parked", "due_at", "record_id"])


def _create_partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(
        name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )
