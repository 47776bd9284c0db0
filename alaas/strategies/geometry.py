"""Coverage of the embedding space: labels spread so that no item is far from one."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Embeddings
from alaas.strategies.declaration import Picks
from alaas.strategies.registry import strategy

_BLOCK = 1 << 20
"""Numbers of the embeddings that are worked on at a time: 8 MiB as float64."""

_PICKED = -1.0
"""Stands for a squared distance: a row that it marks is never the furthest again."""


@strategy(
    family="geometry",
    aliases=("KCenterGreedy", "KCG", "KCenter", "KCenterSampling", "CoreSetGreedy"),
    cost="O((M + K) N D)",
    paper="Gonzalez 1985; Sener & Savarese 2018, arXiv:1708.00489",
)
def k_center_greedy(
    embeddings: Embeddings, budget: int, labelled_embeddings: Embeddings | None = None
) -> Picks:
    """Again and again the row furthest from all that is labelled or picked.

    ``u(x) = min_{s in L+S} |h(x) - h(s)|``, the Euclidean distance to the nearest labelled
    or picked row. The largest of these distances is the covering radius, which greedy
    picking brings within twice its optimum.

    Without labelled rows the first pick is the row nearest to the mean, and its score is
    the covering radius that it leaves.

    Args:
        embeddings: (N, D) embeddings of the pool.
        budget: Rows to pick, at most N.
        labelled_embeddings: (M, D) embeddings of what is labelled already.

    Returns:
        The rows, and the distance in embedding units that each had when it was picked:
        never increasing, 0 once only duplicates are left. Of equal distances the lowest row.

    Example:
        >>> line = np.array([[0.0], [1.0], [2.0], [7.0]])
        >>> k_center_greedy(line, 3)
        Picks(rows=array([2, 3, 0]), scores=array([5., 5., 2.]))
        >>> k_center_greedy(line, 2, np.array([[7.0]]))
        Picks(rows=array([0, 2]), scores=array([7., 2.]))
    """
    rows = np.empty(budget, np.int64)
    scores = np.empty(budget)
    squares = np.concatenate([_squared_distances(b, 0.0) for _, b in _blocks(embeddings)])
    nearest = np.full(len(embeddings), np.inf)
    start = 0
    if labelled_embeddings is not None and len(labelled_embeddings):
        _draw_nearer(nearest, embeddings, squares, labelled_embeddings)
    else:
        rows[0] = _central_row(embeddings)
        _draw_nearer(nearest, embeddings, squares, embeddings[rows[:1]])
        nearest[rows[0]] = _PICKED
        scores[0] = math.sqrt(max(0.0, nearest.max()))
        start = 1
    for step in range(start, budget):
        row = int(nearest.argmax())
        rows[step], scores[step] = row, math.sqrt(nearest[row])
        if nearest[row] > 0:  # a duplicate of what is picked brings no row nearer
            _draw_nearer(nearest, embeddings, squares, embeddings[row : row + 1])
        nearest[row] = _PICKED
    return Picks(rows, scores)


def _blocks(embeddings: Embeddings) -> Iterator[tuple[slice, Embeddings]]:
    size = max(1, _BLOCK // embeddings.shape[1])
    for start in range(0, len(embeddings), size):
        part = slice(start, start + size)
        yield part, embeddings[part]


def _squared_distances(
    block: Embeddings, point: NDArray[np.floating] | float
) -> NDArray[np.float64]:
    offsets = np.subtract(block, point, dtype=np.float64)
    squares: NDArray[np.float64] = np.einsum("bd,bd->b", offsets, offsets)
    return squares


def _central_row(embeddings: Embeddings) -> int:
    mean = embeddings.mean(axis=0, dtype=np.float64)
    return int(
        np.concatenate([_squared_distances(b, mean) for _, b in _blocks(embeddings)]).argmin()
    )


def _draw_nearer(
    nearest: NDArray[np.float64],
    embeddings: Embeddings,
    squares: NDArray[np.float64],
    centres: Embeddings,
) -> None:
    """Lower the squared distances in `nearest` to those from new centres, in place.

    One matrix-vector product bounds every distance from below, by
    |x - c|^2 = |x|^2 + |c|^2 - 2 x.c less all that rounding can add to it. Only rows that
    the bound does not rule out, fewer with each centre, are measured: as differences in
    float64, so that no cancellation reaches the result and duplicates are exactly 0 apart.
    """
    # BLAS has no half precision, and float32 products are enough for a bound.
    dtype = np.result_type(embeddings, centres, np.float32)
    D, limits = embeddings.shape[1], np.finfo(dtype)
    shrink = 1 - 2 * (D + 4) * float(limits.eps)
    underflow = 2 * D * float(limits.tiny)
    for part, block in _blocks(embeddings):
        inputs = block.astype(dtype, copy=False)
        near = nearest[part]
        for centre in centres.astype(dtype, copy=False):
            square = _squared_distances(centre[None], 0.0)
            # What overflows bounds nothing, and the comparison below lets it through.
            with np.errstate(over="ignore", invalid="ignore"):
                bound = shrink * (squares[part] + square) - 2.0 * (inputs @ centre) - underflow
            rows = np.flatnonzero(~(bound >= near))
            near[rows] = np.minimum(near[rows], _squared_distances(inputs[rows], centre))
