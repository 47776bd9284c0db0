"""Oracles of `alaas.strategies.batchbald`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
from scipy.special import xlogy

from oracles.tables import Array, Picked, Seeded

SAMPLES = 1000


def batch_bald(
    views: Mapping[str, Array], budget: int, rng: np.random.Generator, samples: int = SAMPLES
) -> Picked:
    """Greedy gains in the joint information, each a difference of two joint entropies."""
    draws = views["draws"].astype(np.float64)
    N, _, C = draws.shape
    rows: list[int] = []
    gains: list[float] = []
    answers: list[list[int]] = []
    sampled = False
    for _ in range(budget):
        if rows and not sampled and C ** len(rows) > samples:
            sampled = True
            answers = [labels(draws[row], samples, rng) for row in rows]
        elif sampled:
            answers.append(labels(draws[rows[-1]], samples, rng))
        joint = sampled_joint(draws, rows, answers) if sampled else every_joint(draws, rows)
        gain = {
            row: entropy_gain(joint, draws[row], sampled=sampled)
            - float(-xlogy(draws[row], draws[row]).sum(axis=1).mean())
            for row in range(N)
            if row not in rows
        }
        rows.append(max(gain, key=lambda row: gain[row]))
        gains.append(gain[rows[-1]])
    return rows, gains


def every_joint(draws: Array, rows: list[int]) -> Array:
    """(C^S, T) p(y_1, ..., y_S | t) of every joint answer."""
    C = draws.shape[2]
    return np.array(
        [
            np.prod([draws[row][:, y] for row, y in zip(rows, ys, strict=True)], axis=0)
            if rows
            else np.ones(draws.shape[1])
            for ys in itertools.product(range(C), repeat=len(rows))
        ]
    )


def sampled_joint(draws: Array, rows: list[int], answers: list[list[int]]) -> Array:
    """(m, T) p(y_1, ..., y_S | t) of the sampled joint answers."""
    pairs = zip(rows, answers, strict=True)
    return np.array(np.prod([draws[row].T[ys] for row, ys in pairs], axis=0))


def labels(probs: Array, samples: int, rng: np.random.Generator) -> list[int]:
    """A label for each sample, those of a draw together, by running up its probabilities."""
    found: list[int] = []
    for row in rng.random((len(probs), math.ceil(samples / len(probs)))):
        for key in row:
            draw, label = len(found) // len(row), 0
            total = probs[draw, 0]
            while key >= total and label < probs.shape[1] - 1:
                label += 1
                total += probs[draw, label]
            found.append(label)
    return found


def entropy_gain(joint: Array, probs: Array, *, sampled: bool) -> float:
    """H(y_S, y) - H(y_S): exact, or with importance weights p(y_S, y) / p(y_S)."""
    before = joint.mean(axis=1)
    after = joint @ probs / len(probs)
    if not sampled:
        return float(xlogy(before, before).sum() - xlogy(after, after).sum())
    terms = xlogy(after / before[:, None], after).sum(axis=1)
    return float(-terms.mean() + np.log(before).mean())


SEEDED: dict[str, Seeded] = {"batch_bald": batch_bald}
