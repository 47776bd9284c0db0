"""Networks of the servers under test, as ``hub: python`` names them."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn


class Means(nn.Module):
    """Three classes from the mean of each colour: what is drawn decides what is picked."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        found: Tensor = self.head(pixels.mean((2, 3)))
        return found


def tiny() -> nn.Module:
    """A network that costs nothing."""
    torch.set_num_threads(1)
    return Means()


class Poisoned(Means):
    """Its process ends without a word when it sees pure red."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        # Red as `faults.MODEL` prepares it: 255 becomes 2, and 0 becomes -2.
        red = torch.tensor([2.0, -2.0, -2.0])
        if bool((pixels.mean((2, 3)) - red).abs().amax(1).lt(1e-3).any()):
            os._exit(3)
        return super().forward(pixels)


def poisoned() -> nn.Module:
    """A network that one picture kills."""
    torch.set_num_threads(1)
    return Poisoned()
