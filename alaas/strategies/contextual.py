"""Contextual diversity: items whose predictions confuse the classes in different ways."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Probs, Scores
from alaas.strategies.cost import Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import BLOCK, blocks
from alaas.strategies.registry import strategy

_LEAST = 1e-7
"""The least probability that counts: what is below is raised to it, so that no divergence
is infinite."""

_PICKED = -1.0
"""Stands for a distance: a row that it marks is never the furthest again."""

_BLOCK = BLOCK // 16
"""Numbers that are worked on at a time: few enough for each step to find them in the cache."""


@strategy(
    family="hybrid",
    aliases=("CDAL", "CDALCS", "ContextualDiversity"),
    cost="O((M + K) N C)",
    paper="Agarwal et al. 2020, arXiv:2008.05723",
    use="Every kind of confusion between classes once, where the embedding says too little.",
    work=lambda s, params: Work(
        flops=20 * s.N * s.C + 4 * (s.M + s.K) * s.N * s.C,
        reads=(s.M + s.K) * s.N * (8 * s.C + 100),
        memory=4 * s.N * s.C + 40 * s.N + 4 * BLOCK,
    ),
)
def cdal(probs: Probs, budget: int, labelled_probs: Probs | None = None) -> Picks:
    """Again and again the row whose prediction differs most from all labelled or picked.

    ``u(x) = min_{s in L+S} (KL(p(x) | p(s)) + KL(p(s) | p(x))) / 2``, the greedy k-center
    rule over the paper's distance (its CDAL-CS). A whole image is one region, so the mixture
    that stands for its predicted class is its vector of class probabilities.

    The paper, made for images of many regions, compares only classes that both images show;
    here items of different predicted classes are compared too, or most would be 0 apart. Its
    first pick is random; this one is the row nearest to the mean prediction of the pool, and
    its score is the largest distance that it leaves. Probabilities are raised to at least
    1e-7. A float32 copy of the logarithms is held for the whole call.

    Args:
        probs: (N, C) class probabilities of the pool.
        budget: Rows to pick, at most N.
        labelled_probs: (M, C) class probabilities of what is labelled already.

    Returns:
        The rows, and the distance in nats that each had when it was picked: never
        increasing, 0 once only duplicates are left. Of equal distances the lowest row.

    Example:
        >>> probs = np.array([[0.5, 0.5], [0.9, 0.1], [0.1, 0.9], [0.9, 0.1]])
        >>> rows, scores = cdal(probs, 3, np.array([[0.1, 0.9]]))
        >>> rows, scores.round(4)  # 0.8 ln 9, 0.2 ln 9, and row 2 is labelled
        (array([1, 0, 2]), array([1.7578, 0.4394, 0.    ]))
    """
    rows = np.empty(budget, np.int64)
    scores = np.empty(budget)
    contexts = _Contexts(probs)
    nearest = np.full(len(probs), np.inf)
    start = 0
    if labelled_probs is not None:
        for centre in labelled_probs:
            contexts.draw_nearer(nearest, centre)
    else:
        contexts.draw_nearer(nearest, probs.mean(axis=0, dtype=np.float64))
        rows[0] = nearest.argmin()
        nearest[:] = np.inf
        contexts.draw_nearer(nearest, probs[rows[0]])
        nearest[rows[0]] = _PICKED
        scores[0] = max(0.0, nearest.max())
        start = 1
    for step in range(start, budget):
        row = int(nearest.argmax())
        rows[step], scores[step] = row, nearest[row]
        if nearest[row] > 0:  # a duplicate of what is picked brings no row nearer
            contexts.draw_nearer(nearest, probs[row])
        nearest[row] = _PICKED
    return Picks(rows, scores)


class _Contexts:
    """A pool, ready for its distances from one distribution after another."""

    def __init__(self, probs: Probs) -> None:
        self.probs = probs
        self.logs = np.empty(probs.shape, np.float32)
        self.negentropies = np.empty(len(probs))
        for part in blocks(*probs.shape, numbers=_BLOCK):
            raised, logs = _raised(probs[part])
            self.logs[part] = logs
            np.einsum("nc,nc->n", raised, logs, out=self.negentropies[part])
        # What float32 products and the zeros in them can be off, with room to spare.
        C, limits = probs.shape[1], np.finfo(np.float32)
        self.slack = 2 * (C + 8) * float(limits.eps) * -math.log(_LEAST)

    def draw_nearer(self, nearest: Scores, centre: NDArray[np.floating]) -> None:
        """Lower the distances in `nearest` to those from a new centre, in place.

        Two matrix-vector products bound every distance from below. Only rows that the bound
        does not rule out, fewer with each centre, are measured: term by term in float64, so
        that nothing cancels and duplicates are exactly 0 apart.
        """
        point, logs = _raised(centre)
        point32, logs32 = point.astype(np.float32), logs.astype(np.float32)
        for part in blocks(*self.probs.shape, numbers=_BLOCK):
            block, near = self.probs[part], nearest[part]
            crossed = block.astype(np.float32, copy=False) @ logs32
            crossed += self.logs[part] @ point32
            bound = (self.negentropies[part] + point @ logs - crossed) / 2 - self.slack
            rows = np.flatnonzero(bound < near)
            near[rows] = np.minimum(near[rows], _distances(block[rows], point, logs))


def _raised(probs: Probs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities without a zero, and their logarithms."""
    raised: NDArray[np.float64] = np.maximum(probs, _LEAST, dtype=np.float64, order="C")
    return raised, np.log(raised)


def _distances(
    probs: Probs, point: NDArray[np.float64], logs: NDArray[np.float64]
) -> NDArray[np.float64]:
    terms, ratios = _raised(probs)
    terms -= point
    ratios -= logs
    terms *= ratios
    summed: NDArray[np.float64] = terms.sum(axis=1)
    return summed / 2
