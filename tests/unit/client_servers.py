"""Small real servers, one a transport, in front of one scripted service."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import unquote

import grpc
import trustme
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from alaas.core.errors import AlaasError, EmptyInput, NotFound, StoreDisabled, UnknownPool
from alaas.core.wire import (
    Failure,
    Item,
    Pick,
    PoolInfo,
    Progress,
    PushResponse,
    QueryResponse,
    Receipt,
    StageTiming,
    Timings,
    Warn,
    item_from_json,
)
from alaas.proto import convert, pools
from alaas.proto.alaas.v1 import active_learning_pb2 as pb
from alaas.proto.alaas.v1 import active_learning_pb2_grpc as pb_grpc

WAIT_S = 30  # how long a test waits for an event before it fails

STRATEGIES: list[dict[str, Any]] = [
    {
        "name": "least_confidence",
        "aliases": ["LC", "LeastConfidence"],
        "family": "uncertainty",
        "needs": ["probs"],
        "cost": "O(N C)",
        "paper": "Lewis and Gale 1994",
        "params": {"batch": 4, "tau": 0.5},
        "summary": "One less the largest probability.",
        "labelled": [],
        "optional": [],
        "use": "First.",
        "scales": True,
    }
]


def choose_last(parameters: dict[str, Any], items: Sequence[Item]) -> QueryResponse:
    """Choose the last `budget` items, the very last one first, and fail the first item."""
    if not items:
        raise EmptyInput("the pool has no items")
    chosen = list(items)[::-1][: int(parameters["budget"])]
    return QueryResponse(
        picks=tuple(
            Pick(item.id, rank, 1.0 - rank / 8, uri=item.uri, text=item.text)
            for rank, item in enumerate(chosen)
        ),
        failures=(Failure(items[0].id, "fetch", "upstream_not_found", "gone", items[0].uri),),
        timings=Timings(1.5, {"fetch": StageTiming(0.25, len(items))}),
        receipt=Receipt(
            strategy=str(parameters.get("strategy", "entropy")),
            params=parameters.get("params", {}),
            seed=int(parameters.get("seed", 7)),
            budget=int(parameters["budget"]),
            model="abc",
            version="0.3.0",
            pool_size=len(items) - 1,
        ),
        warnings=(Warn("slow_host", "one host was slow"),),
        request_id="r-1",
    )


def describe(name: str, items: Sequence[Item], ttl_s: float | None) -> PoolInfo:
    """A stored pool, made at the beginning of time."""
    return PoolInfo(
        name, len(items), {"probs": (2,), "draws": (4, 2)}, "5ace", "abc",
        created=1.5, expires=ttl_s, bytes=8 * len(items),
    )  # fmt: skip


@dataclass
class Service:
    """What the servers do with a query, and what they saw.

    Attributes:
        reply: Makes the answer of the parameters and the whole pool.
        refuse: Raised when the first part has arrived, before the rest is read.
        hold: Where set, the answer waits for it.
        chatter: Progress events of 64 KiB each that are sent before any part is read.
        asked: Parameters and pools of the queries that were read to their end.
        parts: Items of each part that arrived.
        arrived: A part has arrived.
        gone: A client left before its answer.
        connections: Connections that were opened.
        stored: Name of a pool to its items; None where nothing is stored.
        pushed: Parameters of the pushes that were read to their end.
        deleted: Names of the pools that were deleted.
        bodies: Content types of the requests with a body.
        memory: Items that are remembered of a pool that arrives; None for all.
    """

    reply: Callable[[dict[str, Any], Sequence[Item]], QueryResponse] = choose_last
    refuse: AlaasError | None = None
    hold: Event | None = None
    chatter: int = 0
    asked: list[tuple[dict[str, Any], list[Item]]] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    arrived: Event = field(default_factory=Event)
    gone: Event = field(default_factory=Event)
    connections: int = 0
    stored: dict[str, list[Item]] | None = field(default_factory=dict)
    pushed: list[dict[str, Any]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    memory: int | None = None

    def take(self, part: Sequence[Item]) -> Progress:
        """Take in a part; the progress is what has been received by then."""
        self.parts.append(len(part))
        self.arrived.set()
        if self.refuse is not None:
            raise self.refuse
        return Progress(done=sum(self.parts), failed=0, received=sum(self.parts))

    def remember(self, items: list[Item], part: list[Item]) -> None:
        """Add a part to those that came before."""
        items += part
        if self.memory is not None:
            del items[: -self.memory]

    def answer(self, parameters: dict[str, Any], items: list[Item]) -> QueryResponse:
        """Answer a pool that is complete."""
        if self.hold is not None:
            assert self.hold.wait(WAIT_S)
        self.asked.append((parameters, items))
        if "pool" in parameters:
            items = self.pool(parameters["pool"])
        return self.reply(parameters, items)

    def push(self, parameters: dict[str, Any], items: list[Item]) -> PushResponse:
        """Store a pool that is complete, all but its first item."""
        if not items:
            raise EmptyInput("the pool has no items")
        self.pushed.append(parameters)
        name, stored = parameters["pool"], items[1:]
        self._opened()[name] = stored
        return PushResponse(
            describe(name, stored, parameters.get("ttl_s")),
            (Failure(items[0].id, "fetch", "upstream_not_found", "gone", items[0].uri),),
            Timings(2.5, {"infer": StageTiming(0.5, len(stored), 0.25, 4096, 3)}),
            (Warn("slow_host", "one host was slow"),),
            "r-2",
        )

    def list_pools(self) -> list[PoolInfo]:
        """The stored pools."""
        return [describe(name, items, None) for name, items in self._opened().items()]

    def pool(self, name: str) -> list[Item]:
        """The items of a stored pool."""
        if name not in self._opened():
            raise UnknownPool(f"no pool {name!r}")
        return self._opened()[name]

    def delete(self, name: str) -> None:
        """Delete a stored pool."""
        self.pool(name)
        del self._opened()[name]
        self.deleted.append(name)

    def _opened(self) -> dict[str, list[Item]]:
        if self.stored is None:
            raise StoreDisabled("nothing is stored")
        return self.stored


def _items(documents: Iterable[Any], start: int = 0) -> list[Item]:
    read = [item_from_json(document, row) for row, document in enumerate(documents, start)]
    return [item for item in read if isinstance(item, Item)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Service
    prefix: str

    def setup(self) -> None:
        super().setup()
        self.service.connections += 1

    def do_GET(self) -> None:
        if self.path == f"{self.prefix}/strategies":
            self._send(200, {"strategies": STRATEGIES})
        elif self.path == f"{self.prefix}/pools":
            self._answer(lambda: {"pools": [one.to_json() for one in self.service.list_pools()]})
        else:
            self._send(404, NotFound(f"nothing at {self.path}").problem())

    def do_DELETE(self) -> None:
        name = unquote(self.path.removeprefix(f"{self.prefix}/pools/"))
        self._answer(lambda: self.service.delete(name))

    def do_POST(self) -> None:
        self.service.bodies.append(self.headers["Content-Type"])
        if self.headers.get("Transfer-Encoding") == "chunked":
            return self._answer(self._read_lines)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return self._answer(lambda: self._read_document(body))

    def _read_document(self, body: dict[str, Any]) -> dict[str, Any] | None:
        if self.path not in (f"{self.prefix}/query", f"{self.prefix}/push"):
            raise NotFound(f"nothing at {self.path}")
        items = _items(body["data"])
        self.service.take(items)
        if self.service.hold is not None and self.rfile.read(1) == b"":
            self.service.gone.set()
            return {}
        return self._reply(body["parameters"], items)

    def _read_lines(self) -> dict[str, Any]:
        try:
            lines = self._chunks()
            head = json.loads(next(lines))
            items: list[Item] = []
            for part in lines:
                came = _items(map(json.loads, part.splitlines()))
                self.service.remember(items, came)
                self.service.take(came)
        except (AlaasError, ValueError):
            self.close_connection = True
            raise
        return self._reply(head["parameters"], items)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):  # fails where the client has gone
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _reply(self, parameters: dict[str, Any], items: list[Item]) -> dict[str, Any]:
        if self.path.endswith("/push"):
            return self.service.push(parameters, items).to_json()
        return self.service.answer(parameters, items).to_json()

    def _answer(self, work: Callable[[], dict[str, Any] | None]) -> None:
        try:
            answer = work()
        except AlaasError as error:
            self._send(error.status, error.problem())
        else:
            if answer is None:
                self.send_response(204)
                self.end_headers()
            elif answer:
                self._send(200, answer)

    def _send(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        kind = "application/json" if status == 200 else "application/problem+json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


class _HttpServer(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client may break a connection off, or refuse a certificate."""


