"""Oracles of `alaas.strategies.typical`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.spatial.distance import cdist

from alaas.strategies.clusters import k_means
from oracles.tables import Array, Picked, Seeded


def typi_clust(views: Mapping[str, Array], budget: int, rng: np.random.Generator) -> Picked:
    """Clusters as lists of rows, and typicality from the full matrix of distances."""
    pool = views["embeddings"].astype(np.float32)
    labelled = views.get("labelled_embeddings", np.empty((0, pool.shape[1]))).astype(np.float32)
    points = np.concatenate([labelled, pool])
    lengths = np.linalg.norm(points.astype(np.float64), axis=1, keepdims=True)
    points = (points / lengths).astype(np.float32)
    count = min(len(labelled) + budget, 500, len(points))
    found = k_means(points, count, rng).labels
    apart = cdist(points, points)
    known = [0] * count
    size = [0] * count
    left: list[list[int]] = [[] for _ in range(count)]
    for row, cluster in enumerate(found):
        size[cluster] += 1
        if row < len(labelled):
            known[cluster] += 1
        else:
            left[cluster].append(row)
    lowest = {cluster: row for row, cluster in reversed(list(enumerate(found)))}
    order = sorted(lowest, key=lambda cluster: (known[cluster], -size[cluster], lowest[cluster]))
    rows: list[int] = []
    scores: list[float] = []
    while len(rows) < budget:
        large = [cluster for cluster in order if size[cluster] > 5 and left[cluster]]
        for cluster in (large or [cluster for cluster in order if left[cluster]])[
            : budget - len(rows)
        ]:
            best, score = -1, -1.0
            for row in left[cluster]:
                others = sorted(apart[row, other] for other in left[cluster] if other != row)
                near = others[: min(20, len(left[cluster]) // 2)]
                typicality = 1 / (float(np.mean(near)) + 1e-5) if near else 0.0
                if typicality > score:
                    best, score = row, typicality
            left[cluster].remove(best)
            rows.append(best - len(labelled))
            scores.append(score)
    return rows, scores


SEEDED: dict[str, Seeded] = {"typi_clust": typi_clust}
