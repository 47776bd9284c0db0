"""One writer of a folder, held by the system as long as the process lives."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class FolderLock:
    """The right to write a folder.

    Args:
        folder: The folder; it is made when the lock is first asked for.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._file: int | None = None
        self.refused = ""

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None

    def take(self) -> bool:
        """Take the lock if nobody has it; where that fails, `refused` says why."""
        if self._file is not None:
            return True
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as cause:
            self.refused = f"it cannot be written ({cause.strerror})"
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as cause:
            os.close(file)
            taken = isinstance(cause, BlockingIOError)
            self.refused = "another process writes it" if taken else f"no lock ({cause.strerror})"
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Let another process write."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
