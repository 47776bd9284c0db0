"""Where the row of a key is: an index in memory, 24 bytes a key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alaas.core.digest import SIZE

_KEY = f"S{SIZE}"
_RECENT = 2**16
"""Keys that wait in a dictionary before they are sorted in among the others."""


def key_array(keys: Sequence[bytes]) -> NDArray[np.bytes_]:
    """(N,) keys as numpy compares them.

    Example:
        >>> key_array([b"a" * 16, b"b" * 16]).shape
        (2,)
    """
    return np.frombuffer(b"".join(keys), _KEY)


def keys_of(column: pa.Array | pa.ChunkedArray) -> NDArray[np.bytes_]:
    """(N,) the keys of a column, without a copy.

    Raises:
        ValueError: The column has another type, or keys that are missing.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if array.type != pa.binary(SIZE) or array.null_count:
        raise ValueError(f"{array.type} does not hold whole keys of {SIZE} bytes")
    data = np.frombuffer(array.buffers()[1], np.uint8)
    return data[array.offset * SIZE : (array.offset + len(array)) * SIZE].view(_KEY)


def whole(keys: NDArray[np.bytes_]) -> list[bytes]:
    """The keys with all their bytes: numpy leaves out zeros at the end."""
    data = keys.tobytes()
    return [data[n : n + SIZE] for n in range(0, len(data), SIZE)]


class KeyIndex:
    """The row number of every key; of a key that comes twice, the later row.

    Args:
        keys: (N,) the key of row 0, 1, ... of a table.
    """

    def __init__(self, keys: NDArray[np.bytes_] | None = None) -> None:
        self._keys = np.empty(0, _KEY)
        self._rows = np.empty(0, np.int64)
        self._recent: dict[bytes, int] = {}
        if keys is not None:
            self._merge(keys, np.arange(len(keys)))

    def find(self, keys: Sequence[bytes]) -> NDArray[np.int64]:
        """(N,) the row of each key, -1 where it has none."""
        rows = np.full(len(keys), -1)
        if len(self._keys) and len(keys):
            wanted = key_array(keys)
            places = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
            rows = np.where(self._keys[places] == wanted, self._rows[places], -1)
        if self._recent:
            for n, key in enumerate(keys):
                if key in self._recent:
                    rows[n] = self._recent[key]
        return rows

    def extend(self, keys: Sequence[bytes], *, start: int) -> None:
        """Take in the keys of the rows from `start` on."""
        self._recent.update(zip(keys, range(start, start + len(keys)), strict=True))
        if len(self._recent) > _RECENT:
            recent, self._recent = self._recent, {}
            rows = np.fromiter(recent.values(), np.int64, len(recent))
            self._merge(key_array(list(recent)), rows)

    def forget(self, keys: Iterable[bytes]) -> None:
        """Give these keys no row any more."""
        gone = list(keys)
        for key in gone:
            self._recent.pop(key, None)
        if len(self._keys) and gone:
            wanted = key_array(gone)
            places = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
            self._rows[places[self._keys[places] == wanted]] = -1

    def _merge(self, keys: NDArray[np.bytes_], rows: NDArray[np.int64]) -> None:
        every = np.concatenate([self._keys, keys])
        order = np.argsort(every, kind="stable")
        every = every[order]
        last = np.ones(len(every), np.bool_)
        last[:-1] = every[1:] != every[:-1]
        self._keys = every[last]
        self._rows = np.concatenate([self._rows, rows])[order][last]
