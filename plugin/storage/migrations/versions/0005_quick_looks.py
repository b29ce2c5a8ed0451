"""indexes by which work is found at once, on both databases"""

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


def downgrade() -> None:
    op.drop_index("ix_lane_due", "lane")
    op.create_index("ix_lane_due_at", "lane", ["due_at"])
    op.drop_index("ix_delivery_done", "delivery")
    op.drop_index("ix_hint_due", "hint")
    op.create_index("ix_hint_due", "hint", ["account_id", "kind", "parked", "due_at", "record_id"])


def _create_partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(
        name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )
