"""Uncertainty times how typical a row is of the pool, or how new to what is labelled.

Similarity is (1 + cosine) / 2 of two embeddings: 1 in the same direction, 0 in the opposite
one. An embedding of zeros has no direction, and a similarity of 1/2 to everything.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Embeddings, Probs
from alaas.strategies.cost import Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import BLOCK, blocks, squared_lengths
from alaas.strategies.registry import Range, strategy
from alaas.strategies.selection import best
from alaas.strategies.uncertainty import entropy, least_confidence, margin_confidence

Measure = Literal["least_confidence", "margin", "entropy"]
Uncertainty = Annotated[Measure, "The measure U(x), from 0 for a one-hot row to 1 at most."]

_PICKED = -1.0
"""A score below all others: a row that it marks is not picked again."""


@strategy(
    family="density",
    aliases=("InformationDensity", "DensityWeighted"),
    cost="O(N (C + D))",
    paper="Settles & Craven 2008",
    use="A pool with outliers that uncertainty alone would pick.",
    work=lambda s, params: Work(
        flops=20 * s.N * s.C + 10 * s.N * s.D,
        memory=80 * s.N + 24 * max(BLOCK, s.D),
        reads=4 * s.N * (s.C + 3 * s.D),
    ),
)
def information_density(
    probs: Probs,
    embeddings: Embeddings,
    budget: int,
    *,
    beta: Annotated[float, Range(0, 1e3), "Weight of being typical; 0 leaves it out."] = 1.0,
    uncertainty: Uncertainty = "least_confidence",
) -> Picks:
    """Uncertain rows that resemble the whole pool.

    ``u(x) = U(x) (mean_j sim(x, x_j))^beta``, the mean over all rows of the pool, x itself
    too. The mean of cosines is one product with the mean direction, so no pair of rows is ever
    compared. Settles & Craven take the cosine itself, which of word counts is never negative;
    of embeddings it is, hence sim = (1 + cosine) / 2.

    Args:
        probs: (N, C) class probabilities.
        embeddings: (N, D) embeddings.
        budget: Rows to pick, at most N.
        beta: Weight of being typical; 0 leaves only the uncertainty.
        uncertainty: The measure U.

    Returns:
        The rows, and their scores from 0 to 1. Of equal scores the lowest row.

    Example:
        >>> probs = np.array([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [1.0, 0.0]])
        >>> ahead, aside = [1.0, 0.0], [0.0, 1.0]
        >>> information_density(probs, np.array([aside, ahead, ahead, ahead]), 3)
        Picks(rows=array([1, 2, 0]), scores=array([0.875, 0.875, 0.625]))
    """
    typical = _similarities(embeddings, _lengths(embeddings)) ** beta
    scores = _uncertainty(probs, uncertainty) * typical
    rows = best(scores, budget)
    return Picks(rows, scores[rows])


@strategy(
    family="density",
    aliases=("RankedBatch", "RankedBatchMode", "UncertaintyBatchSampling"),
    cost="O(N C + (M + K) N D)",
    paper="Cardoso et al. 2017",
    use="Few labels: from exploring the embedding space to uncertainty as labels come in.",
    work=lambda s, params: Work(
        flops=20 * s.N * s.C + 2 * (s.M + s.K + 5) * s.N * s.D,
        memory=80 * s.N + 32 * max(BLOCK, s.D),
        reads=4 * s.N * (s.C + (s.M + s.K + 3) * s.D),
    ),
)
def ranked_batch(
    probs: Probs,
    embeddings: Embeddings,
    budget: int,
    labelled_embeddings: Embeddings | None = None,
    *,
    uncertainty: Uncertainty = "least_confidence",
) -> Picks:
    """Uncertain rows unlike all that is labelled or picked, which counts most at the start.

    ``u(x) = a (1 - max_{s in L+S} sim(x, s)) + (1 - a) U(x)``, with ``a`` the share of rows
    that are neither labelled nor picked yet among all rows.

    With nothing labelled ``a`` is 1 and all rows score 1; the first pick is then the most
    uncertain row, as it would be for any smaller ``a``.

    Args:
        probs: (N, C) class probabilities.
        embeddings: (N, D) embeddings.
        budget: Rows to pick, at most N.
        labelled_embeddings: (M, D) embeddings of what is labelled already.
        uncertainty: The measure U.

    Returns:
        The rows, and the score from 0 to 1 that each had when it was picked. Of equal scores
        the lowest row.

    Example:
        >>> probs = np.array([[0.5, 0.5], [0.5, 0.5], [0.75, 0.25]])
        >>> ahead, aside, back = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]
        >>> ranked_batch(probs, np.array([ahead, aside, back]), 2, np.array([ahead]))
        Picks(rows=array([2, 1]), scores=array([0.875, 0.75 ]))
    """
    labelled = embeddings[:0] if labelled_embeddings is None else labelled_embeddings
    lengths = _lengths(embeddings)
    unsure = _uncertainty(probs, uncertainty)
    nearest = np.zeros(len(embeddings))
    for centre in labelled:
        _raise_nearest(nearest, embeddings, lengths, centre)
    picks = Picks(np.empty(budget, np.int64), np.empty(budget))
    for step in range(budget):
        if step:
            _raise_nearest(nearest, embeddings, lengths, embeddings[picks.rows[step - 1]])
        share = (len(embeddings) - step) / (len(embeddings) + len(labelled))
        scores = share * (1 - nearest) + (1 - share) * unsure
        scores[picks.rows[:step]] = _PICKED
        row = int((unsure if step == len(labelled) == 0 else scores).argmax())
        picks.rows[step], picks.scores[step] = row, scores[row]
    return picks


def _uncertainty(probs: Probs, measure: Measure) -> NDArray[np.float64]:
    """(N,) from 0 for a one-hot row to 1 for a uniform one, or one of two equal classes."""
    classes = probs.shape[1]
    if classes == 1:
        return np.zeros(len(probs))
    if measure == "margin":
        scores = 1 + margin_confidence(probs)
    elif measure == "entropy":
        scores = entropy(probs) / math.log(classes)
    else:
        scores = least_confidence(probs) / (1 - 1 / classes)
    # Rows may miss a sum of 1 by the rounding of half precision.
    return np.clip(scores, 0.0, 1.0)


def _lengths(embeddings: Embeddings) -> NDArray[np.float64]:
    """(N,) lengths to divide by: 1 for a row of zeros, whose cosines are then 0."""
    lengths = np.sqrt(squared_lengths(embeddings))
    lengths[lengths == 0] = 1.0
    return lengths


def _similarities(embeddings: Embeddings, lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) mean similarity of each row to all rows."""
    direction = np.zeros(embeddings.shape[1])
    for part in blocks(*embeddings.shape):
        direction += np.divide(embeddings[part], lengths[part, None], order="C").sum(axis=0)
    direction /= len(embeddings)
    similar = np.empty(len(embeddings))
    for part in blocks(*embeddings.shape):
        similar[part] = _cosines(embeddings[part], lengths[part], direction)
    similar += 1
    similar /= 2
    return np.clip(similar, 0.0, 1.0)


