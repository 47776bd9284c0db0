"""What probabilities and labels must be, wherever a caller hands them in."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

TOLERANCE = 1e-2
"""How far a row of probabilities may be from summing to 1: half precision is off by less."""


def predictions(
    probs: ArrayLike, labels: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Predictions and what they should have been, checked.

    Args:
        probs: (M, C) class probabilities.
        labels: (M,) class numbers, 0 to C - 1.

    Raises:
        ValueError: They are no probabilities or class numbers, or not of the same items.
    """
    rows = np.asarray(probs, np.float64)
    if rows.ndim != 2 or not rows.shape[1]:
        raise ValueError(f"probabilities must be (M, C) with C > 0, got the shape {rows.shape}")
    in_range(rows)
    sums = rows.sum(axis=1)
    if (wrong := np.abs(sums - 1) > TOLERANCE).any():
        raise ValueError(
            f"the probabilities of an item must sum to 1, got {sums[wrong][0]:g} in row "
            f"{wrong.argmax()}"
        )
    classes = class_numbers(labels, rows.shape[1])
    if len(classes) != len(rows):
        raise ValueError(f"{len(rows)} rows of probabilities have {len(classes)} labels")
    return rows, classes


def in_range(probs: NDArray[np.float64]) -> None:
    """Check that numbers are probabilities.

    Raises:
        ValueError: One is not from 0 to 1.
    """
    wrong = ~((probs >= 0) & (probs <= 1 + TOLERANCE))  # so that NaN is one of them
    if wrong.any():
        raise ValueError(f"probabilities must be from 0 to 1, got {probs[wrong][0]:g}")


def class_numbers(labels: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Labels as whole numbers.

    Args:
        labels: (M,) class numbers, 0 to `classes` - 1.
        classes: How many classes there are.

    Raises:
        ValueError: They are something else.
    """
    given = np.asarray(labels, np.float64)
    if given.ndim != 1:
        raise ValueError(f"labels must be (M,), got the shape {given.shape}")
    wrong = ~((given >= 0) & (given < classes) & (given == np.floor(given)))
    if wrong.any():
        raise ValueError(
            f"labels must be class numbers from 0 to {classes - 1}, got {given[wrong][0]:g}"
        )
    return given.astype(np.int64)
