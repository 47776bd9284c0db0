"""Predictions of networks drawn at random: what dropout leaves of one network.

A draw is one set of masks, and the same for every item of a query, in whichever
micro-batch and replica it comes. Only so do draws of two items tell of the same network,
which is what strategies that weigh items together (BatchBALD, EPIG) compare. Masks come
from generators of their own, so nobody else's random numbers change; and as they are
applied from outside, the network stays in evaluation mode, its normalisations too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from alaas.models.heads import argument

SELU_FLOOR = -1.7580993408473766
"""What SELU makes of minus infinity, and alpha dropout of what it drops."""

_PER_CHANNEL = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.FeatureAlphaDropout)
_ALPHA = (nn.AlphaDropout, nn.FeatureAlphaDropout)


def dropouts(network: nn.Module) -> list[_DropoutNd]:
    """The dropout layers of a network that drop anything.

    Dropout that is no layer of its own, such as that inside `nn.MultiheadAttention`, and
    stochastic depth are not among them.
    """
    return [one for one in network.modules() if isinstance(one, _DropoutNd) and one.p > 0]


def softmax(logits: Tensor) -> Tensor:
    """Probabilities of one class an item."""
    return torch.softmax(logits, dim=1)


def draws(
    forward: Callable[[], Tensor],
    layers: Collection[_DropoutNd],
    *,
    rows: int,
    count: int,
    seed: int,
    activation: Callable[[Tensor], Tensor] = softmax,
) -> Tensor:
    """Run a network several times, each time with other masks.

    Args:
        forward: Runs the network in evaluation mode, and returns (B, C) logits.
        layers: Its dropout layers. What they receive has the items first: B, or, where
            tokens or windows of an item are rows of their own, a multiple of B.
        rows: Items that `forward` runs on, B.
        count: Passes, T.
        seed: The same seed draws the same masks, on every device.
        activation: What makes probabilities of logits.

    Returns:
        (B, T, C) class probabilities.
    """
    passes = []
    for number in range(count):
        with _masked(layers, rows, _generator(seed, number)):
            passes.append(activation(forward().float()))
    return torch.stack(passes, dim=1)


def _generator(seed: int, number: int) -> torch.Generator:
    word = np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(word[0]))


@contextmanager
def _masked(
    layers: Collection[_DropoutNd], rows: int, generator: torch.Generator
) -> Iterator[None]:
    def drop(
        layer: _DropoutNd, given: tuple[Tensor, ...], named: Mapping[str, Tensor], _: Any
    ) -> Tensor:
        return _dropped(layer, argument(given, named), rows, generator)

    hooks = [layer.register_forward_hook(drop, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _dropped(layer: _DropoutNd, x: Tensor, rows: int, generator: torch.Generator) -> Tensor:
    """What the layer would make of `x` in training, with one mask for all items."""
    if layer.p == 1:
        return torch.zeros_like(x)
    items = x.reshape(rows if len(x) % rows == 0 else 1, -1, *x.shape[1:])
    shape = [*items.shape[1:]]
    if isinstance(layer, _PER_CHANNEL):
        shape[2:] = [1] * len(shape[2:])
    kept = (torch.rand(shape, generator=generator) >= layer.p).to(x.device)
    if not isinstance(layer, _ALPHA):
        return (items * kept / (1 - layer.p)).flatten(0, 1)
    # Mean and variance of what is standard normal stay as they are.
    scale: float = ((1 - layer.p) * (1 + layer.p * SELU_FLOOR**2)) ** -0.5
    shift = -scale * layer.p * SELU_FLOOR
    return (torch.where(kept, items, SELU_FLOOR) * scale + shift).flatten(0, 1)
