"""From a name to a network that turns items into views.

`card` says what a model is and is free of torch; `describe` makes one in a process of
its own; `load` gives the network itself. `mc_dropout` and `mc_dropconnect` are for those who
run a network of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["mc_dropconnect", "mc_dropout"]

if TYPE_CHECKING:
    from alaas.models.stochastic.passes import mc_dropconnect, mc_dropout


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from alaas.models.stochastic import passes  # which imports torch

    return getattr(passes, name)
