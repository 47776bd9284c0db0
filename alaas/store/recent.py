"""What was read last, kept in memory, so that the next query over it reads nothing."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from numpy.typing import NDArray


class Recent:
    """Arrays by key, up to so many bytes; beyond, those go that were not asked for longest.

    Args:
        max_bytes: Bytes of them, >= 0; a larger one is not kept.

    Example:
        >>> import numpy as np
        >>> recent = Recent(100)
        >>> first = recent.get("a", lambda: np.zeros(10))
        >>> recent.get("a", lambda: np.ones(10)) is first, recent.bytes
        (True, 80)
    """

    def __init__(self, max_bytes: int) -> None:
        self._most = max_bytes
        self._arrays: OrderedDict[Hashable, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """Bytes that are kept."""
        with self._lock:
            return sum(array.nbytes for array in self._arrays.values())

    def get(self, key: Hashable, read: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The array of a key, read where it is not kept. It cannot be written to."""
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
                return self._arrays[key]
        # Not under the lock: reading takes time, and two that read the same read alike.
        array = read()
        array.setflags(write=False)
        if array.nbytes <= self._most:
            with self._lock:
                self._arrays[key] = array
                self._arrays.move_to_end(key)
                while sum(one.nbytes for one in self._arrays.values()) > self._most:
                    self._arrays.popitem(last=False)
        return array
