"""What the graph of an ONNX file says of itself, without running it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alaas.core.errors import ModelUnavailable

_PASSING = frozenset({"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout"})
"""Operations that leave the numbers as they are."""


def last_operation(graph: Any, output: str) -> str:
    """The operation that the numbers of an output come out of."""
    makers = {made: node for node in graph.node for made in node.output}
    node = makers.get(output)
    while node is not None and node.op_type in _PASSING:
        node = makers.get(node.input[0])
    return "" if node is None else str(node.op_type)


def digest_of(path: Path, model: Any) -> str:
    """SHA-256 over the file and those that hold its weights.

    Raises:
        ModelUnavailable: It names one outside its own folder, or one that is not there.
    """
    total = hashlib.sha256()
    named = {
        next((one.value for one in tensor.external_data if one.key == "location"), "")
        for tensor in _tensors(model)
        if tensor.external_data
    }
    for location in ("", *sorted(named)):
        if location and (Path(location).is_absolute() or ".." in Path(location).parts):
            raise ModelUnavailable(
                f"{str(path)!r} wants its weights from {location!r}, outside its own folder"
            )
        file = path.parent / location if location else path
        if not file.is_file():
            raise ModelUnavailable(f"{str(path)!r} has its weights in {location!r}: no such file")
        with file.open("rb") as opened:
            total.update(hashlib.file_digest(opened, "sha256").digest())
    return total.hexdigest()


def _tensors(model: Any) -> Iterator[Any]:
    """Everything in a model that holds numbers, or names a file that does."""
    graphs = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes += graph.node
            continue
        for attribute in nodes.pop().attribute:
            yield from (attribute.t, *attribute.tensors)
            graphs += [attribute.g] if attribute.HasField("g") else []
            graphs += attribute.graphs
