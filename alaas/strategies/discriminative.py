"""Items that a classifier can tell from what is labelled."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Embeddings, Rows
from alaas.strategies.cost import Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import BLOCK, blocks
from alaas.strategies.parameters import Range
from alaas.strategies.registry import strategy
from alaas.strategies.selection import best

_STEPS = 100
"""Passes over its data that a fit takes, about."""


@strategy(
    family="geometry",
    aliases=("DAL", "DiscriminativeAL", "DiscriminativeActiveLearning"),
    cost="O(K N D)",
    paper="Gissin & Shalev-Shwartz 2019, arXiv:1907.06347",
    use="To make what is labelled look like the pool, where some of it is missing altogether.",
    work=lambda s, params: _work(s.N, s.M + s.K, s.D, min(s.K, params["sub_batches"]), **params),
)
def discriminative(
    embeddings: Embeddings,
    labelled_embeddings: Embeddings,
    budget: int,
    rng: np.random.Generator,
    *,
    sub_batches: Annotated[int, Range(1, None), "Times to fit, each for a part of the picks."] = 10,
    fit_rows: Annotated[int, Range(1, None), "Rows of each side to fit to, at most."] = 20_000,
) -> Picks:
    """The rows that a classifier is surest are not labelled; picks join the labelled side.

    ``u(x) = P(unlabelled | h(x))``, of a logistic regression between the labelled rows, with
    what is picked already, and the rest of the pool: Algorithm 1 of the paper. The budget is
    cut into `sub_batches` parts, and the regression is fitted anew for each.

    The paper trains a multi-layer perceptron; a regression has one optimum, so the answer
    does not hang on how it was reached. Embeddings are scaled to mean 0 and deviation 1 in
    each dimension of the pool, both sides weigh the same, and weights w cost |w|^2 / 2 beside
    the summed log losses. A side of more than `fit_rows` rows is fitted to that many of it,
    drawn evenly at random for each part.

    Args:
        embeddings: (N, D) embeddings of the pool.
        labelled_embeddings: (M, D) embeddings of what is labelled already.
        budget: Rows to pick, at most N.
        rng: Source of the rows to fit to.
        sub_batches: Parts of the budget; with 1, the picks do not know of each other.
        fit_rows: Rows of each side that a fit looks at.

    Returns:
        The rows, and the probability in [0, 1] that each had when it was picked: decreasing
        within a part. Of equally sure rows the lowest.

    Example:
        >>> pool = np.array([[0.0], [1.0], [2.0], [9.0]])
        >>> rows, chances = discriminative(
        ...     pool, np.array([[0.0], [1.0]]), 2, np.random.default_rng(0), sub_batches=2
        ... )
        >>> rows
        array([3, 2])
    """
    scale = _Scale.of(embeddings)
    rows, scores = np.empty(0, np.int64), np.empty(0)
    free = np.ones(len(embeddings), bool)
    for part in np.array_split(np.arange(budget), min(sub_batches, budget)):
        known = np.concatenate(
            [
                scale(labelled_embeddings[_some(np.arange(len(labelled_embeddings)), fit_rows, rng)]),
                scale(embeddings[_some(rows, fit_rows, rng)]),
            ]
        )
        unknown = scale(embeddings[_some(np.flatnonzero(free), fit_rows, rng)])
        logits = _logits(embeddings, scale, known, unknown)
        picked = best(np.where(free, logits, -np.inf), len(part))
        free[picked] = False
        rows = np.concatenate([rows, picked])
        scores = np.concatenate([scores, 1 / (1 + np.exp(-logits[picked]))])
    return Picks(rows, scores)
