"""The interface of what runs a network."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from alaas.models.card import Precision, Runtime


class Engine(Protocol):
    """Runs a network on micro-batches of any length.

    Attributes:
        runtime: What does the arithmetic.
        precision: The number format of the arithmetic; what comes out is float32.
        lanes: Micro-batches that may run at once, each on a thread of the caller. Where a
            processor has several cores, as many lanes of one core each waste less than one
            lane over all: layers of a network end on all cores at once, and decoding, which
            takes a core now and then, would hold all of them up.
    """

    runtime: Runtime
    precision: Precision
    lanes: int

    def run(self, batch: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Logits (B, C), embeddings (B, D) or both, as `Forward.names` says.

        Args:
            batch: B > 0 items, as `alaas.models.entry` lists them.
        """
        ...


class Unsupported(Exception):
    """A runtime cannot run this model; the message says why."""
