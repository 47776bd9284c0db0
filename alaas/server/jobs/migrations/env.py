"""Runs the changes on the connection that it is given. Alembic imports this file by its path."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
