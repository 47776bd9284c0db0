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

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from alaas import strategies
from alaas.strategies import Strategy
from alaas.strategies.views import softmax

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
RED = "#bb2233"
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
    passes = head + rng.normal(0, 0.25, (PASSES, *head.shape))
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
    head: NDArray[np.float64] = np.column_stack([model.coef_, model.intercept_])
    return head


def _logits(points: NDArray[Any], head: NDArray[Any]) -> NDArray[Any]:
    logits: NDArray[Any] = points @ head[:, :-1].T + head[:, -1]
    return logits


def _lengths(rows: NDArray[Any]) -> NDArray[Any]:
    lengths: NDArray[Any] = np.sqrt((rows**2).sum(axis=1))
    return lengths


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
    points, known = views["embeddings"], views["labelled_embeddings"]
    ids = [str(row) for row in range(len(points))]
    chosen = strategies.run(strategy.name, views, ids=ids, budget=BUDGET)
    figure = Figure(figsize=(3.6, 2.9), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis(LIMITS)
    axes.set_axis_off()
    colours = views["predictions"]
    if strategy.family != "regression":
        colours = COLOURS[views["probs"].argmax(axis=1)]
        _draw_borders(axes, views["head"])
    axes.scatter(points[:, 0], points[:, 1], s=10, c=colours, alpha=0.65, linewidths=0)
    axes.scatter(known[:, 0], known[:, 1], s=26, marker="s", color="black")
    _draw_picks(axes, points[[int(row) for row in chosen.ids]])
    return _png(figure)


def _draw_borders(axes: Axes, head: NDArray[Any]) -> None:
    """The lines where the predicted class changes."""
    x, y = np.meshgrid(np.linspace(*LIMITS[:2], 400), np.linspace(*LIMITS[2:], 300))
    logits = _logits(np.stack([x, y], axis=-1), head)
    for one in range(logits.shape[-1]):
        lead = logits[..., one] - np.delete(logits, one, axis=-1).max(axis=-1)
        axes.contour(x, y, lead, levels=[0], colors="#999999", linewidths=0.8)


def _draw_picks(axes: Axes, picked: NDArray[Any]) -> None:
    """Numbered circles, the first on top."""
    for number, (x, y) in reversed(list(enumerate(picked, 1))):
        above = 20 - number
        axes.scatter(x, y, s=105, color="white", edgecolors=RED, linewidths=1.2, zorder=above)
        axes.text(
            x, y, str(number), ha="center", va="center_baseline", fontsize=7, weight="bold",
            color=RED, zorder=above,
        )  # fmt: skip


def _png(figure: Figure) -> bytes:
    """The figure as a PNG of few colours, which takes a third of the room."""
    full, small = BytesIO(), BytesIO()
    figure.savefig(full, format="png", facecolor="white")
    Image.open(full).convert("RGB").quantize(64).save(small, format="png", optimize=True)
    return small.getvalue()


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
