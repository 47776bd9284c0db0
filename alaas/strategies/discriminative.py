"""Items that a classifier can tell from what is labelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Embeddings, Rows
from alaas.strategies.cost import Sizes, Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import BLOCK, blocks
from alaas.strategies.parameters import Range
from alaas.strategies.registry import strategy
from alaas.strategies.selection import best

Array: TypeAlias = NDArray[np.float64]

_STEPS = 100
"""Passes over its data that a fit takes, about."""


def _work(s: Sizes, params: Mapping[str, Any]) -> Work:
    fitted = min(s.M + s.K, params["fit_rows"]) + min(s.N, params["fit_rows"])
    parts = min(s.K, params["sub_batches"])
    return Work(
        flops=parts * (4.0 * _STEPS * fitted + 6.0 * s.N) * s.D,
        reads=parts * (8.0 * _STEPS * fitted + 4.0 * s.N) * s.D,
        memory=40.0 * fitted * s.D + 48.0 * (s.N + s.M + s.K) + 24 * BLOCK,
    )


@strategy(
    family="geometry",
    aliases=("DAL", "DiscriminativeAL", "DiscriminativeActiveLearning"),
    cost="O(K N D)",
    paper="Gissin & Shalev-Shwartz 2019, arXiv:1907.06347",
    use="To make what is labelled look like the pool, where some of it is missing altogether.",
    work=_work,
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
        Once 9 is picked the right side is known, and the left is surer to be new than 8.

        >>> pool, labelled = np.array([[-3.0], [0.0], [8.0], [9.0]]), np.array([[0.0]])
        >>> discriminative(pool, labelled, 2, np.random.default_rng(0)).rows
        array([3, 0])
        >>> discriminative(pool, labelled, 2, np.random.default_rng(0), sub_batches=1).rows
        array([3, 2])
    """
    scale = _scale(embeddings)
    M = len(labelled_embeddings)
    rows, scores = np.empty(0, np.int64), np.empty(0)
    free = np.ones(len(embeddings), bool)
    for part in np.array_split(np.arange(budget), min(sub_batches, budget)):
        known = _some(np.arange(M + len(rows)), fit_rows, rng)
        given, picked = known[known < M], rows[known[known >= M] - M]
        unknown = _some(np.flatnonzero(free), fit_rows, rng)
        line = _fit(
            scale(np.concatenate([labelled_embeddings[given], embeddings[picked]])),
            scale(embeddings[unknown]),
        )
        logits = np.concatenate(
            [line(scale(embeddings[block])) for block in blocks(*embeddings.shape)]
        )
        chosen = best(np.where(free, logits, -np.inf), len(part))
        free[chosen] = False
        rows = np.concatenate([rows, chosen])
        scores = np.concatenate([scores, _probabilities(logits[chosen])])
    return Picks(rows, scores)


class _Scale(NamedTuple):
    mean: Array
    deviation: Array

    def __call__(self, points: Embeddings) -> Array:
        scaled = np.subtract(points, self.mean, dtype=np.float64)
        scaled /= self.deviation
        return scaled


class _Line(NamedTuple):
    weights: Array
    intercept: float

    def __call__(self, points: Array) -> Array:
        # Not BLAS, which may round equal rows apart.
        logits: Array = np.einsum("nd,d->n", points, self.weights)
        return logits + self.intercept


def _scale(embeddings: Embeddings) -> _Scale:
    """To mean 0 and deviation 1 in each dimension; one that only rounding varies is left."""
    mean = embeddings.mean(axis=0, dtype=np.float64)
    total = np.zeros(len(mean))
    for part in blocks(*embeddings.shape):
        total += np.square(np.subtract(embeddings[part], mean, dtype=np.float64)).sum(axis=0)
    deviation = np.sqrt(total / len(embeddings))
    deviation[deviation <= 1e-12 * np.abs(mean)] = 1.0
    return _Scale(mean, deviation)


def _some(rows: Rows, most: int, rng: np.random.Generator) -> Rows:
    return rows if len(rows) <= most else rng.choice(rows, most, replace=False)


def _fit(known: Array, unknown: Array) -> _Line:
    """The balanced logistic regression whose logit is high for what is unknown."""
    from sklearn.linear_model import LogisticRegression

    sides = np.repeat([0, 1], [len(known), len(unknown)])
    model = LogisticRegression(class_weight="balanced", tol=1e-6, max_iter=1000)
    model.fit(np.concatenate([known, unknown]), sides)
    return _Line(model.coef_[0], float(model.intercept_[0]))


def _probabilities(logits: Array) -> Array:
    from scipy.special import expit

    probabilities: Array = expit(logits)
    return probabilities
