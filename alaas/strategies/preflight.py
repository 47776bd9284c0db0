"""The check before the work: what a strategy will take, and whether there is that much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from alaas.core.errors import FieldError, PoolTooLarge
from alaas.strategies.cost import Sizes, bytes_in_words, free_memory
from alaas.strategies.declaration import VIEWS, Strategy

SHARE = 0.9
"""The share of the free memory that a strategy may take."""


def sizes_of(views: Mapping[str, NDArray[Any]], rows: int, budget: int) -> Sizes:
    """The sizes of a selection, read from its views."""
    found = {"N": rows}
    for name, view in views.items():
        for axis, size in zip(VIEWS[name], view.shape, strict=True):
            found.setdefault(axis, size)  # an axis such as D + 1 is no letter of its own
    return Sizes(K=budget, **{letter: found[letter] for letter in "NMCDT" if letter in found})


def preflight(
    strategy: Strategy, sizes: Sizes, params: Mapping[str, Any], *, seconds: float | None = None
) -> None:
    """Refuse a selection that cannot fit, before any of it is done.

    Args:
        strategy: The strategy.
        sizes: How large the selection is.
        params: The strategy's hyper-parameters.
        seconds: The time that there is for it; None for as long as it takes.

    Raises:
        PoolTooLarge: It would take more memory, or more time, than there is.
    """
    work = strategy.work(sizes, params)
    free = SHARE * free_memory()
    if work.memory > free:
        raise _too_large(strategy, sizes, f"{bytes_in_words(work.memory)} of memory",
                         f"{bytes_in_words(free)} may be used")  # fmt: skip
    if seconds is not None and work.seconds > seconds:
        raise _too_large(
            strategy, sizes, f"about {work.seconds:.3g} s", f"{seconds:.3g} s are left"
        )


def _too_large(strategy: Strategy, sizes: Sizes, takes: str, there_is: str) -> PoolTooLarge:
    ways = ["params.max_pool=N, which chooses from N random items of the pool"]
    approx = next((param for param in strategy.params if param.name == "approx"), None)
    if approx is not None:
        ways.append(f"params.approx, {approx.allowed}")
    shown = ", ".join(
        f"{letter} = {size:,}" for letter, size in sizes._asdict().items() if size
    )  # fmt: skip
    message = (
        f"{strategy.name} would take {takes} ({shown}), and {there_is}; "
        f"use {', or '.join(ways)}, or another strategy"
    )
    return PoolTooLarge(message, errors=[FieldError("/parameters/strategy", message)])
