"""Oracles of `alaas.strategies.expansion`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.spatial.distance import cdist

from oracles.tables import Array, Picked, Tied


def in_turns(views: Mapping[str, Array], budget: int) -> Picked:
    """Every labelled item ranks the whole pool; the first of all lists, then the second ..."""
    labelled = views["labelled_embeddings"].astype(np.float64)
    pool = views["embeddings"].astype(np.float64)
    lists = [
        sorted((float(distance), row) for row, distance in enumerate(distances))
        for distances in cdist(labelled, pool)
    ]
    rows: list[int] = []
    scores: list[float] = []
    for place in range(len(pool)):
        for distance, row in sorted(ranked[place] for ranked in lists):
            if row not in rows:
                rows.append(row)
                scores.append(-distance)
    return rows[:budget], scores[:budget]


PICKS: dict[str, Tied] = {"neighbour_expansion": in_turns}
