"""Oracles of `alaas.strategies.disagreement`."""

from __future__ import annotations

import math
from collections import Counter
from statistics import fmean, pstdev, pvariance

from scipy import special

from oracles import uncertainty
from oracles.tables import Array, Score


def classes(draws: Array) -> list[list[float]]:
    """What each class is given, pass by pass."""
    return [[float(p) for p in column] for column in draws.T]


def mean(draws: Array) -> list[float]:
    return [math.fsum(passes) / len(passes) for passes in classes(draws)]


def votes(draws: Array) -> Counter[int]:
    return Counter(max(range(len(row)), key=lambda c: (row[c], -c)) for row in draws.tolist())


def variation_ratios(draws: Array) -> float:
    return 1 - max(votes(draws).values()) / len(draws)


def vote_entropy(draws: Array) -> float:
    return -sum(n / len(draws) * math.log(n / len(draws)) for n in votes(draws).values())


def mean_std(draws: Array) -> float:
    return fmean(map(pstdev, classes(draws)))


def variance(draws: Array) -> float:
    return fmean(map(pvariance, classes(draws)))


def kl_disagreement(draws: Array) -> float:
    """McCallum & Nigam's form, which is bald in another guise."""
    centre = mean(draws)
    return fmean(float(special.rel_entr(row, centre).sum()) for row in draws)


SCORES: dict[str, Score] = {
    "variation_ratios": variation_ratios,
    "vote_entropy": vote_entropy,
    "mean_std": mean_std,
    "variance": variance,
    "mc_least_confidence": lambda draws: uncertainty.least_confidence(mean(draws)),
    "mc_margin": lambda draws: uncertainty.margin(mean(draws)),
    "mc_entropy": lambda draws: uncertainty.entropy(mean(draws)),
    "bald": kl_disagreement,
}
