"""Mini-batches of uncertain items, each away from what the batches before it took."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Embeddings, Probs, Scores
from alaas.strategies.cost import Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import BLOCK, blocks
from alaas.strategies.parameters import Range
from alaas.strategies.registry import strategy
from alaas.strategies.selection import best
from alaas.strategies.uncertainty import entropy, least_confidence, margin_confidence

_UNCERTAINTIES = {
    "least_confidence": least_confidence,
    "margin": margin_confidence,
    "entropy": entropy,
}

_BLOCK = BLOCK // 16
"""Numbers that are worked on at a time: few enough for each step to find them in the cache."""


@strategy(
    family="hybrid",
    aliases=("IterativeProximity", "IterativeProximitySampling", "ProximitySampling"),
    cost="O(N C + K N D)",
    paper="SpaceML Active Labeler 2021",
    use="Mostly uncertainty sampling, nudged away from the middle of what it has picked.",
    work=lambda s, params: Work(
        # Distances by differences run far below the rate of a matrix product.
        flops=20 * s.N * s.C + 60 * s.N * s.D * (s.K // params["batch"]),
        reads=4 * s.N * s.C + 4 * s.N * s.D * (s.K // params["batch"]),
        memory=80 * s.N + 4 * BLOCK,
    ),
)
def iterative_proximity_sampling(
    probs: Probs,
    embeddings: Embeddings,
    budget: int,
    *,
    uncertainty: Annotated[
        Literal["least_confidence", "margin", "entropy"], "The score that is spread out."
    ] = "entropy",
    batch: Annotated[int, Range(1), "Rows that are picked before the middle moves."] = 10,
    spread: Annotated[float, Range(0, None), "Weight of the distance, in standard scores."] = 0.3,
) -> Picks:
    """The most uncertain first, then mini-batches that also lie far from all picked.

    ``u(x) = z(x) + spread (2 d(x) - 1)``, with z the uncertainty as a standard score over
    the pool, and d the Euclidean distance from the mean of what is picked, scaled to [0, 1]
    over the pool. For the first mini-batch u = z.

    The budget is met exactly. Where the original divided by a standard deviation of 0, z
    is 0, and where all rows are equally far, so is the second term.

    Args:
        probs: (N, C) class probabilities.
        embeddings: (N, D) embeddings.
        budget: Rows to pick, at most N.
        uncertainty: The rule of z.
        batch: Rows in a mini-batch.
        spread: Half the range of the second term.

    Returns:
        The rows, mini-batch by mini-batch, and the u that each had when it was picked: a
        standard score, unbounded. Of equal scores the lowest row.

    Example:
        >>> probs = np.array([[0.5, 0.5], [0.6, 0.4], [0.4, 0.6], [1.0, 0.0]])
        >>> line = np.array([[0.0], [1.0], [3.0], [4.0]])
        >>> rows, scores = iterative_proximity_sampling(probs, line, 3, batch=1)
        >>> rows, scores.round(3)
        (array([0, 2, 1]), array([0.623, 0.704, 0.254]))
    """
    standard = _standardise(_UNCERTAINTIES[uncertainty](probs))
    scores, total = standard.copy(), np.zeros(embeddings.shape[1])
    picked: list[Picks] = []
    for taken in range(0, budget, batch):
        if taken:
            scores = standard + spread * _remoteness(embeddings, total / taken)
        rows = best(scores, min(batch, budget - taken))
        picked.append(Picks(rows, scores[rows]))
        standard[rows] = -np.inf
        total += embeddings[rows].sum(axis=0, dtype=np.float64)
    return Picks(*map(np.concatenate, zip(*picked, strict=True)))


def _standardise(scores: Scores) -> Scores:
    """Scores of mean 0 and deviation 1; of 0 each where all are equal."""
    if scores.min() == scores.max():
        return np.zeros(len(scores))
    standard: Scores = (scores - scores.mean()) / scores.std()
    return standard


def _remoteness(embeddings: Embeddings, centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) distance from a point, from -1 for the nearest row to 1 for the furthest."""
    apart = np.empty(len(embeddings))
    dtype = np.result_type(embeddings, np.float32)
    for part in blocks(*embeddings.shape, numbers=_BLOCK):
        offsets = np.subtract(embeddings[part], centre, dtype=dtype)
        np.einsum("nd,nd->n", offsets, offsets, out=apart[part])
    np.sqrt(apart, out=apart)
    nearest, furthest = apart.min(), apart.max()
    if nearest == furthest:
        return np.zeros(len(apart))
    scaled: NDArray[np.float64] = 2 * (apart - nearest) / (furthest - nearest) - 1
    return scaled
