"""The feature store: what a model once computed of an item, by the item's content.

Rows are kept by (space, view, digest): one table for each view of each space. Everything
in it can be computed again, so that nothing here ever fails a query: what cannot be read
is not there, what does not match its checksum is not there, and what cannot be written is
not kept. The log says so, each thing once.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alaas.core.digest import SIZE
from alaas.store.eviction import Size, surplus
from alaas.store.lock import FolderLock
from alaas.store.tables import Database, Unreadable
from alaas.store.views import ViewTable, stored_bytes

log = logging.getLogger(__name__)

_FORMAT = "v1"
"""First part of a table's name: a later format has another, and leaves these tables alone."""

_WAIT_S = 2.0
_WHOLE_MODEL = "0" * (2 * SIZE)
"""The key of what a model has one of."""

_NAMES = {"space": r"[A-Za-z0-9_.]{1,64}", "view": r"[A-Za-z0-9_.-]{1,64}"}


class FeatureStore:
    """Arrays by space, view and digest, in a folder or an object store.

    One process writes a local folder; a second one reads it, keeps nothing, and becomes the
    writer when the first has gone. An object store may have several writers. All methods
    may be called from several threads.

    Args:
        url: A folder, or an address that LanceDB takes: ``s3://``, ``gs://``, ``memory://``.
        max_bytes: Bytes of rows beyond which the longest unused go; None for no limit.
    """

    def __init__(self, url: str, *, max_bytes: int | None = None) -> None:
        self._database = Database(url, "features")
        self._max_bytes = max_bytes
        self._folder = FolderLock(self._database.folder) if self._database.folder else None
        self._guard = threading.Lock()
        self._trimming = threading.Lock()
        self._tables: dict[str, ViewTable] = {}
        self._unopened: dict[str, Size] | None = None
        self._timer: threading.Timer | None = None
        self._is_closed = False
        self._said: set[str] = set()
        self._counting = threading.Lock()
        self._damaged = 0
        if not self.writable and self._folder:
            self._report(f"{self._database.url} is only read: {self._folder.refused}")

    @property
    def writable(self) -> bool:
        """Whether this process keeps what is put."""
        if self._is_closed or self._folder is None:
            return not self._is_closed
        if self._folder.held:
            return True
        taken = self._folder.take()
        with self._guard:
            tables = list(self._tables.values()) if taken else []
        for table in tables:  # another process may have written them until now
            table.reload()
        return taken

    @property
    def bytes(self) -> int:
        """Bytes of all rows, without what files have of their own."""
        return sum(size.nbytes for size in self._sizes())

    def has(self, space: str, view: str, digests: Sequence[str]) -> NDArray[np.bool_]:
        """Which items have a row of this view, (N,)."""
        return self._table(space, view).has(_keys(digests))

    def get(
        self, space: str, view: str, digests: Sequence[str]
    ) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        """The rows that there are, as they were put.

        Args:
            space: The space they were computed in.
            view: Name of the view.
            digests: (N,) the content of the items, as `alaas.core.digest` names it.

        Returns:
            (N,) whether each item has a row, and the rows of those that have, in the order
            asked: (found.sum(), ...). An unknown view has none, of shape (0,).
        """
        return self._table(space, view).get(_keys(digests))

    def put(self, space: str, view: str, digests: Sequence[str], rows: NDArray[Any]) -> None:
        """Keep a row for each item that has none yet.

        It can be got at once, and is on disk after two seconds, after `flush`, or as soon
        as 2,000 rows or 8 MiB wait.

        Args:
            space: The space they were computed in.
            view: Name of the view.
            digests: (N,) the content of the items.
            rows: (N, ...) float32, float16, float64 or int64.

        Raises:
            ValueError: There is not one row an item, or rows of this view and space have
                another shape or type.
        """
        if len(digests) != len(rows):
            raise ValueError(f"{len(digests)} digests came with {len(rows)} rows of {view!r}")
        keys = _keys(digests)
        if not keys or not self.writable:
            return
        table = self._table(space, view)
        table.put(keys, rows)
        if table.is_full:
            table.flush()
            self._trim()
        else:
            self._flush_soon()

    def get_one(self, space: str, name: str) -> NDArray[Any] | None:
        """What a model has one of, such as its head, or None."""
        found, rows = self.get(space, name, [_WHOLE_MODEL])
        return rows[0] if found[0] else None

    def put_one(self, space: str, name: str, array: NDArray[Any]) -> None:
        """Keep what a model has one of; `name` is not that of a view of items."""
        self.put(space, name, [_WHOLE_MODEL], array[np.newaxis])

    def take_damaged(self) -> int:
        """Rows that were found damaged since this was last asked; of a whole table, 1 at least."""
        with self._counting:
            damaged, self._damaged = self._damaged, 0
        return damaged

    def flush(self) -> None:
        """Write everything that was put."""
        with self._guard:
            tables = list(self._tables.values())
        for table in tables:
            table.flush()
        self._trim()

    def close(self) -> None:
        """Write everything and let another process write; what is put afterwards is not kept."""
        if self._is_closed:
            return
        self.flush()
        self._is_closed = True
        with self._guard:
            if self._timer:
                self._timer.cancel()
        if self._folder:
            self._folder.release()

    def _table(self, space: str, view: str) -> ViewTable:
        for what, name in (("space", space), ("view", view)):
            if not re.fullmatch(_NAMES[what], name):
                raise ValueError(f"{name!r} is no name of a {what}; allowed is {_NAMES[what]}")
        name = f"{_FORMAT}-{space}-{view}"
        with self._guard:
            if name not in self._tables:
                self._tables[name] = ViewTable(
                    self._database,
                    name,
                    alone=self._folder is not None,
                    writable=lambda: self.writable,
                    report=self._report,
                )
            return self._tables[name]

    def _flush_soon(self) -> None:
        with self._guard:
            if self._timer is None and not self._is_closed:
                self._timer = threading.Timer(_WAIT_S, self._flush_now)
                self._timer.daemon = True
                self._timer.start()

    def _flush_now(self) -> None:
        with self._guard:
            self._timer = None
        self.flush()

    def _sizes(self) -> list[Size]:
        with self._guard:
            opened = dict(self._tables)
            if self._unopened is None:
                self._unopened = {size.name: size for size in self._others(set(opened))}
            others = [size for name, size in self._unopened.items() if name not in opened]
        ours = [
            Size(name, name.split("-")[1], table.nbytes, table.used)
            for name, table in opened.items()
        ]
        return [*others, *ours]

    def _others(self, opened: set[str]) -> list[Size]:
        """The tables that this process has not used; they were when they were last written."""
        try:
            names = self._database.names()
        except Unreadable as cause:
            self._report(f"{self._database.url} cannot be listed: {cause}")
            return []
        sizes = (self._size(name) for name in names if name not in opened)
        return [size for size in sizes if size]

    def _size(self, name: str) -> Size | None:
        if not name.startswith(f"{_FORMAT}-"):
            return None
        try:
            table = self._database.open(name)
            if table is None:
                return None
            return Size(name, name.split("-")[1], stored_bytes(table), table.written)
        except Unreadable as cause:
            self._report(f"{name} cannot be read, its size is not counted: {cause}")
            return None

    def _trim(self) -> None:
        """Keep below the limit."""
        if self._max_bytes is None or not self.writable:
            return
        with self._trimming:
            for name, share in surplus(self._sizes(), max_bytes=self._max_bytes).items():
                _, space, view = name.split("-", 2)
                if share < 1:
                    self._table(space, view).shorten(share)
                else:
                    self._table(space, view).drop()

    def _report(self, line: str, /, *, damaged: int = 0) -> None:
        """Log a line unless the same thing was said before, and count damaged rows."""
        with self._counting:
            self._damaged += damaged
        topic = line.partition(": ")[0]
        if topic not in self._said:
            self._said.add(topic)
            log.warning("feature store: %s", line)


def _keys(digests: Sequence[str]) -> list[bytes]:
    try:
        keys = [bytes.fromhex(digest) for digest in digests]
    except ValueError:
        keys = [b""]
    if any(len(key) != SIZE for key in keys):
        wrong = next(
            digest for digest in digests if not re.fullmatch(f"[0-9a-f]{{{2 * SIZE}}}", digest)
        )
        raise ValueError(f"{wrong!r} is no digest; one has {2 * SIZE} hexadecimal digits")
    return keys
