"""Databases for the tests: files of SQLite, and a PostgreSQL of this machine's own binaries."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL

UNPRIVILEGED = "nobody"
"""Who runs PostgreSQL where the tests run as root, which it refuses."""


def binaries() -> Path | None:
    """The folder with PostgreSQL's programs, or None where it is not installed."""
    for found in (
        shutil.which("initdb"),
        *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")),
    ):
        if found is not None:
            return Path(found).resolve().parent
    return None


class Postgres:
    """A running PostgreSQL, asked over a socket in its own folder.

    Args:
        folder: That folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def url(self, database: str) -> URL:
        """Where a database is."""
        return URL.create(
            "postgresql+psycopg", "tests", database=database, query={"host": str(self._folder)}
        )

    def make(self) -> URL:
        """A new and empty database."""
        name = f"jobs_{uuid.uuid4().hex}"
        engine = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self.url(name)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL; nothing is left of it."""
    programs = binaries()
    assert programs is not None
    # Not below the folders of pytest, which nobody else may enter.
    folder = Path(tempfile.mkdtemp(prefix="alaas-postgres-"))
    owner = {}
    if os.geteuid() == 0:
        account = pwd.getpwnam(UNPRIVILEGED)
        os.chown(folder, account.pw_uid, account.pw_gid)
        owner = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    data = folder / "data"
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "tests", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True, capture_output=True, cwd=folder, **owner,
    )  # fmt: skip
    options = ["-k", folder, "-c", "listen_addresses=", "-F"]
    with subprocess.Popen(
        [programs / "postgres", "-D", data, *options], stderr=subprocess.PIPE, text=True,
        cwd=folder, **owner,
    ) as server:  # fmt: skip
        try:
            assert server.stderr is not None
            said = ""
            while "ready to accept connections" not in said:
                said = server.stderr.readline()
                assert said, "PostgreSQL ended"
            yield Postgres(folder)
        finally:
            server.send_signal(signal.SIGQUIT)
            server.communicate()
            shutil.rmtree(folder)
