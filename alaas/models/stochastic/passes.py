"""Stochastic passes for those who run their network themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from alaas.core.errors import ModelUnavailable
from alaas.models.stochastic import dropconnect
from alaas.models.stochastic.dropconnect import has_weights, thinned, weights
from alaas.models.stochastic.dropout import Pass, is_dropout, masked
from alaas.models.stochastic.layers import chosen
from alaas.models.stochastic.masks import Masks
from alaas.models.stochastic.words import Seed


class Passes:
    """The passes of a network, each of which makes another one of it.

    Iterated over, it goes from pass to pass; what the network is run on in between, however
    many batches, meets the same masks. Outside an iteration each run is a pass of its own.

    Args:
        count: Passes of an iteration, T, at least 1.
        seed: Seed of all of them.

    Attributes:
        number: The pass that the network is in.
    """

    def __init__(self, count: int, seed: Seed) -> None:
        if count < 1:
            raise ValueError(f"passes must be 1 or more, got {count}")
        self.number = -1
        self._count, self._seed = count, seed
        self._held = False

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        self._held = True
        try:
            for number in range(self._count):
                self.number = number
                yield number
        finally:
            self._held = False

    def masks(self) -> Masks:
        """The masks of a run that begins."""
        if not self._held:
            self.number += 1
        return Masks(self._seed, self.number)


@contextmanager
def mc_dropout(
    network: nn.Module,
    *,
    p: float | None = None,
    layers: str | Collection[str] = (),
    passes: int = 20,
    seed: Seed = 0,
) -> Iterator[Passes]:
    """Have a network drop units whenever it is run: Monte Carlo dropout.

    It is in evaluation mode for that time, so that its normalisations are as they were
    trained; afterwards everything is as it was. Every item of a batch meets the same masks,
    and in an iteration over what this gives, every batch. Dropout that is no layer of its
    own, `torch.nn.functional.dropout` and that inside `torch.nn.MultiheadAttention`, is not
    switched on.

    Args:
        network: The network. Its input has the items first, and so has whatever its dropout
            layers receive: else each item of a batch meets other masks.
        p: The share that is dropped; None takes that of each layer.
        layers: Names of dropout layers, of modules with such layers, or types; none for all.
        passes: Passes of an iteration, T, at least 1.
        seed: The same seed draws the same masks, on every device.

    Raises:
        ModelUnavailable: There is no such layer, or none that drops anything.
        ValueError: `p` or `passes` is out of range.

    Example:
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))
        >>> batches = torch.randn(2, 5, 4)
        >>> with torch.no_grad(), mc_dropout(network, passes=20) as passes:
        ...     draws = [torch.cat([network(x).softmax(1) for x in batches]) for _ in passes]
        >>> torch.stack(draws, dim=1).shape  # N, T, C
        torch.Size([10, 20, 3])
    """
    _check_share(p)
    found = chosen(network, _listed(layers), is_dropout, what="dropout layer")
    shares = {one: p or one.p for one in found if isinstance(one, _DropoutNd) and (p or one.p)}
    if not shares:
        raise ModelUnavailable(
            "no dropout layer of the model drops anything; mc_dropconnect needs none"
        )
    run = Passes(passes, seed)
    now = Pass(1, Masks(seed, 0))

    def begin(_: nn.Module, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        now.rows, now.masks = _rows(given, named), run.masks()

    with ExitStack() as after:
        after.enter_context(_evaluating(network))
        after.enter_context(masked(shares, now))
        after.callback(network.register_forward_pre_hook(begin, with_kwargs=True).remove)
        yield run


@contextmanager
def mc_dropconnect(
    network: nn.Module,
    *,
    p: float = dropconnect.SHARE,
    layers: str | Collection[str] = (),
    passes: int = 20,
    seed: Seed = 0,
) -> Iterator[Passes]:
    """Have a network drop weights whenever it is run: DropConnect, which needs no dropout.

    As `mc_dropout` otherwise. What weights are kept is divided by 1 - p; biases stay.

    Args:
        network: The network.
        p: The share of weights that is dropped.
        layers: Names of linear, convolutional or recurrent layers, of modules with such
            layers, or types; none for all.
        passes: Passes of an iteration, T, at least 1.
        seed: The same seed draws the same masks, on every device.

    Raises:
        ModelUnavailable: There is no such layer.
        ValueError: `p` or `passes` is out of range.

    Example:
        >>> network = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 3))
        >>> before, x = network[2].weight.clone(), torch.ones(1, 4)
        >>> with torch.no_grad(), mc_dropconnect(network, p=0.2, layers=["2"]):
        ...     torch.equal(network(x), network(x))
        False
        >>> torch.equal(network[2].weight, before)
        True
    """
    _check_share(p)
    what = "linear, convolutional or recurrent layer"
    found = weights(chosen(network, _listed(layers), has_weights, what=what))
    if not found:
        raise ModelUnavailable(f"the model has no {what}")
    run = Passes(passes, seed)
    with ExitStack() as after, ExitStack() as now:
        after.enter_context(_evaluating(network))
        at = -1

        def begin(*_: Any) -> None:
            nonlocal at
            masks = run.masks()
            if at != run.number:
                now.close()
                now.enter_context(thinned(found, p, masks))
                at = run.number

        after.callback(network.register_forward_pre_hook(begin).remove)
        yield run


def _check_share(p: float | None) -> None:
    if p is not None and not 0 < p < 1:
        raise ValueError(f"p must be above 0 and below 1, got {p}")


def _listed(layers: str | Collection[str]) -> Collection[str]:
    """A name alone is one of them, and not the letters that it has."""
    return [layers] if isinstance(layers, str) else layers


def _rows(given: tuple[Any, ...], named: Mapping[str, Any]) -> int:
    """Items of a batch: the length of the first tensor that a network is called with."""
    tensors = (one for one in (*given, *named.values()) if isinstance(one, Tensor) and one.ndim)
    return max(1, len(next(tensors, torch.empty(1))))


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, and then for each layer the mode that it was in."""
    before = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
