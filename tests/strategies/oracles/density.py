"""Oracles of `alaas.strategies.density`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.spatial.distance import cdist

from oracles.tables import Array, Picked, Seeded
from oracles.uncertainty import least_confidence


def similarities(one: Array, other: Array) -> Array:
    """The full matrix."""
    similar: Array = 1 - cdist(one, other, "cosine") / 2
    return similar


def unsure(probs: Array) -> list[float]:
    return [least_confidence(row) / (1 - 1 / len(row)) for row in probs]


def information_density(
    views: Mapping[str, Array], budget: int, rng: np.random.Generator
) -> Picked:
    typical = similarities(views["embeddings"], views["embeddings"]).mean(axis=1)
    scores = [float(u * t) for u, t in zip(unsure(views["probs"]), typical, strict=True)]
    rows = sorted(range(len(scores)), key=lambda row: -scores[row])[:budget]
    return rows, [scores[row] for row in rows]


def ranked_batch(views: Mapping[str, Array], budget: int, rng: np.random.Generator) -> Picked:
    pool, u = views["embeddings"], unsure(views["probs"])
    known = views.get("labelled_embeddings", pool[:0])
    alike = similarities(pool, pool)
    to_known = similarities(pool, known)
    rows: list[int] = []
    scores: list[float] = []
    for _ in range(budget):
        rest = [row for row in range(len(pool)) if row not in rows]
        share = len(rest) / (len(rest) + len(known) + len(rows))
        score = {
            row: share * (1 - max([*to_known[row], *alike[row, rows]], default=0.0))
            + (1 - share) * u[row]
            for row in rest
        }
        first = not rows and not len(known)
        rows.append(max(rest, key=lambda row: u[row] if first else score[row]))
        scores.append(float(score[rows[-1]]))
    return rows, scores


SEEDED: dict[str, Seeded] = {
    "information_density": information_density,
    "ranked_batch": ranked_batch,
}
