"""Oracles of `alaas.strategies.coresets`."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist

from oracles.tables import Array, Chance, Choose


def radius(pool: Array, known: Array, rows: tuple[int, ...], spared: int) -> float:
    """The radius that some rows need to cover a pool but for its furthest rows."""
    reach = cdist(pool, np.concatenate([pool[list(rows)], known])).min(axis=1)
    return float(np.sort(reach)[len(pool) - 1 - spared])


def smallest_radii(choose: Choose) -> float:
    """No chance but a proof: 1 if every set has the least radius of all sets there are."""
    rng = np.random.default_rng(0)
    for round_ in range(24):
        n, budget, spared = int(rng.integers(5, 11)), 1 + round_ % 4, round_ % 3
        pool, known = rng.normal(size=(n, 2)), rng.normal(size=(round_ % 2, 2))
        params = {"outliers": (spared + 0.5) / n, "gap": 1e-9}
        views = {"embeddings": pool} | ({"labelled_embeddings": known} if len(known) else {})
        found = radius(pool, known, choose(n, budget, 0, params, **views), spared)
        sets = itertools.combinations(range(n), budget)
        if found > (1 + 1e-6) * min(radius(pool, known, rows, spared) for rows in sets):
            return 0.0
    return 1.0


def half_by_distance(choose: Choose) -> float:
    """Chi-square over every ordered pair of five rows, the second drawn from what is left."""
    pool = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0], [5.0, 1.0], [-2.0, 2.0]])
    mean = [sum(row[axis] for row in pool.tolist()) / 5 for axis in (0, 1)]
    away = [(x - mean[0]) ** 2 + (y - mean[1]) ** 2 for x, y in pool.tolist()]
    chance = [0.5 / 5 + 0.5 * square / sum(away) for square in away]
    pairs = list(itertools.permutations(range(5), 2))
    draws = 200 * len(pairs)
    seen = Counter(choose(5, 2, seed, embeddings=pool) for seed in range(draws, 2 * draws))
    expected = [draws * chance[a] * chance[b] / (1 - chance[a]) for a, b in pairs]
    return float(stats.chisquare([seen[pair] for pair in pairs], expected).pvalue)


CHANCE: dict[str, Chance] = {
    "core_set": smallest_radii,
    "lightweight_coreset": half_by_distance,
}
