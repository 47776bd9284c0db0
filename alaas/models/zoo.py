"""torchvision, imported in half the time.

One module of it asks torch's compiler whether a device is supported, for an operation
that no classifier has; importing the compiler for that takes longer than importing
torch. Here the question waits until it is asked.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_COMPILER = "torch._dynamo"
_ASKED = "torch._dynamo.utils"


def _is_compile_supported(device_type: str) -> bool:
    from torch._dynamo.utils import is_compile_supported

    return bool(is_compile_supported(device_type))


@contextmanager
def _compiler_put_off() -> Iterator[None]:
    if _COMPILER in sys.modules:
        yield
        return
    stand_in = ModuleType(_ASKED)
    vars(stand_in)["is_compile_supported"] = _is_compile_supported
    sys.modules[_ASKED] = stand_in
    try:
        yield
    finally:
        del sys.modules[_ASKED]


with _compiler_put_off():
    import torchvision

__all__ = ["torchvision"]
