"""Alembic runs this file for each command. It uses the connection, and the transaction, that the caller opened."""

from alembic import context

from bento_service.database.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