@contextmanager
def http_server(
    service: Service, *, prefix: str = "", certificate: trustme.LeafCert | None = None
) -> Iterator[str]:
    """Serve over HTTP on a free port; gives the address."""
    handler = type("Handler", (_Handler,), {"service": service, "prefix": prefix})
    with _HttpServer(("127.0.0.1", 0), handler) as server:
        if certificate is not None:
            server.socket = server_context(certificate).wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            scheme = "http" if certificate is None else "https"
            yield f"{scheme}://localhost:{server.server_port}{prefix}"
        finally:
            server.shutdown()
            thread.join()


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@contextmanager
def websocket_server(
    service: Service, *, prefix: str = "", certificate: trustme.LeafCert | None = None
) -> Iterator[str]:
    """Serve over WebSocket on a free port; gives the address."""

    def send(connection: ServerConnection, kind: str, document: dict[str, Any]) -> None:
        connection.send(json.dumps({"type": kind, **document}))

    def converse(connection: ServerConnection) -> None:
        query = json.loads(connection.recv())
        assert query["type"] in ("query", "push")
        for done in range(service.chatter):
            padded = {**Progress(done, 0, done).to_json(), "note": "x" * 65536}
            send(connection, "progress", padded)
        items: list[Item] = []
        while (event := json.loads(connection.recv()))["type"] == "items":
            part = _items(event["data"])
            progress = service.take(part)
            service.remember(items, part)
            send(connection, "progress", progress.to_json())
        assert event["type"] == "end"
        if service.hold is not None:
            connection.recv()  # ends when the client has gone
        ask = service.answer if query["type"] == "query" else service.push
        send(connection, "result", ask(query["parameters"], items).to_json())

    def handle(connection: ServerConnection) -> None:
        service.connections += 1
        try:
            converse(connection)
        except AlaasError as error:
            send(connection, "error", {"problem": error.problem()})
        except ConnectionClosed:
            service.gone.set()

    def route(connection: ServerConnection, request: Request) -> Response | None:
        if request.path == f"{prefix}/strategies":
            return connection.respond(200, json.dumps({"strategies": STRATEGIES}))
        if request.path == f"{prefix}/pools":
            try:
                listed = {"pools": [one.to_json() for one in service.list_pools()]}
            except AlaasError as error:
                return connection.respond(error.status, json.dumps(error.problem()))
            return connection.respond(200, json.dumps(listed))
        if request.path != f"{prefix}/ws":
            problem = NotFound(f"nothing at {request.path}").problem()
            return connection.respond(404, json.dumps(problem))
        return None

    context = None if certificate is None else server_context(certificate)
    with serve(handle, "127.0.0.1", 0, ssl=context, max_size=None, process_request=route) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            scheme = "ws" if certificate is None else "wss"
            yield f"{scheme}://localhost:{server.socket.getsockname()[1]}{prefix}"
        finally:
            server.shutdown()
            thread.join()


