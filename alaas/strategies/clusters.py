"""k-means, the step that many strategies share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Rows
from alaas.strategies.cost import Work
from alaas.strategies.distances import BLOCK, blocks, mean_row, nearest_centres, shifted
from alaas.strategies.neighbours import nearest_neighbours, neighbours_work

_CANDIDATES = 3
"""Rows drawn for each cluster, of which the start of k-means keeps one."""

_BATCH = 256
"""Rows of k-means++ that are drawn at a time, and then share one pass over the points."""

_LEVEL = 1 + 1e-5
"""Squared distances to a centre within this ratio are equal: a mean is rounded, and the two
rows of a cluster of two are equally far from theirs."""


class Clusters(NamedTuple):
    """What k-means found.

    Attributes:
        centres: (k, D) float32 means.
        labels: (N,) number of the nearest centre of each row.
        inertia: Sum of weighted squared distances of the rows to their centres.
    """

    centres: NDArray[np.float32]
    labels: NDArray[np.int64]
    inertia: float


class Seeds(NamedTuple):
    """What k-means++ drew.

    Attributes:
        rows: (k,) different row numbers, in the order in which they were drawn.
        squares: (k,) squared distance of each to the nearest drawn before it; of the first,
            the largest that any row has to it.
        labels: (N,) which of the rows drawn is nearest to each row of the points.

    Rows that are drawn uniformly in the end do not count as drawn before one another, and
    no row is labelled with them.
    """

    rows: Rows
    squares: NDArray[np.float64]
    labels: NDArray[np.int64]


def k_means_work(rows: int, k: int, width: int, *, iterations: int = 25) -> Work:
    """What `k_means` and `nearest_rows` take for (rows, width) points and k clusters."""
    drawn = min(rows, _CANDIDATES * k)
    passes = iterations + 2  # one more to begin with, and one for the nearest rows
    pairs = (drawn if drawn < rows else 0) * rows + 8 * drawn**2 + drawn * k + passes * rows * k
    memory = 64.0 * rows + 12.0 * drawn * width + 40.0 * k * width + 24 * BLOCK
    return Work(
        flops=2.0 * width * pairs,
        reads=4.0 * width * rows * (2 * passes + drawn / _BATCH),
        memory=max(memory, 64.0 * rows + neighbours_work(k, rows, width, 4).memory),
    )


def k_means_plus_plus_work(rows: int, k: int, width: int) -> Work:
    """What `k_means_plus_plus` takes for (rows, width) points and k of them."""
    return Work(
        flops=2.0 * width * rows * k,
        reads=4.0 * width * rows * (8 + k / _BATCH),
        memory=48.0 * rows + 16.0 * k + 24 * BLOCK,
    )


def k_means(
    points: NDArray[np.floating],
    k: int,
    rng: np.random.Generator,
    *,
    weights: NDArray[np.floating] | None = None,
    iterations: int = 25,
    start: NDArray[np.floating] | None = None,
) -> Clusters:
    """Lloyd's algorithm, until no row changes its cluster.

    A cluster that no row is left to moves to the row that is worst served, by weighted
    squared distance.

    Args:
        points: (N, D) rows.
        k: Clusters, at most N.
        rng: Source of the start.
        weights: (N,) weights >= 0, not all 0; None for equal ones.
        iterations: Lloyd iterations at most.
        start: (k, D) centres to begin with; None for the rows that `start_rows` chooses.
    """
    origin = mean_row(points)
    rows = _Weighted(
        points,
        np.ones(len(points)) if weights is None else weights.astype(np.float64),
        origin,
    )
    if start is None:
        start = points[start_rows(points, k, rng, weights=weights)]
    centres = np.subtract(start, origin, dtype=np.float64)
    labels, squares = rows.assign(centres)
    for _ in range(iterations):
        rows.move(centres, labels, squares)
        before = labels
        labels, squares = rows.assign(centres)
        if np.array_equal(labels, before):
            break
    inertia = float(squares @ rows.weights)
    return Clusters((centres + origin).astype(np.float32), labels, inertia)


class _Weighted(NamedTuple):
    """The rows that Lloyd's algorithm clusters; centres are as seen from the origin."""

    points: NDArray[np.floating]
    weights: NDArray[np.float64]
    origin: NDArray[np.float32]

    def assign(self, centres: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The nearest centre of each row, and the squared distance to it."""
        labels, squares = np.empty(len(self.points), np.int64), np.empty(len(self.points))
        for near in nearest_centres(self.points, centres, self.origin):
            labels[near.part], squares[near.part] = near.labels, near.squares
        return labels, squares

    def move(
        self,
        centres: NDArray[np.float64],
        labels: NDArray[np.int64],
        squares: NDArray[np.float64],
    ) -> None:
        """Move each centre to the weighted mean of its rows, in place."""
        from scipy.sparse import csc_array

        totals = np.bincount(labels, self.weights, minlength=len(centres))
        shares = self.weights / np.maximum(totals, np.finfo(np.float64).tiny)[labels]
        centres[totals > 0] = 0.0
        for part in blocks(*self.points.shape):
            block = shifted(self.points[part], self.origin)
            # Column n of this matrix holds one number: the share of row n in its cluster.
            column = (shares[part], labels[part], np.arange(len(block) + 1))
            centres += csc_array(column, shape=(len(centres), len(block))) @ block
        if len(empty := np.flatnonzero(totals == 0)):
            costs = squares * self.weights
            worst = np.argsort(-costs, kind="stable")[: len(empty)]
            worst = worst[costs[worst] > 0]
            centres[empty[: len(worst)]] = shifted(self.points[worst], self.origin)


def start_rows(
    points: NDArray[np.floating],
    k: int,
    rng: np.random.Generator,
    *,
    weights: NDArray[np.floating] | None = None,
) -> Rows:
    """(k,) rows to begin k-means with: the best, taken greedily, of three times as many.

    k-means++ draws the candidates, and each stands for the rows that it is nearest to. Of
    them the one is kept, again and again, that lowers the sum of squared distances most.
    That is what greedy k-means++ does with a few candidates a step, at a fraction of its
    passes over the points.

    Args:
        points: (N, D) rows.
        k: Rows wanted, at most N.
        rng: Source of the candidates.
        weights: (N,) weights >= 0, not all 0; None for equal ones.
    """
    if _CANDIDATES * k < len(points):
        drawn = k_means_plus_plus(points, _CANDIDATES * k, rng, weights=weights)
        rows, labels = drawn.rows, drawn.labels
    else:
        rows = labels = np.arange(len(points))
    stood_for = np.bincount(labels, weights, minlength=len(rows)).astype(np.float64)
    return rows[_keep(points[rows], k, stood_for)]


def _keep(points: NDArray[np.floating], k: int, weights: NDArray[np.float64]) -> Rows:
    """The k rows that leave the least weighted squared distance, chosen greedily."""
    seen = shifted(points, mean_row(points))
    lengths = np.einsum("nd,nd->n", seen, seen)
    shares = (weights / weights.sum()).astype(np.float32)
    kept = np.empty(k, np.int64)
    # With one centre the best is the row nearest to the mean.
    gains = (2 * (seen @ (shares @ seen)) - lengths).astype(np.float64)
    nearest = np.zeros_like(lengths)
    for step in range(k):
        row = kept[step] = gains.argmax()
        squares = np.maximum(lengths + lengths[row] - 2 * (seen @ seen[row]), 0)
        squares[row] = 0
        if step:
            squares = np.minimum(nearest, squares)
        else:
            gains[:] = 0
        # What a row would gain changes only by the rows that have a nearer one since.
        changed = np.flatnonzero((squares != nearest) & (shares > 0))
        for part in blocks(len(changed), len(seen)):
            some = changed[part]
            apart = lengths[some, None] + lengths - 2 * (seen[some] @ seen.T)
            fallen = np.maximum(nearest[some, None] - apart, 0)
            fallen -= np.maximum(squares[some, None] - apart, 0)
            gains -= shares[some] @ fallen
        nearest = squares
        gains[kept[: step + 1]] = -np.inf
    return kept


def k_means_plus_plus(
    points: NDArray[np.floating],
    k: int,
    rng: np.random.Generator,
    *,
    weights: NDArray[np.floating] | None = None,
) -> Seeds:
    """Draw rows one after the other, by squared distance to the nearest drawn before.

    The first is drawn by weight, each other by weight times that squared distance; once all
    of these are 0, uniformly from the rows that are left.

    The draws are exact and yet read the points once for many of them. Candidates are drawn
    together by the distances of the moment. In turn, each is kept with the probability to
    which those drawn since have lowered its own squared distance: what is kept then has the
    distribution that the distances of its own moment give.

    Args:
        points: (N, D) rows.
        k: Rows wanted, at most N.
        rng: Source of the draws.
        weights: (N,) weights >= 0, not all 0; None for equal ones.
    """
    rows, squares = np.empty(k, np.int64), np.empty(k)
    rows[0] = _draw(np.ones(len(points)) if weights is None else weights, 1, rng)[0]
    drawing = _Drawing(points, weights)
    drawing.add(rows[:1], 0)
    squares[0] = drawing.nearest.max()
    done = 1
    while done < k and (costs := drawing.costs()).any():
        batch, apart = drawing.draw(costs, min(done, _BATCH), rng)
        to = min(k, done + len(batch))
        rows[done:to], squares[done:to] = batch[: to - done], apart[: to - done]
        drawing.add(rows[done:to], done)
        done = to
    left = np.ones(len(points), bool)
    left[rows[:done]] = False
    rows[done:] = rng.choice(np.flatnonzero(left), k - done, replace=False)
    squares[done:] = drawing.nearest[rows[done:]]
    return Seeds(rows, squares, drawing.labels)


class _Drawing:
    """The points, and how far each is from the nearest row that k-means++ has drawn."""

    def __init__(self, points: NDArray[np.floating], weights: NDArray[np.floating] | None) -> None:
        self.points = points
        self.weights = weights
        self.origin = mean_row(points)
        self.nearest = np.full(len(points), np.inf)
        self.labels = np.zeros(len(points), np.int64)

    def costs(self) -> NDArray[np.float64]:
        return self.nearest if self.weights is None else self.nearest * self.weights

    def add(self, rows: Rows, first: int) -> None:
        """Lower the distances to those from new rows, which are numbered from `first`."""
        places = shifted(self.points[rows], self.origin)
        for near in nearest_centres(self.points, places, self.origin):
            closer = np.flatnonzero(near.squares < self.nearest[near.part])
            self.nearest[near.part][closer] = near.squares[closer]
            self.labels[near.part][closer] = near.labels[closer] + first

    def draw(
        self, costs: NDArray[np.float64], size: int, rng: np.random.Generator
    ) -> tuple[Rows, NDArray[np.float64]]:
        """The next rows, 1 to `size` of them, and their squared distances when drawn."""
        candidates, chances = _draw(costs, size, rng), rng.random(size)
        places = self.points[candidates].astype(np.float64)
        kept: list[int] = []
        squares: list[float] = []
        for at, before in enumerate(self.nearest[candidates].tolist()):
            offsets = places[kept] - places[at]
            square = np.einsum("nd,nd->n", offsets, offsets).min(initial=before)
            if chances[at] * before < square:
                kept.append(at)
                squares.append(square)
        return candidates[kept], np.array(squares)


def _draw(costs: NDArray[np.floating], size: int, rng: np.random.Generator) -> Rows:
    """Rows by their costs, with replacement."""
    ends = np.cumsum(costs, dtype=np.float64)
    rows: Rows = np.searchsorted(ends, rng.random(size) * ends[-1], side="right")
    return np.minimum(rows, len(costs) - 1)


def nearest_rows(points: NDArray[np.floating], clusters: Clusters) -> Rows:
    """(k,) the row nearest to each centre, none twice, in the order of the clusters.

    A centre whose nearest row is taken already gets the nearest that is not. Of rows that
    are equally near, to one part in 10^5 of the squared distance, the lowest.
    """
    taken = np.zeros(len(points), bool)
    rows: list[int] = []
    wanted = 4
    while len(rows) < len(clusters.centres):
        near = nearest_neighbours(
            clusters.centres[len(rows) :], points, min(wanted, len(points))
        )  # fmt: skip
        for candidates, squares in zip(near.rows, near.squares, strict=True):
            free = ~taken[candidates]
            if not free.any():
                break  # all of them are taken: look at more
            level = squares <= _LEVEL * squares[free].min()
            rows.append(int(candidates[free & level].min()))
            taken[rows[-1]] = True
        wanted *= 4
    return np.array(rows, np.int64)
