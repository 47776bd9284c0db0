"""Oracles of `alaas.strategies.sampling`."""

from __future__ import annotations

import itertools
from collections import Counter

from scipy import stats

from oracles.tables import Chance, Choose


def uniform_without_replacement(choose: Choose) -> float:
    """Chi-square over every ordered pair of five rows."""
    pairs = list(itertools.permutations(range(5), 2))
    seen = Counter(choose(5, 2, seed) for seed in range(200 * len(pairs)))
    assert set(seen) == set(pairs)
    return float(stats.chisquare([seen[pair] for pair in pairs]).pvalue)


CHANCE: dict[str, Chance] = {"random_sampling": uniform_without_replacement}
