"""Oracles of `alaas.strategies.uncertainty`."""

from __future__ import annotations

import math
from collections.abc import Iterable

from scipy import stats

from oracles.tables import Score


def least_confidence(row: Iterable[float]) -> float:
    return min(1.0 - float(p) for p in row)


def margin(row: Iterable[float]) -> float:
    ranked = [*sorted(map(float, row), reverse=True), 0.0]
    return -(ranked[0] - ranked[1])


def ratio(row: Iterable[float]) -> float:
    ranked = [*sorted(map(float, row), reverse=True), 0.0]
    return ranked[1] / ranked[0]


def entropy(row: Iterable[float]) -> float:
    return float(stats.entropy(list(row)))


def gini(row: Iterable[float]) -> float:
    return 1.0 - math.fsum(float(p) * float(p) for p in row)


SCORES: dict[str, Score] = {
    "least_confidence": least_confidence,
    "margin_confidence": margin,
    "ratio_confidence": ratio,
    "entropy": entropy,
    "gini": gini,
}
