"""What a network is made of, found by running it once."""

from __future__ import annotations

import contextlib
import difflib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from alaas.core.errors import ModelOutputInvalid, ModelUnavailable
from alaas.models import heads
from alaas.models.output import Output
from alaas.models.reason import reason
from alaas.models.stochastic.dropout import is_dropout
from alaas.models.stochastic.layers import meant
from alaas.models.tasks import TASKS, shape_of


@dataclass(frozen=True, slots=True)
class Anatomy:
    """The parts of a network that views are made of.

    Attributes:
        output: What it returns.
        classes: Classes of an item, or values, C; 0 of a network that returns embeddings or
            boxes.
        head: The layer whose input embeddings are, if any.
        dim: Dimensions of what it receives, D; 0 without a head.
        matrix: (C, D + 1) its weights and bias, where they turn embeddings into the logits.
        dropouts: The dropout layers that ran, also those that drop nothing; those of branches
            for training do not.
        drops_before: The one of them that turns embeddings into what the head, which `matrix`
            describes, receives, and does nothing else.
        differentiable: Whether the logits have a gradient with respect to the input.
    """

    output: Output
    classes: int
    head: nn.Module | None
    dim: int
    matrix: NDArray[np.float32] | None
    dropouts: tuple[_DropoutNd, ...]
    drops_before: _DropoutNd | None
    differentiable: bool

    def views(self, *, drawn: bool) -> tuple[str, ...]:
        """The views that the network has the parts for.

        Args:
            drawn: Whether there are several predictions of an item.
        """
        # Gradients and borders between classes are those of one class an item.
        one_class = self.output == "softmax"
        labels = one_class or self.output == "sigmoid"
        there = {
            "probs": labels,
            "embeddings": bool(self.dim),
            "head": self.matrix is not None and one_class,
            "grads": self.matrix is not None and one_class,
            "draws": drawn and labels,
            "margins": (self.differentiable or self.matrix is not None) and one_class,
            "predictions": self.output == "value" and self.classes == 1,
            "uncertainty": self.output in {"sigmoid", "segmentation", "detection"},
            # The boxes of two passes are not the same boxes.
            "disagreement": drawn and self.output in {"sigmoid", "segmentation", "value"},
        }
        return tuple(name for name, known in there.items() if known)


