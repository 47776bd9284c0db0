"""Converted models, kept in the user's cache folder from one start to the next.

Only a conversion that was checked against the network itself is used, kept or not.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_cache_path

MOST = 8
"""Conversions that are kept; beyond, the one that was not used for longest goes."""

log = logging.getLogger(__name__)


def root() -> Path:
    """The folder that they are kept in."""
    return user_cache_path("alaas") / "converted"


def find(key: str) -> Path | None:
    """The folder of a conversion, where it is there."""
    folder = root() / key
    try:
        os.utime(folder)
    except OSError:
        return folder if folder.is_dir() else None  # one that cannot be written serves as well
    return folder


def save(key: str, write: Callable[[Path], object]) -> None:
    """Keep a conversion; a disk that is full or cannot be written to is no fault.

    Args:
        key: Its name.
        write: Writes its files into a folder.
    """
    scratch = None
    try:
        root().mkdir(parents=True, exist_ok=True)
        scratch = tempfile.mkdtemp(dir=root(), prefix=".")
        write(Path(scratch))
        os.rename(scratch, root() / key)  # in one step: nobody sees half of it
        _trim()
    except (OSError, RuntimeError) as error:
        log.info("the converted model is not kept: %s", error)
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def forget(key: str) -> None:
    """Remove a conversion that is of no use."""
    shutil.rmtree(root() / key, ignore_errors=True)


def _trim() -> None:
    folders = [folder for folder in root().iterdir() if not folder.name.startswith(".")]
    folders.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in folders[MOST:]:
        shutil.rmtree(folder, ignore_errors=True)
