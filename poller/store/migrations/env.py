"""Alembic's entry point; the connection, and with it the transaction, comes from the caller."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
