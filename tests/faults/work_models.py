"""A network that does what a file tells it, and notes every micro-batch that it runs."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import torch
from faulty import Means
from torch import Tensor, nn

SWITCHES = "ALAAS_FAULTS_SWITCHES"
"""Variable that names the folder with the files."""

TOO_BRIGHT = 1.9
"""Mean over a normalised picture from which on it takes more memory than there is."""


class Switched(nn.Module):
    """`Means`, and its faults.

    What comes as a single picture passes untouched: the first pass of a model that is loaded,
    and the canaries. Otherwise the file ``switch`` says what is wrong with the batch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = Means()
        self.folder = Path(os.environ[SWITCHES])

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits, or the fault."""
        switch = self.folder / "switch"
        fault = switch.read_text() if switch.exists() else ""
        if len(pixels) > 1:
            self.note(len(pixels))
        if fault in {"memory", "allocator", "limit"}:
            run_out(fault, pixels)
        logits: Tensor = self.network(pixels)
        return logits if len(pixels) == 1 else self.broken(fault, logits)

    def note(self, size: int) -> None:
        """Write that a batch has begun."""
        line = f"{os.getpid()} {size}\n".encode()
        with (self.folder / "batches").open("ab", buffering=0) as file:
            file.write(line)

    def broken(self, fault: str, logits: Tensor) -> Tensor:
        """The logits with the fault in them."""
        if fault == "gate":
            with (self.folder / "gate").open("rb", buffering=0) as gate:
                gate.read(1)  # until somebody writes a byte
        if fault == "raise":
            raise RuntimeError("the secret of this model is sesame")
        if fault == "nan":
            return logits.index_fill(0, torch.tensor(1), float("nan"))
        shapes = {"a row less": logits[:-1], "a class more": torch.cat((logits, logits), 1)}
        shapes |= {"one number": logits[:, 0], "a dimension more": logits[..., None]}
        return shapes.get(fault, logits)


def run_out(how: str, pixels: Tensor) -> None:
    """Run out of memory: above three pictures, and for one that is too bright alone."""
    if how == "limit":
        allocate(len(pixels))
    elif len(pixels) > 3 or bool((pixels.mean((1, 2, 3)) > TOO_BRIGHT).any()):
        if how == "memory":
            raise MemoryError
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")


def allocate(size: int) -> None:
    """Take 400 MB a picture where the kernel grants one GiB more than there is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + 2**30
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        torch.empty(size, 100_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def switched() -> nn.Module:
    """The network."""
    torch.set_num_threads(1)
    return Switched()
