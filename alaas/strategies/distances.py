"""Distances between many rows, a block at a time: nothing of N x N is ever held."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 20
"""Numbers of an array that are worked on at a time: 4 MiB as float32, 8 MiB as float64."""

_CANCELLED = 1e-2
"""A squared distance below this share of a row's squared length is measured anew: of the
digits of |x|^2 + |c|^2 - 2 x.c too few are left."""


def blocks(rows: int, width: int, *, numbers: int = BLOCK) -> Iterator[slice]:
    """Slices of consecutive rows, together all of them, that hold so many numbers at most.

    Args:
        rows: Rows to cut.
        width: Numbers that are held for one row.
        numbers: Numbers of a slice; one row of more is a slice all the same.

    Example:
        >>> [(part.start, part.stop) for part in blocks(5, BLOCK // 2)]
        [(0, 2), (2, 4), (4, 5)]
    """
    size = max(1, numbers // max(1, width))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def squared_lengths(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N,) squared Euclidean length of each of (N, D) rows, in float64."""
    lengths = np.empty(len(points))
    for part in blocks(*points.shape):
        block = points[part].astype(np.float64, copy=False)
        np.einsum("nd,nd->n", block, block, out=lengths[part])
    return lengths


def unit_rows(points: NDArray[np.floating]) -> NDArray[np.float32]:
    """(N, D) rows scaled to length 1, as float32; a row of zeros stays one."""
    lengths = np.sqrt(squared_lengths(points))
    lengths[lengths == 0] = 1.0
    scaled = np.empty(points.shape, np.float32)
    for part in blocks(*points.shape):
        np.divide(points[part], lengths[part, None], out=scaled[part], casting="unsafe")
    return scaled


def mean_row(points: NDArray[np.floating]) -> NDArray[np.float32]:
    """(D,) mean of (N, D) rows; the same to the last bit in any memory layout."""
    total = np.zeros(points.shape[1])
    for part in blocks(*points.shape):
        total += points[part].astype(np.float64, order="C").sum(axis=0)
    mean: NDArray[np.float32] = (total / len(points)).astype(np.float32)
    return mean


def shifted(points: NDArray[np.floating], origin: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, D) rows as seen from an origin, in float32: close to it they keep all their digits."""
    seen = np.empty(points.shape, np.float32)
    np.subtract(points, origin, out=seen, casting="unsafe")
    return seen


class Nearest(NamedTuple):
    """The nearest centres of one block of rows.

    Attributes:
        part: Which rows.
        block: (B, D) the rows as seen from the origin.
        labels: (B,) number of the nearest centre of each.
        squares: (B,) squared distance to it, exactly 0 where the row is the centre.
    """

    part: slice
    block: NDArray[np.float32]
    labels: NDArray[np.int64]
    squares: NDArray[np.float32]


def nearest_centres(
    points: NDArray[np.floating], centres: NDArray[np.floating], origin: NDArray[np.float32]
) -> Iterator[Nearest]:
    """The nearest of (K, D) centres to each of (N, D) rows, a block of rows at a time.

    Args:
        points: (N, D) rows.
        centres: (K, D) centres, as seen from the origin.
        origin: (D,) a place amid the rows: the closer, the less float32 rounds away.
    """
    centres = np.ascontiguousarray(centres, np.float32)
    halves = np.einsum("kd,kd->k", centres, centres) / 2
    for part in blocks(len(points), max(centres.shape)):
        block = shifted(points[part], origin)
        closeness = block @ centres.T
        closeness -= halves
        labels = closeness.argmax(axis=1)
        lengths = np.einsum("nd,nd->n", block, block)
        squares = lengths - 2 * closeness[np.arange(len(block)), labels]
        near = np.flatnonzero(squares < _CANCELLED * lengths)
        offsets = block[near] - centres[labels[near]]
        squares[near] = np.einsum("nd,nd->n", offsets, offsets)
        yield Nearest(part, block, labels, squares)
