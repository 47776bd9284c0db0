"""Shapes, by the letters that the whole project uses.

==  =====================================================
N   items in the pool
M   labelled items
C   classes
D   dimensions of an embedding
T   stochastic passes of the model
B   items in a micro-batch
==  =====================================================
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Probs: TypeAlias = NDArray[np.floating]
"""(N, C) class probabilities, each row in [0, 1] and summing to 1."""

Embeddings: TypeAlias = NDArray[np.floating]
"""(N, D) features of the penultimate layer."""

Draws: TypeAlias = NDArray[np.floating]
"""(N, T, C) class probabilities of T stochastic passes."""

Grads: TypeAlias = NDArray[np.floating]
"""(N, C) length of the loss gradient that each class would cause if it were the label."""

Margins: TypeAlias = NDArray[np.floating]
"""(N,) length of the smallest change of the input that changes the predicted class."""

Predictions: TypeAlias = NDArray[np.floating]
"""(N,) what a regression model predicts."""

Head: TypeAlias = NDArray[np.floating]
"""(C, D + 1) the last layer: logits = embeddings @ head[:, :-1].T + head[:, -1]."""

Labels: TypeAlias = NDArray[np.int64]
"""(M,) class numbers of what is labelled, 0 to C - 1."""

Targets: TypeAlias = NDArray[np.floating]
"""(M,) values of what is labelled, for regression."""

Scores: TypeAlias = NDArray[np.floating]
"""(N,) informativeness, higher = more wanted."""

Rows: TypeAlias = NDArray[np.int64]
"""(K,) row numbers of the pool, best first."""

Images: TypeAlias = NDArray[np.uint8]
"""(B, H, W, 3) RGB pixels, 0 to 255."""

Tokens: TypeAlias = NDArray[np.int32]
"""(B, L) token numbers, `PADDING` from where a text has ended."""

PADDING = -1
"""What is no token of any tokenizer."""


def stacked(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """The rows of one micro-batch below those of another; tokens are padded to be as long.

    Example:
        >>> stacked(np.array([[5, 6]]), np.array([[7]])).tolist()
        [[5, 6], [7, -1]]
    """
    if first.ndim != 2 or first.shape[1] == second.shape[1]:
        return np.concatenate((first, second))
    length = max(first.shape[1], second.shape[1])
    padded = (
        np.pad(one, ((0, 0), (0, length - one.shape[1])), constant_values=PADDING)
        for one in (first, second)
    )
    return np.concatenate(tuple(padded))
