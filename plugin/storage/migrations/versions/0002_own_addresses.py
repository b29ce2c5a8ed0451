"""addresses, base URLs and budgets of single accounts; long work in portions"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("account") as account:
        account.add_column(sa.Column("base_url", sa.Text(), nullable=True))
        account.add_column(sa.Column("endpoint", sa.String(length=64), nullable=True))
        account.add_column(sa.Column("subscribed_at", sa.BigInteger(), nullable=True))
        account.add_column(sa.Column("subscribe_after", sa.BigInteger(), nullable=True))
        account.add_column(sa.Column("allowance", sa.JSON(none_as_null=True), nullable=True))
        account.add_column(sa.Column("ids_cursor", sa.String(length=64), nullable=True))
        account.add_column(sa.Column("sweep", sa.JSON(none_as_null=True), nullable=True))
        account.create_unique_constraint(op.f("uq_account_crm_endpoint"), ["crm", "endpoint"])
    with op.batch_alter_table("hint") as hint:
        hint.add_column(sa.Column("heard_at", sa.BigInteger(), nullable=True))
    op.execute("UPDATE account SET endpoint = crm_id WHERE own_secrets IS NOT NULL")
    with op.batch_alter_table("delivery") as delivery:
        delivery.add_column(
            sa.Column("topic", sa.String(length=64), nullable=False, server_default="")
        )


def downgrade() -> None:
    with op.batch_alter_table("delivery") as delivery:
        delivery.drop_column("topic")
    with op.batch_alter_table("hint") as hint:
        hint.drop_column("heard_at")
    with op.batch_alter_table("account") as account:
        account.drop_constraint(op.f("uq_account_crm_endpoint"), type_="unique")
        for column in (
            "sweep",
            "ids_cursor",
            "allowance",
            "subscribe_after",
            "subscribed_at",
            "endpoint",
            "base_url",
        ):
            account.drop_column(column)
