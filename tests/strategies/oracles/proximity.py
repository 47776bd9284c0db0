"""Oracles of `alaas.strategies.proximity`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import entropy, zscore
from sklearn.preprocessing import MinMaxScaler

from oracles.tables import Array, Picked, Seeded


def away_from_the_mean_of_what_is_picked(
    views: Mapping[str, Array],
    budget: int,
    rng: np.random.Generator | None,
    batch: int = 10,
    spread: float = 0.3,
) -> Picked:
    """Sorted lists, and the scaler of scikit-learn for the distances."""
    points = views["embeddings"].astype(np.float64)
    uncertain = [float(entropy(row)) for row in views["probs"]]
    standard = zscore(uncertain) if len(set(uncertain)) > 1 else np.zeros(len(uncertain))
    rows: list[int] = []
    scores: list[float] = []
    while len(rows) < budget:
        worth = standard
        if rows and spread:
            apart = np.linalg.norm(points - points[rows].mean(axis=0), axis=1)
            scaler = MinMaxScaler((-spread, spread))
            worth = standard + scaler.fit_transform(apart[:, None])[:, 0]
        order = sorted(set(range(len(points))) - set(rows), key=lambda row: (-worth[row], row))
        taken = order[: min(batch, budget - len(rows))]
        rows += taken
        scores += [float(worth[row]) for row in taken]
    return rows, scores


SEEDED: dict[str, Seeded] = {"iterative_proximity_sampling": away_from_the_mean_of_what_is_picked}
