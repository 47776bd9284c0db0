"""The check before the work: what a strategy will take, and whether there is that much."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from alaas.core.errors import FieldError, PoolTooLarge
from alaas.strategies.cost import Sizes, Work, bytes_in_words, free_memory, seconds_in_words
from alaas.strategies.declaration import VIEWS, Strategy

SHARE = 0.9
"""The share of the free memory that a strategy may take."""

LONGEST_S = 86_400.0
"""Seconds that a strategy may take where nobody set a limit: who waits for more, waits in vain."""

MILLION = Sizes(N=1_000_000, K=1_000, M=1_000, C=10, D=512, T=10)
"""The pool that a strategy must manage to be called scalable."""

SCALABLE = Work(flops=4e14, memory=8 * 2**30)
"""What it may take for that, its views included: about an hour of one core, and 8 GiB."""


def scales(strategy: Strategy) -> bool:
    """Whether a strategy chooses 1,000 of a million items, as it is set by default."""
    work = strategy.work(MILLION, {param.name: param.default for param in strategy.params})
    held = 4 * sum(
        math.prod(getattr(MILLION, axis[0]) for axis in VIEWS[name]) for name in strategy.needs
    )
    return work.flops <= SCALABLE.flops and work.memory + held <= SCALABLE.memory


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
        seconds: The time that there is for it; None for `LONGEST_S`.

    Raises:
        PoolTooLarge: It would take more memory, or more time, than there is.
    """
    work = strategy.work(sizes, params)
    free = SHARE * free_memory()
    if work.memory > free:
        raise _too_large(strategy, sizes, f"{bytes_in_words(work.memory)} of memory",
                         f"{bytes_in_words(free)} may be used")  # fmt: skip
    longest = LONGEST_S if seconds is None else seconds
    if work.seconds > longest:
        takes = f"about {seconds_in_words(work.seconds)}"
        raise _too_large(strategy, sizes, takes, f"{seconds_in_words(longest)} may be used")


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
