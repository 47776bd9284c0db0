"""ONNX files for tests, put together by hand: a small network of two layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
HIDDEN, CLASSES = 6, 3


def matrices(entering: int, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """The weights of both layers."""
    rng = np.random.default_rng(seed)
    return {
        "w1": rng.normal(size=(entering, HIDDEN)).astype(np.float32) / entering**0.5,
        "w2": rng.normal(size=(HIDDEN, CLASSES)).astype(np.float32),
    }


def computed(rows: NDArray[Any], entering: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Embeddings and logits, by numpy."""
    weights = matrices(entering)
    hidden = np.maximum(rows.reshape(len(rows), -1) @ weights["w1"], 0)
    return hidden, hidden @ weights["w2"]


def network(
    shape: Sequence[int | str],
    *,
    outputs: Sequence[str] = ("logits", "embeddings"),
    last: str = "",
    axis: int | None = None,
    after: Sequence[onnx.NodeProto] = (),
    taken: str = "x",
    kind: int = FLOAT,
) -> onnx.ModelProto:
    """The network as a model.

    Args:
        shape: Of its input.
        outputs: Names of what it returns, the embeddings where it is called so.
        last: Operation that logits go through before they are returned.
        axis: The axis of that.
        after: What follows, from ``more`` to ``made more``.
        taken: Name of its input.
        kind: Type of its input.
    """
    entering = int(np.prod([one for one in shape[1:] if isinstance(one, int)]))
    nodes = [
        helper.make_node("Cast", [taken], ["cast"], to=FLOAT),
        helper.make_node("Flatten", ["cast"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w1"], ["before"]),
        helper.make_node("Relu", ["before"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "w2"], ["made"]),
    ]
    made = "made"
    if last:
        along = {} if axis is None else {"axis": axis}
        nodes += [helper.make_node(last, ["made"], ["more"], **along), *after]
        made = "made more" if after else "more"
    for name in outputs:
        source = "hidden" if name == "embeddings" else made
        nodes.append(helper.make_node("Identity", [source], [name]))
    graph = helper.make_graph(
        nodes,
        "two layers",
        [helper.make_tensor_value_info(taken, kind, shape)],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in matrices(entering).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def written(path: Path, model: onnx.ModelProto) -> Path:
    """The model in a file of that name."""
    onnx.save(model, path)
    return path
