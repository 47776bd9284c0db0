"""Batches drawn at random in favour of high scores, which keeps near-duplicates apart.

The highest scores of a pool are often alike. Sampling without replacement in proportion to
a score, instead of taking the highest, costs nothing and spreads the batch. To draw so, each
row gets a key, its log weight plus Gumbel noise, and the highest keys are taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from alaas.core.arrays import Draws, Scores
from alaas.strategies.cost import Sizes, Work
from alaas.strategies.declaration import Picks
from alaas.strategies.disagreement import bald
from alaas.strategies.registry import Range, strategy
from alaas.strategies.selection import best

Beta = Annotated[float, Range(0, 1e6), "How strongly high scores are favoured; 0 is uniform."]


def perturbed(
    scores: Scores,
    rng: np.random.Generator,
    *,
    kind: Literal["power", "softmax", "softrank"],
    beta: float,
    floor: float | None = None,
) -> NDArray[np.float64]:
    """Keys whose order is a random sample of the rows without replacement.

    Taking the rows of the K highest keys draws K rows one after another, each with a chance
    in proportion to its weight among those that are left:

    ==========  =============================  ==================================
    power       ``(s - floor) ^ beta``         scores that mean a share or an amount
    softmax     ``exp(beta s)``                differences of scores matter
    softrank    ``rank ^ -beta``               only their order matters
    ==========  =============================  ==================================

    A key is the logarithm of the weight plus Gumbel(0, 1) noise. Kirsch et al. leave ``beta``
    out of the weight and divide the noise by it; the order is the same, and 0 is allowed.

    Args:
        scores: (N,) finite scores, higher = more wanted.
        rng: Source of the noise, one draw a row.
        kind: The weight of a row. Rank 1 is the highest score; equal scores rank by row.
        beta: How strongly high scores are favoured, >= 0; 0 is uniform.
        floor: The least score that there can be, which power needs: rows at it have no
            weight and come after all others, in random order.

    Returns:
        (N,) finite keys.

    Raises:
        ValueError: Power without a floor, or a kind that there is not.

    Example:
        >>> keys = perturbed(
        ...     np.array([0.0, 0.4, 0.0]), np.random.default_rng(0), kind="power", beta=1, floor=0
        ... )
        >>> int(keys.argmax()), bool(np.isfinite(keys).all())
        (1, True)
    """
    noise = rng.gumbel(size=len(scores))
    if kind == "softmax":
        return beta * np.asarray(scores, np.float64) + noise
    if kind == "softrank":
        ranks = np.empty(len(scores))
        ranks[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
        return noise - beta * np.log(ranks)
    if kind != "power":
        raise ValueError(f"kind must be 'power', 'softmax' or 'softrank', got {kind!r}")
    if floor is None:
        raise ValueError(
            "power sampling weighs scores by how far they are above their least value, and these "
            "have none; use 'softmax' or 'softrank'"
        )
    weights = np.asarray(scores, np.float64) - floor
    weightless = weights <= 0
    keys = beta * np.log(weights, out=np.zeros_like(weights), where=~weightless) + noise
    if weightless.any():
        last = keys[~weightless].min(initial=0.0)
        keys[weightless] += last - 1 - keys[weightless].max()
    return keys


def _work(sizes: Sizes, params: Mapping[str, Any]) -> Work:
    numbers = sizes.N * sizes.T * sizes.C
    memory = 64 * sizes.N + 32 * sizes.T * sizes.C + 2**22
    return Work(flops=25 * numbers + 100 * sizes.N, memory=memory, reads=4 * numbers)


@strategy(
    family="stochastic",
    aliases=("PowerBALD",),
    cost="O(N T C + N log K)",
    paper="Kirsch et al. 2022, arXiv:2106.12059",
    use="A batch of more than a few from bald: nearly as good as batchbald, for the price of bald.",
    work=_work,
)
def power_bald(draws: Draws, budget: int, rng: np.random.Generator, *, beta: Beta = 1.0) -> Picks:
    """Rows drawn in proportion to a power of their BALD score.

    ``u(x) ~ beta ln bald(x) + Gumbel(0, 1)``. Row after row is drawn
    with a chance in proportion to bald(x)^beta among the rows that are left. Rows that score
    0 come last, in random order.

    Args:
        draws: (N, T, C) class probabilities of T predictions.
        budget: Rows to pick, at most N.
        rng: Source of the noise.
        beta: How strongly high scores are favoured; 0 is uniform.

    Returns:
        The rows, and the keys in log nats that they drew: random, never increasing.

    Example:
        >>> sure, torn = [[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]
        >>> power_bald(np.array([sure, torn]), 2, np.random.default_rng(0)).rows
        array([1, 0])
    """
    return _draw(perturbed(bald(draws), rng, kind="power", beta=beta, floor=0.0), budget)


@strategy(
    family="stochastic",
    aliases=("SoftmaxBALD", "GibbsBALD"),
    cost="O(N T C + N log K)",
    paper="Kirsch et al. 2022, arXiv:2106.12059",
    use="As power_bald, where rows that score 0 may be drawn like those that score little.",
    work=_work,
)
def softmax_bald(draws: Draws, budget: int, rng: np.random.Generator, *, beta: Beta = 1.0) -> Picks:
    """Rows drawn in proportion to the exponential of their BALD score.

    ``u(x) ~ beta bald(x) + Gumbel(0, 1)``. Row after row is drawn with
    a chance in proportion to exp(beta bald(x)) among the rows that are left. Scores are at
    most ln C, so with the paper's default of 1 the draw is nearly uniform.

    Args:
        draws: (N, T, C) class probabilities of T predictions.
        budget: Rows to pick, at most N.
        rng: Source of the noise.
        beta: How strongly high scores are favoured, in 1/nats; 0 is uniform.

    Returns:
        The rows, and the keys that they drew: random, never increasing.

    Example:
        >>> sure, torn = [[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]
        >>> softmax_bald(np.array([sure, torn]), 2, np.random.default_rng(0), beta=1e3).rows
        array([1, 0])
    """
    return _draw(perturbed(bald(draws), rng, kind="softmax", beta=beta), budget)


@strategy(
    family="stochastic",
    aliases=("SoftrankBALD", "RankBALD"),
    cost="O(N T C + N log N)",
    paper="Kirsch et al. 2022, arXiv:2106.12059",
    use="As power_bald, where the order of the scores can be trusted but not their size.",
    work=_work,
)
def softrank_bald(
    draws: Draws, budget: int, rng: np.random.Generator, *, beta: Beta = 1.0
) -> Picks:
    """Rows drawn in proportion to a power of the rank of their BALD score.

    ``u(x) ~ -beta ln rank(x) + Gumbel(0, 1)``. Row after row is drawn
    with a chance in proportion to rank(x)^-beta among the rows that are left. Rank 1 is the
    highest score; of equal scores the lowest row ranks first.

    Args:
        draws: (N, T, C) class probabilities of T predictions.
        budget: Rows to pick, at most N.
        rng: Source of the noise.
        beta: How strongly high ranks are favoured; 0 is uniform.

    Returns:
        The rows, and the keys that they drew: random, never increasing.

    Example:
        >>> sure, torn = [[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]
        >>> softrank_bald(np.array([sure, torn]), 2, np.random.default_rng(0), beta=1e3).rows
        array([1, 0])
    """
    return _draw(perturbed(bald(draws), rng, kind="softrank", beta=beta), budget)


def _draw(keys: NDArray[np.float64], budget: int) -> Picks:
    rows = best(keys, budget)
    return Picks(rows, keys[rows])
