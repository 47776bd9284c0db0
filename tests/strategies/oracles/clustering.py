"""Oracles of `alaas.strategies.clustering`: scikit-learn's k-means from the same start."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
from scipy import stats
from sklearn.cluster import KMeans

from alaas.strategies.clusters import start_rows
from oracles.tables import Array, Chance, Choose, Picked, Seeded


def k_means(
    points: Array, k: int, rng: np.random.Generator, weights: Array | None = None
) -> tuple[Array, Array]:
    """Labels and centres of Lloyd's algorithm, run until it stands still."""
    start = points[start_rows(points, k, rng, weights=weights)]
    found = KMeans(k, init=start, n_init=1, tol=0, max_iter=300).fit(points, sample_weight=weights)
    return found.labels_, found.cluster_centers_


def one_a_cluster(
    points: Array, budget: int, rng: np.random.Generator, weights: Array | None = None
) -> Picked:
    """Heavy clusters first, each takes the nearest row that no other has."""
    labels, centres = k_means(points, budget, rng, weights)
    weights = np.ones(len(points)) if weights is None else weights
    shares = [float(weights[labels == c].sum() / weights.sum()) for c in range(budget)]
    picked: dict[int, float] = {}
    for cluster in sorted(range(budget), key=lambda c: -shares[c]):
        far = {
            row: math.dist(points[row], centres[cluster]) ** 2
            for row in range(len(points))
            if row not in picked
        }
        least = min(far.values())
        row = min(row for row, square in far.items() if square <= (1 + 1e-5) * least)
        picked[row] = shares[cluster]
    ranked = sorted(picked.items(), key=lambda item: (-item[1], item[0]))
    return [row for row, _ in ranked], [share for _, share in ranked]


def k_means_sampling(views: Mapping[str, Array], budget: int, rng: np.random.Generator) -> Picked:
    return one_a_cluster(views["embeddings"], budget, rng)


def margin_weight(row: Array) -> float:
    ranked = [*sorted(row, reverse=True), 0.0]
    return float(1 - (ranked[0] - ranked[1]))


def dbal(views: Mapping[str, Array], budget: int, rng: np.random.Generator) -> Picked:
    """Zhdanov's algorithm with beta = 10."""
    weights = np.array([margin_weight(row) for row in views["probs"]])
    ranked = sorted(range(len(weights)), key=lambda row: -weights[row])
    kept = sorted(ranked[: 10 * budget])
    rows, scores = one_a_cluster(views["embeddings"][kept], budget, rng, weights[kept])
    return [kept[row] for row in rows], scores


def clue(views: Mapping[str, Array], budget: int, rng: np.random.Generator) -> Picked:
    weights = stats.entropy(views["probs"], axis=1)
    return one_a_cluster(views["embeddings"], budget, rng, weights)


def clustering_sampling(
    views: Mapping[str, Array], budget: int, rng: np.random.Generator
) -> Picked:
    """Quotas by largest remainder, one seat at a time."""
    points, doubt = views["embeddings"], stats.entropy(views["probs"], axis=1)
    labels, _ = k_means(points, min(3, len(points)), rng)
    sizes = Counter(labels.tolist())
    ideal = {cluster: size * budget / len(points) for cluster, size in sizes.items()}
    seats = {cluster: math.floor(ideal[cluster] + 1e-9) for cluster in sizes}
    while sum(seats.values()) < budget:
        # Rounded, so that equal remainders are equal.
        needy = max(
            sizes, key=lambda c: (round(ideal[c] - seats[c], 9), sizes[c], -c)
        )  # fmt: skip
        seats[needy] += 1
    rows = [
        row
        for cluster in sizes
        for row in sorted(np.flatnonzero(labels == cluster), key=lambda row: -doubt[row])[
            : seats[cluster]
        ]
    ]
    rows.sort(key=lambda row: -doubt[row])
    return [int(row) for row in rows], [float(doubt[row]) for row in rows]


def by_squared_distance(choose: Choose) -> float:
    """Chi-square over every ordered choice of four rows of five."""
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 1.0], [2.5, 2.5]])
    expected: dict[tuple[int, ...], float] = {}
    for order in itertools.permutations(range(5), 4):
        chance = 1 / 5
        for step in range(1, 4):
            near = ((points[:, None] - points[list(order[:step])]) ** 2).sum(axis=2).min(axis=1)
            chance *= near[order[step]] / near.sum()
        expected[order] = chance
    runs = 6000
    seen = Counter(choose(5, 4, seed, embeddings=points) for seed in range(runs))
    assert set(seen) <= set(expected)
    often = [order for order in expected if runs * expected[order] >= 5]
    counts, means = [seen[o] for o in often], [runs * expected[o] for o in often]
    rest, rest_mean = runs - sum(counts), runs - sum(means)
    return float(stats.chisquare([*counts, rest], [*means, rest_mean]).pvalue)


SEEDED: dict[str, Seeded] = {
    "k_means_sampling": k_means_sampling,
    "diverse_mini_batch": dbal,
    "clue": clue,
    "clustering_sampling": clustering_sampling,
}

CHANCE: dict[str, Chance] = {"k_means_plus_plus": by_squared_distance}