def dissect(
    network: nn.Module,
    example: Tensor,
    *,
    output: Output = "softmax",
    head: str | None = None,
    real: Tensor | None = None,
) -> Anatomy:
    """Find the parts of a network.

    Args:
        network: A network in evaluation mode whose parameters need no gradient.
        example: An input of few items; other than zeros, which would hide weights.
        output: What the network returns.
        head: Name of the layer whose input embeddings are; None for the last linear or
            convolutional one that runs.
        real: (B, L) which tokens of the example are not padding, where it is texts. Some
            should be, to find out what becomes of them.

    Raises:
        ModelUnavailable: The network fails on it, gives anything but what `output` says, or
            has or uses no layer of that name, as none that returns embeddings does.
    """
    if output == "embedding":
        if head is not None:
            raise ModelUnavailable(
                f"the model returns embeddings itself: leave out `head`, which is {head!r}"
            )
        made = _made(network, example)
        if not torch.is_tensor(made) or made.ndim != 2 or len(made) != len(example):
            rule = "an encoder must return embeddings of shape (B, D)"
            raise ModelUnavailable(f"{rule}, got {_shape_for(made, example)}")
        return Anatomy(output, 0, None, made.shape[1], None, (), None, False)
    # What is entered last in a detector is a proposal, not an item: its head has to be named.
    layers = _heads(network, head) if output != "detection" or head is not None else []
    entered: list[tuple[nn.Module, Tensor]] = []
    dropped: list[tuple[_DropoutNd, Tensor, Tensor]] = []

    def enter(layer: nn.Module, given: tuple[Tensor, ...], named: Mapping[str, Tensor]) -> None:
        entered.append((layer, heads.argument(given, named)))

    def drop(
        layer: _DropoutNd, given: tuple[Tensor, ...], named: Mapping[str, Tensor], made: Tensor
    ) -> Tensor:
        made = made.clone()  # to be told from what it received
        dropped.append((layer, heads.argument(given, named), made))
        return made

    hooks = [layer.register_forward_pre_hook(enter, with_kwargs=True) for layer in layers]
    hooks += [
        layer.register_forward_hook(drop, with_kwargs=True)
        for layer in network.modules()
        if is_dropout(layer)
    ]
    try:
        logits = _read(output, _made(network, example), example)
    finally:
        for hook in hooks:
            hook.remove()
    if head is not None and not entered:
        raise ModelUnavailable(f"the layer {head!r} does not run: no embeddings come of it")
    last, entering = entered[-1] if entered else (None, None)
    embeddings = None if entering is None else heads.flat(entering, real)
    dim = 0 if embeddings is None else embeddings.shape[1]
    if not torch.is_tensor(logits) or logits.ndim != 2:
        classes = logits.shape[1] if torch.is_tensor(logits) else 0
        drops = tuple(dict.fromkeys(layer for layer, *_ in dropped))
        return Anatomy(output, classes, last, dim, None, drops, None, False)
    matrix = None if embeddings is None else heads.as_matrix(last, embeddings, logits)
    drops_before = None
    if matrix is not None and entering is not None and entering.ndim == 2:
        runs = Counter(layer for layer, *_ in dropped)
        for layer, received, made in dropped:
            if made is entering and made.equal(received) and runs[layer] == 1:
                drops_before = layer
    return Anatomy(
        output=output,
        classes=logits.shape[1],
        head=last,
        dim=dim,
        matrix=matrix,
        dropouts=tuple(dict.fromkeys(layer for layer, *_ in dropped)),
        drops_before=drops_before,
        differentiable=_is_differentiable(network, example),
    )


def _heads(network: nn.Module, name: str | None) -> list[nn.Module]:
    """The layers of which the last one that runs is the head."""
    modules = dict(network.named_modules())
    if name is None:
        return [one for one in modules.values() if isinstance(one, nn.Linear | nn.Conv2d)]
    whole = meant(name, modules) if name else None
    if whole is None:
        near = difflib.get_close_matches(name, modules, n=3, cutoff=0.3)
        hint = f"; near it are {', '.join(near)}" if near else ""
        raise ModelUnavailable(f"the model has no layer {name!r}{hint}")
    return [modules[whole]]


def _made(network: nn.Module, example: Tensor) -> Any:
    """What a network returns for the example."""
    shape = " x ".join(map(str, example.shape[1:]))
    try:
        with torch.inference_mode():
            return network(example.clone())
    except Exception as error:  # it is the operator's code, and may raise anything
        raise ModelUnavailable(
            f"the model fails on an input of {shape}: {reason(error)}"
        ) from error


def _read(output: Output, made: Any, example: Tensor) -> Any:
    """What a network returned, as its task reads it."""
    task = TASKS[output]
    with contextlib.suppress(ModelOutputInvalid):
        found = task.read(made)
        if len(found) == len(example):
            return found
    raise ModelUnavailable(
        f"a model with output {output} must return {task.rule}, got {_shape_for(made, example)}"
    )


def _shape_for(made: Any, example: Tensor) -> str:
    items = "one item" if len(example) == 1 else f"{len(example)} items"
    return f"{shape_of(made)} for {items}"


def _is_differentiable(network: nn.Module, example: Tensor) -> bool:
    try:
        point = example.clone().requires_grad_()
        with torch.enable_grad():
            logits = network(point.clone())
        # As often as DeepFool wants one, which what is compiled may not give.
        torch.autograd.grad(logits.sum(), point, retain_graph=True)
    except Exception:  # noqa: BLE001  # as tokens, which are whole numbers, always give
        return False
    return True
