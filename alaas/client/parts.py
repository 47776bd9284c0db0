"""Cutting a pool into the parts in which it is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from alaas.core.wire import Item

_ENVELOPE = 16  # bytes that an item takes beside its id and content, roughly


def cut(
    items: Iterable[Item], *, max_items: int = 512, max_bytes: int = 1 << 20
) -> Iterator[list[Item]]:
    """Cut a pool into parts, lazily: a part is out before the item after it is read in.

    Args:
        items: The pool.
        max_items: Items of a part at most.
        max_bytes: Bytes of a part at most, by ids and contents; an item that is larger
            makes a part of its own.

    Example:
        >>> pool = [Item(str(row), text="x" * row) for row in (1, 2, 90, 4, 5)]
        >>> [[item.id for item in part] for part in cut(pool, max_items=3, max_bytes=80)]
        [['1', '2'], ['90'], ['4', '5']]
    """
    part: list[Item] = []
    size = 0
    for item in items:
        weight = _weight(item)
        if part and size + weight > max_bytes:
            yield part
            part, size = [], 0
        part.append(item)
        size += weight
        if len(part) == max_items or size >= max_bytes:
            yield part
            part, size = [], 0
    if part:
        yield part


def _weight(item: Item) -> int:
    content = item.blob if item.blob is not None else (item.text or item.uri or "").encode()
    return _ENVELOPE + len(item.id) + len(content)
