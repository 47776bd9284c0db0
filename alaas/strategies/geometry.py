"""Coverage of the embedding space: labels spread so that no item is far from one."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Embeddings, Rows
from alaas.strategies.cost import Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import blocks
from alaas.strategies.registry import strategy
from alaas.strategies.selection import best

_BLOCK = 1 << 19
"""Numbers of the embeddings that are worked on at a time: 2 MiB as float32, which caches hold."""

_BESIDE = 16
"""Numbers that a row of the front takes beside its embedding."""

_SHARE = 64
"""One in so many rows is brought up to date at a time."""

_PICKED = -1.0
"""Stands for a squared distance: a row that it marks is never the furthest again."""


@strategy(
    family="geometry",
    aliases=("KCenterGreedy", "KCG", "KCenter", "KCenterSampling", "CoreSetGreedy"),
    cost="O((M + K) N D)",
    paper="Gonzalez 1985; Sener & Savarese 2018, arXiv:1708.00489",
    use="A redundant pool, or classes of unequal size: it covers everything, outliers too.",
    work=lambda s, params: Work(
        flops=2 * (s.M + s.K) * s.N * s.D,
        reads=4 * (6 * s.N * s.D + s.K * _BLOCK),
        memory=48 * s.N + 48 * _BLOCK,
    ),
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
    cover = _Cover(embeddings, budget)
    if labelled_embeddings is not None and len(labelled_embeddings):
        cover.start(labelled_embeddings)
    else:
        cover.start_at(_central_row(embeddings))
    while cover.picked < budget:
        cover.pick_from(*cover.front())
    return Picks(cover.rows, cover.scores)


class _Cover:
    """The picks so far, and of each row the squared distance to the nearest of them.

    A pick can only lower that distance. So a distance that leaves out the latest picks is no
    less than the true one, and a row whose old distance is below that of another's true one
    waits until its turn comes: most rows wait through most picks. Picks are made in a front
    of few rows, which stay in cache, for as long as none outside it can be further away.
    """

    def __init__(self, embeddings: Embeddings, budget: int) -> None:
        N, D = embeddings.shape
        self.embeddings = embeddings
        self.rows = np.empty(budget, np.int64)
        self.scores = np.empty(budget)
        self.picked = 0
        self.squares = np.concatenate(
            [_squared_distances(embeddings[part], 0.0) for part in blocks(N, D, numbers=_BLOCK)]
        )
        self.nearest = np.full(N, np.inf)
        self.seen = np.zeros(N, np.int64)
        self.front_size = max(1, _BLOCK // (D + _BESIDE))

    def start(self, centres: Embeddings) -> None:
        """Take in the labelled rows."""
        dtype = np.result_type(self.embeddings, centres, np.float32)
        for part in blocks(*self.embeddings.shape, numbers=_BLOCK):
            points = np.ascontiguousarray(self.embeddings[part], dtype)
            for some in blocks(len(centres), max(points.shape), numbers=_BLOCK):
                block = np.ascontiguousarray(centres[some], dtype)
                _draw_nearer(self.nearest[part], points, self.squares[part], block)

    def start_at(self, row: int) -> None:
        """Pick a row before there is anything to be far from."""
        self.start(self.embeddings[row : row + 1])
        self.nearest[row] = _PICKED
        self.rows[0], self.scores[0] = row, math.sqrt(max(0.0, self.nearest.max()))
        self.picked = 1
        self.seen[:] = 1

    def front(self) -> tuple[Rows, tuple[float, int]]:
        """The furthest rows, ascending and up to date, and what ranks next after them."""
        while True:
            top = best(self.nearest, self.front_size + 1)
            front, rest = top[: self.front_size], top[self.front_size :]
            if not len(self._stale(front)):
                break
            reach = max(self.front_size, len(self.nearest) // _SHARE)
            self._catch_up(self._stale(best(self.nearest, reach)))
        return np.sort(front), max(
            ((float(self.nearest[row]), -int(row)) for row in rest), default=(-math.inf, 0)
        )

    def pick_from(self, front: Rows, limit: tuple[float, int]) -> None:
        """Pick in the front until a row outside it may be further, or as far and lower."""
        points, squares, nearest = self._points(front), self.squares[front], self.nearest[front]
        while self.picked < len(self.rows):
            at = int(nearest.argmax())
            row, square = int(front[at]), float(nearest[at])
            if (square, -row) < limit:
                break
            self.rows[self.picked], self.scores[self.picked] = row, math.sqrt(square)
            if square > 0:  # a duplicate of what is picked brings no row nearer
                _draw_nearer(nearest, points, squares, points[at : at + 1])
            nearest[at] = _PICKED
            self.picked += 1
        self.nearest[front] = nearest
        self.seen[front] = self.picked

    def _stale(self, rows: Rows) -> Rows:
        return rows[(self.seen[rows] < self.picked) & (self.nearest[rows] > 0)]

    def _catch_up(self, rows: Rows) -> None:
        """Take in, for some rows, the picks that they have not seen."""
        rows = rows[np.argsort(self.seen[rows], kind="stable")]
        for part in blocks(len(rows), self.embeddings.shape[1], numbers=_BLOCK):
            block = rows[part]
            points, squares, nearest = self._points(block), self.squares[block], self.nearest[block]
            unseen = self.rows[self.seen[block[0]] : self.picked]
            for some in blocks(len(unseen), max(points.shape), numbers=_BLOCK):
                _draw_nearer(nearest, points, squares, self._points(unseen[some]))
            self.nearest[block] = nearest
        self.seen[rows] = self.picked

    def _points(self, rows: Rows) -> NDArray[np.floating]:
        # BLAS has no half precision, and float32 products are enough for a bound.
        dtype = np.result_type(self.embeddings, np.float32)
        return np.ascontiguousarray(self.embeddings[rows], dtype)


def _squared_distances(
    points: NDArray[np.floating], others: NDArray[np.floating] | float
) -> NDArray[np.float64]:
    offsets = np.subtract(points, others, dtype=np.float64)
    squares: NDArray[np.float64] = np.einsum("bd,bd->b", offsets, offsets)
    return squares


def _central_row(embeddings: Embeddings) -> int:
    mean = embeddings.mean(axis=0, dtype=np.float64)
    parts = blocks(*embeddings.shape, numbers=_BLOCK)
    return int(np.concatenate([_squared_distances(embeddings[p], mean) for p in parts]).argmin())


def _draw_nearer(
    nearest: NDArray[np.float64],
    points: NDArray[np.floating],
    squares: NDArray[np.float64],
    centres: NDArray[np.floating],
) -> None:
    """Lower the squared distances in `nearest` to those from new centres, in place.

    One matrix product bounds every distance from below, by |x - c|^2 = |x|^2 + |c|^2 - 2 x.c
    less all that rounding can add to it. Only pairs that the bound does not rule out, fewer
    with each centre, are measured: as differences in float64, so that no cancellation reaches
    the result and duplicates are exactly 0 apart.
    """
    lengths = _squared_distances(centres, 0.0)
    if max(squares.max(), lengths.max()) > np.finfo(points.dtype).max / 8:
        points, centres = points.astype(np.float64), centres.astype(np.float64)
    limits = np.finfo(points.dtype)
    shrink = 1 - 2 * (points.shape[1] + 4) * float(limits.eps)
    own = shrink * squares - 2 * points.shape[1] * float(limits.tiny)
    # What overflows bounds nothing, and the comparisons below let it through.
    with np.errstate(over="ignore", invalid="ignore"):
        bounds = (-2 * centres) @ points.T
        bounds += (shrink * lengths).astype(points.dtype)[:, None]
        rows = np.flatnonzero(~(bounds.min(axis=0) + own >= nearest))
        if not len(rows):
            return
        bounds = bounds[:, rows]
        # The likeliest centre first: what it is measured to be rules out most of the others.
        likely = bounds.argmin(axis=0)
        nearest[rows] = np.minimum(
            nearest[rows], _squared_distances(points[rows], centres[likely])
        )  # fmt: skip
        bounds[likely, np.arange(len(rows))] = np.inf
        possible = ~(bounds + own[rows] >= nearest[rows])
    for centre in np.flatnonzero(possible.any(axis=1)):
        some = rows[possible[centre]]
        nearest[some] = np.minimum(
            nearest[some], _squared_distances(points[some], centres[centre])
        )  # fmt: skip
