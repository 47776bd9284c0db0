"""gRPC calls on their way in and out: counted, measured, timed, and refused in our words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, aclosing
from functools import partial
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError

from alaas.config import LimitsSettings
from alaas.core.errors import AlaasError, Internal, InvalidRequest
from alaas.proto.alaas.v1 import active_learning_pb2 as pb
from alaas.server import logs
from alaas.server.auth import CALLER
from alaas.server.errors import grpc_details, grpc_status, grpc_trailers
from alaas.server.limits import (
    Admission,
    Ticket,
    check_document,
    check_inline,
    check_stream,
    too_large,
    within,
)

NAME = pb.DESCRIPTOR.services_by_name["ActiveLearning"].full_name

CUT = 2
"""A message of so many times the limit is not read to its end; up to there, the answer says why
it is refused."""

_POOLED = frozenset(
    f"/{NAME}/{method}" for method in ("Query", "QueryStream", "Push", "PushStream")
)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

log = structlog.get_logger()


class Intake(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in its stubs only
    """Takes on the calls of `ActiveLearning`, and answers their errors.

    A method with one message is read like one with many: gRPC would otherwise call it only
    when the message is there, wait for that as long as the client likes, and say in its own
    words what is wrong with it.

    Args:
        admission: What counts them.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> Any:
        """Give the handler of a call."""
        handler = await continuation(details)
        method = details.method
        if handler is None or not method.startswith(f"/{NAME}/"):
            return handler
        limits = self._admission.limits

        async def answer(messages: Any, context: Context) -> Any:
            with ExitStack() as stack:
                try:
                    ticket = self._enter(method, stack)
                    request = await _next(aiter(messages), limits, "stream_silence_s")
                    if request is None:
                        raise InvalidRequest("the call ended without a message")
                    if ticket is not None:
                        _hold(request, ticket)
                        _hasten(request, context)
                    return await handler.unary_unary(request, context)
                except Exception as error:  # noqa: BLE001  # it is answered
                    await self._abort(context, error)

        async def answers(messages: Any, context: Context) -> AsyncIterator[Any]:
            with ExitStack() as stack:
                try:
                    self._enter(method, stack)
                    parts = _parts(aiter(messages), limits, context)
                    async with aclosing(handler.stream_stream(parts, context)) as events:
                        async for event in events:
                            yield event
                except Exception as error:  # noqa: BLE001  # it is answered
                    await self._abort(context, error)

        streams = handler.response_streaming
        make: Any = (
            grpc.stream_stream_rpc_method_handler
            if streams
            else grpc.stream_unary_rpc_method_handler
        )
        read = partial(_read, handler.request_deserializer, limits)
        return make(answers if streams else answer, read, handler.response_serializer)

    def _enter(self, method: str, stack: ExitStack) -> Ticket | None:
        if method not in _POOLED:
            return None
        return stack.enter_context(self._admission.enter(CALLER.get().name))

    async def _abort(self, context: Context, error: Exception) -> None:
        if isinstance(error, grpc.aio.AbortError):
            raise error
        if not isinstance(error, AlaasError):
            log.error("failed", exc_info=error)
            error = Internal("an error of the service; its log has the cause")
        self._admission.refused(error)
        trailers = grpc_trailers(error, logs.request_id())
        await context.abort(grpc_status(error), grpc_details(error), trailing_metadata=trailers)


def _read(parse: Callable[[bytes], Any], limits: LimitsSettings, message: bytes) -> Any:
    """A message, or what is wrong with it: an error in here would be answered by gRPC."""
    if len(message) > limits.body_bytes:
        return too_large("a message", limits)
    try:
        return parse(message)
    except DecodeError:
        return InvalidRequest("the message is not of the type that the method takes")


async def _next(messages: AsyncIterator[Any], limits: LimitsSettings, key: str) -> Any:
    """The next message of a call, if it comes in time; None at the end."""
    async with within(getattr(limits, key), key):
        message = await anext(messages, None)
    if isinstance(message, AlaasError):
        raise message
    return message


async def _parts(
    messages: AsyncIterator[Any], limits: LimitsSettings, context: Context
) -> AsyncIterator[Any]:
    """The messages of a stream, as they come."""
    count = 0
    message = await _next(messages, limits, "silence_s")
    if message is not None:
        _hasten(message, context)
    while message is not None:
        count += len(message.items)
        check_stream(count, limits)
        yield message
        message = await _next(messages, limits, "stream_silence_s")


def _hold(request: pb.QueryRequest | pb.PushRequest, ticket: Ticket) -> None:
    """Check and count a pool that came in one message."""
    check_document(len(request.items), ticket.limits)
    blobs = sum(item.WhichOneof("content") == "blob" for item in request.items)
    check_inline(blobs, ticket.limits)
    ticket.hold(size=request.ByteSize(), items=len(request.items))


def _hasten(message: Any, context: Context) -> None:
    """Give a query no more time than its caller waits."""
    left = context.time_remaining()
    given = message.parameters
    if left is not None and not (given.HasField("timeout_s") and given.timeout_s <= left):
        given.timeout_s = max(left, 1e-3)
