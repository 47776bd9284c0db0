"""Layers by their names or types, as `draws.layers` lists them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection

from torch import nn

from alaas.core.errors import ModelUnavailable


def chosen(
    network: nn.Module,
    names: Collection[str],
    suits: Callable[[nn.Module], bool],
    *,
    what: str,
) -> list[nn.Module]:
    """The layers of a network that are asked for, in the order in which it lists them.

    Args:
        network: The network.
        names: Names of layers, or of modules that contain them, or types such as ``Linear``;
            none for all that suit.
        suits: Whether a layer is of use.
        what: What such a layer is called, for the message.

    Raises:
        ModelUnavailable: A name stands for no layer of use.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(), nn.Linear(2, 2)))
        >>> found = chosen(network, ["1"], lambda one: isinstance(one, nn.Linear), what="layer")
        >>> found == [network[1][1]]
        True
    """
    layers = {name: one for name, one in network.named_modules() if suits(one)}
    if not names:
        return list(layers.values())
    found: set[str] = set()
    for wanted in names:
        under = {name for name in layers if f"{name}.".startswith(f"{wanted}.")}
        typed = {name for name, one in layers.items() if type(one).__name__ == wanted}
        if not under | typed:
            raise ModelUnavailable(f"the model has no {what} {wanted!r}{_hint(wanted, layers)}")
        found |= under | typed
    return [one for name, one in layers.items() if name in found]


def _hint(wanted: str, layers: Collection[str]) -> str:
    if not layers:
        return ": it has none at all"
    near = difflib.get_close_matches(wanted, layers, n=3, cutoff=0.3) or list(layers)[:3]
    return f"; it has {', '.join(near)}{'' if len(near) == len(layers) else ' and others'}"
