"""Alembic's entry: runs the revisions on the connection, and in the transaction, that runner.py has opened."""

from alembic import context

from cargohold.db.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
