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
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from alaas import strategies
from alaas.strategies.views import softmax
from benchmarks import cifar10
from benchmarks.cifar10 import Featured
from benchmarks.situations import BASELINE, SITUATIONS, Choice, Situation, label, rows_of

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "strategies"
PASSES, DROPPED = 10, 0.5
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee8866", "#777777")


class Curve(NamedTuple):
    """Accuracies on the test set, after each number of labels."""

    labels: list[int]
    accuracies: list[float]


def curve(data: Mapping[str, Featured], task: tuple[Situation, Choice, int]) -> Curve:
    """One strategy from its first round to its last."""
    situation, (name, params), seed = task
    rng = np.random.default_rng(seed)
    pool = situation.pool(data["pool"], rng)
    labelled = rng.permutation(len(pool.classes))[: situation.start]
    found = Curve([], [])
    for number in range(situation.rounds + 1):
        head = train(rows_of(pool, labelled)) if len(labelled) else None
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
    head = np.zeros((cifar10.CLASSES, found.shape[1]))
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


def areas(rows: Iterable[Sequence[object]]) -> list[list[object]]:
    """What each curve comes to: the area under it, and how far that is above a random choice.

    Args:
        rows: As `table` gives them.

    Returns:
        Situation, strategy, mean accuracy over the curve in percent, its gain over the baseline
        in points, pair by pair of one seed, and half the width of the 95 % interval of the gain.
    """
    found: dict[tuple[object, object], list[Sequence[object]]] = {}
    for situation, name, _, _, _, *values in rows:
        found.setdefault((situation, name), []).append(values)
    means = {key: 100 * np.array(values, float).mean(axis=0) for key, values in found.items()}
    made: list[list[object]] = []
    for (situation, name), area in means.items():
        gain = interval(area - means[situation, BASELINE])
        made.append([situation, name, *(f"{value:.2f}" for value in (area.mean(), *gain))])
    return made


def draw(rows: Iterable[Sequence[object]], path: Path) -> None:
    """Draw the mean of each curve with its interval, one panel a situation."""
    from matplotlib.figure import Figure
    from PIL import Image

    curves: dict[str, dict[str, list[tuple[float, ...]]]] = {}
    for situation, name, *figures in rows:
        points = curves.setdefault(str(situation), {}).setdefault(str(name), [])
        points.append(tuple(float(str(one)) for one in figures[:3]))
    shown = [situation for situation in SITUATIONS if situation.name in curves]
    figure = Figure(figsize=(15, 4 * -(-len(shown) // 2)), dpi=80, layout="constrained")
    for panel, situation in enumerate(shown, 1):
        axes = figure.add_subplot(-(-len(shown) // 2), 2, panel)
        for number, (name, points) in enumerate(curves[situation.name].items()):
            labels, means, halves = np.array(points).T
            style = COLOURS[number % len(COLOURS)] if number else "black"
            dash = "--" if number > len(COLOURS) else "-"
            axes.plot(labels, 100 * means, dash, color=style, lw=2.2 if number == 0 else 1.2,
                      label=name)  # fmt: skip
            axes.fill_between(
                labels,
                100 * (means - halves),
                100 * (means + halves),
                color=style,
                alpha=0.07,
                lw=0,
            )
        axes.set(title=situation.title, xlabel="labels", ylabel="test accuracy, %")
        axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
        axes.grid(alpha=0.3)
    full = BytesIO()
    figure.savefig(full, format="png")
    Image.open(full).convert("RGB").quantize(128).save(path, optimize=True)


def main() -> None:
    """Measure, write the table, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--keep", type=Path, help="file to keep the features in")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="curves that are measured at a time")
    names = [situation.name for situation in SITUATIONS]
    parser.add_argument("--situations", nargs="+", choices=names, default=names)
    given = parser.parse_args()

    data = cifar10.load(given.data, keep=given.keep)
    asked = [situation for situation in SITUATIONS if situation.name in given.situations]
    rows = table(asked, measure(asked, data, given.seeds, given.jobs))
    head = ["situation", "strategy", "labels", "accuracy", "interval"]
    head += [f"seed_{seed}" for seed in range(given.seeds)]
    _write(given.out / "learning_curves.csv", head, rows)
    head = ["situation", "strategy", "area", "gain", "interval"]
    _write(given.out / "areas.csv", head, areas(rows))
    print((given.out / "areas.csv").read_text(), end="")
    draw(rows, given.out / "learning_curves.png")


def _write(path: Path, head: list[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])


if __name__ == "__main__":
    main()
