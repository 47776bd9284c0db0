"""Oracles of `alaas.strategies.stochastic`."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats

from oracles.disagreement import kl_disagreement
from oracles.tables import Array, Chance, Choose, Picked, Seeded

BETA = 1.5

Weights = Callable[[Sequence[float], float], list[float]]


def power(scores: Sequence[float], beta: float) -> list[float]:
    return [score**beta for score in scores]


def softmax(scores: Sequence[float], beta: float) -> list[float]:
    return [math.exp(beta * score) for score in scores]


def softrank(scores: Sequence[float], beta: float) -> list[float]:
    better = [sum(other > score for other in scores) for score in scores]
    return [(1 + above) ** -beta for above in better]


def drawn_by_weight(weights: Weights) -> Chance:
    """Chi-square over every ordered pair of four rows, drawn one after the other."""

    def p_value(choose: Choose) -> float:
        rng = np.random.default_rng(1)
        draws = rng.dirichlet([0.4, 0.4, 0.4], size=(4, 3))
        w = weights([kl_disagreement(row) for row in draws], BETA)
        pairs = list(itertools.permutations(range(4), 2))
        chances = [w[i] / sum(w) * w[j] / (sum(w) - w[i]) for i, j in pairs]
        trials = 2000
        seen = Counter(
            choose(4, 2, seed, params={"beta": BETA}, draws=draws) for seed in range(trials)
        )
        assert min(chances) * trials > 5
        expected = [chance * trials for chance in chances]
        return float(stats.chisquare([seen[pair] for pair in pairs], expected).pvalue)

    return p_value


def keyed_by_weight(weights: Weights) -> Seeded:
    """The log weights of all rows, each with the noise that the generator gives it."""

    def picks(views: Mapping[str, Array], budget: int, rng: np.random.Generator) -> Picked:
        w = weights([kl_disagreement(row) for row in views["draws"]], 1.0)
        keys = [
            math.log(weight) + noise
            for weight, noise in zip(w, rng.gumbel(size=len(w)), strict=True)
        ]
        rows = sorted(range(len(keys)), key=lambda row: -keys[row])[:budget]
        return rows, [keys[row] for row in rows]

    return picks


RULES: dict[str, Weights] = {
    "power_bald": power,
    "softmax_bald": softmax,
    "softrank_bald": softrank,
}

CHANCE: dict[str, Chance] = {name: drawn_by_weight(rule) for name, rule in RULES.items()}
SEEDED: dict[str, Seeded] = {name: keyed_by_weight(rule) for name, rule in RULES.items()}
