"""DropConnect: predictions of the networks that are left when weights are dropped.

Wan et al. 2013, "Regularization of Neural Networks using DropConnect"; at prediction as in
Mobiny et al. 2021, arXiv:1906.04569. What is kept is divided by 1 - p, so that the mean over
passes of a layer's weights is what was trained. Biases stay. A layer is not replaced: it runs
as it is, with its stride, groups and padding, and with other weights for the time of a pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from alaas.models.stochastic.head import HeadDraws
from alaas.models.stochastic.masks import Masks
from alaas.models.stochastic.source import Ways
from alaas.models.stochastic.words import Seed

SHARE = 0.5
"""What is dropped where nobody says how much, as in the paper."""

_KINDS = (nn.Linear, _ConvNd, nn.RNNBase, nn.RNNCellBase)


def has_weights(layer: nn.Module) -> bool:
    """Whether weights of that layer can be dropped: it is linear, convolutional or recurrent."""
    return isinstance(layer, _KINDS) and bool(_weights(layer))


def weights(layers: Sequence[nn.Module]) -> list[nn.Parameter]:
    """The weights of layers, without biases; each once, also where layers share them."""
    return list(dict.fromkeys(weight for layer in layers for weight in _weights(layer)))


def _weights(layer: nn.Module) -> list[nn.Parameter]:
    # Those that a parametrisation computes, such as a weight norm, are none of its own.
    own = layer.named_parameters(recurse=False)
    return [weight for name, weight in own if name.startswith("weight")]


@contextmanager
def thinned(found: Sequence[nn.Parameter], p: float, masks: Masks) -> Iterator[None]:
    """Let parameters hold what a pass keeps of them, and then again what they held.

    It is the same memory that they have before and after, so nothing can differ.
    """
    before = [weight.data for weight in found]
    try:
        for number, (weight, whole) in enumerate(zip(found, before, strict=True)):
            weight.data = _thinned(whole, p, masks, number=number)
        yield
    finally:
        for weight, whole in zip(found, before, strict=True):
            weight.data = whole


def _thinned(whole: Tensor, p: float, masks: Masks, *, number: int = 0) -> Tensor:
    # A tensor of inference mode cannot become the data of a parameter.
    with torch.inference_mode(mode=False), torch.no_grad():
        kept = masks.kept(number, whole.shape, p, whole.device)
        return whole * (kept.to(whole.dtype) / (1 - p))


class DropConnect:
    """Draws of a whole network, weights of whose layers are dropped.

    Args:
        network: The network, in evaluation mode.
        layers: The layers.
        p: The share of weights that is dropped.
        phrase: What tells these draws from others.
    """

    most: int | None = None
    last = False
    alone = True
    again: HeadDraws | None = None

    def __init__(
        self, network: nn.Module, layers: Sequence[nn.Module], p: float, phrase: str
    ) -> None:
        self._network, self._p, self.phrase = network, p, phrase
        self._found = weights(layers)

    def logits(self, ways: Ways, *, seed: Seed, number: int) -> Tensor:
        """Logits of one pass."""
        with thinned(self._found, self._p, Masks(seed, number)):
            return ways.through(self._network)


class LastDropConnect:
    """Draws of the last linear layer alone: all of them share what comes before it.

    Args:
        head: The layer, which makes logits of embeddings.
        p: The share of weights that is dropped.
        phrase: What tells these draws from others.
    """

    most: int | None = None
    last = True
    alone = False

    def __init__(self, head: nn.Linear, p: float, phrase: str) -> None:
        self._head, self._p, self.phrase = head, p, phrase
        self.again: HeadDraws | None = HeadDraws("dropconnect", p)

    def logits(self, ways: Ways, *, seed: Seed, number: int) -> Tensor:
        """Logits of one pass."""
        weight = _thinned(self._head.weight, self._p, Masks(seed, number))
        return nn.functional.linear(ways.embeddings, weight, self._head.bias)
