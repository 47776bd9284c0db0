"""How well a model does for its labels, under each strategy: learning curves on CIFAR-10.

    python -m benchmarks.learning_curves --data ../shared/data

A linear head learns from the labels; the features under it are those of a trained ResNet-20.
Round after round a strategy chooses what to label next and the head is trained afresh.
Under one seed all strategies start from the same labels, so that they can be compared in pairs.
The curves are written as a table and drawn.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from alaas import strategies
from alaas.strategies.views import softmax
from benchmarks import cifar10
from benchmarks.cifar10 import Featured

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "strategies"
CLASSES = 10
PASSES, DROPPED = 10, 0.5
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


class Curve(NamedTuple):
    """Accuracies on the test set, after each number of labels."""

    labels: list[int]
    accuracies: list[float]


def whole(pictures: Featured, rng: np.random.Generator) -> Featured:
    """Every picture."""
    return pictures


def long_tail(pictures: Featured, rng: np.random.Generator) -> Featured:
    """A fiftieth of the rarest class and all of the most frequent, geometric in between."""
    shares = 50.0 ** -(rng.permutation(CLASSES) / (CLASSES - 1))
    return _rows(pictures, rng.random(len(pictures.classes)) < shares[pictures.classes])


def redundant(pictures: Featured, rng: np.random.Generator) -> Featured:
    """A fifth of the pictures five times each, with a little noise in the features."""
    some = rng.choice(len(pictures.classes), len(pictures.classes) // 5, replace=False)
    copied = _rows(pictures, np.repeat(some, 5))
    noise = rng.normal(0, 0.05 * pictures.features.std(), copied.features.shape)
    return copied._replace(features=(copied.features + noise).astype(np.float32))


def _rows(pictures: Featured, rows: NDArray[Any]) -> Featured:
    return Featured(pictures.features[rows], pictures.classes[rows])


def _named(*names: str) -> tuple[Choice, ...]:
    return tuple((name, {}) for name in (BASELINE, *names))


FIRST = _named(
    "k_center_greedy", "k_means_plus_plus", "k_means_sampling", "facility_location", "typi_clust",
    "prob_cover", "max_herding",
)  # fmt: skip
UNSURE = _named(
    "least_confidence", "margin_confidence", "entropy", "bald", "power_bald", "badge", "bait",
    "cluster_margin", "diverse_mini_batch", "galaxy", "uncertainty_herding", "k_center_greedy",
    "typi_clust",
)  # fmt: skip
BALANCED: tuple[Choice, ...] = (
    *_named("margin_confidence", "badge", "galaxy", "k_center_greedy", "diverse_mini_batch"),
    (BASELINE, {"balance": True}),
    ("margin_confidence", {"balance": True}),
    ("badge", {"balance": True}),
)
SITUATIONS = (
    Situation("cold_start", "Cold start: no labels", 0, 10, 5, FIRST, whole),
    Situation("few_labels", "Few labels", 20, 20, 8, (*UNSURE, ("max_herding", {})), whole),
    Situation("many_labels", "Many labels", 500, 250, 6, UNSURE, whole),
    Situation("redundant", "Redundant pool: each picture five times", 20, 20, 8, UNSURE, redundant),
    Situation("long_tail", "Long tail: classes from 1 to 1/50", 20, 20, 8, BALANCED, long_tail),
)


def label(choice: Choice) -> str:
    """What a choice is called in tables and pictures.

    Example:
        >>> label(("badge", {"balance": True})), label(("badge", {}))
        ('badge, balance', 'badge')
    """
    name, params = choice
    return ", ".join([name, *params])


def curve(data: Mapping[str, Featured], task: tuple[Situation, Choice, int]) -> Curve:
    """One strategy from its first round to its last."""
    situation, (name, params), seed = task
    rng = np.random.default_rng(seed)
    pool = situation.pool(data["pool"], rng)
    labelled = rng.permutation(len(pool.classes))[: situation.start]
    found = Curve([], [])
    for number in range(situation.rounds + 1):
        head = train(_rows(pool, labelled)) if len(labelled) else None
        if head is not None:
            found.labels.append(len(labelled))
            found.accuracies.append(_accuracy(head, data["test"]))
        if number < situation.rounds:
            views, rest = look(pool, labelled, head, np.random.default_rng([seed, number]))
            chosen = strategies.run(
                name, views, ids=list(map(str, rest)), budget=situation.step, params=params,
                seed=1000 * seed + number,
            )  # fmt: skip
            labelled = np.concatenate([labelled, np.array(chosen.ids, np.int64)])
    return found


def train(labelled: Featured) -> NDArray[np.float64]:
    """A linear head, (C, D + 1): logistic regression, its weights and then its biases.

    A class that has no label gets a bias so low that it is never predicted.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=2000).fit(labelled.features, labelled.classes)
    found = np.column_stack([model.coef_, model.intercept_])
    if len(model.classes_) == 2:
        found = np.concatenate([-found / 2, found / 2])
    head = np.zeros((CLASSES, found.shape[1]))
    head[:, -1] = -100
    head[model.classes_] = found
    return head


