"""Oracles of `alaas.strategies.cluster_margin`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.cluster import AgglomerativeClustering

from oracles.tables import Array, Picked, Tied


def merged(points: Array, clusters: int) -> list[int]:
    if clusters < 2:
        return [0] * len(points)
    model = AgglomerativeClustering(n_clusters=clusters, linkage="average")
    return model.fit_predict(points.astype(np.float64)).tolist()


def margins_of(views: Mapping[str, Array]) -> list[float]:
    """Of each row, the lead of its first class over its second."""
    pairs = [sorted([*map(float, row), 0.0])[-2:] for row in views["probs"]]
    return [first - second for second, first in pairs]


def in_turns(margins: Sequence[float], labels: Mapping[int, int], budget: int) -> Picked:
    """Deal the labelled rows from queues, one for each cluster."""
    queues: dict[int, list[int]] = {}
    for row in sorted(labels, key=lambda row: (margins[row], row)):
        queues.setdefault(labels[row], []).append(row)
    turns = sorted(queues.values(), key=len)  # the queue that began first goes first
    rows: list[int] = []
    while len(rows) < budget:
        rows += [queue.pop(0) for queue in turns if queue][: budget - len(rows)]
    return rows, [-margins[row] for row in rows]


def clusters_of_the_pool(
    views: Mapping[str, Array], budget: int, candidates: int = 10, size: int = 10
) -> Picked:
    margins = margins_of(views)
    labels = merged(views["embeddings"], len(margins) // size)
    ranked = sorted(range(len(margins)), key=lambda row: (margins[row], row))
    kept = {row: labels[row] for row in ranked[: candidates * budget]}
    return in_turns(margins, kept, budget)


PICKS: dict[str, Tied] = {"cluster_margin": clusters_of_the_pool}
