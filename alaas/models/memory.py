"""How running out of memory looks, whatever computes."""

from __future__ import annotations

import torch

from alaas.core.errors import AlaasError

_SAYINGS = (
    "can't allocate memory",  # torch on a processor
    "not enough memory",
    "out of memory",
    "Failed to allocate memory",  # ONNX Runtime
    "bad_alloc",  # any C++ library, and OpenVINO
    "bad allocation",
)


def is_shortage(error: Exception) -> bool:
    """Whether an error says that there was not enough memory.

    Only those of CUDA and of Python have a class of their own; the others are known by what
    they say.

    Example:
        >>> is_shortage(MemoryError()), is_shortage(RuntimeError("std::bad_alloc"))
        (True, True)
        >>> is_shortage(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
        False
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return not isinstance(error, AlaasError) and any(one in str(error) for one in _SAYINGS)


def give_back() -> None:
    """Return memory that is kept for later to the device, so that a smaller batch can have it."""
    torch.cuda.empty_cache()
