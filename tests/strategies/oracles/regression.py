"""Oracles of `alaas.strategies.regression`."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from oracles.tables import Array, Picked, Tied


def spread(pool: list[Array], known: list[Array], budget: int) -> Picked:
    """Greedy from every squared distance, the product of those in each space; ties exact.

    Args:
        pool: (N, d) points of the pool in each space.
        known: (M, d) points of what is labelled in each space.
        budget: Rows to pick.
    """

    def apart(row: int, space: list[Array], other: int) -> float:
        gaps = [
            here[row].astype(float) - there[other] for here, there in zip(pool, space, strict=True)
        ]
        return math.prod(float(gap @ gap) for gap in gaps)

    rows: list[int] = []
    scores: list[float] = []
    labelled = range(len(known[0]))
    for _ in range(budget):
        rest = [row for row in range(len(pool[0])) if row not in rows]
        reach = {
            row: min(
                [apart(row, known, other) for other in labelled]
                + [apart(row, pool, other) for other in rows],
                default=0.0,
            )
            for row in rest
        }
        best = max(rest, key=lambda row: reach[row])
        if not rows and not labelled:
            middle = pool[0].mean(axis=0, dtype=float)
            best = min(rest, key=lambda row: float(np.square(pool[0][row] - middle).sum()))
            reach[best] = max(apart(row, pool, best) for row in rest)
        rows.append(best)
        scores.append(math.sqrt(reach[best]))
    return rows, scores


def by_inputs(views: Mapping[str, Array], budget: int) -> Picked:
    pool = views["embeddings"]
    return spread([pool], [views.get("labelled_embeddings", pool[:0])], budget)


def by_outputs(views: Mapping[str, Array], budget: int) -> Picked:
    pool = views["predictions"][:, None]
    return spread([pool], [views.get("targets", pool[:0, 0])[:, None]], budget)


def by_both(views: Mapping[str, Array], budget: int) -> Picked:
    pool = [views["embeddings"], views["predictions"][:, None]]
    return spread(pool, [views["labelled_embeddings"], views["targets"][:, None]], budget)


PICKS: dict[str, Tied] = {
    "greedy_sampling_inputs": by_inputs,
    "greedy_sampling_outputs": by_outputs,
    "greedy_sampling": by_both,
}
