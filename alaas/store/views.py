"""One view of one space: a Lance table, an index of its keys, and rows that wait for it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alaas.core.digest import SIZE
from alaas.store.checks import checksums
from alaas.store.keys import KeyIndex, key_array, keys_of, whole
from alaas.store.rows import RowType
from alaas.store.tables import GRACE, Database, Table, Unreadable

OVERHEAD = SIZE + 16
"""Bytes of a row beside its numbers: key, checksum, and the moment when it was put."""

_WAITING_ROWS = 2_000
_WAITING_BYTES = 8 * 2**20
_LOOSE = 32
"""Files beyond which it may be worth joining them."""
_LOOSE_AT_MOST = 512
_TAKE = 2**14
"""Rows that are read at once."""


class Report(Protocol):
    """Takes what is to be said of a table."""

    def __call__(self, line: str, /, *, damaged: int = 0) -> None:
        """Take a line for the log, and how many rows were found damaged."""
        ...


class ViewTable:
    """Rows by key. What is put can be got at once, and is written later, many rows together.

    No method raises for what is wrong with the storage: what cannot be read is not there,
    and what cannot be written is not kept.

    Args:
        database: Where the table is.
        name: Its name.
        alone: Whether no other process writes it.
        writable: Tells whether this process may write it, now.
        report: Takes a line for the log, and how many rows are damaged.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        *,
        alone: bool,
        writable: Callable[[], bool],
        report: Report,
    ) -> None:
        self.name = name
        self.used = time.time()
        self._database = database
        self._alone = alone
        self._writable = writable
        self._report = report
        self._lock = threading.RLock()
        self._waiting: dict[bytes, NDArray[Any]] = {}
        self._type: RowType | None = None
        self._clear()

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, those that wait included."""
        with self._lock:
            self._load()
            rows = self._count + len(self._waiting)
            return rows * (self._type.nbytes + OVERHEAD) if self._type else 0

    @property
    def is_full(self) -> bool:
        """Whether so many rows wait that they are worth a file."""
        with self._lock:
            rows = len(self._waiting)
            size = self._type.nbytes if self._type else 0
            return rows >= _WAITING_ROWS or rows * size >= _WAITING_BYTES

    def has(self, keys: Sequence[bytes]) -> NDArray[np.bool_]:
        """(N,) which keys have a row."""
        with self._lock:
            self.used = time.time()
            self._load()
            waits = np.fromiter((key in self._waiting for key in keys), np.bool_, len(keys))
            return np.logical_or(self._index.find(keys) >= 0, waits)

    def get(self, keys: Sequence[bytes]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        """Which keys have a row, (N,), and those rows in the order of their keys."""
        with self._lock:
            self.used = time.time()
            self._load()
            try:
                return self._get(keys)
            except Unreadable:  # another process may have joined its files: look again
                self.reload()
                self._load()
            try:
                return self._get(keys)
            except Unreadable as cause:
                self._abandon(cause)
                return self._get(keys)

    def put(self, keys: Sequence[bytes], rows: NDArray[Any]) -> None:
        """Keep a row for each key that has none yet.

        Raises:
            ValueError: The rows differ in shape or type from those that are kept.
        """
        with self._lock:
            self.used = time.time()
            self._load()
            given = RowType.of(rows)
            if self._type is None or (self._table is None and not self._waiting):
                self._type = given
            elif given != self._type:
                raise ValueError(f"{self.name} holds rows of {self._type}, not of {given}")
            places = self._index.find(keys)
            fresh = [n for n in range(len(keys)) if places[n] < 0 and keys[n] not in self._waiting]
            copies = np.array(rows[fresh])
            for n, row in zip(fresh, copies, strict=True):
                self._waiting.setdefault(keys[n], row)

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            try:
                self._write()
            except Unreadable:  # deleted, or changed by another process: look again
                self.reload()
                try:
                    self._write()
                except Unreadable as cause:
                    self._report(f"{self.name} cannot be written and is not kept: {cause}")
                    self._waiting.clear()

    def reload(self) -> None:
        """Look anew at what is stored, when it is needed next."""
        with self._lock:
            self._clear()

    def shorten(self, share: float) -> None:
        """Delete the oldest rows.

        Args:
            share: How many of all that are stored, in (0, 1).
        """
        with self._lock:
            self._load()
            try:
                if self._table is not None and (cut := round(self._count * share)):
                    scan = self._table.scan(["at"], row_bytes=8)
                    moments = np.concatenate([batch["at"].to_numpy() for batch in scan])
                    first = int(np.partition(moments, cut)[cut]) if cut < len(moments) else None
                    self._table.delete("true" if first is None else f"at < {first}")
                    self._tidy()
            except Unreadable as cause:
                self._report(f"{self.name} cannot be shortened: {cause}")
            self.reload()

    def drop(self) -> None:
        """Delete the table and forget what waits for it."""
        with self._lock:
            self._waiting.clear()
            self._type = None
            self._clear()
            try:
                self._database.drop(self.name)
            except Unreadable as cause:
                self._report(f"{self.name} cannot be deleted: {cause}")

    def _tidy(self) -> None:
        """Join files and let go of what they replaced; who reads those opens the table again."""
        assert self._table is not None
        self._table.compact(alone=self._alone, keep=timedelta(0) if self._alone else GRACE)

    def _clear(self) -> None:
        self._loaded = False
        self._table: Table | None = None
        self._index = KeyIndex()
        self._count = self._loose = self._compacted = 0

    def _load(self) -> None:
        """Open the table, once, and read its keys."""
        if self._loaded:
            return
        self._loaded = True
        try:
            table = self._database.open(self.name)
            if table is None:
                return
            held = _row_type(table)
            if self._waiting and held != self._type:
                raise Unreadable(f"it holds rows of {held}, not of {self._type}", passing=True)
            keys = list(_keys(table, start=0))
            self._index = KeyIndex(np.concatenate(keys) if keys else None)
            self._count = sum(map(len, keys))
            self._loose = table.fragments
            self._table, self._type = table, held
        except Unreadable as cause:
            self._abandon(cause)

    def _abandon(self, cause: Unreadable) -> None:
        """Do without the table: begin it anew, unless what is wrong may pass."""
        if not self._waiting:
            self._type = None
        rows = self._count
        self._clear()
        if cause.passing or not self._writable():
            self._report(f"{self.name} cannot be read now, its rows are computed again: {cause}")
            return
        line = f"{self.name} is damaged and begun anew, its rows are computed again: {cause}"
        self._report(line, damaged=max(1, rows))
        try:
            self._database.drop(self.name)
        except Unreadable as failure:
            self._report(f"{self.name} cannot be deleted: {failure}")
        self._loaded = True

    def _get(self, keys: Sequence[bytes]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        found = np.zeros(len(keys), np.bool_)
        if self._type is None:
            return found, np.empty((0,), np.float32)
        rows = np.empty((len(keys), *self._type.shape), self._type.dtype)
        if self._table is not None:
            places = self._index.find(keys)
            for start in range(0, len(keys), _TAKE):
                part = slice(start, start + _TAKE)
                self._read(keys[part], places[part], rows[part], found[part])
        for n, key in enumerate(keys):
            if (row := self._waiting.get(key)) is not None:
                rows[n], found[n] = row, True
        return found, rows if found.all() else rows[found]

    def _read(
        self,
        keys: Sequence[bytes],
        places: NDArray[np.int64],
        rows: NDArray[Any],
        found: NDArray[np.bool_],
    ) -> None:
        """Fill in the rows that are stored, where their checksum is theirs."""
        assert self._table is not None
        assert self._type is not None
        asked = np.flatnonzero(places >= 0)
        if not len(asked):
            return
        wanted = key_array([keys[n] for n in asked.tolist()])
        numbers, first, back = np.unique(places[asked], return_index=True, return_inverse=True)
        table = self._table.take(numbers, ["key", "check", "row"])
        if table.num_rows != len(numbers):
            raise Unreadable("rows that were there have gone", passing=True)
        got = _stored_keys(table["key"])
        if not np.array_equal(got, wanted[first]):
            raise Unreadable("its rows are no longer where they were", passing=True)
        try:
            data = self._type.unpack(table["row"].combine_chunks())
        except ValueError as cause:
            raise Unreadable(str(cause)) from cause
        good = checksums(got.view(np.uint8).reshape(-1, SIZE), data) == table["check"].to_numpy()
        if not good.all():
            self._index.forget(whole(got[~good]))
            line = f"{self.name} has damaged rows, which are computed again"
            self._report(line, damaged=int(np.count_nonzero(~good)))
        rows[asked] = data[back]
        found[asked] = good[back]

    def _write(self) -> None:
        """Append what waits as one commit, and join files now and then."""
        if not self._waiting:
            return
        self._load()
        places = self._index.find(list(self._waiting))
        keys = [key for key, at in zip(self._waiting, places, strict=True) if at < 0]
        if keys:
            batch = self._batch(keys)
            before = self._table.version if self._table else 0
            if self._table is None:
                reader = pa.RecordBatchReader.from_batches(batch.schema, [batch])
                self._table = self._database.create(self.name, reader)
            else:
                self._table.append(batch)
            self._take_in(keys, is_next=self._table.version == before + 1)
        self._waiting.clear()
        self._join()

    def _batch(self, keys: Sequence[bytes]) -> pa.RecordBatch:
        assert self._type is not None
        rows = np.stack([self._waiting[key] for key in keys])
        names = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, SIZE)
        columns = {
            "key": pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(SIZE), len(keys), [None, pa.py_buffer(names)]
            ),
            "check": pa.array(checksums(names, rows)),
            "at": pa.array(np.arange(len(keys)) + time.time_ns()),
            "row": self._type.pack(rows),
        }
        batch = pa.RecordBatch.from_pydict(columns)
        return batch.replace_schema_metadata({"row": json.dumps(self._type.document())})

    def _take_in(self, keys: Sequence[bytes], *, is_next: bool) -> None:
        """Index the rows that were just written, and those of others that came between."""
        assert self._table is not None
        if not is_next:
            keys = [key for part in _keys(self._table, start=self._count) for key in whole(part)]
        self._index.extend(keys, start=self._count)
        self._count += len(keys)
        self._loose += 1

    def _join(self) -> None:
        """Join the files when half as many rows have come as were joined last time."""
        grown = self._count - self._compacted > self._compacted / 2
        if self._table is not None and (
            (self._loose >= _LOOSE and grown) or self._loose >= _LOOSE_AT_MOST
        ):
            self._loose, self._compacted = 1, self._count
            try:
                self._tidy()
            except Unreadable as cause:
                self._report(f"{self.name} cannot be compacted: {cause}")


def _row_type(table: Table) -> RowType:
    try:
        return RowType.read(json.loads(table.metadata["row"]))
    except (KeyError, TypeError, ValueError) as cause:
        raise Unreadable(f"its rows are not described: {cause}") from cause


def _keys(table: Table, *, start: int) -> Iterator[NDArray[np.bytes_]]:
    for batch in table.scan(["key"], row_bytes=SIZE, start=start):
        yield _stored_keys(batch["key"])


def _stored_keys(column: pa.Array | pa.ChunkedArray) -> NDArray[np.bytes_]:
    try:
        return keys_of(column)
    except ValueError as cause:
        raise Unreadable(str(cause)) from cause


def stored_bytes(table: Table) -> int:
    """Bytes of the rows of a view's table. Raises: Unreadable."""
    return len(table) * (_row_type(table).nbytes + OVERHEAD)
