"""Small sets that stand for a whole pool."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Embeddings, Rows
from alaas.strategies.cost import Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import BLOCK, blocks, squared_lengths
from alaas.strategies.geometry import k_center_greedy
from alaas.strategies.parameters import Range
from alaas.strategies.registry import strategy
from alaas.strategies.selection import best

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_PAIR = 560
"""Bytes for each pair of rows, as measured where a problem is hard: most are the solver's."""


@strategy(
    family="geometry",
    aliases=("CoreSet", "RobustCoreSet", "CoreSetMIP"),
    cost="O(2^N)",
    paper="Sener & Savarese 2018, arXiv:1708.00489",
    use="A few thousand items where k_center_greedy is too coarse or outliers mislead it.",
    work=lambda s, params: Work(
        flops=5e3 * s.N**3 + 20.0 * s.N * (s.N + s.M) * s.D,
        memory=_PAIR * s.N**2 + 24 * (s.N + s.M) * s.D + 100 * BLOCK,
    ),
)
def core_set(
    embeddings: Embeddings,
    budget: int,
    labelled_embeddings: Embeddings | None = None,
    *,
    outliers: Annotated[float, Range(0, 1), "Share of the pool that may be left uncovered."] = 1e-4,
    gap: Annotated[
        float, Range(1e-9, 1), "How far above the least radius to stop, as a share of it."
    ] = 0.01,
    nodes: Annotated[int, Range(1, None), "Branches that the solver tries for one radius."] = 100,
) -> Picks:
    """The set that covers nearly the whole pool with the smallest balls around its rows.

    ``u(x) = min_{s in L+S} |h(x) - h(s)|`` for x in the set that makes the largest u of the
    pool, less the `outliers` largest, as small as it can be: Algorithm 2 of the paper. It
    starts from k_center_greedy and halves the interval that holds the least radius; whether
    a radius will do is an integer program: pick K rows so that all others, but for the
    outliers, are within it of a pick or of a labelled row.

    The paper halves its way to an exact radius, and we to within `gap` of it. A radius that
    `nodes` branches do not settle counts as too small. Before solving, the pool is put in
    order of length, so that its own order, but for ties, makes no difference. The problem
    is NP-hard, and the estimate assumes that every pair is within the radius: choose from
    a larger pool with ``max_pool``.

    Args:
        embeddings: (N, D) embeddings of the pool.
        budget: Rows to pick, at most N.
        labelled_embeddings: (M, D) embeddings of what is labelled already.
        outliers: Share of the N rows, rounded down to whole rows.
        gap: Largest share by which the radius may exceed what is possible.
        nodes: Branches of the search tree for one radius.

    Returns:
        The rows of the set, ordered by k_center_greedy among themselves, with the distances
        in embedding units that they have in that order: never increasing.

    Example:
        Greedy picking takes 2 and 9, which leaves 7 uncovered but by a ball of radius 2;
        balls of radius 1 around the middles cover all.

        >>> line = np.array([[0.0], [1.0], [2.0], [7.0], [8.0], [9.0]])
        >>> core_set(line, 2)
        Picks(rows=array([1, 4]), scores=array([7., 7.]))
    """
    order = np.argsort(squared_lengths(embeddings), kind="stable")
    points = embeddings[order].astype(np.float64)
    origin = points.mean(axis=0)
    points -= origin
    known = np.empty((0, points.shape[1])) if labelled_embeddings is None else labelled_embeddings
    known = np.subtract(known, origin, dtype=np.float64)
    spared = int(outliers * len(points))
    chosen = _smallest_cover(points, budget, known, spared=spared, gap=gap, nodes=nodes)
    picks = k_center_greedy(points[chosen], budget, known)
    return Picks(order[chosen[picks.rows]], picks.scores)


def _smallest_cover(
    points: NDArray[np.float64],
    budget: int,
    known: NDArray[np.float64],
    *,
    spared: int,
    gap: float,
    nodes: int,
) -> Rows:
    """The rows, ascending, around which balls of about the least radius cover the points."""
    greedy = k_center_greedy(points, min(budget + spared + 1, len(points)), known)
    chosen = np.sort(greedy.rows[:budget])
    if len(greedy.rows) <= budget + spared:
        return chosen  # whatever is not picked is an outlier
    # Of budget + spared + 1 rows this far apart, two that are no outliers share a ball.
    low = float(greedy.scores[-1]) / 2
    nearest = _squares_to(points, known)
    high = _radius(points, chosen, nearest, spared)
    while high > (1 + gap) * low:
        radius = (low + high) / 2
        within = _pairs_within(points, np.flatnonzero(nearest > radius**2), radius)
        cover = _cover(within, budget, spared, nodes)
        if cover is None:
            low = radius
        else:
            chosen, high = cover, min(radius, _radius(points, cover, nearest, spared))
    return chosen


