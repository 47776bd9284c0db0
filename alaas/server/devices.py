"""What accelerators a process sees, asked without loading torch: the Flow forks from it."""

from __future__ import annotations

import os
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/gpus")
"""Where NVIDIA's driver lists its devices, a folder each."""


def visible_gpus() -> int:
    """Number of CUDA devices that torch would see in this process.

    ``CUDA_VISIBLE_DEVICES`` limits them, up to the first entry that is no device.
    """
    there = len(list(DRIVER.iterdir())) if DRIVER.is_dir() else 0
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None or not there:
        return there
    seen = 0
    for entry in filter(None, map(str.strip, named.split(","))):
        if (entry.isdecimal() and int(entry) >= there) or entry == "-1":
            break
        seen += 1
    return seen
