"""What is particular to one transport: connections, prefixes, TLS, odd servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest
import trustme
from client_servers import (
    SERVERS,
    STRATEGIES,
    Service,
    grpc_server,
    http_server,
    websocket_server,
    write_bundle,
)
from websockets.sync.server import ServerConnection, serve

from alaas.client import Client
from alaas.core.errors import (
    AlaasError,
    BodyTooLarge,
    ConnectionFailed,
    DeadlineExceeded,
    NotFound,
    Unavailable,
)

URIS = ["http://a/0.png", "http://a/1.png"]


@pytest.fixture
def service() -> Service:
    return Service()


@contextmanager
def _odd_http_server(status: int, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_http_keeps_its_connection(service: Service) -> None:
    with http_server(service) as address, Client(address) as client:
        client.query(URIS, 1)
        client.query(URIS, 1)
        client.strategies()
    assert service.connections == 1


@pytest.mark.parametrize("family", ["http", "ws"])
def test_prefix(family: str, service: Service) -> None:
    with SERVERS[family](service, prefix="/a/b") as address, Client(f"{address}/") as client:
        assert client.query(URIS, 1).uris == ["http://a/1.png"]
        assert client.strategies() == STRATEGIES


@pytest.mark.parametrize(("family", "path"), [("http", "/query"), ("ws", "/ws")])
def test_wrong_prefix(family: str, path: str, service: Service) -> None:
    with (
        SERVERS[family](service) as address,
        Client(f"{address}/wrong") as client,
        pytest.raises(NotFound, match=f"nothing at /wrong{path}"),
    ):
        client.query(URIS, 1)


def test_websocket_reads_while_it_sends(service: Service) -> None:
    service.chatter = 200  # 13 MB, which the server sends before it reads any part
    pool = [bytes(8 << 20)] * 3  # more than the buffers between the two can hold
    with websocket_server(service) as address, Client(address) as client:
        assert client.query(pool, 1).ids == ["2"]
    assert service.parts == [1] * 3


def test_grpc_finds_a_server_that_comes_late(service: Service) -> None:
    with grpc_server(Service()) as address:
        pass
    with Client(address) as client, pytest.raises(ConnectionFailed):
        client.strategies()
    with grpc_server(service) as address, Client(address) as client:
        assert client.strategies() == STRATEGIES


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"<html>", ConnectionFailed),
        (200, b'{"data": []}', ConnectionFailed),
        (200, b"[]", ConnectionFailed),
        (301, b"", AlaasError),
        (404, b"<html>", NotFound),
        (502, b'{"error": "bad gateway"}', Unavailable),
        (503, b"", Unavailable),
        (504, b"\xff", DeadlineExceeded),
    ],
)
def test_http_server_of_another_kind(status: int, body: bytes, kind: type[AlaasError]) -> None:
    with _odd_http_server(status, body) as address, Client(address) as client:
        for ask in (lambda: client.query(URIS, 1), client.strategies):
            with pytest.raises(kind) as caught:
                ask()
            assert address in caught.value.detail


@pytest.mark.parametrize(
    "frames", [[], ["<html>"], ["[]"], ['{"type": "result"}'], ['{"type": "progress"}']]
)
def test_websocket_server_of_another_kind(frames: list[str]) -> None:
    def handle(connection: ServerConnection) -> None:
        for frame in frames:
            connection.send(frame)

    with serve(handle, "127.0.0.1", 0) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        address = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        try:
            with pytest.raises(ConnectionFailed) as caught:
                Client(address).query(URIS, 1)
        finally:
            server.shutdown()
            thread.join()
    assert address in caught.value.detail


def test_a_part_that_a_websocket_server_does_not_read_is_too_large() -> None:
    def handle(connection: ServerConnection) -> None:
        connection.recv()

    with serve(handle, "127.0.0.1", 0, max_size=20) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            with pytest.raises(BodyTooLarge):
                Client(f"ws://127.0.0.1:{server.socket.getsockname()[1]}").query(URIS, 1)
        finally:
            server.shutdown()
            thread.join()


def test_a_part_that_a_grpc_server_does_not_read_is_too_large(service: Service) -> None:
    with grpc_server(service, largest=20) as address, pytest.raises(BodyTooLarge):
        Client(address).query(URIS, 1)


def test_grpc_asks_an_http_server(service: Service) -> None:
    with (
        http_server(service) as address,
        Client(address.replace("http", "grpc"), timeout=30) as client,
        pytest.raises(ConnectionFailed, match="no connection to grpc://localhost"),
    ):
        client.strategies()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certificate(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("localhost")


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("family", SERVERS)
class TestTLS:
    def test_trusted_bundle(
        self,
        family: str,
        service: Service,
        authority: trustme.CA,
        certificate: trustme.LeafCert,
        tmp_path: Path,
    ) -> None:
        bundle = write_bundle(authority, tmp_path)
        with (
            SERVERS[family](service, certificate=certificate) as address,
            Client(address, verify=bundle) as client,
        ):
            assert client.query(URIS, 1).uris == ["http://a/1.png"]

    def test_stranger(self, family: str, service: Service, certificate: trustme.LeafCert) -> None:
        with (
            SERVERS[family](service, certificate=certificate) as address,
            Client(address) as client,
            pytest.raises(ConnectionFailed, match="localhost"),
        ):
            client.query(URIS, 1)
        assert service.asked == []

    @pytest.mark.parametrize("name", ["localhost", "elsewhere.example"])
    def test_no_questions_asked(
        self,
        family: str,
        name: str,
        service: Service,
        authority: trustme.CA,
    ) -> None:
        with (
            SERVERS[family](service, certificate=authority.issue_cert(name)) as address,
            Client(address, verify=False) as client,
        ):
            assert client.query(URIS, 1).uris == ["http://a/1.png"]

    def test_deadline(self, family: str, service: Service, certificate: trustme.LeafCert) -> None:
        service.hold = Event()
        with (
            SERVERS[family](service, certificate=certificate) as address,
            Client(address, verify=False, timeout=0.5) as client,
        ):
            try:
                with pytest.raises(DeadlineExceeded):
                    client.query(URIS, 1)
            finally:
                service.hold.set()

    def test_environment_does_not_override(
        self,
        family: str,
        service: Service,
        certificate: trustme.LeafCert,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        other = write_bundle(trustme.CA(), tmp_path)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", other)
        with (
            SERVERS[family](service, certificate=certificate) as address,
            Client(address, verify=False) as client,
        ):
            assert len(client.query(URIS, 1)) == 1
