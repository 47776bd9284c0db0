"""A named pool that is open: what is read of it is whole and as it was saved, or an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alaas.core.errors import AlaasError, ViewUnavailable
from alaas.core.wire import PoolInfo
from alaas.store.pool_table import (
    GROUPS,
    ITEM,
    PoolItem,
    Record,
    item_check,
    row_checks,
    sum_of,
)
from alaas.store.recent import Recent
from alaas.store.tables import Table, Unreadable

_ITEM_BYTES = 1024


class StoredPool:
    """A pool as it was when it was opened, even if it is saved anew meanwhile.

    Args:
        record: What its table says of it.
        table: The table.
        failure: The error for what cannot be read, given what went wrong.
        recent: Views that are in memory.
    """

    def __init__(
        self,
        record: Record,
        table: Table,
        *,
        failure: Callable[[str], AlaasError],
        recent: Recent,
    ) -> None:
        self.info: PoolInfo = record.info
        self._record = record
        self._table = table
        self._failure = failure
        self._recent = recent

    def __len__(self) -> int:
        return self.info.items

    def view(self, name: str) -> NDArray[Any]:
        """A view of all items, (N, ...), which cannot be written to.

        Raises:
            ViewUnavailable: The pool does not hold it; `info.views` are those it does.
            PoolCorrupt: It cannot be read whole and as it was saved.
        """
        if name not in self.info.views:
            held = ", ".join(self.info.views) or "none"
            raise ViewUnavailable(f"pool {self.info.name!r} has no view {name!r}; it has: {held}")
        return self._whole(name)

    def groups(self) -> NDArray[np.int64] | None:
        """(N,) the number of each item's group, its own where it has none; None without groups."""
        return self._whole(GROUPS) if GROUPS in self._record.types else None

    def array(self, name: str) -> NDArray[Any]:
        """What the model has one of, such as its ``head``.

        Raises:
            ViewUnavailable: It was not saved.
            PoolCorrupt: It cannot be read as it was saved.
        """
        if name not in self._record.arrays:
            raise ViewUnavailable(f"pool {self.info.name!r} has no {name!r} of its model")
        kind, digest = self._record.arrays[name]
        with self._intact():
            column = self._table.take(np.zeros(1, np.int64), [f"array_{name}"])[f"array_{name}"]
            data = column[0].as_py() or b""
            if sum_of(data) != digest:
                raise ValueError(f"{name!r} does not match its checksum")
            return np.frombuffer(data, kind.dtype).reshape(kind.shape).copy()

    def items(self, rows: Sequence[int] | NDArray[np.integer]) -> list[PoolItem]:
        """The items of these rows, in their order.

        Args:
            rows: (K,) row numbers, each in [0, N).
        """
        asked = np.asarray(rows, np.int64)
        if len(asked) and not (asked.min() >= 0 and asked.max() < len(self)):
            raise ValueError(f"rows {asked.min()} to {asked.max()} were asked of {len(self)} items")
        if not len(asked):
            return []
        numbers, back = np.unique(asked, return_inverse=True)
        with self._intact():
            table = self._table.take(numbers, [*ITEM, "item_check"])
            found = _items(table, numbers.tolist())
        return [found[n] for n in back]

    def batches(self, size: int) -> Iterator[list[PoolItem]]:
        """All items in order, at most `size` at a time, > 0."""
        start = 0
        with self._intact():
            scan = self._table.scan([*ITEM, "item_check"], row_bytes=_ITEM_BYTES, most=size)
            for batch in scan:
                yield _items(batch, range(start, start + batch.num_rows))
                start += batch.num_rows
            if start != len(self):
                raise ValueError(f"it has {start} items of {len(self)}")

    def _whole(self, name: str) -> NDArray[Any]:
        # One that is saved anew under the same name was created at another moment.
        key = (self.info.name, self.info.created, self.info.bytes, name)
        return self._recent.get(key, lambda: self._read(name))

    def _read(self, name: str) -> NDArray[Any]:
        kind = self._record.types[name]
        rows = np.empty((len(self), *kind.shape), kind.dtype)
        start = 0
        with self._intact():
            columns = [f"view_{name}", f"check_{name}"]
            for batch in self._table.scan(columns, row_bytes=kind.nbytes + 8):
                stop = start + batch.num_rows
                if stop > len(rows):
                    raise ValueError(f"it has more than {len(rows)} rows of {name!r}")
                rows[start:stop] = kind.unpack(batch[columns[0]])
                sums = batch[columns[1]].to_numpy(zero_copy_only=False)
                if not np.array_equal(row_checks(start, rows[start:stop]), sums):
                    raise ValueError(f"{name!r} does not match its checksums")
                start = stop
            if start != len(rows):
                raise ValueError(f"it has {start} rows of {name!r} instead of {len(rows)}")
        return rows

    @contextmanager
    def _intact(self) -> Iterator[None]:
        try:
            yield
        except (Unreadable, ValueError) as cause:
            raise self._failure(str(cause)) from cause


def _items(table: Any, rows: Sequence[int]) -> list[PoolItem]:
    """The items of a part of the table; raises ValueError unless all are as they were saved."""
    if table.num_rows != len(rows):
        raise ValueError(f"{table.num_rows} items were found instead of {len(rows)}")
    fields = zip(*(table[name].to_pylist() for name in ITEM), strict=True)
    items = []
    for row, one, check in zip(rows, fields, table["item_check"].to_pylist(), strict=True):
        if item_check(row, one) != check:
            raise ValueError(f"item {row} does not match its checksum")
        items.append(PoolItem(*one))
    return items
