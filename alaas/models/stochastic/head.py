"""Draws of a last layer from embeddings that are stored. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from alaas.core.arrays import Draws, Embeddings, Head
from alaas.models.stochastic.words import Seed, Source


@dataclass(frozen=True, slots=True)
class HeadDraws:
    """How a linear last layer is drawn, where nothing before it is.

    Attributes:
        by: Whether inputs or weights of it are dropped.
        p: The share that is.

    Example:
        >>> HeadDraws.read(str(HeadDraws("dropout", 0.5)))
        HeadDraws(by='dropout', p=0.5)
    """

    by: Literal["dropout", "dropconnect"]
    p: float

    def __str__(self) -> str:
        return f"{self.by} {self.p!r}"

    @classmethod
    def read(cls, said: str) -> HeadDraws:
        """Read what `str` made of one."""
        by, p = said.split()
        return cls(cast(Literal["dropout", "dropconnect"], by), float(p))

    def draws(self, embeddings: Embeddings, head: Head, *, count: int, seed: Seed) -> Draws:
        """The draws that the model itself makes, but for rounding.

        Args:
            embeddings: (N, D) what the layer receives.
            head: (C, D + 1) its weights and bias.
            count: Passes, T.
            seed: Seed of all of them.

        Returns:
            (N, T, C) class probabilities, in float32.
        """
        weight, bias = head[:, :-1].astype(np.float32), head[:, -1].astype(np.float32)
        found = np.empty((len(embeddings), count, len(head)), np.float32)
        for number in range(count):
            source = Source(seed, number)
            # A mask over items has an axis for the windows of an item, of which there is one.
            shape = weight.shape if self.by == "dropconnect" else (1, weight.shape[1])
            kept = source.kept(shape, self.p).astype(np.float32) / np.float32(1 - self.p)
            logits = embeddings.astype(np.float32) @ (weight * kept).T + bias
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            found[:, number] = powers / powers.sum(axis=1, keepdims=True)
        return found
