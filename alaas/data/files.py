"""Local files: how they are addressed, and reading them below the folders that are allowed."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote_to_bytes

from alaas.data.problem import ItemError

# A colon may stand in a file's name, so a scheme is what `//` follows, or one of a few.
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://|(https?|file|data|s3|gs):", re.IGNORECASE)
_FILE_URI = re.compile(r"file:(?://(?P<host>[^/?#]*))?(?P<path>/(?!/)[^?#]*)", re.IGNORECASE)
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


def read(path: str, *, roots: Sequence[Path], max_bytes: int) -> bytes:
    """Read one regular file. Blocks; never hangs on a pipe or a device.

    Links and ``..`` are followed as long as they stay below `roots`.

    Args:
        path: Absolute, or relative to the working directory of this process.
        roots: Folders without links in their own paths, as `resolve_roots` gives them.
        max_bytes: Largest file, in bytes.

    Raises:
        ItemError: ``uri_blocked`` outside of `roots` (whether or not there is a file) and
            for anything but a regular file; ``not_found``; ``object_too_large``;
            ``fetch_failed``.
    """
    target = Path(os.path.realpath(path))
    root = next((root for root in roots if target.is_relative_to(root)), None)
    if root is None:
        raise ItemError("uri_blocked", _OUTSIDE)
    try:
        with _opened_below(root, target.relative_to(root).parts) as descriptor:
            return _content(descriptor, max_bytes)
    except (FileNotFoundError, NotADirectoryError):
        raise ItemError("not_found", "there is no such file") from None
    except OSError as error:
        # A link took the place of a part of the path after it was resolved.
        if error.errno == errno.ELOOP:
            raise ItemError("uri_blocked", _OUTSIDE) from None
        raise ItemError("fetch_failed", f"the file could not be read: {error.strerror}") from None


def resolve_roots(roots: Sequence[Path]) -> tuple[Path, ...]:
    """The folders with every link in their own paths followed."""
    return tuple(Path(os.path.realpath(root.expanduser())) for root in roots)


@contextmanager
def _opened_below(root: Path, parts: tuple[str, ...]) -> Iterator[int]:
    if not parts:
        raise ItemError("uri_blocked", _IRREGULAR)
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            below = os.open(part, flags, dir_fd=folder)
            os.close(folder)
            folder = below
        # Opening a device can have effects, so look before.
        if not stat.S_ISREG(os.stat(parts[-1], dir_fd=folder, follow_symlinks=False).st_mode):
            raise ItemError("uri_blocked", _IRREGULAR)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(parts[-1], flags, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _content(descriptor: int, max_bytes: int) -> bytes:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise ItemError("uri_blocked", _IRREGULAR)
    if found.st_size > max_bytes:
        raise ItemError("object_too_large", f"the file has more than {max_bytes} bytes")
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        data = file.read(found.st_size + 1)
    if len(data) > found.st_size:
        raise ItemError("fetch_failed", "the file grew while it was read")
    return data
