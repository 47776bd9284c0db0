"""Oracles of `alaas.strategies.badge`."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist

from oracles.tables import Array, Chance, Choose, Picked, Seeded


def gradients(views: Mapping[str, Array]) -> Array:
    """(N, C D) gradients of the last layer, each one built."""
    built = []
    for p, h in zip(views["probs"], views["embeddings"], strict=True):
        residual = p.astype(np.float64)
        residual[int(np.argmax(p))] -= 1.0
        built.append(np.outer(residual, h.astype(np.float64)).ravel())
    return np.array(built)


def badge(views: Mapping[str, Array], budget: int, rng: np.random.Generator) -> Picked:
    """D^2 sampling on the full matrix of distances, by the documented use of the generator."""
    dense = gradients(views)
    apart = cdist(dense, dense) ** 2
    lengths = (dense**2).sum(axis=1)
    rows, squares = [int(lengths.argmax())], [float(lengths.max())]
    while len(rows) < budget:
        then = apart[:, rows].min(axis=1)
        known, refused = len(rows), 0
        while len(rows) < budget and len(rows) - known < 64 and refused < 16:
            at, keep = rng.random(), rng.random()
            row = int(np.flatnonzero(np.cumsum(then) > at * then.sum())[0])
            now = apart[row, rows].min()
            if keep < now / then[row]:
                rows.append(row)
                squares.append(float(now))
                refused = 0
            else:
                refused += 1
    return rows, np.sqrt(squares).tolist()


def squared_distances_are_the_odds(choose: Choose) -> float:
    """Chi-square over all ordered triples of six rows against the law of D^2 sampling."""
    rng = np.random.default_rng(7)
    views = {"probs": rng.dirichlet(np.ones(3), 6), "embeddings": rng.normal(size=(6, 2))}
    dense = gradients(views)
    apart = cdist(dense, dense) ** 2
    first = int((dense**2).sum(axis=1).argmax())
    law = {}
    for second, third in itertools.permutations(sorted({*range(6)} - {first}), 2):
        both = apart[:, [first, second]].min(axis=1)
        odds = apart[second, first] / apart[:, first].sum() * both[third] / both.sum()
        law[first, second, third] = odds
    trials = 2000
    seen = Counter(choose(6, 3, seed, **views) for seed in range(trials))
    assert set(seen) <= set(law)
    expected = [trials * odds for odds in law.values()]
    return float(stats.chisquare([seen[triple] for triple in law], expected).pvalue)


SEEDED: dict[str, Seeded] = {"badge": badge}
CHANCE: dict[str, Chance] = {"badge": squared_distances_are_the_odds}
