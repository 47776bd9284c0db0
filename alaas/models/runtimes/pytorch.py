"""PyTorch itself: the reference that the other runtimes must agree with."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray

from alaas.core.arrays import Images
from alaas.models.card import Precision, Runtime
from alaas.models.forward import Forward

# Pixels arrive as memory of a message, which is read-only; they are read and not written.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which torch computes in a precision."""
    return torch.autocast(device.type, TYPES[precision], enabled=precision != "fp32")


def placed(images: Images, device: torch.device) -> torch.Tensor:
    """Pixels on a device; to a GPU they travel while the processor goes on."""
    pixels = torch.from_numpy(images)
    if device.type == "cuda":
        return pixels.pin_memory().to(device, non_blocking=True)
    return pixels.to(device)


class TorchEngine:
    """Runs a module where its parameters are.

    Args:
        forward: The module, on `device`.
        device: Where it is.
        precision: Number format of what autocast knows to be safe in it.
        compiled: Whether the first pass compiles it.
    """

    runtime: Runtime = "torch"
    lanes = 1

    def __init__(
        self,
        forward: Forward,
        *,
        device: torch.device,
        precision: Precision = "fp32",
        compiled: bool = False,
    ) -> None:
        self.precision = precision
        self._device = device
        self._forward = torch.compile(forward, dynamic=True) if compiled else forward

    def run(self, images: Images) -> list[NDArray[np.float32]]:
        """Logits and embeddings of a micro-batch."""
        with torch.inference_mode(), autocast(self._device, self.precision):
            made = self._forward(placed(images, self._device))
            return [rows.cpu().numpy() for rows in made]
