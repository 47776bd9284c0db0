"""Connections to the executors: who gets the next message, and what became of it.

Whether a message that failed was delivered decides everything. One that was not can be sent
again at once, to another replica or to the same when it is back. One that was may have been
what ended its process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any, TypeAlias

import grpc
import structlog

Call: TypeAlias = Callable[..., Any]
"""What sends one message over a channel and gives back the answer, to be awaited."""

AVOIDED_S = 1.0
"""Seconds for which a replica that refused a connection gets fewer messages."""

AHEAD = 4
"""Messages by which another replica must be ahead before one is tried again that refused.

Enough to keep that other one busy; not all that there are, as they would wait for it beside
one that has started meanwhile.
"""

_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A process is back within seconds: the connection must not wait for minutes to try again.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.enable_retries", 0),
]


log = structlog.get_logger()


class Lost(Exception):
    """A message has no answer, because its process went away.

    Args:
        stage: The stage that it was sent to.
        delivered: Whether the process may have begun with it.
    """

    def __init__(self, stage: str, *, delivered: bool) -> None:
        super().__init__(f"{stage} went away")
        self.stage = stage
        self.delivered = delivered


@dataclass(slots=True)
class _Link:
    channel: grpc.aio.Channel
    call: Call
    under_way: int = 0
    refused_at: float = -inf


class Links:
    """The connections to all executors.

    Args:
        addresses: Stage to the addresses of its replicas, as host and port.
        stub: Makes of a channel what sends a message over it.
    """

    def __init__(
        self, addresses: Mapping[str, Sequence[str]], stub: Callable[[grpc.aio.Channel], Call]
    ) -> None:
        self._links: dict[str, list[_Link]] = {}
        for stage, hosts in addresses.items():
            channels = [grpc.aio.insecure_channel(host, options=_OPTIONS) for host in hosts]
            self._links[stage] = [_Link(channel, stub(channel)) for channel in channels]

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages, in the order of the work."""
        return tuple(self._links)

    async def send(self, stage: str, message: Any, **options: Any) -> Any:
        """Send a message to the replica that has the fewest, and wait for the answer.

        Args:
            stage: The stage.
            message: The message.
            options: Further arguments of the call.

        Raises:
            Lost: Its process went away before it answered, or was not there.
        """
        link = self._next(stage)
        link.under_way += 1
        try:
            return await link.call(message, **options)
        except grpc.aio.AioRpcError as error:
            delivered = not _is_refusal(error)
            if not delivered:
                link.refused_at = monotonic()
            log.debug("a message was lost", stage=stage, delivered=delivered, said=error.details())
            raise Lost(stage, delivered=delivered) from error
        finally:
            link.under_way -= 1

    def _next(self, stage: str) -> _Link:
        links, now = self._links[stage], monotonic()
        chosen = min(
            links, key=lambda one: one.under_way + AHEAD * (now - one.refused_at < AVOIDED_S)
        )
        # Among equals, whoever was asked longest ago.
        links.remove(chosen)
        links.append(chosen)
        return chosen

    async def close(self) -> None:
        """Close all connections."""
        links = [link for stage in self._links.values() for link in stage]
        await asyncio.gather(*(link.channel.close(None) for link in links))


def _is_refusal(error: grpc.aio.AioRpcError) -> bool:
    """Whether the connection was never made, so that the message went nowhere."""
    if error.code() != grpc.StatusCode.UNAVAILABLE:
        return False
    said = f"{error.details()} {error.debug_error_string()}"
    return "ailed to connect" in said or "Connection refused" in said
