"""One independent implementation a strategy: slow, obvious, and sharing no code with it.

A new strategy adds one line to one of three tables:

`SCORES`  the score of one row, from that row of each view that the strategy needs, in order;
`PICKS`   the rows and scores of a picker that makes no random choice, from views and a budget;
`CHANCE`  the p-value of a statistical test of a picker that does.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import cdist

Array = NDArray[Any]
Picked = tuple[list[int], list[float]]
Choose = Callable[..., tuple[int, ...]]
"""``choose(n, budget, seed, **views)``: the rows that a strategy picks."""


def least_confidence(row: Array) -> float:
    return min(1.0 - float(p) for p in row)


def margin(row: Array) -> float:
    ranked = [*sorted(map(float, row), reverse=True), 0.0]
    return -(ranked[0] - ranked[1])


def ratio(row: Array) -> float:
    ranked = [*sorted(map(float, row), reverse=True), 0.0]
    return ranked[1] / ranked[0]


def entropy(row: Array) -> float:
    return float(stats.entropy(row))


def k_center(views: Mapping[str, Array], budget: int) -> Picked:
    """Greedy k-center from the full matrix of distances."""
    pool = views["embeddings"].astype(np.float64)
    apart = cdist(pool, pool)
    known = cdist(pool, views.get("labelled_embeddings", np.empty((0, pool.shape[1]))))
    rows: list[int] = []
    scores: list[float] = []
    for _ in range(budget):
        rest = [row for row in range(len(pool)) if row not in rows]
        reach = {row: min([*known[row], *apart[row, rows]], default=np.inf) for row in rest}
        row = max(rest, key=lambda row: reach[row])
        if not rows and not known.size:
            middle = cdist(pool, pool.mean(axis=0)[None])[:, 0]
            row = min(rest, key=lambda row: middle[row])
            reach[row] = max(apart[row])
        rows.append(row)
        scores.append(float(reach[row]))
    return rows, scores


def uniform_without_replacement(choose: Choose) -> float:
    """Chi-square over every ordered pair of five rows."""
    pairs = list(itertools.permutations(range(5), 2))
    seen = Counter(choose(5, 2, seed) for seed in range(200 * len(pairs)))
    assert set(seen) == set(pairs)
    return float(stats.chisquare([seen[pair] for pair in pairs]).pvalue)


SCORES: dict[str, Callable[..., float]] = {
    "least_confidence": least_confidence,
    "margin_confidence": margin,
    "ratio_confidence": ratio,
    "entropy": entropy,
}

PICKS: dict[str, Callable[[Mapping[str, Array], int], Picked]] = {
    "k_center_greedy": k_center,
}

CHANCE: dict[str, Callable[[Choose], float]] = {
    "random_sampling": uniform_without_replacement,
}
