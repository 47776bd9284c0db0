"""What the strategies are compared in: pools, starts, and who takes part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import cifar10
from benchmarks.cifar10 import Featured

BASELINE = "random_sampling"

Choice = tuple[str, Mapping[str, Any]]
"""A strategy and its hyper-parameters."""


@dataclass(frozen=True)
class Situation:
    """What there is at the start, and what is asked.

    Attributes:
        name: Its name in the table.
        title: What stands over its picture.
        start: Items labelled at random before the first round.
        step: Items to label a round.
        rounds: Rounds.
        choices: What is compared.
        pool: Makes the pool of one seed from all the pictures there are.
    """

    name: str
    title: str
    start: int
    step: int
    rounds: int
    choices: tuple[Choice, ...]
    pool: Callable[[Featured, np.random.Generator], Featured]


def whole(pictures: Featured, rng: np.random.Generator) -> Featured:
    """Every picture."""
    return pictures


def long_tail(pictures: Featured, rng: np.random.Generator) -> Featured:
    """A fiftieth of the rarest class and all of the most frequent, geometric in between."""
    shares = 50.0 ** -(rng.permutation(cifar10.CLASSES) / (cifar10.CLASSES - 1))
    return rows_of(pictures, rng.random(len(pictures.classes)) < shares[pictures.classes])


def redundant(pictures: Featured, rng: np.random.Generator) -> Featured:
    """A fifth of the pictures five times each, with a little noise in the features."""
    some = rng.choice(len(pictures.classes), len(pictures.classes) // 5, replace=False)
    copied = rows_of(pictures, np.repeat(some, 5))
    noise = rng.normal(0, 0.05 * pictures.features.std(), copied.features.shape)
    return copied._replace(features=(copied.features + noise).astype(np.float32))


def rows_of(pictures: Featured, rows: NDArray[Any]) -> Featured:
    """Some of the pictures."""
    return Featured(pictures.features[rows], pictures.classes[rows])


def _named(*names: str) -> tuple[Choice, ...]:
    return tuple((name, {}) for name in (BASELINE, *names))


FIRST = _named(
    "k_center_greedy", "k_means_plus_plus", "k_means_sampling", "facility_location", "typi_clust",
    "prob_cover", "max_herding",
)  # fmt: skip
UNSURE: tuple[Choice, ...] = (
    *_named(
        "least_confidence", "margin_confidence", "entropy", "bald", "power_bald", "badge", "clue",
        "falcun", "galaxy", "diverse_mini_batch", "uncertainty_herding", "k_center_greedy",
        "typi_clust",
    ),
    ("cluster_margin", {"approx": "candidates"}),
)  # fmt: skip
BALANCE = {"balance": True}
BALANCED: tuple[Choice, ...] = (
    *_named("margin_confidence", "badge", "galaxy", "diverse_mini_batch", "k_center_greedy"),
    (BASELINE, BALANCE),
    ("margin_confidence", BALANCE),
    ("badge", BALANCE),
)
SITUATIONS = (
    Situation("cold_start", "Cold start: no labels", 0, 10, 5, FIRST, whole),
    Situation("few_labels", "Few labels", 20, 20, 8, UNSURE, whole),
    Situation("many_labels", "Many labels", 500, 250, 6, UNSURE, whole),
    Situation("redundant", "Redundant: each item five times", 20, 20, 8, UNSURE, redundant),
    Situation("long_tail", "Long tail: classes from 1 to 1/50", 20, 20, 8, BALANCED, long_tail),
)


def label(choice: Choice) -> str:
    """What a choice is called in tables and pictures.

    Example:
        >>> label(("badge", {"balance": True})), label(("cluster_margin", {"approx": "candidates"}))
        ('badge, balance', 'cluster_margin, approx=candidates')
    """
    name, params = choice
    shown = [key if value is True else f"{key}={value}" for key, value in params.items()]
    return ", ".join([name, *shown])
