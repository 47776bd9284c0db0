"""Layers by their names or types, as `draws.layers` lists them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from itertools import accumulate

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
        names: Names of layers, or of modules that contain them, as `meant` reads them; or types
            such as ``Linear``; none for all that suit.
        suits: Whether a layer is of use.
        what: What such a layer is called, for the message.

    Raises:
        ModelUnavailable: A name stands for no layer of use, or is the end of several.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(), nn.Linear(2, 2)))
        >>> found = chosen(network, ["1"], lambda one: isinstance(one, nn.Linear), what="layer")
        >>> found == [network[1][1]]
        True
    """
    layers = {name: one for name, one in network.named_modules() if suits(one)}
    if not names:
        return list(layers.values())
    # Every name and those of the modules around it, from the outermost inwards.
    known = dict.fromkeys(part for name in layers for part in accumulate(name.split("."), _joined))
    found: set[str] = set()
    for wanted in names:
        typed = {name for name, one in layers.items() if type(one).__name__ == wanted}
        whole = None if typed and wanted not in known else meant(wanted, known)
        if whole is None and not typed:
            raise ModelUnavailable(f"the model has no {what} {wanted!r}{_hint(wanted, layers)}")
        found |= typed
        if whole is not None:
            found |= {name for name in layers if f"{name}.".startswith(f"{whole}.")}
    return [one for name, one in layers.items() if name in found]


def meant(wanted: str, names: Collection[str]) -> str | None:
    """The name of the module that somebody means.

    A model of a hub stands in a network of ours, which puts more before the names of its
    modules: the end of a name will do, from a dot on.

    Args:
        wanted: What they wrote.
        names: The names of modules.

    Returns:
        It itself if it is a name, or else the one name that ends in it; None if there is none.

    Raises:
        ModelUnavailable: Several names end in it.

    Example:
        >>> meant("encoder.layer", ["model.bert.encoder", "model.bert.encoder.layer"])
        'model.bert.encoder.layer'
    """
    if wanted in names:
        return wanted
    found = [name for name in names if name.endswith(f".{wanted}")]
    if len(found) > 1:
        more = " and others" if len(found) > 3 else ""
        raise ModelUnavailable(
            f"{wanted!r} stands for several of the model's layers: {', '.join(found[:3])}{more}"
        )
    return found[0] if found else None


def _joined(before: str, name: str) -> str:
    return f"{before}.{name}"


def _hint(wanted: str, layers: Collection[str]) -> str:
    if not layers:
        return ": it has none at all"
    near = difflib.get_close_matches(wanted, layers, n=3, cutoff=0.3) or list(layers)[:3]
    return f"; it has {', '.join(near)}{'' if len(near) == len(layers) else ' and others'}"
