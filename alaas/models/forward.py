"""One pass: from pixels as they arrive to logits and embeddings, as one module.

Normalisation is a part of it, so that a runtime that takes the module over fuses it with
the first layer.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from alaas.config import Preprocessing
from alaas.models.heads import argument, flat


class Forward(nn.Module):
    """(B, H, W, 3) uint8 pixels to (B, C) logits and, where there is a head, embeddings (B, D).

    Args:
        network: A classifier in evaluation mode over normalised (B, 3, H, W) pixels.
        head: The layer of it whose input the embeddings are, if any.
        preprocessing: Mean and standard deviation of its input.

    Attributes:
        has_head: Whether there is one.
        entering: What the head received, if a pass through the network alone left it behind.
    """

    def __init__(
        self, network: nn.Module, head: nn.Module | None, preprocessing: Preprocessing
    ) -> None:
        super().__init__()
        self.network = network
        self.pixels = Normalisation(preprocessing)
        self.has_head = head is not None
        self.entering: Tensor | None = None
        if head is not None:
            head.register_forward_pre_hook(self._keep, with_kwargs=True)
        self.eval()

    def _keep(self, _: nn.Module, given: tuple[Tensor, ...], named: Mapping[str, Tensor]) -> None:
        self.entering = argument(given, named)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Logits and embeddings, in float32."""
        logits = self.network(self.pixels(images)).float()
        entering, self.entering = self.entering, None
        return (logits,) if entering is None else (logits, flat(entering).float())


class Normalisation(nn.Module):
    """(B, H, W, 3) uint8 pixels to (B, 3, H, W) float32, in the memory that they came in.

    ``(pixel / 255 - mean) / std`` in two steps instead of four: ``(pixel - 255 mean) *
    1 / (255 std)``. The shift cannot move into the bias of a convolution that pads: what
    is padded is 0 after it.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        mean, std = (
            torch.tensor(numbers, dtype=torch.float64)
            for numbers in (preprocessing.mean, preprocessing.std)
        )
        self.register_buffer("shift", (255 * mean).float(), persistent=False)
        self.register_buffer("scale", (1 / (255 * std)).float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised pixels."""
        return torch.sub(images, self.shift).mul_(self.scale).permute(0, 3, 1, 2)
