"""torchvision without torch's compiler, until somebody wants it."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from alaas.models import vision
assert "torch._dynamo" not in sys.modules
import torch
from torchvision.ops import roi_align
pixels = torch.arange(64.0).view(1, 1, 8, 8).requires_grad_()
torch.use_deterministic_algorithms(True)
found = roi_align(pixels, torch.tensor([[0, 0.0, 0.0, 4.0, 4.0]]), 1)
compiled = torch.compile(lambda x: x + 1, backend="eager")(torch.zeros(2))
import torch._dynamo.utils
assert torch._dynamo.utils.counters is not None and compiled.sum() == 2
asked = sys.modules["torchvision.ops.roi_align"].is_compile_supported
assert asked("cpu") == torch._dynamo.utils.is_compile_supported("cpu")
print(found.item())
"""


def test_the_compiler_is_imported_when_it_is_asked() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert float(done.stdout) == 18  # the mean of 8 y + x, for x and y from 0 to 4