def _squares(
    points: NDArray[np.float64], centres: NDArray[np.float64]
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """(B, K) squared distances, a block of points at a time."""
    lengths = squared_lengths(centres)
    for part in blocks(len(points), max(centres.shape)):
        squares = squared_lengths(points[part])[:, None] + lengths
        squares -= 2 * (points[part] @ centres.T)
        yield part, np.maximum(squares, 0, out=squares)


def _squares_to(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) squared distance to the nearest centre."""
    parts = [squares.min(axis=1, initial=np.inf) for _, squares in _squares(points, centres)]
    return np.concatenate(parts)


def _radius(
    points: NDArray[np.float64], rows: Rows, nearest: NDArray[np.float64], spared: int
) -> float:
    """The radius within which rows and labelled rows cover all but the spared points."""
    squares = np.minimum(nearest, _squares_to(points, points[rows]))
    return math.sqrt(np.partition(squares, -1 - spared)[-1 - spared])


def _pairs_within(points: NDArray[np.float64], rows: Rows, radius: float) -> csr_array:
    """(R, N) matrix of ones where a point is within a radius of one of some rows."""
    from scipy.sparse import csr_array

    counts, columns = [np.zeros(1, np.int64)], []
    for _, squares in _squares(points[rows], points):
        near = squares <= radius**2
        counts.append(np.count_nonzero(near, axis=1))
        columns.append(np.nonzero(near)[1].astype(np.int32))
    indices = np.concatenate(columns)
    starts = np.cumsum(np.concatenate(counts))
    return csr_array((np.ones(len(indices)), indices, starts), shape=(len(rows), len(points)))


def _cover(within: csr_array, budget: int, spared: int, nodes: int) -> Rows | None:
    """So many columns that every row but the spared has a one in them; None if none is found."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import block_array, eye_array

    rows, N = within.shape
    if spared:  # a row that is left out is covered by a column of its own
        within = block_array([[within, eye_array(rows)]], format="csr")
    picks = np.repeat([1.0, 0.0], [N, within.shape[1] - N])
    found = milp(
        np.zeros(len(picks)),
        integrality=picks,
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(within, 1, np.inf),
            LinearConstraint(picks, budget, budget),
            LinearConstraint(1 - picks, 0, spared),
        ],
        # The solver's presolve takes ten times as long as the search without it.
        options={"node_limit": nodes, "presolve": False},
    )
    return None if found.x is None else np.flatnonzero(found.x[:N] > 0.5)


@strategy(
    family="geometry",
    aliases=("LightweightCoreset", "LightweightCoreSet", "LWCS"),
    cost="O(N D)",
    paper="Bachem, Lucic & Krause 2018, arXiv:1702.08248",
    use="A random choice that leans to the rim of the pool, in two passes over any pool.",
    work=lambda s, params: Work(
        flops=6 * s.N * s.D, reads=8 * s.N * s.D, memory=64 * s.N + 24 * BLOCK
    ),
)
def lightweight_coreset(embeddings: Embeddings, budget: int, rng: np.random.Generator) -> Picks:
    """Drawn at random: half of the chance even, half by squared distance from the mean.

    ``u(x) = 1/(2N) + |h(x) - m|^2 / (2 sum_x' |h(x') - m|^2)``, with m the mean of the pool:
    the probability q of Algorithm 1 of the paper. Where all rows are equal it is 1/N.

    The paper draws with replacement; a row needs labelling once, so we draw without: each
    draw is in proportion to u among the rows that are left. The paper weighs a row by
    1/(K u).

    Args:
        embeddings: (N, D) embeddings of the pool.
        budget: Rows to pick, at most N.
        rng: Source of the draws.

    Returns:
        The rows in the order of their draws, and the probability that each had in the first
        draw, from 1/(2N) to 1/2 + 1/(2N).

    Example:
        >>> corner = np.array([[0.0], [0.0], [0.0], [4.0]])
        >>> rows, chances = lightweight_coreset(corner, 4, np.random.default_rng(0))
        >>> chances[rows.argsort()].round(4)
        array([0.1667, 0.1667, 0.1667, 0.5   ])
    """
    N = len(embeddings)
    mean = embeddings.mean(axis=0, dtype=np.float64)
    squares = np.concatenate(
        [
            squared_lengths(np.subtract(embeddings[part], mean, dtype=np.float64))
            for part in blocks(*embeddings.shape)
        ]
    )
    total = squares.sum()
    chances = (squares / total + 1 / N) / 2 if total > 0 else np.full(N, 1 / N)
    # The first of exponential waits whose rates are the chances: a draw without replacement.
    rows = best(chances / rng.exponential(size=N), budget)
    return Picks(rows, chances[rows])
