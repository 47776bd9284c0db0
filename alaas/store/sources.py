"""What addresses were when they were read: a table in SQLite that several processes share."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from itertools import islice
from operator import attrgetter
from pathlib import Path

from alaas.core.sources import Known

log = logging.getLogger(__name__)

_VERSION = 1
_COLUMNS = tuple(field.name for field in fields(Known))
_TABLE = f"""
CREATE TABLE IF NOT EXISTS sources (
    address BLOB PRIMARY KEY, used INTEGER NOT NULL, {", ".join(_COLUMNS)}
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counted (rows INTEGER NOT NULL);
INSERT INTO counted SELECT 0 WHERE NOT EXISTS (SELECT * FROM counted);
CREATE TRIGGER IF NOT EXISTS more AFTER INSERT ON sources
    BEGIN UPDATE counted SET rows = rows + 1; END;
CREATE TRIGGER IF NOT EXISTS fewer AFTER DELETE ON sources
    BEGIN UPDATE counted SET rows = rows - 1; END;
PRAGMA user_version = {_VERSION};
"""  # noqa: S608
_LOOKUP = f"SELECT address, used, {', '.join(_COLUMNS)} FROM sources WHERE address IN ({{}})"  # noqa: S608
_NOTE = (
    f"INSERT INTO sources VALUES ({', '.join('?' * (len(_COLUMNS) + 2))}) "  # noqa: S608
    "ON CONFLICT (address) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in ("used", *_COLUMNS))
)
_USE = "UPDATE sources SET used = ? WHERE address = ?"
_EVICT = "DELETE FROM sources WHERE address IN (SELECT address FROM sources ORDER BY used LIMIT ?)"
_values = attrgetter(*_COLUMNS)
_AT_ONCE = 500
_BUSY_S = 5.0
_COARSE_S = 3600
_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class SourceIndex:
    """Keeps the records of addresses; what it cannot keep or read it does not know.

    Nothing raises: where the file is broken it is moved away and begun anew, and where it
    cannot be used at all (a full disk, no permission, a newer version) the log says so once.
    Addresses themselves are not written down, since they may carry a secret. Every method
    may be called from any thread.

    Args:
        path: The file; it and its folder are made if they are not there.
        max_rows: Addresses at most, > 0. When there are more, they are brought down to nine
            tenths of that: those go that were used least recently, to the hour.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     index = SourceIndex(Path(folder) / "sources.sqlite")
        ...     index.note({"a.png": Known(digest="d", noted_at=0.0)})
        ...     found = index.lookup(["a.png", "b.png"])
        ...     index.close()
        >>> {address: known.digest for address, known in found.items()}
        {'a.png': 'd'}
    """

    def __init__(self, path: Path, max_rows: int = 5_000_000) -> None:
        self._path, self._max_rows = path, max_rows
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._complained = False

    def lookup(self, addresses: Sequence[str]) -> dict[str, Known]:
        """The records of those addresses that have one."""
        keys = {_key(address): address for address in addresses}
        found: dict[str, Known] = {}

        used_at: dict[bytes, int] = {}

        def read(connection: sqlite3.Connection) -> None:
            for part in _parts(keys, _AT_ONCE):
                query = _LOOKUP.format(", ".join("?" * len(part)))
                for key, used, *values in connection.execute(query, part):
                    found[keys[key]] = Known(*values)
                    used_at[key] = used

        if not self._attempt(read):
            return {}
        now = int(time.time())
        stale = [(now, key) for key, used in used_at.items() if now - used > _COARSE_S]
        if stale:
            self._attempt(lambda connection: connection.executemany(_USE, stale))
        return found

    def note(self, known: Mapping[str, Known]) -> None:
        """Keep records, in the place of older ones."""
        now = int(time.time())
        rows = [(_key(address), now, *_values(one)) for address, one in known.items()]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(_NOTE, rows)
            (count,) = connection.execute("SELECT rows FROM counted").fetchone()
            if count > self._max_rows:
                connection.execute(_EVICT, (count - self._max_rows + self._max_rows // 10,))

        if rows:
            self._attempt(write)

    def close(self) -> None:
        """Close the file. The index can be used again; it is opened then."""
        with self._lock:
            self._shut()

    def _attempt(self, work: Callable[[sqlite3.Connection], object]) -> bool:
        """Do some work as one transaction; whether it could be done."""
        with self._lock:
            for is_last in (False, True):
                try:
                    connection = self._opened()
                    with connection:
                        work(connection)
                except (sqlite3.Error, OSError) as error:
                    if not is_last and _is_broken(error):
                        self._move_away(error)
                        continue
                    self._complain(error)
                    return False
                return True
        return False

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=_BUSY_S, check_same_thread=False)
            self._connection = connection
            self._inode = self._path.stat().st_ino
            connection.execute("PRAGMA journal_mode = WAL")
            # What a power cut takes is computed again; the file itself stays whole.
            connection.execute("PRAGMA synchronous = NORMAL")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                self._shut()
                raise sqlite3.NotSupportedError(f"the file is of a later version, {version}")
            if version < _VERSION:
                connection.executescript(_TABLE)
        return self._connection

    def _shut(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _move_away(self, error: Exception) -> None:
        broken, self._inode = self._inode, 0
        self._shut()
        with suppress(OSError):
            # Another process may have put a new file there already.
            if self._path.stat().st_ino == broken:
                for suffix in ("-wal", "-shm"):  # first, so that they never meet a new file
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
                aside = self._path.with_name(f"{self._path.name}.broken-{time.time_ns()}")
                self._path.rename(aside)
                log.warning("the index of addresses was broken (%s); moved to %s", error, aside)

    def _complain(self, error: Exception) -> None:
        self._shut()
        if not self._complained:
            self._complained = True
            log.warning("the index of addresses %s cannot be used: %s", self._path, error)


def _key(address: str) -> bytes:
    """What stands for an address: those of one folder lie together in the table."""
    folder = address.rpartition("/")[0]
    return _hashed(folder, 8) + _hashed(address, 16)


def _hashed(text: str, size: int) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()


def _is_broken(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN


def _parts(keys: Mapping[bytes, str], most: int) -> Iterator[list[bytes]]:
    rest = iter(keys)
    return iter(lambda: list(islice(rest, most)), [])
