"""Oracles of `alaas.strategies.falcun`."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from oracles.tables import Array, Chance, Choose, Picked, Seeded


def relevances(probs: Array, picked: Sequence[int]) -> list[float]:
    """What each row is worth after some picks, worked out from the first pick on."""
    margins = []
    for row in probs.astype(np.float64):
        second, first = sorted([*row, 0.0])[-2:]
        margins.append(1 - (first - second))
    diversity = list(margins)
    for pick in picked:
        for at, row in enumerate(probs):
            apart = sum(abs(float(p) - float(q)) for p, q in zip(row, probs[pick], strict=True))
            diversity[at] = min(diversity[at], apart)
        low, high = min(diversity), max(diversity)
        if high > low:
            diversity = [(value - low) / (high - low) for value in diversity]
    return [m + d for m, d in zip(margins, diversity, strict=True)]


def chances(probs: Array, picked: Sequence[int], gamma: float) -> list[float]:
    """The probability that each row is the next."""
    worth = [
        0.0 if at in picked else value**gamma for at, value in enumerate(relevances(probs, picked))
    ]
    if not sum(worth):
        worth = [float(at not in picked) for at in range(len(probs))]
    return [value / sum(worth) for value in worth]


def drawn_by_relevance(
    views: Mapping[str, Array], budget: int, rng: np.random.Generator, gamma: float = 10
) -> Picked:
    """One uniform number a pick, walked along the probabilities."""
    rows: list[int] = []
    scores: list[float] = []
    for _ in range(budget):
        left, row = rng.random(), -1
        for at, chance in enumerate(chances(views["probs"], rows, gamma)):
            left, row = left - chance, at
            if left < 0:
                break
        scores.append(relevances(views["probs"], rows)[row])
        rows.append(row)
    return rows, scores


def relevant_rows_come_more_often(choose: Choose) -> float:
    """Chi-square over every ordered pair of four rows."""
    probs = np.array([[0.5, 0.5], [0.7, 0.3], [0.2, 0.8], [0.65, 0.35]])
    expected = {}
    for first, second in itertools.permutations(range(4), 2):
        step = chances(probs, [], 3.0)[first], chances(probs, [first], 3.0)[second]
        expected[first, second] = 3000 * step[0] * step[1]
    seen = Counter(choose(4, 2, seed, params={"gamma": 3}, probs=probs) for seed in range(3000))
    assert set(seen) <= set(expected)
    pairs = list(expected)
    return float(stats.chisquare([seen[p] for p in pairs], [expected[p] for p in pairs]).pvalue)


SEEDED: dict[str, Seeded] = {"falcun": drawn_by_relevance}
CHANCE: dict[str, Chance] = {"falcun": relevant_rows_come_more_often}
