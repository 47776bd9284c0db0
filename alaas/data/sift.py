"""Reading the items of a micro-batch one by one, each of which may be lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import PADDING, Tokens
from alaas.core.types import Batch, Raw, Raws
from alaas.core.wire import Failure
from alaas.data.problem import ItemError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sifted(Generic[T]):
    """What came of a micro-batch.

    Attributes:
        raws: The items that could be read.
        values: What they are, in their order.
        failures: The items that are lost, those of earlier stages first.
    """

    raws: tuple[Raw, ...]
    values: tuple[T, ...]
    failures: tuple[Failure, ...]

    def batch(self, seq: int, array: NDArray[Any], *, cut: int = 0) -> Batch:
        """The micro-batch, with a row of `array` for each item that could be read."""
        return Batch(
            seq=seq,
            ids=tuple(raw.id for raw in self.raws),
            array=array,
            failures=self.failures,
            digests=tuple(raw.digest for raw in self.raws),
            cut=cut,
        )


def sift(raws: Raws, read: Callable[[Raw], T]) -> Sifted[T]:
    """Read every item; one for which `read` raises an `ItemError` becomes a failure."""
    good: list[Raw] = []
    values: list[T] = []
    failures = list(raws.failures)
    for raw in raws.raws:
        try:
            values.append(read(raw))
            good.append(raw)
        except ItemError as error:
            failures.append(Failure(raw.id, "preprocess", error.code, error.message))
    return Sifted(tuple(good), tuple(values), tuple(failures))


def padded(rows: Sequence[Sequence[int] | NDArray[np.integer]]) -> Tokens:
    """(B, L) numbers, `PADDING` from where a row has ended, L that of the longest.

    Example:
        >>> padded([[5], [6, 7]]).tolist()
        [[5, -1], [6, 7]]
    """
    array = np.full((len(rows), max(map(len, rows), default=0)), PADDING, np.int32)
    for row, numbers in zip(array, rows, strict=True):
        row[: len(numbers)] = numbers
    return array
