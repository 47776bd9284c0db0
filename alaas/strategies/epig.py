"""Information about the predictions that matter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Draws, Scores
from alaas.strategies.cost import Sizes, Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import BLOCK, blocks
from alaas.strategies.parameters import Range
from alaas.strategies.registry import strategy
from alaas.strategies.selection import best

_FLOOR = 1e-18
"""Stands for a ratio of 0: the product of two has a logarithm in float32, and is as good as 0."""

_CACHED = 8
"""Blocks are this much smaller than `BLOCK`, so that all passes over one hit the cache."""


def _work(s: Sizes, params: Mapping[str, Any]) -> Work:
    targets = min(params["target_rows"], s.N)
    pairs = s.N * targets * s.C**2
    return Work(
        flops=pairs * (2 * s.T + 24),
        reads=16 * pairs,
        memory=32 * s.N + 12 * BLOCK + 8 * s.C**2 + 32 * (targets + 1) * s.T * s.C,
    )


@strategy(
    family="disagreement",
    aliases=("ExpectedPredictiveInformationGain", "EPIGSampling"),
    cost="O(N C^2 T m)",
    paper="Bickford Smith, Kirsch, Farquhar, Gal, Foster & Rainforth 2023, arXiv:2304.08151",
    use="As BALD, where the pool holds odd rows: what only they would teach does not count.",
    work=_work,
)
def epig(
    draws: Draws,
    budget: int,
    rng: np.random.Generator,
    *,
    target_rows: Annotated[int, Range(1), "Random rows whose predictions are to improve."] = 100,
) -> Picks:
    """Rows whose label tells most of the labels of the other rows.

    ``u(x) = mean_{x*} I(y; y*)``, with ``I(y; y*) = KL(p(y, y*) || p(y) p(y*))`` and
    ``p(y, y*) = mean_t p_t(y | x) p_t(y* | x*)``, as in the paper. BALD rewards whatever tells
    the draws apart, EPIG only what changes predictions.

    The targets x* are `target_rows` random rows, m in the cost, or the pool where it is no
    larger: the paper takes the inputs that the model will meet, which the pool stands for
    here. All rows meet the same targets, so that what these share cancels in the ranking.
    Rows are scored each on its own, so a batch can hold rows that tell the same.

    Args:
        draws: (N, T, C) class probabilities of T stochastic passes.
        budget: Rows to pick, at most N.
        rng: Source of the targets; not used where all rows are targets.
        target_rows: Rows that are predicted. More is slower and less noisy.

    Returns:
        The rows, and their mean information in nats, from 0 where a row tells of no target to
        log C. Of equal scores the lowest row.

    Example:
        >>> doubtful = np.array([[[1.0, 0.0], [0.0, 1.0]]])
        >>> draws = np.concatenate([np.full((1, 2, 2), 0.5), doubtful, doubtful])
        >>> rows, scores = epig(draws, 3, np.random.default_rng(0))
        >>> rows, scores.round(4)
        (array([1, 2, 0]), array([0.4621, 0.4621, 0.    ]))
    """
    N = len(draws)
    chosen = np.arange(N)
    if target_rows < N:
        chosen = np.sort(rng.choice(N, target_rows, replace=False, shuffle=False))
    scores = _mean_information(draws, draws[chosen])
    rows = best(scores, budget)
    return Picks(rows, scores[rows])


def _mean_information(draws: Draws, targets: Draws) -> Scores:
    """(N,) mean information that each row has of (m, T, C) targets, in nats and float64."""
    T, C = draws.shape[1:]
    information = np.zeros(len(draws))
    for aims in blocks(len(targets), C * C):
        likelihoods, mean = _ratios(targets[aims])
        likelihoods = np.ascontiguousarray(likelihoods.transpose(1, 0, 2)).reshape(T, -1)
        likelihoods /= T
        for part in blocks(len(draws), _CACHED * C * max(T, likelihoods.shape[1])):
            ratios, chances = _ratios(draws[part])
            # One product a row: equal rows give equal numbers, wherever they are in the pool.
            gain = ratios.transpose(0, 2, 1) @ likelihoods  # p(y, y*) / (p(y) p(y*))
            terms = np.log(gain)
            terms *= gain
            expected = terms @ mean.ravel()
            information[part] += np.einsum("nc,nc->n", expected, chances, dtype=np.float64)
    return np.maximum(information / len(targets), 0.0)


def _ratios(draws: Draws) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(B, T, C) how many times likelier each draw makes each class, and (B, C) their mean."""
    mean = draws.mean(axis=1, dtype=np.float64)
    ratios = draws / np.where(mean > 0, mean, 1.0)[:, None]
    return np.maximum(ratios, _FLOOR, dtype=np.float32, order="C"), mean.astype(np.float32)
