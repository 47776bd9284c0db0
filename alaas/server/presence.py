"""Whether the caller is still there, also while nothing is read from it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, MutableMapping
from typing import Any

LOOK_S = 0.5
"""Seconds between two looks at a caller from whom nothing is read."""

GONE = "gone"
"""Where the state of a request has what tells whether its caller has gone."""

_ESTABLISHED = 1


def has_gone(transport: asyncio.Transport) -> bool:
    """Whether the other side has closed the connection, read or unread what it sent before.

    An event loop does not see the end of what it does not read, so the kernel is asked.
    Where it cannot be, as on other systems than Linux, the caller is taken to be there.
    """
    if transport.is_closing():
        return True
    connection = transport.get_extra_info("socket")
    try:
        state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except (AttributeError, OSError):
        return False
    return bool(state != _ESTABLISHED)


async def leaves_before(complete: asyncio.Event, scope: MutableMapping[str, Any]) -> bool:
    """Wait until a request has been read to its end. True if its caller has gone before.

    A large pool is read no faster than it is worked on: meanwhile nobody would notice.

    Args:
        complete: Is set at the end.
        scope: Of the request.
    """
    gone: Callable[[], bool] = scope["state"].get(GONE, bool)
    while not complete.is_set():
        if gone():
            return True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(complete.wait(), LOOK_S)
    return False
