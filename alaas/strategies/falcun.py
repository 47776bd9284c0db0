"""FALCUN: uncertainty that gives way to diversity, both in the space of predictions."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Probs, Scores
from alaas.strategies.cost import Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import BLOCK, blocks
from alaas.strategies.parameters import Range
from alaas.strategies.registry import strategy
from alaas.strategies.uncertainty import margin_confidence

_BLOCK = BLOCK // 16
"""Numbers that are worked on at a time: few enough for each step to find them in the cache."""


@strategy(
    family="hybrid",
    aliases=("FALCUN",),
    cost="O(K N C)",
    paper="Gilhuber et al. 2024, FALCUN: A Simple and Efficient Deep Active Learning Strategy",
    use="Diverse batches from the predictions alone: it needs no embeddings.",
    work=lambda s, params: Work(
        # Element by element, and a power a row: far below the rate of a matrix product.
        flops=20 * s.N * s.C + s.K * s.N * (40 * s.C + 2000),
        reads=s.K * s.N * (4 * s.C + 80),
        memory=80 * s.N + 4 * BLOCK,
    ),
)
def falcun(
    probs: Probs,
    budget: int,
    rng: np.random.Generator,
    *,
    gamma: Annotated[
        float, Range(0, 1000), "0 draws uniformly; higher is closer to the most relevant."
    ] = 10.0,
) -> Picks:
    """Rows drawn for a small margin, and for predictions unlike those already picked.

    ``u(x) ~ (m(x) + d(x))^gamma``, the weight with which a row that is not picked yet is
    drawn. m = 1 - (p1 - p2), with p1 and p2 the two largest class probabilities, held to
    [0, 1]. d is m at first; after each pick s it becomes min(d(x), |p(x) - p(s)|_1), and is
    then scaled to [0, 1] over the pool.

    This is the reading that scikit-activeml has of equations 2 to 4 of the paper: the scaled
    d is what the next pick lowers. The authors' code keeps d as it was and scales a copy.

    Args:
        probs: (N, C) class probabilities.
        budget: Rows to pick, at most N.
        rng: Source of the draws, one uniform number a pick, held against the running sum of
            the weights.
        gamma: How strongly the draws follow the relevance m + d.

    Returns:
        The rows in the order drawn, and the relevance m + d, from 0 to 2, that each had
        when it was drawn. Rows whose relevance is 0 are drawn, uniformly, only when no
        others are left.

    Example:
        >>> probs = np.array([[0.5, 0.5], [1.0, 0.0], [0.75, 0.25]])
        >>> falcun(probs, 3, np.random.default_rng(0), gamma=1000)
        Picks(rows=array([0, 2, 1]), scores=array([2. , 1.5, 0. ]))
    """
    rows = np.empty(budget, np.int64)
    scores = np.empty(budget)
    uncertainty = np.clip(1 + margin_confidence(probs), 0.0, 1.0)
    apart = uncertainty.copy()
    free = np.ones(len(probs), bool)
    for step in range(budget):
        relevance = uncertainty + apart
        row = _draw(np.where(free, relevance, -1.0), gamma, rng)
        rows[step], scores[step], free[row] = row, relevance[row], False
        _draw_nearer(apart, probs, probs[row])
    return Picks(rows, scores)


def _draw(relevance: Scores, gamma: float, rng: np.random.Generator) -> int:
    """A row by weight relevance^gamma; a negative relevance is never drawn."""
    highest = relevance.max()
    # The scale cancels, and keeps a high power from overflowing.
    weights = np.maximum(relevance, 0.0) / highest if highest > 0 else np.ones(len(relevance))
    weights **= gamma
    weights[relevance < 0] = 0.0
    total = np.cumsum(weights)
    return int(np.searchsorted(total, rng.random() * total[-1], side="right"))


def _draw_nearer(apart: Scores, probs: Probs, pick: NDArray[np.floating]) -> None:
    """Lower the distances in `apart` to those from a new pick, and scale them to [0, 1]."""
    dtype = np.result_type(probs, np.float32)
    ones = np.ones(probs.shape[1], dtype)
    for part in blocks(*probs.shape, numbers=_BLOCK):
        offsets = np.subtract(probs[part], pick, dtype=dtype)
        np.abs(offsets, out=offsets)
        np.minimum(apart[part], offsets @ ones, out=apart[part])
    # The pick is 0 from itself, so the least distance is 0.
    if (furthest := apart.max()) > 0:
        apart /= furthest
