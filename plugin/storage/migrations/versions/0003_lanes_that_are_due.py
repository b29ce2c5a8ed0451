"""lanes that know when they are due; fairness between senders"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    identity = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    with op.batch_alter_table("lane") as lane:
        lane.add_column(sa.Column("account_id", identity, nullable=True))
        lane.add_column(sa.Column("due_at", sa.BigInteger(), nullable=True))
        lane.create_index("ix_lane_due_at", ["due_at"])
    op.execute(
        "UPDATE lane SET due_at = 0, account_id = (SELECT id FROM account "
        "WHERE lane.name = 'account:' || CAST(account.id AS VARCHAR(20)))"
    )
    op.execute(
        "INSERT INTO lane (name, account_id, token, holder, until, due_at) "
        "SELECT 'account:' || CAST(id AS VARCHAR(20)), id, 0, '', 0, 0 FROM account "
        "WHERE id NOT IN (SELECT account_id FROM lane WHERE account_id IS NOT NULL)"
    )
    with op.batch_alter_table("hint") as hint:
        hint.drop_index("ix_hint_account_id_due_at")
        hint.create_index("ix_hint_due", ["account_id", "kind", "parked", "due_at", "record_id"])
    with op.batch_alter_table("delivery") as delivery:
        delivery.add_column(
            sa.Column("sender", sa.String(length=128), nullable=False, server_default="")
        )
        delivery.drop_index("ix_delivery_state_id")
        delivery.drop_index("ix_delivery_received_at")
        delivery.create_index("ix_delivery_state_sender_id", ["state", "sender", "id"])
    op.create_table(
        "retired_key",
        sa.Column("id", identity, nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retired_key")),
    )


def downgrade() -> None:
    op.drop_table("retired_key")
    with op.batch_alter_table("delivery") as delivery:
        delivery.drop_index("ix_delivery_state_sender_id")
        delivery.create_index("ix_delivery_received_at", ["received_at"])
        delivery.create_index("ix_delivery_state_id", ["state", "id"])
        delivery.drop_column("sender")
    with op.batch_alter_table("hint") as hint:
        hint.drop_index("ix_hint_due")
        hint.create_index("ix_hint_account_id_due_at", ["account_id", "parked", "due_at"])
    with op.batch_alter_table("lane") as lane:
        lane.drop_index("ix_lane_due_at")
        lane.drop_column("due_at")
        lane.drop_column("account_id")
