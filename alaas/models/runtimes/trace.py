"""A module as TorchScript, which converters read."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from numpy.typing import NDArray

from alaas.models.forward import Forward


@contextmanager
def recording() -> Iterator[None]:
    """Let modules be recorded in operations that converters know, and without warnings."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # attention as one operation of torch's own
    # A recording looks at every attribute, and a model of Transformers then warns of its loss.
    talker = logging.getLogger("transformers")
    level = talker.level
    talker.setLevel(logging.ERROR)
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that tracing is deprecated, and what it cannot see
            yield
    finally:
        talker.setLevel(level)
        torch.backends.mha.set_fastpath_enabled(fast)


def traced(forward: Forward, example: NDArray[Any]) -> torch.jit.ScriptModule:
    """Record what a module does with an example.

    What it decides by looking at the numbers, or at how many there are, is recorded as it
    was decided for this example; the caller checks what comes out with another one.
    """
    with recording():
        scripted: torch.jit.ScriptModule = torch.jit.trace(  # type: ignore[no-untyped-call]
            forward, torch.from_numpy(example), check_trace=False
        )
    return scripted
