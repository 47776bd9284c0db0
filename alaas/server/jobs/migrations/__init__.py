"""How the tables came to be what they are: one file a change, applied in order at the start."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

_LOCK = 0x616C616173  # any number, the same for all servers of this kind


class LaterRevision(Exception):
    """The tables were made by a later version."""


def upgrade(connection: Connection) -> None:
    """Bring the tables up to date, within the connection's transaction.

    Raises:
        LaterRevision: This version does not know the change that was made last.
    """
    if connection.dialect.name == "postgresql":  # two servers that start at once take turns
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known:
        raise LaterRevision(current)
    command.upgrade(config, "head")
