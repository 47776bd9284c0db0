"""Local files: how they are addressed, and reading them below the folders that are allowed."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import unquote_to_bytes

from alaas.core.sources import Known
from alaas.data.problem import ItemError

# A colon may stand in a file's name, so a scheme is what `//` follows, or one of a few.
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://|(https?|file|data|s3|gs):", re.IGNORECASE)
_FILE_URI = re.compile(r"file:(?://(?P<host>[^/?#]*))?(?P<path>/(?!/)[^?#]*)", re.IGNORECASE)
_SETTLED_S = 2.0
_OUTSIDE = "the path does not lie below a folder that may be read"
_IRREGULAR = "the path is not a regular file"


def scheme_of(uri: str) -> str:
    """The scheme of an address in lower case, or an empty string for a plain path.

    Example:
        >>> scheme_of("HTTPS://example.com/a.png"), scheme_of("photos/12:30.png")
        ('https', '')
    """
    match = _SCHEME.match(uri)
    return (match[1] or match[2]).lower() if match else ""


def path_of(uri: str) -> str:
    """The path that a ``file:`` address or a plain path names.

    Args:
        uri: ``file:///a/b%20c.png``, ``file://localhost/...``, or a path as it is.

    Raises:
        ItemError: ``uri_invalid`` for a host, a query, a fragment or a NUL character.
    """
    path = uri
    if uri[:5].lower() == "file:":
        match = _FILE_URI.fullmatch(uri)
        if match is None or (match["host"] or "localhost").lower() != "localhost":
            raise ItemError("uri_invalid", "a file address must look like file:///folder/name")
        path = os.fsdecode(unquote_to_bytes(match["path"]))
    if not path or "\0" in path:
        raise ItemError("uri_invalid", "the path is empty or has a NUL character in it")
    return path


class Reader:
    """Looks at and reads regular files below `roots`, those of one folder at little cost.

    Links and ``..`` are followed as long as they stay below `roots`. Blocks; never hangs on
    a pipe or a device. A folder that was opened once stays open until the reader is closed,
    so a reader is for one batch of files and one thread.

    Args:
        roots: Folders without links in their own paths, as `resolve_roots` gives them.

    Example:
        >>> with Reader(resolve_roots([Path("alaas")])) as reader:
        ...     stat.S_ISREG(reader.look("alaas/__init__.py").st_mode)
        True
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = roots
        self._folders: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._folders:
            os.close(self._folders.popitem()[1])

    def look(self, path: str) -> os.stat_result:
        """What the file system says of a file, without opening it.

        Args:
            path: Absolute, or relative to the working directory of this process.

        Raises:
            ItemError: As for `read`.
        """
        with _explained():
            return self._find(path)[2]

    def read(self, path: str, *, max_bytes: int) -> tuple[bytes, os.stat_result]:
        """A file's content, and what it was when the reading began.

        Args:
            path: Absolute, or relative to the working directory of this process.
            max_bytes: Largest file, in bytes.

        Raises:
            ItemError: ``uri_blocked`` outside of the roots (whether or not there is a file)
                and for anything but a regular file; ``not_found``; ``object_too_large``;
                ``fetch_failed``.
        """
        with _explained():
            # Opening a device can have effects, so it was looked at before.
            folder, name, _ = self._find(path)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=folder)
            try:
                return _content(descriptor, max_bytes)
            finally:
                os.close(descriptor)

    def _find(self, path: str) -> tuple[int, str, os.stat_result]:
        """The folder that a file lies in, open; its name there; and what it is."""
        above, name = os.path.split(path)
        folder = None if name in ("", ".", "..") else self._folder(above)
        if folder is not None:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                return folder, name, found
        above, name = os.path.split(os.path.realpath(path))
        folder = self._folder(above)
        if folder is None:
            raise ItemError("uri_blocked", _OUTSIDE)
        found = os.stat(name or ".", dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
            raise ItemError("uri_blocked", _IRREGULAR)
        return folder, name, found

    def _folder(self, path: str) -> int | None:
        """A folder, open, or None where it does not lie below a root."""
        if path not in self._folders:
            real = Path(os.path.realpath(path))
            root = next((root for root in self._roots if real.is_relative_to(root)), None)
            if root is None:
                return None
            self._folders[path] = _opened_below(root, real.relative_to(root).parts)
        return self._folders[path]


def record(digest: str, found: os.stat_result, *, noted_at: float) -> Known | None:
    """What to note of a file, or None where a later change to it might not show.

    A file system tells the time of a change in steps, so of a file that was changed just
    before it was read nobody can say later whether it was changed just after as well.

    Args:
        digest: The name of the file's content.
        found: What the file was when the reading began.
        noted_at: When that was, in seconds since 1970.
    """
    if noted_at - found.st_mtime < _SETTLED_S:
        return None
    return Known(
        digest=digest,
        noted_at=noted_at,
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
        inode=found.st_ino,
        device=found.st_dev,
    )


def resolve_roots(roots: Sequence[Path]) -> tuple[Path, ...]:
    """The folders with every link in their own paths followed."""
    return tuple(Path(os.path.realpath(root.expanduser())) for root in roots)


@contextmanager
def _explained() -> Iterator[None]:
    """Says as an `ItemError` what the system refuses inside."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise ItemError("not_found", "there is no such file") from None
    except OSError as error:
        # A link took the place of a part of the path after it was resolved.
        if error.errno == errno.ELOOP:
            raise ItemError("uri_blocked", _OUTSIDE) from None
        raise ItemError("fetch_failed", f"the file could not be read: {error.strerror}") from None


def _opened_below(root: Path, parts: tuple[str, ...]) -> int:
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in parts:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            below = os.open(part, flags, dir_fd=folder)
        finally:
            os.close(folder)
        folder = below
    return folder


def _content(descriptor: int, max_bytes: int) -> tuple[bytes, os.stat_result]:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise ItemError("uri_blocked", _IRREGULAR)
    if found.st_size > max_bytes:
        raise ItemError("object_too_large", f"the file has more than {max_bytes} bytes")
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        data = file.read(found.st_size + 1)
    if len(data) > found.st_size:
        raise ItemError("fetch_failed", "the file grew while it was read")
    if len(data) < found.st_size:
        raise ItemError("fetch_failed", "the file shrank while it was read")
    return data, found
