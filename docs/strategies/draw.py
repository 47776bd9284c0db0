"""Draw what each strategy picks from one small pool in the plane.

    python docs/strategies/draw.py [NAME ...] [--out FOLDER]

The pool has three classes in four clusters, one of them small, and a few outliers. Dots are
coloured by the class that a linear model predicts, whose borders are the lines; the model has
learned from the black squares. Numbers are the picks, in their order. Strategies for
regression see a curved surface in place of classes.
"""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from alaas import strategies
from alaas.strategies import Strategy
from alaas.strategies.views import softmax

mpl.use("Agg")

FOLDER = Path(__file__).resolve().parent / "pictures"
CLUSTERS = (  # centre, spread, items, class
    ((-2.0, 1.0), (0.75, 0.6), 110, 0),
    ((1.5, 1.8), (0.7, 0.45), 80, 1),
    ((1.2, -1.3), (0.85, 0.55), 90, 2),
    ((-2.0, -1.9), (0.25, 0.25), 14, 2),
)
OUTLIERS = ((3.9, 2.9), (-4.0, 3.0), (3.9, -3.0))
LABELLED = ((-2.3, 1.4), (-1.5, 0.5), (1.4, 2.0), (2.1, 1.5), (0.9, -1.6), (1.7, -1.0))
CLASSES = (0, 0, 1, 1, 2, 2)
BUDGET, PASSES, SEED = 10, 30, 3
COLOURS = np.array(["#4477aa", "#cc8833", "#449966"])
LIMITS = (-4.6, 4.6, -3.7, 3.7)

Views = dict[str, NDArray[Any]]


def toy() -> Views:
    """Every view that a strategy can ask for, of one pool in the plane."""
    rng = np.random.default_rng(SEED)
    points = np.concatenate(
        [*(rng.normal(at, spread, (n, 2)) for at, spread, n, _ in CLUSTERS), OUTLIERS]
    )
    labelled, labels = np.array(LABELLED), np.array(CLASSES)
    head = _head(labelled, labels)
    passes = head + rng.normal(0, 0.5, (PASSES, *head.shape))
    logits = _logits(points, head)
    probs = softmax(logits)
    lengths = np.sqrt((points**2).sum(axis=1, keepdims=True) + 1)
    return {
        "embeddings": points,
        "probs": probs,
        "draws": softmax(np.stack([_logits(points, one) for one in passes], axis=1)),
        "grads": lengths * np.stack([_lengths(probs - one) for one in np.eye(3)], axis=1),
        "margins": _margins(logits, head),
        "head": head,
        "predictions": _surface(points),
        "labelled_embeddings": labelled,
        "labelled_probs": softmax(_logits(labelled, head)),
        "labels": labels,
        "targets": _surface(labelled),
    }


def _head(points: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.float64]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=0.5).fit(points, classes)
    return np.column_stack([model.coef_, model.intercept_])


def _logits(points: NDArray[Any], head: NDArray[Any]) -> NDArray[Any]:
    return points @ head[:, :-1].T + head[:, -1]


def _lengths(rows: NDArray[Any]) -> NDArray[Any]:
    return np.sqrt((rows**2).sum(axis=1))


def _margins(logits: NDArray[Any], head: NDArray[Any]) -> NDArray[Any]:
    """The distance of each point to the nearest line between its class and another."""
    best = logits.argmax(axis=1)
    leads = logits.max(axis=1, keepdims=True) - logits
    apart = np.stack([_lengths(head[best, :-1] - one) for one in head[:, :-1]], axis=1)
    with np.errstate(invalid="ignore"):
        distances = leads / apart
    distances[np.arange(len(best)), best] = np.inf
    nearest: NDArray[Any] = distances.min(axis=1)
    return nearest


def _surface(points: NDArray[Any]) -> NDArray[Any]:
    values: NDArray[Any] = np.sin(points[:, 0]) + 0.15 * points[:, 1] ** 2
    return values


def draw(strategy: Strategy, views: Views) -> bytes:
    """A PNG of what a strategy picks."""
    from PIL import Image

    chosen = strategies.run(
        strategy.name, views, ids=list(map(str, range(len(views["probs"])))), budget=BUDGET
    )
    figure = Figure(figsize=(3.6, 2.9), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis(LIMITS)
    axes.set_axis_off()
    points = views["embeddings"]
    shading = {"c": views["predictions"], "cmap": "viridis"}
    if strategy.family != "regression":
        shading = {"c": COLOURS[views["probs"].argmax(axis=1)]}
        _borders(axes, views["head"])
    axes.scatter(*points.T, s=9, alpha=0.45, linewidths=0, **shading)
    axes.scatter(*views["labelled_embeddings"].T, s=26, marker="s", color="black")
    picked = points[list(map(int, chosen.ids))]
    axes.scatter(*picked.T, s=120, color="white", edgecolors="#bb2233", linewidths=1.2, zorder=3)
    for number, (x, y) in enumerate(picked, 1):
        axes.text(
            x, y, str(number), ha="center", va="center_baseline", fontsize=7, weight="bold",
            zorder=4 + number, color="#bb2233",
        )  # fmt: skip
    buffer = BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    small = BytesIO()
    Image.open(buffer).convert("RGB").quantize(48).save(small, format="png", optimize=True)
    return small.getvalue()


def _borders(axes: Any, head: NDArray[Any]) -> None:
    """Draw where the predicted class changes."""
    x, y = np.meshgrid(np.linspace(*LIMITS[:2], 400), np.linspace(*LIMITS[2:], 300))
    logits = _logits(np.stack([x, y], axis=-1), head)
    ordered = np.sort(logits, axis=-1)
    for one in range(3):
        lead = logits[..., one] - np.delete(logits, one, axis=-1).max(axis=-1)
        axes.contour(x, y, lead, levels=[0], colors="#999999", linewidths=0.8)
    del ordered


def main() -> None:
    """Draw those that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args()
    views = toy()
    for strategy in map(strategies.get, given.names) if given.names else strategies.strategies():
        (given.out / f"{strategy.name}.png").write_bytes(draw(strategy, views))


if __name__ == "__main__":
    main()
