"""What every test must know: where the product keeps things is not the user's own folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest

FOLDER = tempfile.mkdtemp(prefix="alaas-tests-")
# Before anything is imported, so that the servers that tests start inherit it.
os.environ["XDG_DATA_HOME"] = os.path.join(FOLDER, "data")
os.environ["XDG_CACHE_HOME"] = os.path.join(FOLDER, "cache")


@pytest.fixture(scope="session", autouse=True)
def _kept_apart() -> Iterator[None]:
    yield
    shutil.rmtree(FOLDER, ignore_errors=True)