def _cosines(
    rows: Embeddings, lengths: NDArray[np.float64], direction: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Products row by row: unlike those of BLAS, the same wherever a row stands."""
    inputs = rows.astype(np.float64, order="C", copy=False)
    cosines: NDArray[np.float64] = np.einsum("nd,d->n", inputs, direction)
    return cosines / lengths


def _raise_nearest(
    nearest: NDArray[np.float64],
    embeddings: Embeddings,
    lengths: NDArray[np.float64],
    centre: NDArray[np.floating],
) -> None:
    """Raise the largest similarities so far to those with a new row, in place.

    One matrix-vector product, in float32 where the rows have no more, tells which rows the
    new one can concern; only their cosines are then computed in float64, row by row.
    """
    direction = centre.astype(np.float64)
    direction /= _lengths(centre[None])
    dtype = np.result_type(embeddings, np.float32)  # BLAS has no half precision
    D, limits = len(centre), np.finfo(dtype)
    slack, underflow = (D + 4) * float(limits.eps), D * float(limits.tiny)
    for part in blocks(*embeddings.shape):
        block, near = embeddings[part], nearest[part]
        with np.errstate(over="ignore", invalid="ignore"):
            rough = block.astype(dtype, copy=False) @ direction.astype(dtype)
            most = (1 + (rough + underflow) / lengths[part] + slack) / 2
        rows = np.flatnonzero((most >= near) | ~np.isfinite(rough))
        exact = (1 + _cosines(block[rows], lengths[part][rows], direction)) / 2
        near[rows] = np.maximum(near[rows], np.minimum(exact, 1.0))