def _abort(context: grpc.ServicerContext, error: AlaasError) -> None:
    problem = json.dumps(error.problem()).encode()
    context.set_trailing_metadata((("alaas-problem-bin", problem),))
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.detail)


class _Servicer(pb_grpc.ActiveLearningServicer):
    def __init__(self, service: Service) -> None:
        self._service = service

    def QueryStream(
        self, parts: Iterator[pb.QueryPart], context: grpc.ServicerContext
    ) -> Iterator[pb.QueryEvent]:
        parameters = convert.parameters_from_message(next(parts).parameters)
        for event in self._converse(self._service.answer, parameters, parts, context):
            if isinstance(event, Progress):
                yield pb.QueryEvent(progress=convert.progress_to_message(event))
            else:
                yield pb.QueryEvent(response=convert.response_to_message(event))

    def PushStream(
        self, parts: Iterator[pb.PushPart], context: grpc.ServicerContext
    ) -> Iterator[pb.PushEvent]:
        parameters = pools.parameters_from_message(next(parts).parameters)
        for event in self._converse(self._service.push, parameters, parts, context):
            if isinstance(event, Progress):
                yield pb.PushEvent(progress=convert.progress_to_message(event))
            else:
                yield pb.PushEvent(response=pools.response_to_message(event))

    def _converse(
        self, ask: Any, parameters: Any, parts: Iterable[Any], context: grpc.ServicerContext
    ) -> Iterator[Any]:
        service = self._service
        if service.hold is not None:
            context.add_callback(service.gone.set)
        try:
            items: list[Item] = []
            for message in parts:
                part = [
                    convert.item_from_message(item, len(items) + row)
                    for row, item in enumerate(message.items)
                ]
                progress = service.take(part)
                service.remember(items, part)
                yield progress
            yield ask(parameters, items)
        except AlaasError as error:
            _abort(context, error)

    def Pools(self, request: pb.PoolsRequest, context: grpc.ServicerContext) -> pb.PoolsResponse:
        try:
            stored = self._service.list_pools()
        except AlaasError as error:
            _abort(context, error)
        return pb.PoolsResponse(pools=[pools.pool_to_message(one) for one in stored])

    def DeletePool(
        self, request: pb.DeletePoolRequest, context: grpc.ServicerContext
    ) -> pb.DeletePoolResponse:
        try:
            self._service.delete(request.name)
        except AlaasError as error:
            _abort(context, error)
        return pb.DeletePoolResponse()

    def Strategies(
        self, request: pb.StrategiesRequest, context: grpc.ServicerContext
    ) -> pb.StrategiesResponse:
        return pb.StrategiesResponse(
            strategies=[
                pb.Strategy(**{**strategy, "params": convert.struct(strategy["params"])})
                for strategy in STRATEGIES
            ]
        )


@contextmanager
def grpc_server(
    service: Service, *, certificate: trustme.LeafCert | None = None, largest: int = -1
) -> Iterator[str]:
    """Serve over gRPC on a free port, parts of `largest` bytes; gives the address."""
    with ThreadPoolExecutor(4) as workers:
        server = grpc.server(workers, options=[("grpc.max_receive_message_length", largest)])
        pb_grpc.add_ActiveLearningServicer_to_server(  # type: ignore[no-untyped-call]
            _Servicer(service), server
        )
        if certificate is None:
            port = server.add_insecure_port("localhost:0")
        else:
            chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
            pair = (certificate.private_key_pem.bytes(), chain)
            port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([pair]))
        server.start()
        try:
            yield f"{'grpc' if certificate is None else 'grpcs'}://localhost:{port}"
        finally:
            server.stop(None).wait()


SERVERS: dict[str, Callable[..., AbstractContextManager[str]]] = {
    "http": http_server,
    "ws": websocket_server,
    "grpc": grpc_server,
}
STREAMS = ("ws", "grpc")


def write_bundle(authority: trustme.CA, folder: Path) -> str:
    """Write the authority's certificate as a CA bundle."""
    path = folder / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)
