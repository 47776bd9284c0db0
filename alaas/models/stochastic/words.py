"""The random numbers that masks are made of. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Seed = int | Sequence[int]
"""Whatever `numpy.random.SeedSequence` takes."""

Words = TypeVar("Words")


class Source:
    """The random numbers of one pass.

    Args:
        seed: Seed of all passes.
        number: Which of them it is, from 0.
    """

    def __init__(self, seed: Seed, number: int) -> None:
        words = list(seed) if isinstance(seed, Sequence) else [seed]
        self._key = np.random.SeedSequence([*words, number]).generate_state(2, np.uint64)

    def along(self, size: int, *, axis: int, call: int, layer: int) -> NDArray[np.int32]:
        """Random 32-bit words for one axis of a mask; more of them begin with the same ones."""
        source = np.random.Philox(key=self._key, counter=[0, axis, call, layer])
        return source.random_raw((size + 1) // 2).view(np.int32)[:size].copy()

    def kept(self, shape: Sequence[int], p: float) -> NDArray[np.bool_]:
        """The mask of the first call of the first layer, as `Masks.kept` gives it."""
        total = np.zeros([1] * len(shape), np.int32)
        for axis, size in enumerate(shape):
            along = self.along(size, axis=axis, call=0, layer=0)
            total = total + along.reshape([-1 if at == axis else 1 for at in range(len(shape))])
        return mixed(total) >= threshold(p)


def threshold(p: float) -> int:
    """A random 32-bit word is below it with probability p."""
    return min(round(p * 2**32), 2**32 - 1) - 2**31


def mixed(words: Words) -> Words:
    """Scramble an array or a tensor of int32 in place: sums of the same terms become unrelated.

    Two rounds of xor and multiplication by an odd number, the constants of which Wellons
    found by search (hash-prospector, 2018: the first of his functions of that form).
    """
    x: Any = words
    x ^= (x >> 16) & 0xFFFF
    x *= 0x7FEB352D
    x ^= (x >> 15) & 0x1FFFF
    x *= 0x846CA68B - 2**32
    x ^= (x >> 16) & 0xFFFF
    return words
