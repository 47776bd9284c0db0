"""Small sets that stand for a whole pool."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, TypeAlias

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Embeddings, Rows
from alaas.core.errors import FieldError, PoolTooLarge
from alaas.strategies.cost import Sizes, Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import BLOCK, blocks, squared_lengths
from alaas.strategies.geometry import k_center_greedy
from alaas.strategies.parameters import Range
from alaas.strategies.registry import strategy
from alaas.strategies.selection import best

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Points: TypeAlias = NDArray[np.float64]

_PAIR = 1400
"""Bytes that the solver takes for each pair of rows within a radius, where that is hard."""

_EFFORT = 1e6
"""Operations that the solver takes for each such pair, about."""

_RADII = 10
"""Radii that are tried, about."""


@strategy(
    family="geometry",
    aliases=("CoreSet", "RobustCoreSet", "CoreSetMIP"),
    cost="O(2^N)",
    paper="Sener & Savarese 2018, arXiv:1708.00489",
    use="A few thousand items where k_center_greedy is too coarse or outliers mislead it.",
    work=lambda s, params: _work(s, params["pairs"]),
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
    pairs: Annotated[
        int, Range(1, None), "Pairs of rows that the solver takes at most."
    ] = 1_000_000,
) -> Picks:
    """The set that covers nearly the whole pool with the smallest balls around its rows.

    ``u(x) = min_{s in L+S} |h(x) - h(s)|`` for x in the set that makes the largest u of the
    pool, less the `outliers` largest, as small as it can be: Algorithm 2 of the paper. It
    starts from k_center_greedy and halves the interval that holds the least radius; whether
    a radius will do is an integer program: pick K rows so that all others, but for the
    outliers, are within it of a pick or of a labelled row.

    The paper halves its way to an exact radius, and we to within `gap` of it. The problem is
    NP-hard: a radius that `nodes` branches do not settle, or that has more than `pairs` pairs
    of rows within it, counts as too small. If the first radius has more the pool is refused,
    and ``max_pool`` chooses from a part of it. Before solving, the pool is put in order of
    length, so that its own order, but for ties, makes no difference.

    Args:
        embeddings: (N, D) embeddings of the pool.
        budget: Rows to pick, at most N.
        labelled_embeddings: (M, D) embeddings of what is labelled already.
        outliers: Share of the N rows, rounded down to whole rows.
        gap: Largest share by which the radius may exceed what is possible.
        nodes: Branches of the search tree for one radius.
        pairs: Pairs of a row and one that could cover it, for one radius; about a kilobyte each.

    Returns:
        The rows of the set, ordered by k_center_greedy among themselves, with the distances
        in embedding units that they have in that order: never increasing.

    Raises:
        PoolTooLarge: The first radius has too many pairs within it.

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
    search = _Search(points, known, budget, spared=int(outliers * len(points)))
    chosen = search.run(gap=gap, nodes=nodes, pairs=pairs)
    picks = k_center_greedy(points[chosen], budget, known)
    return Picks(order[chosen[picks.rows]], picks.scores)


def _work(s: Sizes, pairs: int) -> Work:
    solved = min(float(s.N) ** 2, pairs)
    return Work(
        flops=_RADII * (2.0 * s.N * s.N * s.D + _EFFORT * solved) + 2.0 * (s.M + s.K) * s.N * s.D,
        memory=_PAIR * solved + 24.0 * (s.N + s.M) * s.D + 64.0 * s.N + 100 * BLOCK,
    )


class _Search:
    """The search for the least radius around K rows that covers all points but the spared."""

    def __init__(self, points: Points, known: Points, budget: int, *, spared: int) -> None:
        self.points, self.budget, self.spared = points, budget, spared
        self.nearest = _squares_to(points, known)
        picks = k_center_greedy(points, min(budget + spared + 1, len(points)), known)
        self.chosen = np.sort(picks.rows[:budget])
        self.high = self._radius(self.chosen)
        # Of K + spared + 1 rows this far apart, two that are covered share a ball.
        self.low = float(picks.scores[-1]) / 2 if self.high else 0.0

    def run(self, *, gap: float, nodes: int, pairs: int) -> Rows:
        """The rows, ascending, of the smallest balls that were found."""
        solved = 0
        while self.high > (1 + gap) * self.low:
            radius = (self.low + self.high) / 2
            within = self._within(radius, pairs)
            if within is None and not solved:
                raise _too_large(len(self.points), radius, pairs)
            solved += 1
            found = None if within is None else _cover(within, self.budget, self.spared, nodes)
            if found is None:
                self.low = radius
            else:
                self.chosen, self.high = found, min(radius, self._radius(found))
        return self.chosen

    def _radius(self, rows: Rows) -> float:
        """The radius that some rows, and those that are known, need."""
        if self.spared + self.budget >= len(self.points):
            return 0.0
        squares = np.minimum(self.nearest, _squares_to(self.points, self.points[rows]))
        return math.sqrt(np.partition(squares, -1 - self.spared)[-1 - self.spared])

    def _within(self, radius: float, pairs: int) -> csr_array | None:
        """(R, N) ones where a point is near one of R that need a cover; None if too many."""
        from scipy.sparse import csr_array

        open_points = self.points[self.nearest > radius**2]
        counts, columns = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)]
        for _, squares in _squares(open_points, self.points):
            near = squares <= radius**2
            counts.append(np.count_nonzero(near, axis=1))
            columns.append(np.nonzero(near)[1].astype(np.int32))
            if sum(map(len, columns)) > pairs:
                return None
        indices, starts = np.concatenate(columns), np.cumsum(np.concatenate(counts))
        shape = len(open_points), len(self.points)
        return csr_array((np.ones(len(indices)), indices, starts), shape=shape)


def _squares(points: Points, centres: Points) -> Iterator[tuple[slice, Points]]:
    """(B, K) squared distances, a block of points at a time."""
    lengths = squared_lengths(centres)
    for part in blocks(len(points), max(centres.shape)):
        squares = squared_lengths(points[part])[:, None] + lengths
        squares -= 2 * (points[part] @ centres.T)
        yield part, np.maximum(squares, 0, out=squares)


def _squares_to(points: Points, centres: Points) -> NDArray[np.float64]:
    """(N,) squared distance to the nearest centre; infinite if there is none."""
    parts = [squares.min(axis=1, initial=np.inf) for _, squares in _squares(points, centres)]
    return np.concatenate(parts)


def _too_large(rows: int, radius: float, pairs: int) -> PoolTooLarge:
    message = (
        f"core_set: more than {pairs:,} pairs of {rows:,} rows are within {radius:.6g} of each "
        "other, the radius that it tries first; use params.max_pool=N, which chooses from N "
        "random items of the pool, or a larger params.pairs, or k_center_greedy"
    )
    return PoolTooLarge(message, errors=[FieldError("/parameters/strategy", message)])


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
