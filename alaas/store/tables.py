"""The only place that speaks to LanceDB: a database, its tables, and what may go wrong."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import lancedb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_SCAN_BYTES = 4 * 2**20
"""Bytes of one batch of a scan: large ones save calls, small ones stay in the cache."""

GRACE = timedelta(hours=1)
"""How long what is replaced stays for those in other processes who read it."""


class Unreadable(Exception):
    """LanceDB could not open, read or write a table.

    Attributes:
        passing: Whether the cause may go away by itself, so that nothing is to be deleted:
            a permission, a full disk, a network, or a table of a newer version.
    """

    def __init__(self, detail: str, *, passing: bool = False) -> None:
        super().__init__(detail)
        self.passing = passing


@contextmanager
def trouble() -> Iterator[None]:
    """Turn whatever LanceDB raises into `Unreadable`."""
    try:
        yield
    except (Unreadable, MemoryError):
        raise
    except Exception as cause:  # RuntimeError, ValueError, OSError, and panics of Rust
        text = f"{type(cause).__name__}: {cause}".partition("\n")[0][:300]
        raise Unreadable(text, passing=_passes(f"{cause}")) from cause


def _passes(message: str) -> bool:
    codes = [int(code) for code in re.findall(r"os error (\d+)", message)]
    return any(code != 2 for code in codes) or "upgrade" in message.lower()


def local_folder(url: str) -> Path | None:
    """The folder that a store's URL means, or None for an object store."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if "://" in url else Path(url).expanduser()


class Database:
    """A folder of Lance tables, made when it is first used.

    Args:
        url: A folder, or an address that LanceDB takes: ``s3://``, ``gs://``, ``memory://``.
        part: Name of the folder below it.
    """

    def __init__(self, url: str, part: str) -> None:
        top = local_folder(url)
        self.folder = top / part if top else None
        self.url = str(self.folder or f"{url.rstrip('/')}/{part}")
        self._lock = threading.Lock()
        self._connection: Any = None

    def names(self) -> list[str]:
        """The tables there are."""
        with trouble():
            answer = self._connect().list_tables(limit=1000)
            names = list(answer.tables)
            while answer.page_token:
                answer = self._connect().list_tables(page_token=answer.page_token, limit=1000)
                names += answer.tables
            return names

    def open(self, name: str) -> Table | None:
        """The table as it is now, or None where it was never written to its end."""
        with trouble():
            try:
                return Table(self._connect().open_table(name))
            except ValueError as cause:
                if "was not found" in str(cause):
                    return None
                raise

    def create(self, name: str, batches: pa.RecordBatchReader, *, replace: bool = False) -> Table:
        """Write a table in one commit: all of it is there afterwards, or nothing."""
        with trouble():
            if self.folder:
                self.folder.mkdir(parents=True, exist_ok=True)
            mode = "overwrite" if replace else "create"
            return Table(self._connect().create_table(name, batches, mode=mode))

    def drop(self, name: str) -> None:
        """Delete a table, readable or not."""
        with trouble():
            self._connect().drop_table(name, ignore_missing=True)

    def _connect(self) -> Any:
        with self._lock:
            if self._connection is None:
                if self.folder:
                    self.folder.mkdir(parents=True, exist_ok=True)
                self._connection = lancedb.connect(self.url)
            return self._connection


class Table:
    """A Lance table at one of its versions. Every method raises `Unreadable`."""

    def __init__(self, lance: Any) -> None:
        self._lance = lance

    @property
    def version(self) -> int:
        """Number of the version; every commit adds one."""
        with trouble():
            return int(self._lance.version)

    @property
    def metadata(self) -> Mapping[str, str]:
        """What was said of the whole table when it was created."""
        with trouble():
            found = self._lance.schema.metadata or {}
            return {key.decode(): value.decode() for key, value in found.items()}

    @property
    def written(self) -> float:
        """When the version was made, in seconds since 1970."""
        with trouble():
            return float(max(one["timestamp"].timestamp() for one in self._lance.list_versions()))

    @property
    def fragments(self) -> int:
        """Files that the rows lie in."""
        with trouble():
            return int(self._lance.stats()["fragment_stats"]["num_fragments"])

    @property
    def nbytes(self) -> int:
        """Bytes of the data files."""
        with trouble():
            return int(self._lance.stats()["total_bytes"])

    def __len__(self) -> int:
        with trouble():
            return int(self._lance.count_rows())

    def scan(
        self, columns: Sequence[str], *, row_bytes: int, start: int = 0, most: int = 2**17
    ) -> Iterator[pa.RecordBatch]:
        """All rows in order from `start` on, a few MiB at a time.

        Args:
            columns: What to read.
            row_bytes: Bytes of a row of these columns.
            start: The first row.
            most: The most rows of a batch.
        """
        size = max(1, min(most, max(1024, _SCAN_BYTES // row_bytes)))
        with trouble():
            query = self._lance.search().select(list(columns))
            yield from (query.offset(start) if start else query).to_batches(size)

    def take(self, rows: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """The rows of these numbers, which ascend and are all different."""
        with trouble():
            query = self._lance.take_offsets(rows.tolist()).select(list(columns))
            found: pa.Table = query.to_arrow().combine_chunks()
            return found

    def append(self, batch: pa.RecordBatch) -> None:
        """Add rows at the end, in one commit."""
        with trouble():
            self._lance.add(pa.RecordBatchReader.from_batches(batch.schema, [batch]))

    def delete(self, where: str) -> None:
        """Delete the rows for which an SQL expression holds."""
        with trouble():
            self._lance.delete(where)

    def compact(self, *, alone: bool, keep: timedelta = GRACE) -> None:
        """Join small files and delete versions and rows that nobody sees any more.

        Args:
            alone: Whether nobody else writes this table, so that files of no version are
                what is left of a write that was cut off.
            keep: How long ago a version was made that is kept for those who read it.
        """
        with trouble(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self._lance.optimize(cleanup_older_than=keep, delete_unverified=alone)
