"""A network whose process does what a picture says, and loads as a file says.

Pure red ends its process, pure green kills it by a wrong pointer, pure blue hangs, and pure
white waits for as long as the file ``hold`` exists, having written its process into ``held``.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from faulty import Means
from torch import Tensor

FOLDER = "ALAAS_FAULTS_FOLDER"

COLOURS = {"red": (2, -2, -2), "green": (-2, 2, -2), "blue": (-2, -2, 2), "white": (2, 2, 2)}
"""As `faults.MODEL` prepares them: 255 becomes 2, and 0 becomes -2."""


def _folder() -> Path:
    return Path(os.environ[FOLDER])


def _exit() -> None:
    os._exit(3)


def _crash() -> None:
    ctypes.string_at(0)


def _hang() -> None:
    while True:
        time.sleep(60)


def _hold() -> None:
    _wait_for_end_of("hold", told="held")


def _wait_for_end_of(name: str, told: str) -> None:
    file = _folder() / name
    if file.exists():
        (_folder() / told).write_text(str(os.getpid()))
    deadline = time.monotonic() + 120
    while file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)


_DEEDS: dict[str, Callable[[], None]] = {
    "red": _exit, "green": _crash, "blue": _hang, "white": _hold,
}  # fmt: skip


class Moody(Means):
    """Does what its pictures say."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        means = pixels.mean((2, 3))
        for name, colour in COLOURS.items():
            if bool((means - torch.tensor(colour)).abs().amax(1).lt(1e-3).any()):
                _DEEDS[name]()
        return super().forward(pixels)


def moody() -> Moody:
    """The network; loading it fails in an executor where the file ``broken`` says so."""
    torch.set_num_threads(1)
    _wait_for_end_of("slow", told="loading")
    if (_folder() / "broken").exists() and "describe" not in sys.argv[0]:
        raise RuntimeError("the file says so")
    return Moody()
