"""Who goes next, where several queries want the same thing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import count as numbers
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_Waiter = tuple[int, asyncio.Future[None]]


class Slots:
    """A number of places, shared fairly by the queries that want them.

    A place that becomes free goes to the query that has the fewest; among those that have as
    few, to the one that was served longest ago, and then to the one that asked first. So a
    small query waits for as many turns as it has queries beside it, not for all that a large
    one has queued.

    Args:
        size: Places, > 0.
        spare: Further places, >= 0, that only a query without any other gets. With one of
            them a query begins at once, whatever a large one holds.

    Belongs to the event loop that first waits for a place.
    """

    def __init__(self, size: int, *, spare: int = 0) -> None:
        self._size = size
        self._spare = spare
        self._taken = 0
        self._held: dict[str, int] = {}
        self._waiting: dict[str, deque[_Waiter]] = {}
        self._served: dict[str, int] = {}
        """The turn in which a query was served last, or the one before it came."""
        self._turn = 0
        self._arrival = numbers()

    def locked(self) -> bool:
        """Whether a query that has a place already would have to wait for another one."""
        return self._taken >= self._size

    @asynccontextmanager
    async def place(self, query: str) -> AsyncIterator[None]:
        """Hold a place."""
        await self.acquire(query)
        try:
            yield
        finally:
            self.release(query)

    async def acquire(self, query: str) -> None:
        """Wait for a place. Whoever is cancelled while waiting holds none."""
        self._served.setdefault(query, self._turn - 1)
        if self._is_free_for(query):
            self._grant(query)
            return
        place = asyncio.get_running_loop().create_future()
        waiter = (next(self._arrival), place)
        self._waiting.setdefault(query, deque()).append(waiter)
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._leave(query, waiter)
            else:  # it was granted in the same moment
                self.release(query)
            raise

    def release(self, query: str) -> None:
        """Give a place of a query back."""
        self._taken -= 1
        self._held[query] -= 1
        self._forget(query)
        while self._waiting:
            following = min(self._waiting, key=self._rank)
            if not self._is_free_for(following):
                return
            _, place = self._waiting[following].popleft()
            if not self._waiting[following]:
                del self._waiting[following]
            if not place.done():  # otherwise it was cancelled, and leaves on its own
                self._grant(following)
                place.set_result(None)
                return

    def _rank(self, query: str) -> tuple[int, int, int]:
        arrival, _ = self._waiting[query][0]
        return self._held.get(query, 0), self._served[query], arrival

    def _is_free_for(self, query: str) -> bool:
        spare = 0 if self._held.get(query, 0) else self._spare
        return self._taken < self._size + spare

    def _grant(self, query: str) -> None:
        self._turn += 1
        self._taken += 1
        self._held[query] = self._held.get(query, 0) + 1
        self._served[query] = self._turn

    def _leave(self, query: str, waiter: _Waiter) -> None:
        others = self._waiting.get(query, deque())
        if waiter in others:
            others.remove(waiter)
        if not others:
            self._waiting.pop(query, None)
        self._forget(query)

    def _forget(self, query: str) -> None:
        if not self._held.get(query):
            self._held.pop(query, None)
            if query not in self._waiting:
                self._served.pop(query, None)


class Threads:
    """Some threads, for which queries take turns.

    Args:
        count: How many, > 0.
        name: What they are called.
    """

    def __init__(self, count: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(count, name)
        self._turns = Slots(count)

    async def run(
        self, query: str, work: Callable[P, T], *given: P.args, **named: P.kwargs
    ) -> T:  # fmt: skip
        """Do something for a query on one of them, when it is its turn."""
        async with self._turns.place(query):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, lambda: work(*given, **named))

    def close(self) -> None:
        """Let them end."""
        self._pool.shutdown(cancel_futures=True)
