"""PyTorch itself: the reference that the other runtimes must agree with."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alaas.models.card import Precision, Runtime
from alaas.models.forward import Forward

# Pixels arrive as memory of a message, which is read-only; they are read and not written.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which torch computes in a precision."""
    return torch.autocast(device.type, TYPES[precision], enabled=precision != "fp32")


def placed(batch: NDArray[Any], device: torch.device) -> torch.Tensor:
    """A micro-batch on a device; to a GPU it travels while the processor goes on."""
    numbers = torch.from_numpy(batch)
    if device.type == "cuda":
        return numbers.pin_memory().to(device, non_blocking=True)
    return numbers.to(device)


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

    def run(self, batch: NDArray[Any]) -> list[NDArray[np.float32]]:
        """What the module makes of a micro-batch."""
        with torch.inference_mode(), autocast(self._device, self.precision):
            made = self._forward(placed(batch, self._device))
            return [rows.cpu().numpy() for rows in made]
