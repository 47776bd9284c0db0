"""How often a prediction is right, against how often it says that it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alaas.calibration.predictions import in_range, predictions
from alaas.core.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Predictions in bins of equal width by their confidence.

    A bin holds the confidences above its lower edge and up to its upper one; the first also
    holds 0.

    Attributes:
        edges: (bins + 1,) from 0 to 1.
        counts: (bins,) predictions in each.
        confidence: (bins,) mean confidence of each; NaN where it has none.
        accuracy: (bins,) share of them that is right; NaN where it has none.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error, from 0 to 1: ``sum_b n_b / M |acc_b - conf_b|``.

        Naeini, Cooper & Hauskrecht 2015; Guo et al. 2017, arXiv:1706.04599, equation 3.
        """
        gaps = np.abs(np.nan_to_num(self.accuracy - self.confidence))
        return float((self.counts * gaps).sum() / max(1, self.counts.sum()))


def reliability(probs: ArrayLike, labels: ArrayLike, *, bins: int = BINS) -> Reliability:
    """Compare the confidence of the predicted class with how often it is right.

    Args:
        probs: (M, C) class probabilities; of equal ones the lowest class is predicted.
        labels: (M,) class numbers.
        bins: Bins of equal width.

    Raises:
        ValueError: They are no probabilities or class numbers, or not of the same items; or
            there is no bin.

    Example:
        >>> reliability([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]], [0, 1, 1]).error.__round__(3)
        0.433
    """
    rows, classes = predictions(probs, labels)
    return binned(rows.max(axis=1), rows.argmax(axis=1) == classes, bins=bins)


def classwise(probs: ArrayLike, labels: ArrayLike, *, bins: int = BINS) -> NDArray[np.float64]:
    """The calibration error of each class: of its probability, as that of a yes or no.

    Their mean is the classwise error of Kull et al. 2019, arXiv:1910.12656.

    Args:
        probs: (M, C) class probabilities.
        labels: (M,) class numbers.
        bins: Bins of equal width.

    Returns:
        (C,) errors, from 0 to 1.

    Raises:
        ValueError: As of `reliability`.
    """
    rows, classes = predictions(probs, labels)
    return np.array(
        [binned(rows[:, c], classes == c, bins=bins).error for c in range(rows.shape[1])]
    )  # fmt: skip


def binned(confidence: ArrayLike, right: ArrayLike, *, bins: int = BINS) -> Reliability:
    """Put predictions into bins.

    Args:
        confidence: (M,) what each says of itself, in [0, 1].
        right: (M,) whether it is so.
        bins: Bins of equal width.

    Raises:
        ValueError: A confidence is none, they are not as many as answers, or there is no bin.
    """
    said, held = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    if said.ndim != 1 or said.shape != held.shape:
        raise ValueError(f"both must be (M,), got the shapes {said.shape} and {held.shape}")
    if bins < 1:
        raise ValueError(f"bins must be 1 or more, got {bins}")
    in_range(said)
    edges = np.linspace(0, 1, bins + 1)
    at = np.clip(np.searchsorted(edges, said, side="left") - 1, 0, bins - 1)
    counts = np.bincount(at, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = (np.bincount(at, given, minlength=bins) / counts for given in (said, held))
        return Reliability(edges, counts, *means)


def plot(found: Reliability, path: str | Path | None = None, *, title: str = "") -> Figure:
    """Draw a reliability diagram: accuracy over confidence, and how many there are of each.

    Args:
        found: What `reliability` or `binned` gave.
        path: Where to save it, such as ``reliability.png``; None saves nothing.
        title: What stands above it, before the error.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra(
            "a reliability diagram needs matplotlib: pip install matplotlib"
        ) from error
    figure = Figure(figsize=(4.5, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    width, middles = np.diff(found.edges), (found.edges[:-1] + found.edges[1:]) / 2
    above.bar(middles, np.nan_to_num(found.accuracy), width, edgecolor="white", label="accuracy")
    above.plot(found.confidence, found.confidence, "k_", markersize=10, label="confidence")
    above.plot([0, 1], [0, 1], linestyle="--", linewidth=1, color="grey")
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is right")
    above.set_title(f"{title}{': ' if title else ''}calibration error {100 * found.error:.1f} %")
    above.legend(loc="upper left")
    below.bar(middles, found.counts, width, edgecolor="white", color="grey")
    below.set(xlabel="confidence", ylabel="predictions")
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure
