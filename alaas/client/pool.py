"""The caller's pool on its way to the server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from alaas.core.errors import FieldError, ItemFailed, ValidationFailed
from alaas.core.wire import Failure, Item, Labelled, item_from_json

Reader = Callable[[Any, int], Item | Failure]
"""Makes an item of what the caller gave in a row."""


class Pool:
    """Items made of what a caller gave, one at a time as they are sent. Read once.

    Args:
        given: What the caller gave.
        read: Makes an item of it.
        strict: Raise for an item that cannot be read here, rather than leave it out.
        kept: Takes in what was given, row by row, as it is read.

    Attributes:
        failures: The items left out so far.
    """

    def __init__(
        self,
        given: Iterable[Any],
        read: Reader,
        *,
        strict: bool = False,
        kept: list[Any] | None = None,
    ) -> None:
        if isinstance(given, str | bytes | os.PathLike | Mapping | Item):
            raise ValidationFailed(
                f"the pool must be an iterable of items, got one {type(given).__name__}"
            )
        self._given = given
        self._read = read
        self._strict = strict
        self._kept = kept
        self.failures: list[Failure] = []

    def __iter__(self) -> Iterator[Item]:
        for row, value in enumerate(self._given):
            if self._kept is not None:
                self._kept.append(value)
            item = self._read(value, row)
            if isinstance(item, Item):
                yield item
            elif self._strict:
                raise ItemFailed(f"item {item.id}: {item.message}")
            else:
                self.failures.append(item)


def read_any(value: Any, row: int) -> Item | Failure:
    """Make an item of anything that `Client.query` takes.

    Raises:
        ValidationFailed: It takes no such thing.
    """
    if isinstance(value, Item):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return Item(str(row), blob=bytes(value))
    if isinstance(value, os.PathLike):
        return read_file(value, name=str(value))
    if isinstance(value, Mapping) and isinstance(value.get("blob"), bytes):
        name = value.get("id")
        return Item(str(row if name is None else name), blob=value["blob"])
    return item_from_json(value, row)


def labelled_documents(given: Iterable[Any]) -> list[dict[str, Any]]:
    """Labelled items as the parameters of a request carry them.

    Args:
        given: Pairs of what `read_any` takes and a label, `Labelled`s, or mappings with a
            ``label``.

    Raises:
        ValidationFailed: One is of no such form.
        ItemFailed: A file cannot be read.
    """
    return [_labelled(one, row).to_json() for row, one in enumerate(given)]


def _labelled(given: Any, row: int) -> Labelled:
    if isinstance(given, Labelled):
        return given
    content, label = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    named = isinstance(content, Item | os.PathLike)
    if isinstance(content, Mapping):
        label = content.get("label") if label is None else label
        named = content.get("id") not in (None, "")
    item = read_any(content, row)
    if isinstance(item, Failure):
        raise ItemFailed(f"labelled item {item.id}: {item.message}")
    return Labelled(item if named else replace(item, id=f"labelled/{row}"), label)


def read_file(path: str | os.PathLike[str], *, name: str) -> Item | Failure:
    """Make an item of the content of a file of this machine."""
    try:
        return Item(name, blob=Path(path).read_bytes())
    except OSError as error:
        message = f"the client cannot read {path}: {error.strerror or error}"
        return Failure(name, "fetch", "unreadable_file", message, uri=str(path))


def read_image(path: Any, row: int) -> Item | Failure:
    """Make an item, named by its row, of the content of a file of this machine."""
    if not isinstance(path, str | os.PathLike):
        raise _wrong(row, "a path", path)
    return read_file(path, name=str(row))


def reader_of(kind: Literal["uri", "text"]) -> Reader:
    """A reader of strings that are all URIs, or all texts; an item is named by its row."""

    def read(value: Any, row: int) -> Item:
        if not isinstance(value, str):
            raise _wrong(row, f"a string, the item's {kind}", value)
        return Item(str(row), uri=value) if kind == "uri" else Item(str(row), text=value)

    return read


def _wrong(row: int, allowed: str, value: object) -> ValidationFailed:
    pointer = f"/data/{row}"
    message = f"must be {allowed}, got {type(value).__name__}"
    return ValidationFailed(f"{pointer}: {message}", errors=[FieldError(pointer, message)])
