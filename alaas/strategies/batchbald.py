"""Batches whose predictions together say most about the model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from alaas.core.arrays import Draws, Scores
from alaas.strategies.cost import Sizes, Work
from alaas.strategies.declaration import Picks
from alaas.strategies.distances import BLOCK, blocks
from alaas.strategies.parameters import Range
from alaas.strategies.registry import strategy
from alaas.strategies.selection import best

_LEADERS = 32
"""Rows that are measured again in float64 in each step: those that float32 puts first."""

_FLOOR = 1e-30
"""Stands for a probability of 0: its logarithm is finite, and times it is as good as 0."""

_CACHED = 8
"""Blocks are this much smaller than `BLOCK`, so that all passes over one hit the cache."""


def _work(s: Sizes, params: Mapping[str, Any]) -> Work:
    m = params["samples"] + s.T
    return Work(
        flops=s.K * s.N * s.C * m * (2 * s.T + 24) + 21 * s.N * s.T * s.C,
        reads=4 * s.K * s.N * s.C * (s.T + 4 * m),
        memory=40 * s.N + 16 * BLOCK + 16 * m * s.C + 48 * m * s.T,
    )


@strategy(
    family="disagreement",
    aliases=("BatchBALDSampling",),
    cost="O(K N C T m)",
    paper="Kirsch, van Amersfoort & Gal 2019, arXiv:1906.08158",
    use="As BALD, where a batch of its best rows would ask the same question many times.",
    work=_work,
)
def batch_bald(
    draws: Draws,
    budget: int,
    rng: np.random.Generator,
    *,
    samples: Annotated[
        int, Range(1), "Joint answers of the batch that are weighed, at most."
    ] = 1000,
) -> Picks:
    """Rows whose answers together tell most which of the draws is right.

    ``u(x) = I(y; t | y_S) = E_{y_S} H(y | y_S) - mean_t H(y | t)``, with y the label of x, t
    the draw, S the rows picked so far, and H the Shannon entropy: what x adds to the joint
    information I(y_S, y; t) that algorithm 1 of the paper raises greedily, to within 1 - 1/e
    of its optimum.

    The expectation runs over every joint answer y_S that is possible while there are at most
    `samples` of these (m in the cost). After that it runs over `samples` answers, as many
    drawn from each draw of the model, rounded up: with p(y | y_S) = p(y_S, y) / p(y_S) this
    is the paper's estimate with its importance weights. Its code draws the answers anew for
    each pick; here those of earlier picks stay and get one more label, which is cheaper, less
    noisy from pick to pick, and cannot underflow. Beyond log T nats there is nothing left to
    learn; picks go on by what is left in the estimate.

    Args:
        draws: (N, T, C) class probabilities of T stochastic passes.
        budget: Rows to pick, at most N.
        rng: Source of the sampled answers; not used while all are counted.
        samples: Joint answers that are weighed, m. More is slower and less noisy.

    Returns:
        The rows, and the nats >= 0 that each added to the joint information when it was
        picked; their sums are the joint information of the first rows. Of equal gains the
        lowest row.

    Example:
        >>> doubtful = np.array([[[1.0, 0.0]], [[0.0, 1.0]]]).reshape(1, 2, 2)
        >>> draws = np.concatenate([doubtful, doubtful, np.full((1, 2, 2), 0.5)])
        >>> rows, gains = batch_bald(draws, 2, np.random.default_rng(0))
        >>> rows, gains.round(4)
        (array([0, 1]), array([0.6931, 0.    ]))
    """
    given_draw = _entropy_given_draw(draws)
    rows: list[int] = []
    gains = np.empty(budget)
    answers = _no_answer(draws.shape[1])
    for step in range(budget):
        if step:
            answers = _answered(answers, draws, rows, samples, rng)
        rough = _entropies(draws, answers, np.float32) - given_draw
        rough[rows] = -np.inf
        leaders = np.sort(best(rough, min(_LEADERS, len(rough) - step)))
        fine = _entropies(draws[leaders], answers, np.float64) - given_draw[leaders]
        rows.append(int(leaders[fine.argmax()]))
        gains[step] = max(0.0, fine.max())
    return Picks(np.array(rows), gains)


class _Answers(NamedTuple):
    """Joint answers of the rows picked so far.

    Attributes:
        beliefs: (m, T) probability of each draw of the model once the answer is known.
        weights: (m,) share of each answer, together 1.
        complete: Whether these are all answers that are possible.
    """

    beliefs: NDArray[np.float64]
    weights: NDArray[np.float64]
    complete: bool


def _no_answer(draws: int) -> _Answers:
    return _Answers(np.full((1, draws), 1 / draws), np.ones(1), complete=True)


def _answered(
    answers: _Answers, draws: Draws, rows: Sequence[int], samples: int, rng: np.random.Generator
) -> _Answers:
    """The answers with those of the last of `rows` added."""
    T, C = draws.shape[1:]
    if answers.complete and len(answers.weights) * C <= samples:
        return _enumerate(answers, draws[rows[-1]].astype(np.float64))
    if answers.complete:
        m = T * math.ceil(samples / T)
        answers = _Answers(np.full((m, T), 1 / T), np.full(m, 1 / m), complete=False)
    else:
        rows = rows[-1:]
    for row in rows:
        answers = _sample(answers, draws[row].astype(np.float64), rng)
    return answers


def _enumerate(answers: _Answers, probs: NDArray[np.float64]) -> _Answers:
    """Each answer followed by each label of a row, less what is impossible."""
    joint = answers.beliefs[:, None, :] * probs.T
    chance = joint.sum(axis=2)
    possible = chance > 0
    weights = (answers.weights[:, None] * chance)[possible]
    return _Answers(joint[possible] / chance[possible, None], weights, complete=True)


def _sample(answers: _Answers, probs: NDArray[np.float64], rng: np.random.Generator) -> _Answers:
    """Each answer followed by one label of a row, drawn from the draw that the answer is of."""
    T = len(probs)
    ladder = probs.cumsum(axis=1)
    ladder /= ladder[:, -1:]
    keys = rng.random((T, len(answers.weights) // T))
    labels = [np.searchsorted(*steps, side="right") for steps in zip(ladder, keys, strict=True)]
    beliefs = answers.beliefs * probs.T[np.concatenate(labels)]
    beliefs /= beliefs.sum(axis=1, keepdims=True)
    return answers._replace(beliefs=beliefs)


def _entropies(draws: Draws, answers: _Answers, dtype: DTypeLike) -> Scores:
    """(N,) expected entropy of each row's label once the answers are known, in nats."""
    beliefs = np.ascontiguousarray(answers.beliefs.T, dtype)
    weights = answers.weights.astype(dtype)
    T, m = beliefs.shape
    expected = np.empty(len(draws))
    for part in blocks(len(draws), _CACHED * max(T, m) * draws.shape[2]):
        probs = np.maximum(draws[part], _FLOOR, dtype=dtype, order="C")
        # One product a row: equal rows give equal numbers, wherever they are in the pool.
        predicted = probs.transpose(0, 2, 1) @ beliefs
        terms = np.log(predicted)
        terms *= predicted
        expected[part] = -(terms @ weights).sum(axis=1)
    return expected


def _entropy_given_draw(draws: Draws) -> Scores:
    """(N,) mean over the draws of the entropy of each row's label, in nats."""
    mean = np.empty(len(draws))
    for part in blocks(len(draws), draws.shape[1] * draws.shape[2]):
        probs = np.maximum(draws[part], _FLOOR, dtype=np.float64, order="C")
        mean[part] = -(probs * np.log(probs)).sum(axis=2).mean(axis=1)
    return mean
