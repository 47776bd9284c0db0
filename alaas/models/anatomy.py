"""What a network is made of, found by running it once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from alaas.core.errors import ModelUnavailable
from alaas.models import heads, stochastic
from alaas.models.reason import reason


@dataclass(frozen=True, slots=True)
class Anatomy:
    """The parts of a classifier that views are made of.

    Attributes:
        classes: Logits of an item, C.
        head: The last linear or convolutional layer that ran, if any.
        dim: Dimensions of what it receives, D; 0 without a head.
        matrix: (C, D + 1) its weights and bias, where they turn embeddings into the logits.
        dropouts: The layers that a stochastic pass makes different; those that did not run,
            as those of branches for training, are left out.
        drops_last: Whether the only one of them turns embeddings into what the head, which
            `matrix` describes, receives: then all passes share what comes before.
        differentiable: Whether the logits have a gradient with respect to the input.
    """

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
        there = {
            "probs": True,
            "embeddings": self.head is not None,
            "head": self.matrix is not None,
            "grads": self.matrix is not None,
            "draws": bool(self.dropouts),
            "margins": self.differentiable,
        }
        return tuple(name for name, known in there.items() if known)


def dissect(network: nn.Module, pixels: Tensor) -> Anatomy:
    """Find the parts of a network.

    Args:
        network: A classifier in evaluation mode whose parameters need no gradient.
        pixels: (1, 3, H, W) an input; other than zeros, which would hide weights.

    Raises:
        ModelUnavailable: The network fails on it, or gives anything but (1, C).
    """
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

    hooks = [
        layer.register_forward_pre_hook(enter, with_kwargs=True)
        for layer in network.modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    hooks += [
        layer.register_forward_hook(drop, with_kwargs=True)
        for layer in stochastic.dropouts(network)
    ]
    try:
        logits = _logits(network, pixels)
    finally:
        for hook in hooks:
            hook.remove()
    head, entering = entered[-1] if entered else (None, logits)
    matrix = heads.as_matrix(head, entering, logits)
    drops_last = matrix is not None and len(dropped) == 1 and entering.ndim == 2
    if drops_last:
        _, received, made = dropped[0]
        drops_last = made is entering and made.equal(received)
    return Anatomy(
        classes=logits.shape[1],
        head=head,
        dim=0 if head is None else heads.flat(entering).shape[1],
        matrix=matrix,
        dropouts=tuple(dict.fromkeys(layer for layer, *_ in dropped)),
        drops_last=drops_last,
        differentiable=_is_differentiable(network, pixels),
    )


def _logits(network: nn.Module, pixels: Tensor) -> Tensor:
    """The (1, C) logits of one image."""
    try:
        with torch.inference_mode():
            logits = network(pixels.clone())
    except Exception as error:  # it is the operator's code, and may raise anything
        height, width = pixels.shape[2:]
        raise ModelUnavailable(
            f"the model fails on a {height}x{width} image: {reason(error)}"
        ) from error
    if not torch.is_tensor(logits) or logits.ndim != 2 or len(logits) != 1:
        got = tuple(logits.shape) if torch.is_tensor(logits) else type(logits).__name__
        raise ModelUnavailable(
            f"a classifier must return logits of shape (B, C), got {got} for one image"
        )
    return logits


def _is_differentiable(network: nn.Module, pixels: Tensor) -> bool:
    point = pixels.clone().requires_grad_()
    try:
        with torch.enable_grad():
            logits = network(point.clone())
        torch.autograd.grad(logits.sum(), point)
    except RuntimeError:
        return False
    return True