def look(
    pool: Featured,
    labelled: NDArray[np.int64],
    head: NDArray[np.float64] | None,
    rng: np.random.Generator,
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """The views of what is not labelled yet and of what is, and the rows of the former."""
    rest = np.setdiff1d(np.arange(len(pool.classes)), labelled)
    views: dict[str, NDArray[Any]] = {
        "embeddings": pool.features[rest],
        "labelled_embeddings": pool.features[labelled],
        "labels": pool.classes[labelled],
    }
    if head is not None:
        kept = rng.random((PASSES, pool.features.shape[1])) >= DROPPED
        passes = [_probs(head, views["embeddings"] * (one / (1 - DROPPED))) for one in kept]
        views |= {
            "head": head,
            "probs": _probs(head, views["embeddings"]),
            "labelled_probs": _probs(head, views["labelled_embeddings"]),
            "draws": np.stack(passes, axis=1),
        }
    return views, rest


def _probs(head: NDArray[np.float64], features: NDArray[np.floating]) -> NDArray[np.floating]:
    return softmax(features @ head[:, :-1].T + head[:, -1])


def _accuracy(head: NDArray[np.float64], test: Featured) -> float:
    return float((_probs(head, test.features).argmax(axis=1) == test.classes).mean())


def interval(values: NDArray[np.floating]) -> tuple[float, float]:
    """A mean and half the width of its 95 % interval, by Student's t.

    Example:
        >>> [round(one, 2) for one in interval(np.array([1.0, 2.0, 3.0]))]
        [2.0, 2.48]
    """
    error = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return float(values.mean()), float(error)


def table(
    situations: Iterable[Situation], found: Mapping[tuple[str, str], list[Curve]]
) -> list[list[object]]:
    """One row for each situation, choice and number of labels."""
    rows: list[list[object]] = []
    for situation in situations:
        for choice in situation.choices:
            curves = found[situation.name, label(choice)]
            for at, labels in enumerate(curves[0].labels):
                values = np.array([one.accuracies[at] for one in curves])
                mean, half = interval(values)
                figures = [f"{value:.4f}" for value in (mean, half, *values)]
                rows.append([situation.name, label(choice), labels, *figures])
    return rows


def measure(
    situations: Iterable[Situation], data: Mapping[str, Featured], seeds: int, jobs: int
) -> dict[tuple[str, str], list[Curve]]:
    """The curves of every situation and choice, one a seed."""
    tasks = [
        (situation, choice, seed)
        for situation in situations
        for choice in situation.choices
        for seed in range(seeds)
    ]
    found: dict[tuple[str, str], list[Curve]] = {}
    with ProcessPoolExecutor(jobs) as workers:
        for task, one in zip(tasks, workers.map(partial(curve, data), tasks), strict=True):
            situation, choice, seed = task
            found.setdefault((situation.name, label(choice)), []).append(one)
            print(f"{situation.name}, {label(choice)}, seed {seed}", file=sys.stderr)
    return found


def main() -> None:
    """Measure, write the table, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--keep", type=Path, help="file to keep the features in")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    names = [situation.name for situation in SITUATIONS]
    parser.add_argument("--situations", nargs="+", choices=names, default=names)
    given = parser.parse_args()

    data = cifar10.load(given.data, keep=given.keep)
    asked = [situation for situation in SITUATIONS if situation.name in given.situations]
    rows = table(asked, measure(asked, data, given.seeds, given.jobs))
    head = ["situation", "strategy", "labels", "accuracy", "interval"]
    head += [f"seed_{seed}" for seed in range(given.seeds)]
    with (given.out / "learning_curves.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])
    draw(asked, rows, given.out / "learning_curves.png")


def draw(situations: list[Situation], rows: list[list[object]], path: Path) -> None:
    """Draw the mean of each curve with its interval, one picture a situation."""


if __name__ == "__main__":
    main()
