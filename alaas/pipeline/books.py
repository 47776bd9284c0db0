"""The books of a query: its items, and the views that came of each micro-batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alaas.calibration import Calibration
from alaas.core.types import Views
from alaas.core.wire import Item
from alaas.strategies.declaration import MODEL


class Entry(NamedTuple):
    """What the books say of an item: its row, and what an answer shows of it."""

    row: int
    uri: str | None
    text: str | None
    group: str | None

    def item(self, name: str) -> Item:
        """The item, without bytes."""
        return Item(name, self.uri, self.text, group=self.group)


@dataclass(frozen=True, slots=True)
class Part:
    """The pool of one query, or its labelled items.

    Attributes:
        book: Id of an item to what the books say of it.
        views: What came of each micro-batch, by its number or, of stored views, by its rows.
    """

    book: dict[str, Entry] = field(default_factory=dict)
    views: dict[int | tuple[int, ...], Views] = field(default_factory=dict)

    def joined(self) -> tuple[list[str], dict[str, NDArray[Any]]]:
        """The ids and views of all micro-batches, in pool order; each is let go once read."""
        parts = [self.views.pop(key) for key in sorted(self.views, key=_order)]
        arrays = {
            name: array for part in parts for name, array in part.arrays.items() if name in MODEL
        }
        names = [name for part in parts for name in part.ids]
        for name in names:  # one that nobody entered in the books stands at their end
            self.book.setdefault(name, Entry(len(self.book), None, None, None))
        order = np.argsort([self.book[name].row for name in names], kind="stable")
        places = np.empty(len(names), np.int64)
        places[order] = np.arange(len(names))
        filled = [dict(part.arrays) for part in parts if part.ids]
        del parts
        for name in [name for name in (filled[0] if filled else {}) if name not in MODEL]:
            blocks = deque(part.pop(name) for part in filled)
            whole = np.empty((len(names), *blocks[0].shape[1:]), blocks[0].dtype)
            row = 0
            while blocks:
                block = blocks.popleft()
                whole[places[row : row + len(block)]] = block
                row += len(block)
            arrays[name] = whole
        return [names[at] for at in order], arrays

    def digests(self) -> dict[str, str]:
        """Id to the name of the content, of all micro-batches."""
        return {
            name: digest
            for part in self.views.values()
            for name, digest in zip(part.ids, part.digests, strict=False)
        }

    def groups(self, ids: Sequence[str]) -> NDArray[np.int64] | None:
        """The number of the group of each item, if any has one; others are alone in theirs."""
        return group_numbers([self.book[name].group for name in ids])


@dataclass(slots=True)
class Books:
    """All that is kept of one query until it is complete.

    Attributes:
        pool: What is chosen from.
        labelled: What is labelled already.
        calibration: What class probabilities of the pool are scaled by, once it is fitted.
    """

    pool: Part = field(default_factory=Part)
    labelled: Part = field(default_factory=Part)
    calibration: Calibration | None = None

    def __getitem__(self, part: Literal["pool", "labelled"]) -> Part:
        return self.pool if part == "pool" else self.labelled


def _order(key: int | tuple[int, ...]) -> tuple[int, ...]:
    return (key,) if isinstance(key, int) else key


def group_numbers(groups: Sequence[str | None]) -> NDArray[np.int64] | None:
    """A number for each item's group, the same for the same name; None where nobody has one.

    Example:
        >>> group_numbers(["a", None, "b", "a", None])
        array([0, 2, 1, 0, 3])
    """
    names = dict.fromkeys(group for group in groups if group is not None)
    if not names:
        return None
    numbers = {name: number for number, name in enumerate(names)}
    alone = iter(range(len(numbers), len(numbers) + len(groups)))
    return np.array(
        [next(alone) if group is None else numbers[group] for group in groups], np.int64
    )
