"""Oracles of `alaas.strategies.coverage` and `alaas.strategies.herding`."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import entr

from alaas.strategies.clusters import k_means
from oracles.tables import Array, Picked, Seeded, Tied


def directions(points: Array) -> Array:
    points = points.astype(np.float64)
    return np.array([row / (np.linalg.norm(row) or 1.0) for row in points]).reshape(points.shape)


def placed(views: Mapping[str, Array]) -> tuple[Array, Array]:
    pool = directions(views["embeddings"])
    labelled = views.get("labelled_embeddings", np.empty((0, pool.shape[1])))
    return pool, directions(labelled)


def greedy(similar: Array, known: Array, weights: Array, budget: int) -> Picked:
    """Every gain anew for each pick, from the full matrix of similarities."""
    reach = [max(row, default=0.0) for row in known]
    rows: list[int] = []
    scores: list[float] = []
    for _ in range(budget):
        rest = [row for row in range(len(similar)) if row not in rows]
        gain = {
            row: math.fsum(
                weight * max(similar[i, row] - reach[i], 0.0) for i, weight in enumerate(weights)
            )
            / math.fsum(weights)
            for row in rest
        }
        row = max(rest, key=lambda row: round(gain[row], 12))
        rows.append(row)
        scores.append(gain[row] if gain[row] > 5e-13 else 0.0)
        reach = [max(before, now) for before, now in zip(reach, similar[:, row], strict=True)]
    return rows, scores


def herd(views: Mapping[str, Array], weights: Array, sigma: float, budget: int) -> Picked:
    pool, labelled = placed(views)
    similar = np.exp(-((cdist(pool, pool) / sigma) ** 2))
    known = np.exp(-((cdist(pool, labelled) / sigma) ** 2))
    return greedy(similar, known, weights, budget)


def max_herding(views: Mapping[str, Array], budget: int) -> Picked:
    return herd(views, np.ones(len(views["embeddings"])), 1.0, budget)


def uncertainty_herding(views: Mapping[str, Array], budget: int) -> Picked:
    ranked = [sorted([0.0, *map(float, row)], reverse=True) for row in views["probs"]]
    weights = [1 - (row[0] - row[1]) for row in ranked]
    _, labelled = placed(views)
    between = [
        float(np.linalg.norm(one - other))
        for i, one in enumerate(labelled)
        for other in labelled[:i]
    ]
    sigma = min((apart for apart in between if apart > 1e-6), default=1.0)
    return herd(views, np.array(weights if any(weights) else [1.0] * len(weights)), sigma, budget)


def facility_location(views: Mapping[str, Array], budget: int) -> Picked:
    pool, labelled = placed(views)
    weights = np.ones(len(pool))
    return greedy(
        1 - cdist(pool, pool) ** 2 / 4, 1 - cdist(pool, labelled) ** 2 / 4, weights, budget
    )


def pure_radius(pool: Array, clusters: Array, purity: float) -> float:
    """The largest distance of two rows that is a radius at which enough balls are pure."""
    apart = cdist(pool, pool)

    def share(radius: float) -> float:
        pure = [
            all(clusters[other] == clusters[row] for other in np.flatnonzero(apart[row] < radius))
            for row in range(len(pool))
        ]
        return sum(pure) / len(pool)

    radii = [radius for radius in np.unique(apart) if radius > 0 and share(radius) >= purity]
    return max(radii) * (1 - 1e-9) if radii else 1.0


def cover(apart: Array, known: Array, radius: float, budget: int) -> Picked:
    """Sets of rows that balls hold, and half the radius once they hold all."""
    rows: list[int] = []
    scores: list[float] = []
    while len(rows) < budget:
        held = {i for i in range(len(apart)) if any(known[i] < radius)}
        held |= {i for i in range(len(apart)) if any(apart[i, rows] < radius)}
        if len(held) == len(apart):
            radius /= 2
            continue
        rest = [row for row in range(len(apart)) if row not in rows]
        brings = {row: len({*np.flatnonzero(apart[:, row] < radius)} - held) for row in rest}
        row = max(rest, key=lambda row: brings[row])
        rows.append(row)
        scores.append(brings[row] / len(apart))
    return rows, scores


def prob_cover(views: Mapping[str, Array], budget: int, rng: np.random.Generator) -> Picked:
    pool, labelled = placed(views)
    centres = k_means(pool, min(10, len(pool)), rng).centres
    radius = pure_radius(pool, cdist(pool, centres).argmin(axis=1), 0.95)
    return cover(cdist(pool, pool), cdist(pool, labelled), radius, budget)


def entropies(probs: Array, temperature: float) -> Array:
    tempered = np.exp(np.log(probs) / temperature)
    return entr(tempered / tempered.sum(axis=1, keepdims=True)).sum(axis=1)


def seeded(oracle: Tied) -> Seeded:
    """A picker that draws nothing under a seed, too."""
    return lambda views, budget, rng: oracle(views, budget)


PICKS: dict[str, Tied] = {
    "facility_location": facility_location,
    "max_herding": max_herding,
}
SEEDED: dict[str, Seeded] = {
    "prob_cover": prob_cover,
    # Where labels are close, so is sigma to what the scaling to length 1 rounds away: the
    # picks of `PICKS` agree, the last digits of their scores do not.
    "uncertainty_herding": seeded(uncertainty_herding),
}
