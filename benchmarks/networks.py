"""Networks for measuring everything but a network; ``hub: python`` names them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

CLASSES, DIM = 10, 512
SLEEP_S = 0.08


class Means(nn.Module):
    """A few averages of the pixels: costs nothing, and tells pictures apart."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.wide = nn.Linear(12, dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        found: Tensor = self.head(torch.tanh(self.wide(self.pool(pixels).flatten(1))))
        return found


class Sleeper(Means):
    """Takes as long for a micro-batch as a GPU would, and leaves the processor alone."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        time.sleep(SLEEP_S)
        return super().forward(pixels)


def means() -> nn.Module:
    """10 classes, 512 dimensions."""
    return Means(DIM, CLASSES)


def small() -> nn.Module:
    """10 classes, 4 dimensions: a million rows of its views take 56 MB."""
    return Means(4, CLASSES)


def sleeper() -> nn.Module:
    """As `small`, and takes `SLEEP_S` seconds a micro-batch."""
    return Sleeper(4, CLASSES)


def model(factory: str, *, size: int, **more: Any) -> Mapping[str, Any]:
    """The model section of a configuration with one of these networks.

    Args:
        factory: Name of the function.
        size: Edge of its input, in pixels.
        more: Other keys of the section.
    """
    return {
        "hub": "python",
        "name": f"benchmarks.networks:{factory}",
        "weights": "none",
        "runtime": "torch",
        "preprocess": {"size": size, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        **more,
    }
