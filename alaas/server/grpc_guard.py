"""The guard of the gRPC methods: it asks who calls before any message is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import grpc
import structlog

from alaas.config.access import AuthSettings
from alaas.core.errors import AlaasError, Forbidden
from alaas.server import interception, logs, scopes
from alaas.server.auth import CALLER, NOBODY, Access, Caller, is_forwarded, is_loopback
from alaas.server.errors import grpc_details, grpc_status, grpc_trailers
from alaas.server.interception import Context
from alaas.server.metrics import Metrics

log = structlog.get_logger()


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in its stubs only
    """Lets through callers who have what the method needs.

    Args:
        settings: Who may call.
        metrics: Where refusals are counted.
    """

    def __init__(self, settings: AuthSettings, metrics: Metrics) -> None:
        self._access = Access(settings)
        self._metrics = metrics

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> Any:
        """Give the handler of a call, which asks who calls before it answers."""
        handler = await continuation(details)
        method = details.method

        @asynccontextmanager
        async def admitted(context: Context) -> AsyncIterator[None]:
            try:
                CALLER.set(self._admit(method, context))
            except AlaasError as error:
                await self._abort(error, context)
            yield

        return interception.around(handler, admitted)

    def _admit(self, method: str, context: Context) -> Caller:
        if scopes.CALLS.get(method, "") is scopes.OPEN:
            return NOBODY
        metadata = [(str(name), value) for name, value in context.invocation_metadata() or ()]
        caller = self._access.identify(
            [_bytes(value) for name, value in metadata if name == "authorization"],
            local=is_local(context.peer()) and not is_forwarded([name for name, _ in metadata]),
        )
        if (needed := scopes.CALLS.get(method)) is None:
            raise Forbidden(f"no scope opens {method}")
        caller.check(needed)
        return caller

    async def _abort(self, error: AlaasError, context: Context) -> None:
        log.warning("refused", code=error.code, peer=_address(context.peer()))
        self._metrics.rejected.labels(error.code).inc()
        trailers = grpc_trailers(error, logs.request_id())
        await context.abort(grpc_status(error), grpc_details(error), trailing_metadata=trailers)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def is_local(peer: str) -> bool:
    """Whether what gRPC calls a peer is on this machine."""
    return peer.startswith(("unix:", "unix-abstract:")) or is_loopback(_address(peer))


def _address(peer: str) -> str:
    """The address in what gRPC calls a peer, such as ``ipv6:%5B::1%5D:50051``."""
    _, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]")
