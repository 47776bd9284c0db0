"""ONNX Runtime: nearly as fast, and on more kinds of processors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from alaas.models import kept
from alaas.models.card import Precision, Runtime
from alaas.models.forward import Forward
from alaas.models.runtimes.engine import Unsupported
from alaas.models.runtimes.trace import recording

OPSET = 17
_ERROR = 3  # its levels of logging count from 0, verbose


class ONNXEngine:
    """Runs a module that torch has exported to ONNX.

    Args:
        forward: The module, on the CPU.
        example: A micro-batch to trace it with.
        free: Axes of it that have another length another time.
        threads: Micro-batches at once, each on the thread that brings it.
        precision: ``fp32``.
        key: Name under which the exported module is kept.

    Raises:
        Unsupported: Another precision is asked for.
    """

    runtime: Runtime = "onnxruntime"

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
        if precision != "fp32":
            raise Unsupported(f"it computes in fp32 on a processor, and not in {precision}")
        self.precision: Precision = precision
        self.lanes = threads
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERROR
        self._session = onnxruntime.InferenceSession(
            _exported(forward, example, free, key), options, providers=["CPUExecutionProvider"]
        )

    def run(self, batch: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Logits and embeddings of a micro-batch."""
        made: list[NDArray[np.float32]] = self._session.run(None, {"batch": batch})
        return made


def _exported(forward: Forward, example: NDArray[Any], free: Sequence[int], key: str) -> bytes:
    """The exported module, from the last time where it was kept."""
    folder = kept.find(key)
    if folder is not None:
        return (folder / "model.onnx").read_bytes()
    with TemporaryDirectory() as scratch:
        path = Path(scratch, "model.onnx")
        with recording():
            torch.onnx.export(
                forward,
                (torch.from_numpy(example),),
                path,
                input_names=["batch"],
                output_names=list(forward.names),
                dynamic_axes={
                    **{name: {0: "B"} for name in forward.names},
                    "batch": {axis: f"axis_{axis}" for axis in free},
                },
                opset_version=OPSET,
                dynamo=False,  # the exporter that is not deprecated wants another package
            )
        exported = path.read_bytes()
    kept.save(key, lambda folder: (folder / "model.onnx").write_bytes(exported))
    return exported
