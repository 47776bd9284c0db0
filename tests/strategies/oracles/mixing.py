"""Oracles of `alaas.strategies.mixing`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from scipy import stats
from scipy.special import softmax

from alaas.strategies.clusters import k_means
from oracles.tables import Array, Chance, Choose, Picked, Seeded


def one_a_cluster(points: Array, budget: int, rng: np.random.Generator) -> set[int]:
    """The lowest of the rows nearest to each centre that no earlier centre has.

    k-means has tests of its own. Its means are rounded, so that the two rows of a cluster of
    two are equally near.
    """
    chosen: list[int] = []
    for centre in k_means(points, budget, rng).centres.astype(np.float64):
        free = [row for row in range(len(points)) if row not in chosen]
        squares = {row: float(np.square(points[row] - centre).sum()) for row in free}
        least = min(squares.values())
        chosen.append(next(row for row in free if squares[row] <= least * (1 + 1e-5)))
    return set(chosen)


def alfa_mix(views: Mapping[str, Array], budget: int, rng: np.random.Generator) -> Picked:
    """The closed form of the paper, element by element, for every row and every anchor."""
    weights, bias = views["head"][:, :-1], views["head"][:, -1]
    pool, known, labels = views["embeddings"], views["labelled_embeddings"], views["labels"]
    anchors = [known[labels == c].mean(axis=0) for c in sorted(set(labels.tolist()))]
    epsilon = 0.2 / np.sqrt(pool.shape[1])
    changed: list[int] = []
    scores: list[float] = []
    for row, z in enumerate(pool):
        before = weights @ z + bias
        y = int(before.argmax())
        grad = weights.T @ (softmax(before) - np.eye(len(bias))[y])
        leads = []
        for anchor in anchors:
            gap = anchor - z
            share = epsilon * np.linalg.norm(gap) / np.linalg.norm(grad) * grad / gap
            after = weights @ ((1 - share) * z + share * anchor) + bias
            if after.argmax() != y and row not in changed:
                changed.append(row)
            distance = float(np.linalg.norm(gap))
            leads.append((distance, float(np.delete(after, y).max() - after[y])))
        scores.append(max(leads)[1])
    order = sorted(range(len(pool)), key=lambda row: -scores[row])
    if len(changed) > budget:
        units = pool[changed] / np.linalg.norm(pool[changed], axis=1, keepdims=True)
        picked = {changed[at] for at in one_a_cluster(units.astype(np.float32), budget, rng)}
        order = [row for row in order if row in picked]
    return order[:budget], [scores[row] for row in order[:budget]]


def drop_query(views: Mapping[str, Array], budget: int, rng: np.random.Generator) -> Picked:
    """Row by row and pass by pass, with the random numbers in that order."""
    weights, bias = views["head"][:, :-1], views["head"][:, -1]
    pool = views["embeddings"]
    share: list[float] = []
    lead: list[float] = []
    for z in pool:
        logits = weights @ z + bias
        lead.append(float(np.subtract(*np.sort(logits)[:-3:-1])))
        changes = 0
        for _ in range(3):
            kept = np.array([rng.random(dtype=np.float32) >= 0.75 for _ in z])
            changes += int((weights @ np.where(kept, 4 * z, 0) + bias).argmax() != logits.argmax())
        share.append(changes / 3)
    order = sorted(range(len(pool)), key=lambda row: (-share[row], lead[row]))
    changed = [row for row in range(len(pool)) if share[row] > 0.5]
    if len(changed) > budget:
        points = pool[changed].astype(np.float32)
        picked = {changed[at] for at in one_a_cluster(points, budget, rng)}
        order = [row for row in order if row in picked]
    return order[:budget], [share[row] for row in order[:budget]]


def dropped_at_the_rate(choose: Choose) -> float:
    """Chi-square of which of two rows changes more often, by the binomials of their passes.

    A row changes when all its features are dropped: row 0 has one that counts and row 1 two,
    so that a pass changes them with probability 0.5 and 0.25. Of equal numbers of changes the
    row with the smaller lead comes first, and that is row 0.
    """
    views = {
        "embeddings": np.array([[8.0, 0.0], [8.0, 8.0]]),
        "head": np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
    }
    params = {"passes": 5, "rate": 0.5}
    seen = Counter(choose(2, 1, seed, params, **views)[0] for seed in range(2000))
    once, twice = stats.binom(5, 0.5), stats.binom(5, 0.25)
    first = sum(once.pmf(n) * twice.cdf(n) for n in range(6))
    expected = [2000 * first, 2000 * (1 - first)]
    return float(stats.chisquare([seen[0], seen[1]], expected).pvalue)


SEEDED: dict[str, Seeded] = {"alfa_mix": alfa_mix, "drop_query": drop_query}
CHANCE: dict[str, Chance] = {"drop_query": dropped_at_the_rate}
