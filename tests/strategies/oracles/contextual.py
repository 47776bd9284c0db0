"""Oracles of `alaas.strategies.contextual`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from oracles.tables import Array, Picked, Tied


def symmetric_divergence(p: Array, q: Array) -> float:
    p, q = (np.maximum(point.astype(np.float64), 1e-7) for point in (p, q))
    return float(np.sum((p - q) * (np.log(p) - np.log(q))) / 2)


def contextual_k_center(views: Mapping[str, Array], budget: int) -> Picked:
    """Greedy k-center, every divergence on its own."""
    probs = views["probs"]
    pool = range(len(probs))
    known = views.get("labelled_probs", np.empty((0, 0)))
    reach = [min([symmetric_divergence(p, q) for q in known], default=np.inf) for p in probs]
    rows: list[int] = []
    scores: list[float] = []
    for _ in range(budget):
        rest = [row for row in pool if row not in rows]
        first = not rows and not len(known)
        if first:
            middle = probs.mean(axis=0)
            row = min(rest, key=lambda row: symmetric_divergence(probs[row], middle))
        else:
            row = max(rest, key=lambda row: reach[row])
        score = reach[row]
        reach = [min(reach[at], symmetric_divergence(probs[at], probs[row])) for at in pool]
        rows.append(row)
        scores.append(max(reach) if first else score)
    return rows, scores


PICKS: dict[str, Tied] = {"cdal": contextual_k_center}
