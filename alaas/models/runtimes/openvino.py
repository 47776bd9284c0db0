"""OpenVINO: the fastest there is on an x86 processor."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

from alaas.models import kept
from alaas.models.card import Precision, Runtime
from alaas.models.forward import Forward
from alaas.models.runtimes.engine import Unsupported
from alaas.models.runtimes.trace import traced

_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


class OpenVINOEngine:
    """Runs a module that OpenVINO has converted.

    Args:
        forward: The module, on the CPU.
        example: A micro-batch to trace it with.
        free: Axes of it that have another length another time.
        threads: Micro-batches at once, each on one core.
        precision: Number format of the arithmetic.
        key: Name under which the conversion is kept.

    Raises:
        Unsupported: The processor has no such arithmetic.
    """

    runtime: Runtime = "openvino"

    def __init__(
        self,
        forward: Forward,
        example: NDArray[Any],
        *,
        free: Sequence[int],
        threads: int,
        precision: Precision,
        key: str,
    ) -> None:
        self.precision: Precision = precision
        self.lanes = threads
        core = openvino.Core()
        known = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        # Asked for what it does not know, OpenVINO computes in fp32 and says nothing.
        if precision.upper() not in known:
            raise Unsupported(f"this processor has no {precision} arithmetic")
        model = _model(core, forward, example, free, key)
        self._compiled = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": _HINTS[precision],
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": threads,
                # Replicas would all be pinned to the first cores.
                "ENABLE_CPU_PINNING": False,
            },
        )
        self._own = threading.local()

    def run(self, batch: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Logits and embeddings of a micro-batch."""
        request = getattr(self._own, "request", None)
        if request is None:  # each thread has its own, with memory of its own
            request = self._own.request = self._compiled.create_infer_request()
        request.infer([batch], share_inputs=True)
        # Copies: the next pass writes where these are.
        return [made.data.copy() for made in request.output_tensors]


def _model(
    core: openvino.Core, forward: Forward, example: NDArray[Any], free: Sequence[int], key: str
) -> openvino.Model:
    """The converted module, from the last time where it was kept."""
    folder = kept.find(key)
    if folder is not None:
        return core.read_model(folder / "model.xml")
    # Not by way of `openvino.convert_model`, which tells its maker about every use.
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced(forward, example))
    model = frontend.convert(frontend.load(decoder))
    model.reshape([-1 if axis in free else size for axis, size in enumerate(example.shape)])

    def write(folder: Path) -> None:
        openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)

    kept.save(key, write)
    return model
