"""Doing something around every call of a gRPC method, whatever its kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, TypeAlias

import grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_KINDS: dict[tuple[bool, bool], tuple[str, Any]] = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


def around(handler: Any, enter: Callable[[Context], AbstractAsyncContextManager[None]]) -> Any:
    """A handler that does what another one does, inside of a context manager.

    Args:
        handler: What gRPC found for a method; None where there is no such method.
        enter: Makes the context manager of one call.

    Returns:
        The handler, or None.
    """
    if handler is None:
        return None
    kind, make = _KINDS[handler.request_streaming, handler.response_streaming]
    ask = getattr(handler, kind)

    async def answer(request: Any, context: Context) -> Any:
        async with enter(context):
            return await ask(request, context)

    async def answers(request: Any, context: Context) -> AsyncIterator[Any]:
        async with enter(context), aclosing(ask(request, context)) as events:
            async for event in events:
                yield event

    return make(
        answers if handler.response_streaming else answer,
        handler.request_deserializer,
        handler.response_serializer,
    )
