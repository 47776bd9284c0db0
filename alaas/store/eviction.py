"""What has to go so that a store stays below its size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

KEPT = 0.9
"""Share of the limit that is left after a cut, so that the next one is some time away."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a table is and when it was used.

    Attributes:
        name: Name of the table.
        space: The space of its rows.
        nbytes: Bytes of its rows.
        used: When it was last read or written, in seconds since 1970.
    """

    name: str
    space: str
    nbytes: int
    used: float


def surplus(sizes: Iterable[Size], *, max_bytes: int) -> dict[str, float]:
    """Which tables go, and how much of them, for the rest to be below 0.9 of the limit.

    Tables of spaces that are not in use go first and whole, the one unused for longest
    before the others; then the tables of the space in use lose their oldest rows, all by
    the same share.

    Args:
        sizes: Every table.
        max_bytes: The limit; nothing goes below it.

    Returns:
        Name of a table to the share of its rows that goes, in (0, 1]; 1 is all of it.

    Example:
        >>> old, new = Size("a-probs", "a", 60, 1.0), Size("b-probs", "b", 100, 2.0)
        >>> surplus([old, new], max_bytes=100)
        {'a-probs': 1.0, 'b-probs': 0.1}
    """
    tables = sorted(sizes, key=lambda size: size.used)
    excess = sum(size.nbytes for size in tables)
    if excess <= max_bytes:
        return {}
    excess -= int(KEPT * max_bytes)
    going: dict[str, float] = {}
    current = tables[-1].space
    for size in tables:
        if size.space != current and excess > 0:
            going[size.name] = 1.0
            excess -= size.nbytes
    rest = [size for size in tables if size.space == current and size.nbytes]
    if excess > 0:
        share = excess / sum(size.nbytes for size in rest)
        going |= {size.name: share for size in rest}
    return going
