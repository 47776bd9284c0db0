"""A network that counts: it writes down every item that it computes."""

from __future__ import annotations

import hashlib
import os
import time

import torch
from torch import Tensor, nn

PASSES = "ALAAS_FAULTS_PASSES"
"""Variable that names the file."""

CLASSES = 65_536
"""So many that 32 rows of predictions are 8 MiB, at which the store writes without waiting."""

ITEM_S = 0.005
"""Seconds that an item takes."""


class Counting(nn.Module):
    """Predictions from the mean of each colour; pictures of one colour are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, CLASSES)
        nn.init.normal_(self.head.weight)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        plain = (pixels == pixels[:, :, :1, :1]).flatten(1).all(1)
        names = [hashlib.sha1(one.numpy().tobytes()).hexdigest() for one in pixels[plain]]
        with open(os.environ[PASSES], "ab", buffering=0) as file:
            file.write("".join(f"{name}\n" for name in names).encode())
        time.sleep(ITEM_S * len(names))
        found: Tensor = self.head(pixels.mean((2, 3)))
        return found


def counting() -> nn.Module:
    """A network that counts."""
    torch.set_num_threads(1)
    return Counting()
