"""Oracles of `alaas.strategies.contrastive`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import entropy

from oracles.tables import Array, Picked, Seeded


def by_divergence_from_labelled(
    views: Mapping[str, Array], budget: int, rng: np.random.Generator | None, neighbours: int = 10
) -> Picked:
    """One divergence at a time, the neighbours from the full matrix of distances."""
    probs, known = (
        np.clip(views[name].astype(np.float64), 1e-7, 1) for name in ("probs", "labelled_probs")
    )
    apart = cdist(views["embeddings"], views["labelled_embeddings"])
    scores = []
    for row, distances in zip(probs, apart, strict=True):
        near = np.argsort(distances, kind="stable")[:neighbours]
        # SciPy scales both distributions to sum to 1.
        scores.append(float(np.mean([entropy(known[label], row) for label in near])))
    rows = sorted(range(len(scores)), key=lambda row: -scores[row])[:budget]
    return rows, [scores[row] for row in rows]


SEEDED: dict[str, Seeded] = {"contrastive": by_divergence_from_labelled}
