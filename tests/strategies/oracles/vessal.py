"""Oracles of `alaas.strategies.vessal`."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping

import numpy as np
from scipy import stats

from oracles.badge import gradients
from oracles.tables import Array, Chance, Choose, Picked, Seeded


def share(row: Array, seen: Array, picked: Array, lamb: float) -> float:
    """The leverage of a row over the mean leverage of what was seen, from dense matrices."""
    inverse = np.linalg.inv(lamb * np.eye(row.size) + picked.T @ picked)
    covariance = sum(np.outer(one, one) for one in seen) / len(seen)
    return float(row @ inverse @ row / np.trace(inverse @ covariance))


def vessal(views: Mapping[str, Array], budget: int, rng: np.random.Generator) -> Picked:
    """One pass in pool order, with an inverse at every row; then the fill."""
    dense = gradients(views)
    rows: list[int] = []
    scores: dict[int, float] = {}
    for row, draw in enumerate(rng.random(len(dense))):
        scores[row] = share(dense[row], dense[: row + 1], dense[rows], 0.01)
        rate = (budget - len(rows)) / (len(dense) - row)
        if draw < rate * scores[row]:
            rows.append(row)
    open_ = [row for row in range(len(dense)) if row not in rows]
    at_last = {row: share(dense[row], dense, dense[rows], 0.01) for row in open_}
    for row in sorted(open_, key=lambda row: -at_last[row])[: budget - len(rows)]:
        rows.append(row)
        scores[row] = at_last[row]
    rows.sort(key=lambda row: -scores[row])
    return rows, [scores[row] for row in rows]


def leverages_are_the_odds(choose: Choose) -> float:
    """Chi-square over all sets of five rows against the chances of each pass."""
    rng = np.random.default_rng(11)
    views = {"probs": rng.dirichlet(np.ones(3), 5), "embeddings": rng.normal(size=(5, 2))}
    dense = gradients(views)
    law: Counter[tuple[int, ...]] = Counter()
    for passed in itertools.product((True, False), repeat=5):
        odds, rows = 1.0, list[int]()
        for row, taken in enumerate(passed):
            rate = (2 - len(rows)) / (5 - row)
            chance = min(1.0, rate * share(dense[row], dense[: row + 1], dense[rows], 0.01))
            odds *= chance if taken else 1 - chance
            rows += [row] * taken
        rest = [row for row in range(5) if row not in rows]
        rest.sort(key=lambda row: -share(dense[row], dense, dense[rows], 0.01))
        law[tuple(sorted(rows + rest[: 2 - len(rows)]))] += odds
    trials = 2000
    seen = Counter(tuple(sorted(choose(5, 2, seed, **views))) for seed in range(trials))
    likely = [rows for rows, odds in law.items() if trials * odds >= 5]
    assert sum(law[rows] for rows in likely) > 0.99
    expected = np.array([law[rows] for rows in likely])
    counts = np.array([seen[rows] for rows in likely])
    return float(stats.chisquare(counts, expected / expected.sum() * counts.sum()).pvalue)


SEEDED: dict[str, Seeded] = {"vessal": vessal}
CHANCE: dict[str, Chance] = {"vessal": leverages_are_the_odds}
