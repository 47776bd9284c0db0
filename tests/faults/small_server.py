"""A service in a thread of the test: real ports and real limits over an engine that is a toy."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
import uvicorn
from faults import WAIT_S, free_ports, until
from test_pipeline_engine import Toy

from alaas.config import Settings
from alaas.config.listeners import Listener
from alaas.core.types import Items
from alaas.server import grpc as ours
from alaas.server import http
from alaas.server.connections import uvicorn_options
from alaas.server.jobs.service import Jobs
from alaas.server.metrics import Metrics
from alaas.server.models import Models
from alaas.server.service import Service

JSON, LINES = "application/json", "application/x-ndjson"

T = TypeVar("T")


class Gate:
    """Holds every micro-batch of an engine until it is opened.

    Attributes:
        reached: Micro-batches that came to it.
    """

    def __init__(self, *, is_open: bool = True) -> None:
        self.reached = 0
        self._open = threading.Event()
        self._passing = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        if is_open:
            self._open.set()

    async def __call__(self, items: Items) -> None:
        """Pass, now or later."""
        self.reached += 1
        self._loop = asyncio.get_running_loop()
        if not self._open.is_set():
            await self._passing.wait()

    def open(self) -> None:
        """Let everything pass from now on."""
        self._open.set()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._passing.set)


class Answer:
    """What came back over a raw connection.

    Attributes:
        status: Of the first answer.
        headers: Of it; names in lower case.
        body: Of it.
        closed: Whether the server closed the connection after it.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        head, rest = self._until(b"", b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        size = int(self.headers.get("content-length", "0"))
        while len(rest) < size:
            rest += self._more()
        self.body = rest[:size]

    def _until(self, data: bytes, end: bytes) -> tuple[bytes, bytes]:
        while end not in data:
            data += self._more()
        head, _, rest = data.partition(end)
        return head, rest

    def _more(self) -> bytes:
        chunk = self._connection.recv(65536)
        assert chunk, "closed before the end of the answer"
        return chunk

    @property
    def closed(self) -> bool:
        """Whether nothing follows but the end; waits for it."""
        return self._connection.recv(1) == b""

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


class SmallServer:
    """Where it is, and what is in it.

    Attributes:
        port: Of HTTP and WebSocket.
        grpc_port: Of gRPC.
        service: What answers.
        engine: What computes.
        gate: What holds its micro-batches.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Toy,
        gate: Gate,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self.port, self.grpc_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"
        self.engine, self.gate = engine, gate
        self.service: Service
        self._settings = settings
        self._credentials = credentials
        self._started = threading.Event()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._live(),))

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.service = Service(Models([self.engine]), self._settings, Metrics([self.engine.card]))
        app, jobs = http.create_app(self.service), None
        if self._settings.jobs.url is not None:
            jobs = app.state.jobs = Jobs(self.service, self._settings)
            await jobs.start()
        config = uvicorn.Config(
            app, host="127.0.0.1", port=self.port, log_config=None,
            access_log=False, lifespan="off", ws_ping_timeout=None,
            **uvicorn_options(self._settings.limits),
        )  # fmt: skip
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[method-assign]
        running = asyncio.create_task(server.serve())
        calls = await ours.serve(
            self.service,
            Listener("grpc", "127.0.0.1", self.grpc_port, False, ("grpc",)),
            self._credentials,
        )
        while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0)
        self._started.set()
        await self._ended.wait()
        if jobs is not None:
            await jobs.stop()
        server.should_exit = True
        await running
        await calls.stop(None)
        self.service.tracing.close()
        if jobs is not None:
            jobs.close()

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        until(lambda: self._started.is_set() or not self._thread.is_alive(), "it listens")
        assert self._thread.is_alive()

    def stop(self) -> None:
        """Let everybody go."""
        self.gate.open()
        self.leave()

    def leave(self) -> None:
        """End with what is under way at the gate."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()

    def ask(self, look: Callable[[], T]) -> T:
        """Call something on the event loop of the service."""

        async def looking() -> T:
            return look()

        return asyncio.run_coroutine_threadsafe(looking(), self._loop).result(WAIT_S)

    def figure(self, line: str) -> bool:
        """Whether the metrics have this line."""
        return line in self.ask(self.service.metrics.exposition).decode().splitlines()

    def connect(self) -> socket.socket:
        """A raw connection to the port of HTTP."""
        return socket.create_connection(("127.0.0.1", self.port), WAIT_S)

    def send(self, *parts: bytes) -> Answer:
        """Send bytes over a connection of their own; the first answer to them."""
        with self.connect() as connection:
            for part in parts:
                connection.sendall(part)
            return Answer(connection)

    def channel(self) -> grpc.Channel:
        """A gRPC channel, which has to be closed."""
        return grpc.insecure_channel(
            f"127.0.0.1:{self.grpc_port}", options=[("grpc.max_send_message_length", -1)]
        )

    def idle(self) -> bool:
        """Whether nothing is taken on or held, and no slot is taken."""
        admission = self.service.admission
        counted = (admission.requests, admission.held_bytes, admission.held_items)
        return counted == (0, 0, 0) and self.engine.running == 0

    def until_idle(self) -> None:
        """Wait until all that was taken on was let go."""
        until(lambda: self.ask(self.idle), "every place is free")


@contextmanager
def serving(
    limits: Mapping[str, Any] = {},
    *,
    gate: Gate | None = None,
    credentials: grpc.ServerCredentials | None = None,
    **settings: Any,
) -> Iterator[SmallServer]:
    """A small server; at its end nothing may be held.

    Args:
        limits: Section `limits` of its configuration.
        gate: What holds its micro-batches; open by default.
        credentials: Certificate and key, for gRPC with TLS.
        settings: Other sections.
    """
    gate = gate or Gate()
    tree = {"limits": dict(limits), "log": {"level": "error"}, **settings}
    server = SmallServer(
        Settings.model_validate(tree), Toy(during=gate, window=64), gate, credentials
    )
    server.start()
    try:
        yield server
        gate.open()
        server.until_idle()
    finally:
        server.stop()


def request(
    body: bytes, path: str = "/query", *, kind: str = JSON, size: int | None = None, **more: str
) -> bytes:
    """The bytes of a POST, whose head may say another length."""
    headers = {"Host": "127.0.0.1", "Content-Type": kind, **more}
    if "Transfer_Encoding" not in more:
        headers["Content-Length"] = str(len(body) if size is None else size)
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def pool(size: int, **parameters: Any) -> dict[str, Any]:
    """A query over so many addresses."""
    return {"data": [f"u{row}" for row in range(size)], "parameters": {"budget": 1, **parameters}}


def query(size: int, **parameters: Any) -> bytes:
    """The same in JSON."""
    return json.dumps(pool(size, **parameters)).encode()


def lines(size: int) -> bytes:
    """The same in lines."""
    return b'{"parameters": {"budget": 1}}\n' + b"".join(b'"u%d"\n' % row for row in range(size))
