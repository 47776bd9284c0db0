"""A pool that can be read again: for a query whose books were lost while it ran."""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from typing import IO, TypeVar

from alaas.core.errors import BooksLost
from alaas.core.wire import Failure, Item, item_from_json
from alaas.pipeline.ledger import Part

log = logging.getLogger(__name__)

ATTEMPTS = 10
"""Times that a query is begun before it is given up: each took the death of a process."""

T = TypeVar("T")


class Replay(AsyncIterable[Part]):
    """A pool that arrives in parts, each of which is written to a file as it passes.

    Reading it again begins with the file and goes on with what has not arrived yet. Where
    nothing can be written, the pool can be read once.

    Args:
        source: The pool, in parts as they arrive.
    """

    def __init__(self, source: AsyncIterable[Part]) -> None:
        self._source = aiter(source)
        self._next: asyncio.Future[Part | None] | None = None
        self._written: IO[str] | None = None
        self._lost = False

    @property
    def complete(self) -> bool:
        """Whether everything that was read can be read again."""
        return not self._lost

    async def __aiter__(self) -> AsyncIterator[Part]:
        if self._written is not None:
            self._written.seek(0)
            # Not `for`: a file that is iterated over cannot be written to in between.
            while line := self._written.readline():
                yield read_line(line)
        while (part := await self._arrival()) is not None:
            self._write(part)
            yield part

    async def _arrival(self) -> Part | None:
        """The next part that nobody has read, or None at the end.

        Whoever waits for it may be cancelled, and another one wait on: the source is not
        told, which would end it.
        """
        if self._next is None:
            self._next = asyncio.ensure_future(anext(self._source, None))
        part = await asyncio.shield(self._next)
        if part is not None:
            self._next = None
        return part

    def _write(self, part: Part) -> None:
        if self._lost:
            return
        try:
            if self._written is None:
                self._written = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
            self._written.write(write_line(part) + "\n")
        except OSError as error:
            self._lost = True
            log.warning("a pool cannot be written down: %s", error.strerror)

    def close(self) -> None:
        """Read no further, and delete the file."""
        if self._next is not None:
            self._next.cancel()
        if self._written is not None:
            self._written.close()


class Again(AsyncIterable[Part]):
    """A pool that came in one piece, and can be read as often as it is wanted.

    Args:
        items: The pool.
    """

    complete = True

    def __init__(self, items: Part) -> None:
        self._items = items

    async def __aiter__(self) -> AsyncIterator[Part]:
        if self._items:
            yield self._items

    def close(self) -> None:
        """Nothing is to be closed."""


async def persevere(source: AsyncIterable[Part], attempt: Callable[[int], Awaitable[T]]) -> T:
    """Begin again as long as the books are lost and the pool can be read again.

    Args:
        source: The pool.
        attempt: Does it all; it is given how often that was tried before.
    """
    for number in range(ATTEMPTS):
        try:
            return await attempt(number)
        except BooksLost:
            again = isinstance(source, Replay | Again) and source.complete
            if not again or number == ATTEMPTS - 1:
                raise
            log.warning("a query begins again: the process that kept its books was replaced")
    raise AssertionError("the last attempt returns or raises")


def write_line(part: Sequence[Item | Failure]) -> str:
    """A part of a pool as one line of JSON."""
    rows = [
        {"lost": one.to_json()} if isinstance(one, Failure) else one.to_json() for one in part
    ]  # fmt: skip
    return json.dumps(rows)


def read_line(line: str | bytes) -> list[Item | Failure]:
    """Read what `write_line` wrote."""
    return [
        Failure.from_json(one["lost"]) if "lost" in one else item_from_json(one, row)
        for row, one in enumerate(json.loads(line))
    ]
