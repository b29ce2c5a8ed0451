"""Alembic's entry: the connection is handed over by ``plugin.storage.database``."""

from alembic import context

from plugin.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transaction_per_migration=False,
)
context.run_migrations()
