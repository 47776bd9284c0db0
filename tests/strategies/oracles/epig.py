"""Oracles of `alaas.strategies.epig`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from scipy import stats
from scipy.special import xlogy

from oracles.tables import Array, Chance, Choose, Picked, Seeded

TARGETS = 100


def epig(
    views: Mapping[str, Array], budget: int, rng: np.random.Generator, targets: int = TARGETS
) -> Picked:
    """Mutual information of two labels from their joint table, for every row and target."""
    draws = views["draws"].astype(np.float64)
    chosen = list(range(len(draws)))
    if targets < len(draws):
        chosen = sorted(rng.choice(len(draws), targets, replace=False, shuffle=False).tolist())
    scores = [
        float(np.mean([mutual_information(row, draws[target]) for target in chosen]))
        for row in draws
    ]
    rows = sorted(range(len(draws)), key=lambda row: (-scores[row], row))[:budget]
    return rows, [scores[row] for row in rows]


def mutual_information(one: Array, other: Array) -> float:
    table = np.mean([np.outer(p, q) for p, q in zip(one, other, strict=True)], axis=0)
    entropies = [-xlogy(p, p).sum() for p in (table.sum(axis=0), table.sum(axis=1), table)]
    return float(entropies[0] + entropies[1] - entropies[2])


def every_row_is_a_target_equally_often(choose: Choose) -> float:
    """Chi-square over rows of which each tells of itself alone, so the one target is picked."""
    signs = np.array([[0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0]])
    draws = np.eye(2)[signs]
    seen = Counter(
        choose(3, 1, seed, params={"target_rows": 1}, draws=draws)[0] for seed in range(600)
    )
    return float(stats.chisquare([seen[row] for row in range(3)]).pvalue)


SEEDED: dict[str, Seeded] = {"epig": epig}
CHANCE: dict[str, Chance] = {"epig": every_row_is_a_target_equally_often}
