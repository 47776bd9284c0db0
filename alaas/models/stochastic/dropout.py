"""Monte Carlo dropout: predictions of the networks that dropout leaves of one.

Gal & Ghahramani 2016, arXiv:1506.02142. Masks are applied from outside, to what the layers
receive in evaluation mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from alaas.core.errors import ModelUnavailable
from alaas.models.card import WAYS_OUT
from alaas.models.heads import argument
from alaas.models.stochastic.head import HeadDraws
from alaas.models.stochastic.masks import Masks
from alaas.models.stochastic.source import Ways
from alaas.models.stochastic.words import Seed

SELU_FLOOR = -1.7580993408473766
"""What SELU makes of minus infinity, and alpha dropout of what it drops."""

HALF = 0.5
"""What layers drop when it is seen whether all items meet the same masks."""

ROUNDING = 0.01
"""Difference of the same item in two batches, as a share of the largest logit, that tells of no
other mask. Graphics cards that compute convolutions with 10 bits come to some thousandths."""

_PER_CHANNEL = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.FeatureAlphaDropout)
_ALPHA = (nn.AlphaDropout, nn.FeatureAlphaDropout)

Shares = Mapping[_DropoutNd, float]
"""Dropout layers, and the share that each drops."""


def is_dropout(layer: nn.Module) -> bool:
    """Whether it is a dropout layer of torch, or derived from one."""
    return isinstance(layer, _DropoutNd)


@dataclass
class Pass:
    """The pass that a network is in.

    Attributes:
        rows: Items of the batch, B.
        masks: Its masks.
    """

    rows: int
    masks: Masks


@contextmanager
def masked(shares: Shares, now: Pass) -> Iterator[None]:
    """Let layers drop, with the same mask for every item.

    Args:
        shares: The layers. What they receive has the items first: B, or, where tokens or
            windows of an item are rows of their own, a multiple of B.
        now: The pass; it may change between two runs of the network.
    """
    numbers = {layer: number for number, layer in enumerate(shares)}

    def drop(
        layer: _DropoutNd, given: tuple[Tensor, ...], named: Mapping[str, Tensor], _: Any
    ) -> Tensor:
        return dropped(layer, argument(given, named), shares[layer], now, number=numbers[layer])

    hooks = [layer.register_forward_hook(drop, with_kwargs=True) for layer in shares]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def dropped(layer: _DropoutNd, x: Tensor, p: float, now: Pass, *, number: int = 0) -> Tensor:
    """What the layer would make of `x` in training, with one mask for all items.

    Args:
        layer: A dropout layer; its own share is not looked at.
        x: (B, ...) or (G B, ...) with the rows of an item next to one another.
        p: The share that is dropped, 0 to 1.
        now: The pass.
        number: Tells the masks of this layer from those of others.
    """
    if p == 1:
        return torch.zeros_like(x)
    items = x.reshape(now.rows if len(x) % now.rows == 0 else 1, -1, *x.shape[1:])
    shape = [*items.shape[1:]]
    if isinstance(layer, _PER_CHANNEL):
        shape[2:] = [1] * len(shape[2:])
    kept = now.masks.kept(number, shape, p, x.device)
    if not isinstance(layer, _ALPHA):
        scaled = kept.to(x.dtype) / (1 - p)
        if scaled.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
            # In the same order as what it is multiplied with, or else that takes several times
            # as long.
            scaled = scaled.contiguous(memory_format=torch.channels_last)
        return (items * scaled).reshape(x.shape)
    # Mean and variance of what is standard normal stay as they are.
    scale: float = ((1 - p) * (1 + p * SELU_FLOOR**2)) ** -0.5
    shift = -scale * p * SELU_FLOOR
    return (torch.where(kept, items, SELU_FLOOR) * scale + shift).reshape(x.shape)


class Dropout:
    """Draws of a whole network, whose layers drop wherever they stand.

    Args:
        network: The network, in evaluation mode.
        shares: Those of its layers that drop.
        phrase: What tells these draws from others.
    """

    most: int | None = None
    last = False
    alone = True
    again: HeadDraws | None = None

    def __init__(self, network: nn.Module, shares: Shares, phrase: str) -> None:
        self._network, self._shares, self.phrase = network, shares, phrase

    def logits(self, ways: Ways, *, seed: Seed, number: int) -> Tensor:
        """Logits of one pass."""
        return self._pass(ways, self._shares, Masks(seed, number))

    def check_items(self, ways: Ways) -> None:
        """Check that an item meets the same masks alone and beside others.

        Args:
            ways: How to run the model on one item, while torch still is what runs it.

        Raises:
            ModelUnavailable: It does not.
        """
        twice = ways.batch.repeat(2, axis=0)
        both = replace(ways, batch=twice, through=lambda _: ways.engine(twice))
        # So large a share that no two masks are the same by chance.
        shares = dict.fromkeys(self._shares, HALF)
        with torch.inference_mode():
            alone = self._pass(ways, shares, Masks(0, 0)).cpu()
            try:
                together = self._pass(both, shares, Masks(0, 0)).cpu()
            except Exception:  # noqa: BLE001  # one item at a time, or an error to be told later
                return
        if bool(((together - alone).abs() > ROUNDING * alone.abs().max()).any()):
            raise ModelUnavailable(
                "dropout would draw an item differently in every batch: a layer of the model "
                "that drops does not receive the items first, as with batch_first=False; name "
                f"others in draws.layers, or {WAYS_OUT}"
            )

    def _pass(self, ways: Ways, shares: Shares, masks: Masks) -> Tensor:
        with masked(shares, Pass(ways.rows, masks)):
            return ways.through(self._network)


class LastDropout:
    """Draws of the last linear layer alone: all of them share what comes before it.

    Args:
        head: The layer, which makes logits of embeddings.
        layer: What drops of the embeddings.
        p: The share that it drops.
        phrase: What tells these draws from others.
    """

    most: int | None = None
    last = True
    alone = False

    def __init__(self, head: nn.Linear, layer: _DropoutNd, p: float, phrase: str) -> None:
        self._head, self._layer, self._p, self.phrase = head, layer, p, phrase
        # Only what zeroes single units can be done again with weights for inputs.
        self.again = HeadDraws("dropout", p) if type(layer) is nn.Dropout else None

    def logits(self, ways: Ways, *, seed: Seed, number: int) -> Tensor:
        """Logits of one pass."""
        now = Pass(ways.rows, Masks(seed, number))
        entering = dropped(self._layer, ways.embeddings, self._p, now)
        return nn.functional.linear(entering, self._head.weight, self._head.bias)
