"""Diverse gradient embeddings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Embeddings, Probs
from alaas.strategies.cost import Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import BLOCK, blocks
from alaas.strategies.registry import strategy

_Some: TypeAlias = slice | list[int] | NDArray[np.int64]

_PENDING = 64
"""Picks whose distances to the pool are taken together, by one matrix product."""

_REFUSALS = 16
"""Proposals refused in a row after which the weights are brought up to date."""


@strategy(
    family="gradients",
    aliases=("BADGE", "BadgeSampling", "GradientEmbedding"),
    cost="O(K N (D + C))",
    paper="Ash et al. 2020, arXiv:1906.03671",
    use="Batches of any size: unsure and diverse at once, with nothing to tune.",
    work=lambda s, params: Work(
        # Products with few columns reach half the rate of square ones.
        flops=4 * (s.K + 4) * s.N * (s.D + s.C + 5),
        reads=4 * (8 + s.K / 16) * s.N * (s.D + s.C),
        memory=40 * s.N
        + 32 * min(s.N * (s.D + s.C + 3 * _PENDING), BLOCK)
        + 64 * _PENDING * (s.D + s.C),
    ),
)
def badge(probs: Probs, embeddings: Embeddings, budget: int, rng: np.random.Generator) -> Picks:
    """Rows whose loss gradients are large and far apart, drawn by k-means++.

    ``u(x) ~ min_{s in S} |g(x) - g(s)|^2``: each pick is drawn with a probability proportional
    to its squared distance from the nearest row picked before (algorithm 1 of the paper). The
    gradient of the last layer, were the predicted class y the label, is the outer product
    g(x) = (p(x) - e_y) h(x)^T of C x D numbers. It is never built: inner products of outer
    products are products of inner products. The first pick is the row of the longest
    gradient, as in the authors' code, where the paper draws it.

    A pick is proposed by one uniform number against the cumulative weights, and a second keeps
    it with probability (weight now) / (weight when they were last brought up to date), which
    draws from the weights of now. They are brought up to date after 64 picks, or after 16
    proposals refused in a row. If all weights are 0, the rest is drawn uniformly.

    Args:
        probs: (N, C) class probabilities.
        embeddings: (N, D) embeddings of the pool.
        budget: Rows to pick, at most N.
        rng: Source of the draws.

    Returns:
        The rows in the order drawn, and the distance of each gradient from the nearest one
        picked before; for the first, the lowest row of those that tie, its length. Copies of
        a pick, and sure rows (p one-hot) after the first of them, have the distance 0 and
        come last.

    Example:
        >>> probs = np.array([[0.5, 0.5], [0.75, 0.25], [0.75, 0.25], [1.0, 0.0]])
        >>> points = np.array([[2.0, 0.0], [0.0, 4.0], [0.0, 4.0], [9.0, 9.0]])
        >>> rows, scores = badge(probs, points, 4, np.random.default_rng(2))
        >>> rows.tolist(), scores.round(4).tolist()
        ([0, 1, 3, 2], [1.4142, 2.0, 1.4142, 0.0])
    """
    gradients = _Gradients(probs, embeddings)
    first = int(gradients.squares.argmax())
    rows, squares = [first], [float(gradients.squares[first])]
    nearest = np.full(len(probs), np.inf)
    done = 0
    while len(rows) < budget:
        gradients.lower(nearest, rows[done:])
        done = len(rows)
        cumulative = nearest.cumsum()
        if not cumulative[-1] > 0:
            break
        drawn = _draw(gradients, nearest, cumulative, min(_PENDING, budget - done), rng)
        rows += drawn
        squares += drawn.values()
    if len(rows) < budget:
        rest = np.delete(np.arange(len(probs)), rows)
        rows += rng.choice(rest, budget - len(rows), replace=False).tolist()
        squares += [0.0] * (budget - len(squares))
    return Picks(np.array(rows, np.int64), np.sqrt(squares) * gradients.scale)


def _draw(
    gradients: _Gradients,
    nearest: NDArray[np.float64],
    cumulative: NDArray[np.float64],
    most: int,
    rng: np.random.Generator,
) -> dict[int, float]:
    """New picks and their squared distances, until so many of them or too many refusals."""
    drawn: dict[int, float] = {}
    refused = 0
    while len(drawn) < most and refused < _REFUSALS:
        at, keep = rng.random(2)
        # A total at the edge of underflow can round the draw up to itself, which is no row's.
        at = min(at * cumulative[-1], np.nextafter(cumulative[-1], 0))
        row = int(np.searchsorted(cumulative, at, side="right"))
        now = min([nearest[row], *gradients.squares_apart(list(drawn), row)])
        if keep * nearest[row] < now:
            drawn[row] = float(now)
            refused = 0
        else:
            refused += 1
    return drawn


class _Gradients:
    """N gradient embeddings q h^T, with q = p - e_y, held as their factors.

    Lengths are in units of the longest h, so that no product leaves the range of float32.

    Attributes:
        scale: Length of the longest h.
        squares: (N,) squared lengths of the gradients.
    """

    def __init__(self, probs: Probs, embeddings: Embeddings) -> None:
        self._probs, self._embeddings = probs, embeddings
        # BLAS has no half precision.
        self._dtype = np.result_type(probs, embeddings, np.float32)
        self._guesses = np.empty(len(probs), np.int64)
        self.squares = np.empty(len(probs))
        lengths = np.empty(len(probs))
        for part in self._blocks():
            self._guesses[part] = probs[part].argmax(axis=1)
            q, h = self._factors(part, np.float64)
            lengths[part], self.squares[part] = _dots(h, h), _dots(q, q)
        self.scale = math.sqrt(lengths.max()) or 1.0
        self.squares *= lengths / self.scale**2

    def _blocks(self) -> Iterator[slice]:
        width = self._probs.shape[1] + self._embeddings.shape[1] + 3 * _PENDING
        return blocks(len(self._probs), width)

    def _factors(
        self, rows: _Some, dtype: Any
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """(B, C) residuals q and (B, D) embeddings h of some rows."""
        q = self._probs[rows].astype(dtype)
        q[np.arange(len(q)), self._guesses[rows]] -= 1
        return q, self._embeddings[rows].astype(dtype, copy=False)

    def squares_apart(self, rows: _Some, centre: int) -> NDArray[np.float64]:
        """(B,) squared distances of gradients to that of one row; of its copies exactly 0.

        The difference q h^T - q' h'^T is (q - q') h^T + q' (h - h')^T: nothing large cancels.
        """
        q, h = self._factors(rows, np.float64)
        to_q, to_h = self._factors([centre], np.float64)
        dq, dh = q - to_q, (h - to_h) / self.scale
        h = h / self.scale
        squares = _dots(dq, dq) * _dots(h, h) + _dots(to_q, to_q) * _dots(dh, dh)
        squares += 2 * (dq @ to_q[0]) * _dots(h, dh)
        return np.maximum(squares, 0.0)

    def lower(self, nearest: NDArray[np.float64], centres: list[int]) -> None:
        """Lower the (N,) squared distances in `nearest` to those from new centres, in place.

        Squared lengths less inner products give them all; where that leaves fewer than half
        of the digits, they are taken again as differences.
        """
        to_q, to_h = self._factors(centres, np.float64)
        to_q, to_h = to_q.astype(self._dtype), (to_h / self.scale**2).astype(self._dtype)
        lengths = self.squares[centres].astype(self._dtype)
        doubtful = math.sqrt(np.finfo(self._dtype).eps)
        for part in self._blocks():
            q, h = self._factors(part, self._dtype)
            apart = h @ to_h.T
            apart *= q @ to_q.T
            apart *= -2
            apart += self.squares[part].astype(self._dtype)[:, None]
            apart += lengths
            close = apart <= doubtful * self.squares[part, None]
            for number in np.flatnonzero(close.any(axis=0)):
                rows = part.start + np.flatnonzero(close[:, number])
                apart[rows - part.start, number] = self.squares_apart(rows, centres[number])
            np.minimum(nearest[part], apart.min(axis=1), out=nearest[part])


def _dots(left: NDArray[np.floating], right: NDArray[np.floating]) -> NDArray[np.float64]:
    products: NDArray[np.float64] = np.einsum("bi,bi->b", left, right)
    return products
