"""What an oracle is.

A new strategy adds one line to a table of the module that is named like its family:

`SCORES`  the score of one row, from that row of each view that the strategy needs, in order;
`PICKS`   the rows and scores of a picker that makes no random choice, from views and a budget;
          its pools are full of ties and duplicates, and it must break them the same way;
`SEEDED`  the rows and scores of a picker, from views, a budget and a generator that it must use
          as the strategy does; its pools are in general position, without ties;
`CHANCE`  the p-value of a statistical test of a picker that draws at random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Picked: TypeAlias = tuple[list[int], list[float]]
Score: TypeAlias = Callable[..., float]
Tied: TypeAlias = Callable[[Mapping[str, Array], int], Picked]
Seeded: TypeAlias = Callable[[Mapping[str, Array], int, np.random.Generator], Picked]
Choose: TypeAlias = Callable[..., tuple[int, ...]]
"""``choose(n, budget, seed, params={...}, **views)``: the rows that a strategy picks."""
Chance: TypeAlias = Callable[[Choose], float]
