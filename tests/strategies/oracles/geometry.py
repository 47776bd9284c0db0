"""Oracles of `alaas.strategies.geometry`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.spatial.distance import cdist

from oracles.tables import Array, Picked, Tied


def k_center(views: Mapping[str, Array], budget: int) -> Picked:
    """Greedy k-center from the full matrix of distances."""
    pool = views["embeddings"].astype(np.float64)
    apart = cdist(pool, pool)
    known = cdist(pool, views.get("labelled_embeddings", np.empty((0, pool.shape[1]))))
    rows: list[int] = []
    scores: list[float] = []
    for _ in range(budget):
        rest = [row for row in range(len(pool)) if row not in rows]
        reach = {row: min([*known[row], *apart[row, rows]], default=np.inf) for row in rest}
        row = max(rest, key=lambda row: reach[row])
        if not rows and not known.size:
            middle = cdist(pool, pool.mean(axis=0)[None])[:, 0]
            row = min(rest, key=lambda row: middle[row])
            reach[row] = max(apart[row])
        rows.append(row)
        scores.append(float(reach[row]))
    return rows, scores


PICKS: dict[str, Tied] = {"k_center_greedy": k_center}
