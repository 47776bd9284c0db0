"""Which units or weights a stochastic pass keeps.

Every element has a random number that depends on nothing but its coordinates and on what the
mask is for. So a mask is the same on every device, in every process and in every micro-batch;
and a longer text has the mask of a shorter one as its beginning, along whichever axes its
length appears.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from alaas.models.stochastic.words import Seed, Source, mixed, threshold


class Masks:
    """The masks of one pass.

    Args:
        seed: Seed of all passes.
        number: Which of them it is, from 0.
    """

    def __init__(self, seed: Seed, number: int) -> None:
        self._source = Source(seed, number)
        self._calls: Counter[int] = Counter()

    def kept(self, layer: int, shape: Sequence[int], p: float, device: torch.device) -> Tensor:
        """What a layer keeps; another call for the same layer gives another mask.

        Args:
            layer: Number of the layer.
            shape: Shape of the mask.
            p: The share that is dropped, from 0 to below 1.
            device: Where the mask is wanted.

        Returns:
            Boolean, of that shape, true with probability 1 - p, each element on its own.
        """
        call = self._calls[layer]
        self._calls[layer] += 1
        total = torch.zeros([1] * len(shape), dtype=torch.int32, device=device)
        for axis, size in enumerate(shape):
            words = self._source.along(size, axis=axis, call=call, layer=layer)
            along = torch.from_numpy(words).to(device)
            total = total + along.view([-1 if at == axis else 1 for at in range(len(shape))])
        return mixed(total) >= threshold(p)
