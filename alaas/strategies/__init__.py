"""Which items of a pool are most worth labelling: each strategy one pure function over arrays."""

from __future__ import annotations

# Importing a family declares its strategies.
from alaas.strategies import geometry, sampling, uncertainty
from alaas.strategies.declaration import Picks, Strategy
from alaas.strategies.parameters import Param, Range
from alaas.strategies.registry import (
    Registry,
    check_params,
    choose,
    get,
    names,
    pick,
    run,
    score,
    strategies,
    strategy,
    to_json,
)

__all__ = [
    "Param",
    "Picks",
    "Range",
    "Registry",
    "Strategy",
    "check_params",
    "choose",
    "geometry",
    "get",
    "names",
    "pick",
    "run",
    "sampling",
    "score",
    "strategies",
    "strategy",
    "to_json",
    "uncertainty",
]
