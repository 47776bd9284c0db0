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

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Probs: TypeAlias = NDArray[np.floating]
"""(N, C) class probabilities, each row in [0, 1] and summing to 1."""

Embeddings: TypeAlias = NDArray[np.floating]
"""(N, D) features of the penultimate layer."""

Draws: TypeAlias = NDArray[np.floating]
"""(N, T, C) class probabilities of T stochastic passes."""

Scores: TypeAlias = NDArray[np.floating]
"""(N,) informativeness, higher = more wanted."""

Rows: TypeAlias = NDArray[np.int64]
"""(K,) row numbers of the pool, best first."""

Images: TypeAlias = NDArray[np.uint8]
"""(B, H, W, 3) RGB pixels, 0 to 255."""
