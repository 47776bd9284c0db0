"""What a strategy will take: the estimate before the work, and the machine to do it on."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np


class Sizes(NamedTuple):
    """How large a selection is, in the letters of `alaas.core.arrays`.

    Attributes:
        N: Items in the pool.
        K: Items to pick.
        M: Items that are labelled.
        C: Classes.
        D: Dimensions of an embedding.
        T: Stochastic passes.
    """

    N: int
    K: int
    M: int = 0
    C: int = 0
    D: int = 0
    T: int = 0


class Work(NamedTuple):
    """What a strategy takes beside the views that it is given.

    Attributes:
        flops: Floating-point operations; a logarithm counts as 20.
        memory: Bytes that are in use at its peak.
        reads: Bytes that are read from memory, every pass over a view counted.
    """

    flops: float
    memory: float
    reads: float = 0.0

    @property
    def seconds(self) -> float:
        """About how long it takes on this machine, from its measured rates."""
        return max(self.flops / flop_rate(), self.reads / read_rate())


@cache
def flop_rate() -> float:
    """Floating-point operations a second of a matrix product here, measured once."""
    matrix = np.ones((512, 512), np.float32)
    matrix @ matrix  # the first product starts the threads
    return 2 * 512**3 / _fastest(lambda: matrix @ matrix)


@cache
def read_rate() -> float:
    """Bytes a second that a matrix-vector product reads here, measured once."""
    matrix, vector = np.ones((16_384, 512), np.float32), np.ones(512, np.float32)
    return matrix.nbytes / _fastest(lambda: matrix @ vector)


def _fastest(work: Callable[[], object], times: int = 3) -> float:
    def once() -> float:
        started = perf_counter()
        work()
        return perf_counter() - started

    return min(once() for _ in range(times))


def free_memory() -> float:
    """Bytes that this process may still take: of the machine, and of its control group."""
    return min(_of_machine(), _of_group(Path("/sys/fs/cgroup")))


def _of_machine() -> float:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
    except OSError:  # not Linux
        pass
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _of_group(folder: Path) -> float:
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        reclaimable = sum(
            int(line.split()[1])
            for line in (folder / "memory.stat").read_text().splitlines()
            if line.startswith(("inactive_file ", "active_file "))
        )
    except (OSError, ValueError):
        return float("inf")
    return float("inf") if limit == "max" else max(0.0, int(limit) - used + reclaimable)


def bytes_in_words(amount: float) -> str:
    """A number of bytes as a person reads it.

    Example:
        >>> bytes_in_words(8 * 2**30), bytes_in_words(1536)
        ('8 GiB', '1.5 KiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.3g} {unit}"
        amount /= 1024
    return f"{amount:.3g} TiB"


def seconds_in_words(amount: float) -> str:
    """A number of seconds as a person reads it.

    Example:
        >>> seconds_in_words(0.0004), seconds_in_words(42), seconds_in_words(9000)
        ('0.4 ms', '42 s', '2.5 h')
    """
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min"), (1, "s")):
        if amount >= 1.5 * size or (unit == "s" and amount >= 1):
            return f"{amount / size:.2g} {unit}"
    return f"{amount * 1000:.2g} ms"
