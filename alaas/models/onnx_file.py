"""Networks in ONNX files: ONNX Runtime runs them as they are, and nothing of them is converted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alaas.config import Inputs, ModelSettings, Preprocessing, Tokenization, Vectors
from alaas.core.arrays import PADDING
from alaas.core.errors import MissingExtra, ModelUnavailable
from alaas.models import tokenizer
from alaas.models.built import Built
from alaas.models.entry import entry, noise
from alaas.models.onnx_graph import digest_of, last_operation
from alaas.models.output import Output
from alaas.models.reason import reason

EMBEDDINGS = "embeddings"
"""Name of the output that holds embeddings, where there is one."""

_LOGITS = "logits"

_TYPES: Mapping[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}

_TO_LOGITS: Mapping[str, tuple[Output, Callable[[Tensor], Tensor]]] = {
    "Softmax": ("softmax", torch.log),
    "LogSoftmax": ("softmax", lambda rows: rows),
    "Sigmoid": ("sigmoid", torch.logit),
}
"""Last operations of a graph that make more than logits, and what makes logits of that again."""

_ROUNDING = 1e-2
"""How far the probabilities of an item are from 1 together, at most, in half precision."""

_ERROR = 3  # its levels of logging count from 0, verbose


def build(settings: ModelSettings) -> Built:
    """Open the file ``settings.name``.

    It has one input: (B, 3, H, W) pixels, for which `preprocess` is required, or (B, D)
    vectors; or, with `tokenizer`, ``input_ids`` and what else an encoder of texts takes.
    Its logits are the output ``logits``, or the first one; its embeddings are the output
    ``embeddings``, if there is one.

    Raises:
        MissingExtra: ``alaas[onnx]`` is not installed.
        ModelUnavailable: There is no such file, or it is not of that form.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("ONNX files need alaas[onnx]: pip install 'alaas[onnx]'") from error
    for key, neutral in (("weights", "default"), ("head", None), ("revision", None)):
        if getattr(settings, key) != neutral:
            raise ModelUnavailable(f"`{key}` has no meaning for an ONNX file, which is whole")
    path = Path(settings.name).expanduser()
    if not path.is_file():
        raise ModelUnavailable(f"there is no ONNX file {str(path)!r}")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # whatever is in the file
        raise ModelUnavailable(f"{str(path)!r} is no ONNX file: {reason(error)}") from error
    digest = digest_of(path, model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERROR
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise ModelUnavailable(
            f"ONNX Runtime does not open {str(path)!r}: {reason(error)}"
        ) from error
    inputs = _inputs(settings, session, str(path))
    names, output, last = _outputs(settings, session, model.graph, str(path))
    _, undo = _TO_LOGITS.get(last, (output, _as_they_are))
    network = ONNXNetwork(
        session, inputs, names=names, undo=undo, first_token=settings.pooling == "cls",
        digest=digest,
    )  # fmt: skip
    if last in {"Softmax", "LogSoftmax"}:
        _check_sums(network, inputs, f"the output {names[0]!r} of {str(path)!r}", last)
    return Built(
        network,
        inputs,
        output=output,
        head=EMBEDDINGS if len(names) == 2 else None,
        runtime="onnxruntime",
    )


class ONNXNetwork(nn.Module):
    """A session of ONNX Runtime in the form of a module: it passes on what it gets.

    Args:
        session: From an input named below to the outputs `names`.
        inputs: What makes the rows that it gets.
        names: The output that it returns, and that of the embeddings, if there are both.
        undo: What makes logits of the first.
        first_token: Whether the embedding of a text is that of its first token, where the
            output is (B, L, D); else it is the mean over all of them.
        digest: What tells the file from another one; a part of how the module prints, and so
            of its fingerprint.
    """

    def __init__(
        self,
        session: Any,
        inputs: Inputs,
        *,
        names: tuple[str, ...],
        undo: Callable[[Tensor], Tensor],
        first_token: bool,
        digest: str,
    ) -> None:
        super().__init__()
        self._session = session
        self._inputs = inputs
        self._names = names
        self._undo = undo
        self._first_token = first_token
        self._digest = digest
        self._taken = {one.name: _TYPES[one.type] for one in session.get_inputs()}
        rows = session.get_inputs()[0].shape[0]
        self._rows = rows if isinstance(rows, int) else None
        self.embeddings = nn.Identity()

    def extra_repr(self) -> str:
        """What tells it from another one."""
        pooling = "cls" if self._first_token else "mean"
        return f"{', '.join(self._names)} of a file with digest {self._digest}, pooling={pooling}"

    def forward(self, rows: Tensor) -> Tensor:
        """(B, ...) rows to (B, C) logits, or to (B, D) embeddings."""
        first, *rest = self._run(self._fed(rows.detach().cpu()), len(rows))
        for embeddings in rest:
            self.embeddings(self._pooled(embeddings, rows))
        return self._undo(self._pooled(first, rows))

    def _fed(self, rows: Tensor) -> dict[str, NDArray[Any]]:
        """The arrays that the session takes."""
        if not isinstance(self._inputs, Tokenization):
            (name,) = self._taken
            return {name: np.ascontiguousarray(rows.numpy(), self._taken[name])}
        mask = rows != PADDING
        known = {
            "input_ids": rows.masked_fill(~mask, self._inputs.pad),
            "attention_mask": mask,
            "token_type_ids": torch.zeros_like(rows),
        }
        return {name: known[name].numpy().astype(kind) for name, kind in self._taken.items()}

    def _run(self, fed: Mapping[str, NDArray[Any]], rows: int) -> list[Tensor]:
        """The outputs, also of a file that was written for one number of rows only."""
        size = self._rows or rows
        parts = []
        for start in range(0, rows, size):
            part = {name: _filled(array[start : start + size], size) for name, array in fed.items()}
            parts.append(self._session.run(list(self._names), part))
        return [
            torch.from_numpy(np.concatenate(made)[:rows].astype(np.float32))
            for made in zip(*parts, strict=True)
        ]

    def _pooled(self, made: Tensor, rows: Tensor) -> Tensor:
        """(B, D) of (B, L, D), where the rows are tokens."""
        if made.ndim != 3 or not isinstance(self._inputs, Tokenization):
            return made
        if self._first_token:
            return made[:, 0]
        weight = (rows != PADDING).unsqueeze(2).to(made)
        return (made * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)


def _filled(array: NDArray[Any], rows: int) -> NDArray[Any]:
    """As many rows as are wanted: the last one again and again."""
    lacking = rows - len(array)
    return np.concatenate([array, *[array[-1:]] * lacking]) if lacking else array


def _inputs(settings: ModelSettings, session: Any, name: str) -> Inputs:
    taken = session.get_inputs()
    for one in taken:
        if one.type not in _TYPES:
            raise ModelUnavailable(f"{name!r} takes {one.type} as {one.name!r}; numbers are given")
    said = ", ".join(f"{one.name} {_written(one.shape)}" for one in taken)
    if settings.tokenizer is not None:
        known = {"input_ids", "attention_mask", "token_type_ids"}
        if not {"input_ids"} <= {one.name for one in taken} <= known:
            raise ModelUnavailable(
                f"{name!r} takes {said}; with `tokenizer` that must be input_ids, and may be "
                f"attention_mask and token_type_ids"
            )
        return tokenizer.find(settings.tokenizer, max_tokens=settings.max_tokens)
    if len(taken) != 1:
        raise ModelUnavailable(
            f"{name!r} takes {said}; it must be one input, or those of texts with `tokenizer`"
        )
    shape = taken[0].shape
    if len(shape) == 2:
        return _vectors(settings, shape, name)
    if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        raise ModelUnavailable(
            f"{name!r} takes {said}; it must be (B, 3, H, W) for pictures or (B, D) for vectors"
        )
    return _pictures(settings, shape, name)


def _vectors(settings: ModelSettings, shape: list[Any], name: str) -> Vectors:
    if settings.preprocess is not None:
        raise ModelUnavailable(f"{name!r} takes vectors, {_written(shape)}: `preprocess` is none")
    if not isinstance(shape[1], int):
        raise ModelUnavailable(
            f"{name!r} does not say how many numbers a vector has, it takes {_written(shape)}: "
            f"export it with that axis fixed"
        )
    return Vectors(dim=shape[1])


def _pictures(settings: ModelSettings, shape: list[Any], name: str) -> Preprocessing:
    if settings.preprocess is None:
        raise ModelUnavailable(
            f"{name!r} takes pictures: `preprocess` must say their size, mean and std"
        )
    for wanted, given in zip(shape[2:], settings.preprocess.size, strict=True):
        if isinstance(wanted, int) and wanted != given:
            raise ModelUnavailable(
                f"{name!r} takes {_written(shape)}; preprocess.size is "
                f"{list(settings.preprocess.size)}"
            )
    return settings.preprocess


def _outputs(
    settings: ModelSettings, session: Any, graph: Any, name: str
) -> tuple[tuple[str, ...], Output, str]:
    """The outputs to ask for, what the first one is, and the operation that it comes out of."""
    given = {one.name: one.type for one in session.get_outputs()}
    logits = _LOGITS if _LOGITS in given else next((one for one in given if one != EMBEDDINGS), "")
    encodes = settings.output == "embedding" or not logits
    names: tuple[str, ...] = (logits,)
    if encodes:
        names = (EMBEDDINGS if EMBEDDINGS in given else logits,)
    elif EMBEDDINGS in given:
        names = (logits, EMBEDDINGS)
    for one in names:
        if given[one] not in {"tensor(float)", "tensor(float16)", "tensor(double)"}:
            raise ModelUnavailable(
                f"the output {one!r} of {name!r} is {given[one]}, and numbers are needed: name "
                f"the output of logits {_LOGITS!r}"
            )
    if encodes:
        return names, "embedding", ""
    asked: Output = "softmax" if settings.output == "auto" else settings.output
    last = last_operation(graph, logits)
    if last not in _TO_LOGITS:
        return names, asked, last
    stated, _ = _TO_LOGITS[last]
    if settings.output not in {"auto", stated}:
        raise ModelUnavailable(
            f"the output {logits!r} of {name!r} comes out of {last}, and `output` is "
            f"{settings.output}"
        )
    return names, stated, last


def _as_they_are(rows: Tensor) -> Tensor:
    return rows


def _check_sums(network: nn.Module, inputs: Inputs, name: str, last: str) -> None:
    """Check that probabilities are those of the classes of an item, and not of anything else.

    Raises:
        ModelUnavailable: They are not, as where `last` is over the items of a batch; or the
            network fails.
    """
    rows: Tensor = entry(inputs)(torch.from_numpy(noise(inputs, 3)))
    try:
        logits = network(rows)
    except Exception as error:  # whatever ONNX Runtime says of it
        raise ModelUnavailable(f"{name} cannot be computed: {reason(error)}") from error
    if logits.ndim > 1 and not (logits.exp().sum(dim=1) - 1).abs().max() <= _ROUNDING:
        raise ModelUnavailable(
            f"{name} comes out of {last}, and the numbers of an item do not sum up to 1: "
            f"its axis must be that of the classes"
        )


def _written(shape: list[Any]) -> str:
    return f"({', '.join('?' if one is None else str(one) for one in shape)})"
