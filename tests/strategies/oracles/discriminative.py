"""Oracles of `alaas.strategies.discriminative`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.optimize import minimize

from oracles.tables import Array, Picked, Seeded


def logits_of_new(pool: Array, old: Array, new: Array) -> Array:
    """The balanced logistic regression of new against old, its loss written out."""
    sides = np.array([-1.0] * len(old) + [1.0] * len(new))
    counts = np.array([len(old)] * len(old) + [len(new)] * len(new))
    weights = len(sides) / (2 * counts)
    inputs = np.column_stack([np.concatenate([old, new]), np.ones(len(sides))])

    def loss(line: Array) -> tuple[float, Array]:
        falls = -sides * (inputs @ line)
        slopes = -sides * weights / (1 + np.exp(-falls))
        free = np.append(line[:-1], 0.0)
        return float(weights @ np.logaddexp(0, falls) + free @ free / 2), slopes @ inputs + free

    line = minimize(loss, np.zeros(inputs.shape[1]), jac=True, tol=1e-10).x
    return np.asarray(pool @ line[:-1] + line[-1])


def by_parts(views: Mapping[str, Array], budget: int, rng: np.random.Generator) -> Picked:
    """Ten fits, after each of which a tenth of the budget changes sides."""
    pool, labelled = views["embeddings"], views["labelled_embeddings"]
    spread = pool.std(axis=0)
    spread[spread == 0] = 1
    pool, labelled = (pool - pool.mean(axis=0)) / spread, (labelled - pool.mean(axis=0)) / spread
    parts = min(10, budget)
    rows: list[int] = []
    scores: list[float] = []
    for part in range(parts):
        rest = [row for row in range(len(pool)) if row not in rows]
        logits = logits_of_new(pool, np.concatenate([labelled, pool[rows]]), pool[rest])
        rest.sort(key=lambda row: -logits[row])
        chosen = rest[: budget // parts + (part < budget % parts)]
        rows += chosen
        scores += [float(1 / (1 + np.exp(-logits[row]))) for row in chosen]
    return rows, scores


SEEDED: dict[str, Seeded] = {"discriminative": by_parts}
