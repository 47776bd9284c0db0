"""A 64-bit checksum of every row, many rows at a time.

Multilinear hashing (Lemire and Kaser, "Strongly universal string hashing is fast", The
Computer Journal 57(11), 2014): the sum over the words w of a row of w * weight, modulo
2^64, with words of 32 bits and fixed weights of 64 random bits. The weights come from
SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), so that they are the same on every
machine and with every version of numpy. It finds accidents, not attacks: a row that was
changed passes with a probability of about 2^-33.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SEED = 0x616C616173
_STEP = 0x9E3779B97F4A7C15
_MIXES = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def checksums(*parts: NDArray[Any]) -> NDArray[np.uint64]:
    """One number for each row of all parts together.

    Args:
        parts: (N, ...) arrays of one length; the bytes of a row count, whatever they mean.

    Returns:
        (N,) the checksums.

    Example:
        >>> rows = np.zeros((2, 3), np.float32)
        >>> before, (rows[1, 2], after) = checksums(rows)[1], (1.0, None)
        >>> bool(checksums(rows)[1] == before), bool(checksums(rows)[0] == before)
        (False, True)
    """
    words = [_words(part) for part in parts]
    weights = _weights(1 + sum(part.shape[1] for part in words))
    totals = np.full(len(words[0]), weights[0], np.uint64)
    start = 1
    for part in words:
        totals += np.einsum("ij,j->i", part, weights[start : start + part.shape[1]])
        start += part.shape[1]
    return totals


def _words(part: NDArray[Any]) -> NDArray[Any]:
    """The rows as unsigned words of 32 bits, or of 16 or 8 where they do not fill those."""
    data = np.ascontiguousarray(part).reshape(len(part), -1).view(np.uint8)
    size = next(size for size in (4, 2, 1) if data.shape[1] % size == 0)
    return data.view(f"<u{size}")


def _weights(count: int) -> NDArray[np.uint64]:
    """Fixed random odd numbers; a longer row has the weights of a shorter one and more."""
    return _stream(1 << max(10, (count - 1).bit_length()))[:count]


@lru_cache(maxsize=8)
def _stream(count: int) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_STEP) + np.uint64(_SEED)
        for shift, factor in _MIXES:
            state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
        weights = (state ^ (state >> np.uint64(31))) | np.uint64(1)
    weights.flags.writeable = False
    return weights
