"""Oracles of `alaas.strategies.bait`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from oracles.tables import Array, Picked, Seeded


def information(probs: Array, embeddings: Array) -> Array:
    """(N, C D, C D) Fisher information of each row, from the gradient of each label."""
    built = []
    for p, h in zip(probs.astype(np.float64), embeddings.astype(np.float64), strict=True):
        total = np.zeros((p.size * h.size,) * 2)
        for label, share in enumerate(p):
            gradient = np.kron(np.eye(p.size)[label] - p, h)
            total += share * np.outer(gradient, gradient)
        built.append(total)
    return np.array(built)


def least_variance(each: Array, known: Array, budget: int, lamb: float) -> Picked:
    """Forward to twice the budget and back, by an explicit inverse for every row."""
    pool = each.mean(axis=0)
    design = lamb * np.eye(len(pool)) + known

    def variances(designs: Array) -> list[float]:
        return [float(np.trace(inverse @ pool)) for inverse in np.linalg.inv(designs)]

    rows: list[int] = []
    gains: list[float] = []
    for _ in range(min(2 * budget, len(each))):
        rest = [row for row in range(len(each)) if row not in rows]
        after = variances(design + each[rest])
        before = variances(design[None])[0]
        rows.append(rest[int(np.argmin(after))])
        gains.append(before - min(after))
        design = design + each[rows[-1]]
    left = list(range(len(rows)))
    while len(left) > budget:
        after = variances(design - each[[rows[number] for number in left]])
        gone = left.pop(int(np.argmin(after)))
        design = design - each[rows[gone]]
    return [rows[number] for number in left], [gains[number] for number in left]


def bait(views: Mapping[str, Array], budget: int, rng: np.random.Generator) -> Picked:
    known = np.zeros(())
    if "labelled_probs" in views:
        known = information(views["labelled_probs"], views["labelled_embeddings"]).sum(axis=0)
    return least_variance(information(views["probs"], views["embeddings"]), known, budget, 1.0)


SEEDED: dict[str, Seeded] = {"bait": bait}
