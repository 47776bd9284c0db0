"""A query or a push over a WebSocket: the pool comes in parts, progress and the answer go back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from fastapi import WebSocket, WebSocketDisconnect
from websockets.exceptions import ConnectionClosed

from alaas.config import LimitsSettings
from alaas.core.errors import AlaasError, ValidationFailed
from alaas.core.wire import Failure, Item, Progress, PushResponse, QueryResponse
from alaas.pipeline.ledger import OnProgress, Part
from alaas.server import schema
from alaas.server.accounting import GONE
from alaas.server.auth import caller_of
from alaas.server.errors import event
from alaas.server.limits import RATE, check_stream, silent, too_large
from alaas.server.presence import leaves_before
from alaas.server.service import Service


def endpoint(service: Service) -> Callable[[WebSocket], Awaitable[None]]:
    """The handler of one connection, which carries one query or one push."""

    async def ws(socket: WebSocket) -> None:
        await socket.accept()
        request_id = socket.state.id
        try:
            with service.admission.enter(caller_of(socket).name):
                await _converse(socket, service, request_id)
        except AlaasError as error:
            service.admission.refused(error)
            socket.state.status = error.status
            await _send(socket, event(error, request_id))
        except (WebSocketDisconnect, ConnectionResetError):
            socket.state.status = GONE
            return
        await _close(socket)

    return ws


class _Ask(Protocol):
    """What `Service.query` and `Service.push` have in common."""

    async def __call__(
        self,
        parameters: Mapping[str, Any],
        source: AsyncIterable[Part],
        *,
        request_id: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> QueryResponse | PushResponse:
        """Answer."""
        ...


async def _converse(socket: WebSocket, service: Service, request_id: str) -> None:
    """Parameters, the pool in parts, progress, the answer."""
    limits = service.settings.limits
    first = await _frame(socket, limits, first=True)
    kinds: dict[Any, _Ask] = {"query": service.query, "push": service.push}
    ask = kinds.get(first.get("type"))
    if ask is None:
        raise ValidationFailed("the first message must have the type 'query' or 'push'")
    socket.state.method = first["type"]
    parameters, items = schema.read_query(first)
    news: asyncio.Queue[Progress | None] = asyncio.Queue()
    complete = asyncio.Event()
    work = asyncio.ensure_future(
        ask(
            parameters,
            _source(socket, items, complete, limits),
            request_id=request_id,
            on_progress=news.put_nowait,
        )
    )
    work.add_done_callback(lambda _: news.put_nowait(None))

    async def watch() -> None:
        gone = await leaves_before(complete, socket.scope)
        while not gone:
            gone = (await socket.receive())["type"] == "websocket.disconnect"
        news.put_nowait(None)

    watcher = asyncio.create_task(watch())
    try:
        with service.held():
            while (progress := await news.get()) is not None:
                await _send(socket, {"type": "progress", **progress.to_json()})
            if not work.done():
                raise WebSocketDisconnect(1006)
            response = await work
            answer = (
                response.to_json(parameters)
                if isinstance(response, QueryResponse)
                else response.to_json()
            )
            await _send(socket, {"type": "result", **answer})
            socket.state.status = 200
    finally:
        work.cancel()
        await _end(watcher)


async def _source(
    socket: WebSocket,
    items: list[Item | Failure],
    complete: asyncio.Event,
    limits: LimitsSettings,
) -> AsyncIterator[Part]:
    """The pool: what came with the first message, then part after part up to the end."""
    row = len(items)
    check_stream(row, limits)
    if items:
        yield items
    while (frame := await _frame(socket, limits)).get("type") != "end":
        if frame.get("type") != "items" or not isinstance(frame.get("data"), list):
            raise ValidationFailed(
                "after the first message come messages of the types 'items' and 'end'"
            )
        check_stream(row + len(frame["data"]), limits)
        part = schema.read_items(frame["data"], row)
        row += len(part)
        yield part
    complete.set()


async def _frame(
    socket: WebSocket, limits: LimitsSettings, *, first: bool = False
) -> dict[str, Any]:
    """The next message: a JSON object.

    Raises:
        RequestTimeout: It does not come.
        BodyTooLarge: It has more bytes than it may.
        ConnectionResetError: The client has gone.
        MalformedJSON: It is not JSON.
        ValidationFailed: It is not an object.
    """
    key = "silence_s" if first else "stream_silence_s"
    message = await _heard(socket, getattr(limits, key), key)
    if message["type"] == "websocket.disconnect":
        raise ConnectionResetError("the client has gone")
    content = (message.get("text") or "").encode() or message.get("bytes") or b""
    if len(content) > limits.body_bytes:
        raise too_large("a message", limits)
    document = schema.read_json(content, depth=limits.depth)
    if not isinstance(document, dict):
        raise ValidationFailed(f"a message must be an object, got {type(document).__name__}")
    return document


async def _heard(socket: WebSocket, silence_s: float, key: str) -> Mapping[str, Any]:
    """Wait for a message, as long as something comes."""
    heard = socket.scope["state"].get("heard", int)
    receiving = asyncio.ensure_future(socket.receive())
    try:
        while True:
            before = heard()
            await asyncio.wait({receiving}, timeout=silence_s)
            if receiving.done():
                return receiving.result()
            if heard() - before < RATE * silence_s:
                raise silent(key)
    finally:
        await _end(receiving)


async def _send(socket: WebSocket, event: dict[str, Any]) -> None:
    try:
        await socket.send_json(event)
    except (RuntimeError, WebSocketDisconnect, ConnectionClosed):  # while we were writing
        raise WebSocketDisconnect(1006) from None


async def _close(socket: WebSocket) -> None:
    """Close it. What the client has sent by then stands before its farewell, and is read."""
    reading = asyncio.ensure_future(_discard(socket))
    with suppress(RuntimeError):  # the client closed first
        await socket.close()
    await _end(reading)


async def _discard(socket: WebSocket) -> None:
    with suppress(RuntimeError):  # it is closed
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass


async def _end(task: asyncio.Future[Any]) -> None:
    """Cancel, and wait for the end: only one may read a socket at a time."""
    task.cancel()
    await asyncio.wait({task})
