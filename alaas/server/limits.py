"""What the service takes on at once: requests, bytes and items, over all protocols."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from types import TracebackType
from typing import TypeVar

from alaas.config import LimitsSettings
from alaas.core.errors import (
    AlaasError,
    BodyTooLarge,
    Overloaded,
    QuotaExceeded,
    RequestTimeout,
    TooManyItems,
)
from alaas.server.auth import ANONYMOUS
from alaas.server.metrics import Metrics

RATE = 1024
"""Bytes a second that a caller has to send on average, once its silence is used up."""

LONGEST_RETRY_S = 60
"""The longest wait that is asked of a caller who is refused."""

_COUNTED = (Overloaded, QuotaExceeded, BodyTooLarge, TooManyItems, RequestTimeout)
_REMEMBERED = 32

E = TypeVar("E", Overloaded, QuotaExceeded)


class Admission:
    """Counts what is being answered, and refuses what would be too much.

    Args:
        limits: How much that is.
        metrics: Where refusals are counted.

    Attributes:
        limits: As given.
        requests: Queries and pushes that are being answered.
        held_bytes: Bytes of the documents that are held.
        held_items: Items of the documents that are held.
    """

    def __init__(self, limits: LimitsSettings, metrics: Metrics) -> None:
        self.limits = limits
        self.requests = self.held_bytes = self.held_items = 0
        self._metrics = metrics
        self._by_caller: Counter[str] = Counter()
        self._ends = deque([monotonic()], maxlen=_REMEMBERED)

    def enter(self, caller: str, *, size: int = 0) -> Ticket:
        """Take on one query or push, before anything of its pool is read.

        Args:
            caller: Name of the API key. Callers without one share no quota.
            size: Bytes of its document, where it says how many they are.

        Raises:
            QuotaExceeded: The key has as many under way as it may.
            Overloaded: The service has.
        """
        limits, running = self.limits, self._by_caller[caller]
        if caller != ANONYMOUS and running >= limits.requests_per_key:
            raise self._later(
                QuotaExceeded,
                f"this API key has {running} queries and pushes under way; limits.requests_per_key "
                f"allows {limits.requests_per_key}",
            )
        if self.requests >= limits.requests:
            raise self._later(
                Overloaded,
                f"{self.requests} queries and pushes are being answered; limits.requests allows "
                f"{limits.requests}",
            )
        ticket = Ticket(self, caller)
        ticket.hold(size=size)
        self.requests += 1
        self._by_caller[caller] += 1
        return ticket

    def take(self, size: int, items: int) -> None:
        """Note that more is held, or less.

        One document is always taken: what fits the limits of a document must not be refused
        for ever because those of all together are smaller.

        Raises:
            Overloaded: It would be too much.
        """
        limits = self.limits
        if size > 0 and self.held_bytes and self.held_bytes + size > limits.held_bytes:
            raise self._later(
                Overloaded,
                f"{self.held_bytes} bytes of documents are held; limits.held_bytes allows "
                f"{limits.held_bytes}",
            )
        if items > 0 and self.held_items and self.held_items + items > limits.held_items:
            raise self._later(
                Overloaded,
                f"{self.held_items} items of documents are held; limits.held_items allows "
                f"{limits.held_items}",
            )
        self.held_bytes += size
        self.held_items += items
        self._metrics.queue_items.set(self.held_items)

    def leave(self, caller: str) -> None:
        """Note that a query or push has been answered."""
        self.requests -= 1
        self._by_caller[caller] -= 1
        if not self._by_caller[caller]:
            del self._by_caller[caller]
        self._ends.append(monotonic())

    def refused(self, error: AlaasError) -> None:
        """Count an answer, where it is a refusal for the sake of a limit."""
        if isinstance(error, _COUNTED):
            self._metrics.rejected.labels(error.code).inc()

    def retry_after_s(self) -> float:
        """Seconds after which it is worth trying again, from 1 to 60.

        A guess: the mean time between the last answers, up to now. So often a place becomes
        free; whether somebody else is quicker, nobody knows.
        """
        mean_s = (monotonic() - self._ends[0]) / len(self._ends)
        return float(min(max(math.ceil(mean_s), 1), LONGEST_RETRY_S))

    def _later(self, kind: type[E], detail: str) -> E:
        seconds = self.retry_after_s()
        error = kind(f"{detail}; try again in {seconds:g} s")
        error.retry_after_s = seconds
        return error


class Ticket:
    """One query or push that was taken on. Leaving its context gives its place back, once.

    Args:
        admission: Who has taken it on.
        caller: Name of the API key.
    """

    def __init__(self, admission: Admission, caller: str) -> None:
        self._admission = admission
        self._caller = caller
        self._size = self._items = 0
        self._over = False

    @property
    def limits(self) -> LimitsSettings:
        """What it may cost."""
        return self._admission.limits

    def hold(self, *, size: int | None = None, items: int | None = None) -> None:
        """Say how much of its document is held by now; None is as much as before.

        Raises:
            Overloaded: With what others hold, that is too much.
        """
        size = self._size if size is None else size
        items = self._items if items is None else items
        self._admission.take(size - self._size, items - self._items)
        self._size, self._items = size, items

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._over:
            self._over = True
            self.hold(size=0, items=0)
            self._admission.leave(self._caller)


@asynccontextmanager
async def within(seconds: float, key: str) -> AsyncIterator[None]:
    """Wait for a caller, but not for ever.

    Args:
        seconds: How long.
        key: The limit that says so.

    Raises:
        RequestTimeout: It took longer.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise silent(key) from None


def silent(key: str) -> RequestTimeout:
    """The error of a caller who does not go on."""
    return RequestTimeout(
        f"the request came too slowly: limits.{key} says how long a caller may be silent, and "
        f"{RATE} bytes a second are expected beyond it"
    )


def too_large(what: str, limits: LimitsSettings) -> BodyTooLarge:
    """The error of a document, a line or a message with too many bytes.

    Args:
        what: Which of them it is.
        limits: What it may have.
    """
    return BodyTooLarge(
        f"{what} has more than {limits.body_bytes} bytes (limits.body_bytes); send the pool in "
        "lines (application/x-ndjson) or in several messages, or push it once and query it by name"
    )


def check_document(count: int, limits: LimitsSettings) -> None:
    """Check the number of items of a pool that came in one document.

    Raises:
        TooManyItems: There are more than it may have.
    """
    if count > limits.items:
        raise TooManyItems(
            f"the document has {count} items, and limits.items allows {limits.items}; send the "
            "pool in lines (application/x-ndjson) or as a stream, or push it once and query it "
            "by name"
        )


def check_inline(count: int, limits: LimitsSettings) -> None:
    """Check how many items of a document came as bytes.

    Raises:
        TooManyItems: There are more than it may have.
    """
    if count > limits.inline_items:
        raise TooManyItems(
            f"the document has {count} items that come as bytes, and limits.inline_items allows "
            f"{limits.inline_items}; send the pool in lines (application/x-ndjson) or as a stream, "
            "or send addresses"
        )


def check_stream(count: int, limits: LimitsSettings) -> None:
    """Check how many items of a stream have come.

    Raises:
        TooManyItems: There are more than it may have.
    """
    if count > limits.stream_items:
        raise TooManyItems(
            f"the stream has more than {limits.stream_items} items (limits.stream_items); push "
            "it in several pools"
        )
