"""WebSocket: the pool goes out in parts while progress comes in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing, contextmanager
from dataclasses import replace
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import CloseCode

from alaas.client.address import Address
from alaas.client.answers import lost, read_push, read_response, refusal, unlike_ours
from alaas.client.call import Call
from alaas.client.parts import cut
from alaas.client.progress import OnProgress
from alaas.client.tls import ssl_context
from alaas.core.errors import BodyTooLarge, from_problem
from alaas.core.wire import Item, PoolInfo, Progress, PushResponse, QueryResponse

if TYPE_CHECKING:
    from alaas.client.http import HttpTransport

_T = TypeVar("_T")

_TOO_BIG = "a part of the request is larger than the server reads"


class WebSocketTransport:
    """Asks over a WebSocket, one connection a query or push.

    The connection lives on an event loop in a thread of its own: it is read at all times,
    also while a part waits for the server to take it, so neither side can block the other.
    """

    def __init__(self, address: Address, *, verify: bool | str, api_key: str | None = None) -> None:
        self._address = address
        self._verify = verify
        self._api_key = api_key

    def query(
        self,
        parameters: Mapping[str, Any],
        items: Iterable[Item],
        *,
        call: Call,
        on_progress: OnProgress,
    ) -> QueryResponse:
        """Send a pool in parts and wait for the selection."""
        event = self._converse(_frames("query", parameters, items), call, on_progress)
        return read_response(event, self._address)

    def push(
        self,
        parameters: Mapping[str, Any],
        items: Iterable[Item],
        *,
        call: Call,
        on_progress: OnProgress,
    ) -> PushResponse:
        """Send a pool in parts and wait until it is stored."""
        event = self._converse(_frames("push", parameters, items), call, on_progress)
        return read_push(event, self._address)

    def _converse(
        self, frames: Iterable[str], call: Call, on_progress: OnProgress
    ) -> Mapping[str, Any]:
        with _event_loop() as submit:
            opening = submit(self._open(call.open_timeout()))
            call.on_give_up(opening.cancel)
            connection = self._outcome(opening)
            try:
                answer = submit(_listen(connection, on_progress))
                call.on_give_up(answer.cancel)
                for frame in frames:
                    sending = submit(connection.send(frame))
                    wait(cast("list[Future[Any]]", [sending, answer]), return_when=FIRST_COMPLETED)
                    if answer.done() or sending.exception() is not None:
                        break
                event = self._outcome(answer)
            finally:
                submit(_abort(connection)).result()
        return self._read(event)

    def strategies(self, *, call: Call) -> list[dict[str, Any]]:
        """The strategies that the server offers, asked for over HTTP."""
        with self._http() as http:
            return http.strategies(call=call)

    def pools(self, *, call: Call) -> list[PoolInfo]:
        """The pools that the server has stored, asked for over HTTP."""
        with self._http() as http:
            return http.pools(call=call)

    def delete_pool(self, name: str, *, call: Call) -> None:
        """Have the server delete a stored pool, over HTTP."""
        with self._http() as http:
            http.delete_pool(name, call=call)

    def _http(self) -> closing[HttpTransport]:
        from alaas.client.http import HttpTransport

        address = replace(self._address, family="http")
        return closing(HttpTransport(address, verify=self._verify, api_key=self._api_key))

    def close(self) -> None:
        """Nothing: a connection ends with its query."""

    async def _open(self, within_s: float) -> ClientConnection:
        return await connect(
            self._address.url("/ws"),
            ssl=ssl_context(self._verify) if self._address.secure else None,
            additional_headers={"Authorization": f"Bearer {self._api_key}"}
            if self._api_key
            else None,
            open_timeout=within_s,
            close_timeout=5,
            max_size=None,
            compression=None,
            # A server that is busy with a part reads no ping until it takes the next one.
            ping_interval=None,
        )

    def _outcome(self, future: Future[_T]) -> _T:
        try:
            return future.result()
        except InvalidStatus as error:
            status, body = error.response.status_code, error.response.body or b""
            raise refusal(status, bytes(body), self._address) from error
        except ConnectionClosed as error:
            if error.rcvd is not None and error.rcvd.code == CloseCode.MESSAGE_TOO_BIG:
                raise BodyTooLarge(f"{self._address}: {error.rcvd.reason or _TOO_BIG}") from error
            raise lost(self._address, error) from error
        except (OSError, WebSocketException) as error:
            raise lost(self._address, error) from error
        except (KeyError, TypeError, ValueError) as error:
            raise unlike_ours(self._address, error) from error

    def _read(self, event: Mapping[str, Any] | None) -> Mapping[str, Any]:
        if event is None:
            raise lost(self._address, "the server closed it before the answer")
        if event["type"] == "error":
            raise from_problem(event.get("problem") or {})
        return event


def _frames(kind: str, parameters: Mapping[str, Any], items: Iterable[Item]) -> Iterator[str]:
    yield json.dumps({"type": kind, "parameters": parameters})
    for part in cut(items):
        yield json.dumps({"type": "items", "data": [item.to_json() for item in part]})
    yield json.dumps({"type": "end"})


async def _listen(connection: ClientConnection, on_progress: OnProgress) -> dict[str, Any] | None:
    """Take in events up to the last one; None if the server closed without it."""
    async for frame in connection:
        event: dict[str, Any] = json.loads(frame)
        if event["type"] != "progress":
            await connection.close()
            return event
        on_progress(Progress.from_json(event))
    return None


async def _abort(connection: ClientConnection) -> None:
    connection.transport.abort()


class _Submit:
    """Starts coroutines on a loop that runs in another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)


@contextmanager
def _event_loop() -> Iterator[_Submit]:
    """An event loop in a thread of its own, which ends with the context."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def live() -> None:
        over = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), over))
        await over.wait()

    thread = Thread(target=asyncio.run, args=(live(),), name="alaas-websocket", daemon=True)
    thread.start()
    loop, over = started.result()
    try:
        yield _Submit(loop)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
