"""The ResNet-18 and the data set that the peers are given, made as their users make them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision.models import ResNet18_Weights, resnet18

transform = ResNet18_Weights.DEFAULT.transforms()


def build(weights: str) -> torch.nn.Module:
    """The network with the weights of a file."""
    network = resnet18()
    network.load_state_dict(torch.load(weights, weights_only=True))
    return network.eval()


class Photographs(Dataset[Any]):
    """Photographs from disk, with their preprocessing and a label that nobody knows yet."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.paths[row]) as image:
            return transform(image.convert("RGB")), 0
