"""Sampling that looks at no view: the baseline that every other strategy has to beat."""

from __future__ import annotations

import numpy as np

from alaas.strategies.cost import Work
from alaas.strategies.declaration import Picks
from alaas.strategies.registry import strategy
from alaas.strategies.selection import best


@strategy(
    family="sampling",
    aliases=("RandomSampling", "RS", "Random"),
    cost="O(N)",
    paper="Efraimidis & Spirakis 2006, with equal weights",
    use="The baseline: what every other strategy has to beat.",
    work=lambda sizes, params: Work(flops=10 * sizes.N, memory=32 * sizes.N),
)
def random_sampling(n: int, budget: int, rng: np.random.Generator) -> Picks:
    """Uniform without replacement: every set of rows, in every order, is equally likely.

    Each row draws the key ``u(x) ~ U[0, 1)``, and the highest keys are picked; of equal keys,
    which 53 random bits make rare, the lowest row.

    Args:
        n: Rows in the pool.
        budget: Rows to pick, at most `n`.
        rng: Source of the keys.

    Returns:
        The rows, and the keys in [0, 1) that they drew.

    Example:
        >>> rows, keys = random_sampling(3, 3, np.random.default_rng(0))
        >>> sorted(rows.tolist()), bool(keys[0] >= keys[1] >= keys[2])
        ([0, 1, 2], True)
    """
    keys = rng.random(n)
    rows = best(keys, budget)
    return Picks(rows, keys[rows])
