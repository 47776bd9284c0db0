"""The folder by which the processes of a server tell each other what is going on."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "alaas-"

LOCK = "lock"

NEW_S = 60.0
"""Seconds for which a folder without a lock may still be getting one."""


@contextmanager
def folder() -> Iterator[Path]:
    """A folder of this server's own, which nobody else may read, and which goes with it.

    Those of servers that were killed are cleared away: their processes, which have all
    inherited a lock, are gone.
    """
    _sweep(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        path = Path(name)
        with (path / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield path


def _sweep(parent: Path) -> None:
    for path in parent.glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError), path.open("r+") as lock:
            if path.parent.stat().st_uid == os.getuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - path.stat().st_mtime > NEW_S:
                    shutil.rmtree(path.parent)
