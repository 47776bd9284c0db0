"""What several unit tests share: a database in each of the two kinds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import Postgres, binaries, postgres
from sqlalchemy.engine import URL

from alaas.server.jobs.database import prepare


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL."""
    with postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    """A database of jobs that is up to date and empty."""
    if request.param == "sqlite":
        made = URL.create("sqlite", database=str(tmp_path / "jobs.sqlite"))
    elif binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    else:
        made = request.getfixturevalue("postgres_server").make()
    prepare(made)
    return made
