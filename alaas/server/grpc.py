"""The gRPC API: `alaas.v1.ActiveLearning`, the standard health service, and reflection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from alaas.config.listeners import Listener
from alaas.core.errors import AlaasError, FieldError, ValidationFailed
from alaas.core.wire import Item, Progress
from alaas.pipeline.ledger import Part
from alaas.pipeline.replay import Again
from alaas.proto import convert, pools
from alaas.proto.alaas.v1 import active_learning_pb2 as pb
from alaas.proto.alaas.v1 import active_learning_pb2_grpc as stubs
from alaas.server import logs
from alaas.server.accounting import Books, CallAccounting
from alaas.server.calls import CUT, NAME, Context, Intake
from alaas.server.grpc_guard import Guard
from alaas.server.service import Service

T = TypeVar("T")
Message = TypeVar("Message", pb.QueryPart, pb.PushPart)

_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    # Without this a second server on the same port would silently share its calls.
    ("grpc.so_reuseport", 0),
]


class ActiveLearning(stubs.ActiveLearningServicer):
    """The servicer over a `Service`."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def Query(  # noqa: N802  # the contract's spelling
        self, request: pb.QueryRequest, context: Context
    ) -> pb.QueryResponse:
        """Choose from a pool sent in one message."""
        response = await self._service.query(
            convert.parameters_from_message(request.parameters),
            Again(_items(request.items, 0)),
            request_id=logs.request_id(),
        )
        return convert.response_to_message(response)

    async def QueryStream(  # noqa: N802
        self, parts: AsyncIterator[pb.QueryPart], context: Context
    ) -> AsyncIterator[pb.QueryEvent]:
        """Choose from a pool sent in parts; progress comes back meanwhile."""
        first = await anext(aiter(parts), pb.QueryPart())
        parameters = convert.parameters_from_message(first.parameters)
        ask = partial(self._service.query, parameters, _pool(first, parts))
        async with aclosing(_conversation(ask)) as events:
            async for event in events:
                if isinstance(event, Progress):
                    yield pb.QueryEvent(progress=convert.progress_to_message(event))
                else:
                    yield pb.QueryEvent(response=convert.response_to_message(event))

    async def Push(  # noqa: N802
        self, request: pb.PushRequest, context: Context
    ) -> pb.PushResponse:
        """Store a pool sent in one message."""
        response = await self._service.push(
            pools.parameters_from_message(request.parameters),
            Again(_items(request.items, 0)),
            request_id=logs.request_id(),
        )
        return pools.response_to_message(response)

    async def PushStream(  # noqa: N802
        self, parts: AsyncIterator[pb.PushPart], context: Context
    ) -> AsyncIterator[pb.PushEvent]:
        """Store a pool sent in parts; progress comes back meanwhile."""
        first = await anext(aiter(parts), pb.PushPart())
        parameters = pools.parameters_from_message(first.parameters)
        ask = partial(self._service.push, parameters, _pool(first, parts))
        async with aclosing(_conversation(ask)) as events:
            async for event in events:
                if isinstance(event, Progress):
                    yield pb.PushEvent(progress=convert.progress_to_message(event))
                else:
                    yield pb.PushEvent(response=pools.response_to_message(event))

    async def Pools(  # noqa: N802
        self, request: pb.PoolsRequest, context: Context
    ) -> pb.PoolsResponse:
        """List the stored pools."""
        stored = await self._service.pools()
        return pb.PoolsResponse(pools=[pools.pool_to_message(one) for one in stored])

    async def DeletePool(  # noqa: N802
        self, request: pb.DeletePoolRequest, context: Context
    ) -> pb.DeletePoolResponse:
        """Delete a stored pool."""
        await self._service.delete_pool(request.name)
        return pb.DeletePoolResponse()

    async def Strategies(  # noqa: N802
        self, request: pb.StrategiesRequest, context: Context
    ) -> pb.StrategiesResponse:
        """List the strategies."""
        listed = [
            pb.Strategy(**{**one, "params": convert.struct(one["params"])})
            for one in self._service.strategies()
        ]
        return pb.StrategiesResponse(strategies=listed)


async def _conversation(
    ask: Callable[..., Coroutine[Any, Any, T]],
) -> AsyncGenerator[Progress | T, None]:
    """Progress as it comes in, and the answer at the end."""
    request_id = logs.request_id()
    news: asyncio.Queue[Progress | None] = asyncio.Queue()
    work = asyncio.create_task(ask(request_id=request_id, on_progress=news.put_nowait))
    work.add_done_callback(lambda _: news.put_nowait(None))
    try:
        while (progress := await news.get()) is not None:
            yield progress
        yield await work
    finally:
        work.cancel()


async def _pool(first: Message, parts: AsyncIterator[Message]) -> AsyncIterator[Part]:
    """The items of a stream's messages, the first of which has been read."""
    row = 0
    part: Message | None = first
    while part is not None:
        if part.items:
            items = _items(part.items, row)
            row += len(items)
            yield items
        part = await anext(aiter(parts), None)


def _items(messages: Iterable[pb.Item], start: int) -> list[Item]:
    items = []
    for row, message in enumerate(messages, start):
        if message.WhichOneof("content") is None:
            pointer = f"/data/{row}"
            text = "must have exactly one of uri, text and blob; it has none of them"
            raise ValidationFailed(f"{pointer}: {text}", errors=[FieldError(pointer, text)])
        items.append(convert.item_from_message(message, row))
    return items


async def serve(
    service: Service, listener: Listener, credentials: grpc.ServerCredentials | None
) -> grpc.aio.Server:
    """Start a server.

    Args:
        service: What answers.
        listener: Where to listen.
        credentials: Certificate and key, for a listener with TLS.

    Returns:
        The server, accepting calls; its health is ``SERVING``.
    """
    guard = Guard(service.settings.auth, service.metrics)
    books = CallAccounting(Books(service.metrics, service.tracing))
    longest = CUT * service.settings.limits.body_bytes
    server = grpc.aio.server(
        interceptors=[books, guard, Intake(service.admission)],
        options=[*_OPTIONS, ("grpc.max_receive_message_length", longest)],
    )
    stubs.add_ActiveLearningServicer_to_server(ActiveLearning(service), server)  # type: ignore[no-untyped-call]
    checks = _Health(service)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    names = (NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    host = f"[{listener.host}]" if ":" in listener.host else listener.host
    address = f"{host}:{listener.port}"
    if credentials is None:
        server.add_insecure_port(address)
    else:
        server.add_secure_port(address, credentials)
    await server.start()
    return server


class _Health(health_pb2_grpc.HealthServicer):
    """The standard health service, which says what `GET /readyz` says."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in {"", NAME}:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r}")
        return health_pb2.HealthCheckResponse(status=await self._status())

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        told = None
        while True:
            status = await self._status()
            if status != told:
                yield health_pb2.HealthCheckResponse(status=status)
                told = status
            if self._service.stopping:
                return  # a call without an end would hold up the stop
            await asyncio.sleep(_WATCH_S)

    async def _status(self) -> int:
        try:
            await self._service.check()
        except AlaasError:
            return int(health_pb2.HealthCheckResponse.NOT_SERVING)
        return int(health_pb2.HealthCheckResponse.SERVING)


_WATCH_S = 1.0
"""Seconds between two looks of a client that watches the health."""
