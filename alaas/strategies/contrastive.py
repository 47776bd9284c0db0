"""Contrastive examples: items that the model sees otherwise than their labelled neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Embeddings, Probs, Scores
from alaas.strategies.cost import Sizes, Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import BLOCK, blocks
from alaas.strategies.neighbours import nearest_neighbours, neighbours_work
from alaas.strategies.parameters import Range
from alaas.strategies.registry import strategy
from alaas.strategies.selection import best

_LEAST = 1e-7
"""The least probability that counts: what is below is raised to it, so that no divergence
is infinite."""

_BLOCK = BLOCK // 16
"""Numbers that are worked on at a time: few enough for each step to find them in the cache."""


def _work(sizes: Sizes, params: Mapping[str, Any]) -> Work:
    N, M, C = sizes.N, sizes.M, sizes.C
    k = min(params["neighbours"], M)
    search = neighbours_work(N, M, sizes.D, k)
    return Work(
        # Element by element, far below the rate of a matrix product.
        flops=search.flops + 20 * (N + M) * C + 100 * k * N * C,
        reads=search.reads + 4 * k * N * C,
        memory=search.memory + 40 * N + 8 * M + 4 * BLOCK,
    )


@strategy(
    family="hybrid",
    aliases=("CAL", "ContrastiveAL", "ContrastiveActiveLearning"),
    cost="O(N M D + N C)",
    paper="Margatina et al. 2021, arXiv:2109.03764",
    use="Labels are there, and neighbours in the embedding should share their class.",
    work=_work,
)
def contrastive(
    probs: Probs,
    embeddings: Embeddings,
    budget: int,
    labelled_embeddings: Embeddings,
    labelled_probs: Probs,
    *,
    neighbours: Annotated[int, Range(1), "Nearest labelled items that each item is held to."] = 10,
) -> Picks:
    """What its nearest labelled items are predicted to be, and it is not.

    ``u(x) = 1/k sum_{l in kNN(x)} KL(p(l) | p(x))``, with kNN(x) the k labelled items
    nearest to x and p the class probabilities (Algorithm 1 of the paper).

    Probabilities are raised to at least 1e-7 and scaled to sum to 1, which the paper, whose
    divergences are of log-softmax outputs, has no need of.

    Args:
        probs: (N, C) class probabilities of the pool.
        embeddings: (N, D) embeddings of the pool.
        budget: Rows to pick, at most N.
        labelled_embeddings: (M, D) embeddings of what is labelled.
        labelled_probs: (M, C) class probabilities of what is labelled.
        neighbours: The k of the rule; M where it is larger than that.

    Returns:
        The rows, and their divergences in nats, 0 where neighbours and item agree and at
        most 16.2; the lowest row first where they are equal.

    Example:
        >>> line, known = np.array([[0.0], [9.0]]), np.array([[1.0], [8.0]])
        >>> unsure, told = np.full((2, 2), 0.5), np.array([[0.5, 0.5], [1.0, 0.0]])
        >>> rows, scores = contrastive(unsure, line, 2, known, told, neighbours=1)
        >>> rows, scores.round(4)  # ln 2, and nothing
        (array([1, 0]), array([0.6931, 0.    ]))
    """
    k = min(neighbours, len(labelled_embeddings))
    near = nearest_neighbours(embeddings, labelled_embeddings, k).rows
    negentropies = _negentropies(labelled_probs)
    scores = np.empty(len(probs))
    for part in blocks(*probs.shape, numbers=_BLOCK):
        expected = sum(_proper(labelled_probs[rank]) for rank in near[part].T)
        crossed = np.einsum("nc,nc->n", expected, np.log(_proper(probs[part])))
        scores[part] = (negentropies[near[part]].sum(axis=1) - crossed) / k
    np.maximum(scores, 0.0, out=scores)  # rounding can take a divergence of 0 below it
    rows = best(scores, budget)
    return Picks(rows, scores[rows])


def _proper(probs: Probs) -> NDArray[np.float64]:
    """Distributions without a zero."""
    proper: NDArray[np.float64] = np.maximum(probs, _LEAST, dtype=np.float64, order="C")
    proper /= proper.sum(axis=1, keepdims=True)
    return proper


def _negentropies(probs: Probs) -> Scores:
    sums = np.empty(len(probs))
    for part in blocks(*probs.shape, numbers=_BLOCK):
        proper = _proper(probs[part])
        np.einsum("nc,nc->n", proper, np.log(proper), out=sums[part])
    return sums
