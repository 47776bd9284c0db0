"""What a network is made of, found by running it once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from alaas.core.errors import ModelUnavailable
from alaas.models import heads, stochastic
from alaas.models.output import Output
from alaas.models.reason import reason


@dataclass(frozen=True, slots=True)
class Anatomy:
    """The parts of a network that views are made of.

    Attributes:
        output: What it returns.
        classes: Logits of an item, C; 0 of a network that returns embeddings.
        head: The layer whose input embeddings are, if any.
        dim: Dimensions of what it receives, D; 0 without a head.
        matrix: (C, D + 1) its weights and bias, where they turn embeddings into the logits.
        dropouts: The layers that a stochastic pass makes different; those that did not run,
            as those of branches for training, are left out.
        drops_last: Whether the only one of them turns embeddings into what the head, which
            `matrix` describes, receives: then all passes share what comes before.
        differentiable: Whether the logits have a gradient with respect to the input.
    """

    output: Output
    classes: int
    head: nn.Module | None
    dim: int
    matrix: NDArray[np.float32] | None
    dropouts: tuple[_DropoutNd, ...]
    drops_last: bool
    differentiable: bool

    @property
    def views(self) -> tuple[str, ...]:
        """The views that the network has the parts for."""
        # Gradients and borders between classes are those of one class an item.
        one_class = self.output == "softmax"
        there = {
            "probs": self.output != "embedding",
            "embeddings": bool(self.dim),
            "head": self.matrix is not None,
            "grads": self.matrix is not None and one_class,
            "draws": bool(self.dropouts) and self.output != "embedding",
            "margins": (self.differentiable or self.matrix is not None) and one_class,
        }
        return tuple(name for name, known in there.items() if known)


def dissect(
    network: nn.Module, example: Tensor, *, output: Output = "softmax", head: str | None = None
) -> Anatomy:
    """Find the parts of a network.

    Args:
        network: A network in evaluation mode whose parameters need no gradient.
        example: An input of one item; other than zeros, which would hide weights.
        output: What the network returns.
        head: Name of the layer whose input embeddings are; None for the last linear or
            convolutional one that runs.

    Raises:
        ModelUnavailable: The network fails on it, gives anything but (1, C) or (1, D), or
            has or uses no layer of that name.
    """
    if output == "embedding":
        made = _made(network, example, "an encoder must return embeddings of shape (B, D)")
        return Anatomy(output, 0, None, made.shape[1], None, (), False, False)
    layers = _heads(network, head)
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
        for layer in stochastic.dropouts(network)
    ]
    try:
        logits = _made(network, example, "a classifier must return logits of shape (B, C)")
    finally:
        for hook in hooks:
            hook.remove()
    if head is not None and not entered:
        raise ModelUnavailable(f"the layer {head!r} does not run: no embeddings come of it")
    last, entering = entered[-1] if entered else (None, logits)
    matrix = heads.as_matrix(last, entering, logits)
    drops_last = matrix is not None and len(dropped) == 1 and entering.ndim == 2
    if drops_last:
        _, received, made = dropped[0]
        drops_last = made is entering and made.equal(received)
    return Anatomy(
        output=output,
        classes=logits.shape[1],
        head=last,
        dim=0 if last is None else heads.flat(entering).shape[1],
        matrix=matrix,
        dropouts=tuple(dict.fromkeys(layer for layer, *_ in dropped)),
        drops_last=drops_last,
        differentiable=_is_differentiable(network, example),
    )


def _heads(network: nn.Module, name: str | None) -> list[nn.Module]:
    """The layers of which the last one that runs is the head."""
    modules = dict(network.named_modules())
    if name is None:
        return [one for one in modules.values() if isinstance(one, nn.Linear | nn.Conv2d)]
    if name not in modules or not name:
        near = difflib.get_close_matches(name, modules, n=3, cutoff=0.3)
        hint = f"; near it are {', '.join(near)}" if near else ""
        raise ModelUnavailable(f"the model has no layer {name!r}{hint}")
    return [modules[name]]


def _made(network: nn.Module, example: Tensor, rule: str) -> Tensor:
    """What a network returns for one item, by the rule two numbers wide."""
    shape = " x ".join(map(str, example.shape[1:]))
    try:
        with torch.inference_mode():
            made = network(example.clone())
    except Exception as error:  # it is the operator's code, and may raise anything
        raise ModelUnavailable(
            f"the model fails on an input of {shape}: {reason(error)}"
        ) from error
    if not torch.is_tensor(made) or made.ndim != 2 or len(made) != 1:
        got = tuple(made.shape) if torch.is_tensor(made) else type(made).__name__
        raise ModelUnavailable(f"{rule}, got {got} for one item")
    return made


def _is_differentiable(network: nn.Module, example: Tensor) -> bool:
    try:
        point = example.clone().requires_grad_()
        with torch.enable_grad():
            logits = network(point.clone())
        torch.autograd.grad(logits.sum(), point)
    except RuntimeError:  # as tokens, which are whole numbers, always give
        return False
    return True
