"""Asking again, where that is safe and may help."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

from alaas.client.call import Call
from alaas.core.errors import (
    AlaasError,
    ConnectionFailed,
    DeadlineExceeded,
    IdempotencyConflict,
)

ATTEMPTS = 4
"""Times that a request is sent at most, the first one included."""

FIRST_S = 0.25
"""Seconds before the second attempt; each one after it waits twice as long."""

LONGEST_S = 60.0
"""Seconds that a server may ask to wait; with more, the caller has to decide."""

AGAIN = frozenset({429, 502, 503})
"""Statuses after which the same request may succeed."""

T = TypeVar("T")


def insist(work: Callable[[], T], call: Call, *, reads: bool = False) -> T:
    """Do something that may be done twice, up to four times in all.

    Between two attempts it waits for as long as the server asked, and for a random time
    more, so that many clients that were refused together do not come back together.

    Args:
        work: What to do; an error's `retry_after_s` says how long to wait at least.
        call: The call that it is part of; its deadline bounds the waiting.
        reads: Whether it only reads.

    Raises:
        AlaasError: Of the last attempt.
    """
    for attempt in range(ATTEMPTS - 1):
        try:
            return work()
        except AlaasError as error:
            wait_s = (error.retry_after_s or 0.0) + _jitter(attempt)
            remaining = call.remaining()
            in_time = wait_s <= LONGEST_S and (remaining is None or wait_s < remaining)
            if not (may_help(error, reads=reads) and in_time):
                raise
        call.pause(wait_s)
    return work()


def may_help(error: AlaasError, *, reads: bool) -> bool:
    """Whether the same request may have another outcome soon.

    A selection that took too long would do so again, whoever says so: the server, whose
    `timeout_s` passed, or a proxy. What only reads is quick once the server is there.
    """
    if isinstance(error, DeadlineExceeded):
        return reads
    if isinstance(error, ConnectionFailed | IdempotencyConflict):
        return True
    return error.status in AGAIN and error.retryable


def _jitter(attempt: int) -> float:
    longest = FIRST_S * 2.0**attempt
    return random.uniform(longest / 2, longest)  # noqa: S311  # it hides nothing
