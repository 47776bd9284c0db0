"""Who may do what: keys and their scopes, callers from elsewhere, hosts, origins, open ports."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import requests
from access_peers import (
    Key,
    Outcome,
    call,
    channel,
    elsewhere,
    handshake,
    key,
    methods,
    raw,
    unanswered,
)
from faults import WAIT_S, Running, is_open, running, until

from alaas.client import Client
from alaas.core.errors import Forbidden, Unauthenticated
from alaas.server import scopes

READER, ROOT, STRANGER = key("reader"), key("root", "admin"), key("stranger")
PAGE = "https://label.example.com"
HEALTH = "/grpc.health.v1.Health/Check"

Route = tuple[str, str, str | None]


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with a key for each scope, which pages of one other origin may call."""
    folder = tmp_path_factory.mktemp("keyed")
    auth = {"keys": [READER.entry, ROOT.entry], "origins": PAGE}
    with running(folder, grpc=True, auth=auth, limits={"requests_per_key": 2}) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server without keys that listens on all networks."""
    folder = tmp_path_factory.mktemp("bare")
    with running(folder, grpc=True, worker={"host": "0.0.0.0"}) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture(scope="module")
def anonymous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The same, which serves everybody as the container image does."""
    folder = tmp_path_factory.mktemp("anonymous")
    told = {"ALAAS_AUTH__ANONYMOUS": "true"}
    with running(folder, grpc=True, worker={"host": "0.0.0.0"}, environment=told) as server:
        yield server
        assert server.stop() == 0


def http_routes() -> list[Route]:
    """Every HTTP route that there may be: method, a path, the scope it needs."""
    return [
        (method, path.replace("{name:path}", "x").replace("{id}", "x"), scope)
        for path, by_method in scopes.ROUTES.items()
        for method, scope in by_method.items()
        if method != scopes.WEBSOCKET
    ]


def ask(server: Running, method: str, path: str, **headers: str) -> requests.Response:
    return requests.request(method, server.url + path, headers=headers, timeout=WAIT_S, stream=True)


def code_of(response: requests.Response) -> str:
    assert response.headers["Content-Type"] == "application/problem+json"
    return str(response.json()["code"])


@pytest.mark.parametrize(("method", "path", "scope"), http_routes())
def test_row64_every_http_route_asks_for_a_key(
    keyed: Running, method: str, path: str, scope: str | None
) -> None:
    for shown in ({}, STRANGER.header, {"Authorization": f"Basic {READER.secret}"}):
        with ask(keyed, method, path, **shown) as response:
            if scope is scopes.OPEN:
                assert response.status_code not in (401, 403)
                continue
            assert response.status_code == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert code_of(response) == "unauthenticated"
    for holder in (READER, ROOT):
        with ask(keyed, method, path, **holder.header) as response:
            opened = scope is scopes.OPEN or scope == "query" or holder is ROOT
            assert (response.status_code == 403) == (not opened)
            assert response.status_code != 401
            if not opened:
                assert code_of(response) == "forbidden"


def test_row64_no_route_of_the_document_is_forgotten(keyed: Running) -> None:
    described = keyed.get("/openapi.json", headers=READER.header).json()["paths"]
    known = {path.replace("{name:path}", "{name}"): on for path, on in scopes.ROUTES.items()}
    for path, operations in described.items():
        assert {method.upper() for method in operations} <= set(known[path.replace(":path", "")])


def test_row64_what_there_is_is_not_told_without_a_key(keyed: Running) -> None:
    for path in ("/nothing", "/query/", "//query", "/livez/../metrics", "/METRICS"):
        for method in ("GET", "PUT", "OPTIONS"):
            with ask(keyed, method, path) as response:
                assert response.status_code == 401, path
    assert ask(keyed, "GET", "/nothing", **ROOT.header).status_code == 404
    wrong = ask(keyed, "PUT", "/query", **ROOT.header)
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "POST")


def test_row64_every_grpc_method_asks_for_a_key(keyed: Running) -> None:
    with channel(keyed.addresses["grpc"].removeprefix("grpc://")) as opened:
        found = methods(opened, READER.metadata)
        assert set(found) == set(scopes.CALLS)
        for method in found:
            none, wrong, reader, root = (
                call(opened, method, shown)
                for shown in ((), STRANGER.metadata, READER.metadata, ROOT.metadata)
            )
            if scopes.CALLS[method] is scopes.OPEN:
                assert none == wrong == reader == root == Outcome("OK", None)
                continue
            assert none == wrong == Outcome("UNAUTHENTICATED", "unauthenticated"), method
            refused = Outcome("PERMISSION_DENIED", "forbidden")
            assert (reader == refused) == (scopes.CALLS[method] == "admin"), method
            assert root.status not in ("UNAUTHENTICATED", "PERMISSION_DENIED"), method


def test_row64_a_websocket_is_refused_before_it_is_opened(keyed: Running) -> None:
    for shown in ({}, STRANGER.header):
        with ask(keyed, "GET", "/ws", **handshake(**shown)) as response:
            assert response.status_code == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert code_of(response) == "unauthenticated"
    with ask(keyed, "GET", "/ws", **handshake(**READER.header)) as response:
        assert response.status_code == 101


@pytest.mark.parametrize("scheme", ["http", "ws", "grpc"])
def test_row64_the_client_shows_its_key(
    keyed: Running, scheme: str, blobs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = keyed.addresses[scheme]
    for wrong in (None, STRANGER.secret):
        with Client(address, api_key=wrong) as client, pytest.raises(Unauthenticated):
            client.query(blobs, 2)
    with Client(address, api_key=READER.secret) as client:
        assert len(client.query(blobs, 2)) == 2
        assert client.strategies()
        with pytest.raises(Forbidden):
            client.delete_pool("none")
    monkeypatch.setenv("ALAAS_API_KEY", READER.secret)
    with Client(address) as client:
        assert client.strategies()


def test_row64_the_log_has_refusals_and_no_keys(keyed: Running) -> None:
    with ask(keyed, "GET", "/pools", **STRANGER.header) as response:
        named = response.headers["X-Request-ID"]
    (line,) = [
        event
        for event in keyed.events()
        if event.get("event") == "refused" and event.get("request_id") == named
    ]
    assert (line["code"], line["peer"]) == ("unauthenticated", "127.0.0.1")
    assert not [one.name for one in (READER, ROOT, STRANGER) if one.secret in keyed.log()]


def test_row52_a_key_that_is_busy_leaves_the_others_alone(
    keyed: Running, blobs: list[dict[str, Any]]
) -> None:
    def query(holder: Key) -> requests.Response:
        body = {"data": blobs, "parameters": {"budget": 1}}
        return keyed.post("/query", body, headers=holder.header)

    head = [f"{name}: {value}" for name, value in READER.header.items()]
    stream = request(
        "POST /query HTTP/1.1", "Host: localhost", *head,
        "Content-Type: application/x-ndjson", "Transfer-Encoding: chunked",
    )  # fmt: skip
    with unanswered(keyed.url, stream), unanswered(keyed.url, stream):
        until(lambda: query(READER).status_code == 429, "both streams count")
        refused = query(READER)
        assert code_of(refused) == "quota"
        assert int(refused.headers["Retry-After"]) > 0
        with channel(keyed.addresses["grpc"].removeprefix("grpc://")) as opened:
            asked = "/alaas.v1.ActiveLearning/Query"
            assert call(opened, asked, READER.metadata).code == "quota"
            assert call(opened, asked, ROOT.metadata).code == "validation"
        assert query(ROOT).status_code == 200
    until(lambda: query(READER).status_code == 200, "the places are free again")


def request(*lines: str) -> bytes:
    return "\r\n".join((*lines, "Connection: close", "", "")).encode("latin-1")


@pytest.mark.parametrize(
    "lines",
    [
        ("GET /metrics HTTP/1.1", "Host: a/?x="),
        ("GET /livez HTTP/1.1", "Host: a/?x="),
        ("GET /metrics HTTP/1.1", "Host: 127.0.0.1/livez?"),
        ("GET /metrics HTTP/1.1", "Host: a@127.0.0.1"),
        ("GET /metrics HTTP/1.1", "Host: a b"),
        ("GET /metrics HTTP/1.1", "Host: [::1"),
        ("GET /metrics HTTP/1.1", "Host: "),
        ("GET /metrics HTTP/1.1", "Host: localhost", "Host: /livez"),
        ("GET /metrics HTTP/1.1",),
        ("GET /metrics HTTP/1.0",),
        ("GET http://localhost/livez HTTP/1.1", "Host: localhost"),
        ("GET livez/../metrics HTTP/1.1", "Host: localhost"),
        ("OPTIONS * HTTP/1.1", "Host: localhost"),
    ],
)
def test_row65_a_confusing_host_or_target_is_refused(
    keyed: Running, bare: Running, lines: tuple[str, ...]
) -> None:
    for server, shown in ((keyed, READER.header), (keyed, {}), (bare, {})):
        sent = [f"{name}: {value}" for name, value in shown.items()]
        answer = raw(server.url, request(*lines, *sent))
        assert answer.startswith(b"HTTP/1.1 400 "), answer[:200]
        assert b"alaas_build_info" not in answer


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example"])
def test_row65_another_name_is_refused_without_keys(bare: Running, host: str) -> None:
    for path in ("/strategies", "/metrics", "/docs"):
        with ask(bare, "GET", path, Host=host) as response:
            assert (response.status_code, code_of(response)) == (400, "host_refused")
    assert ask(bare, "GET", "/livez", Host=host).status_code == 200


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "a.localhost", "192.0.2.1", "[::1]:8"]
)
def test_row65_addresses_and_localhost_are_no_other_name(bare: Running, host: str) -> None:
    assert ask(bare, "GET", "/strategies", Host=host).status_code == 200


def test_row66_executors_and_the_probe_listen_on_loopback_only(bare: Running) -> None:
    listening = {
        (connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port)
        for process in bare.family()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    public = {port for ip, port in listening if ip in ("0.0.0.0", "::")}
    private = {port for ip, port in listening if ip in ("127.0.0.1", "::1")}
    assert sorted(public) == bare.ports
    assert {ip for ip, _ in listening} <= {"0.0.0.0", "::", "127.0.0.1", "::1"}
    # Fetch, preprocess, infer, score, and the port that the supervisor asks.
    assert len(private) >= 5
    for port in private:
        assert is_open(port)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((elsewhere(), port), WAIT_S)


def addresses(server: Running, host: str) -> dict[str, str]:
    """Where a server is asked by another address of this machine."""
    return {scheme: at.replace("127.0.0.1", host) for scheme, at in server.addresses.items()}


@pytest.mark.parametrize("scheme", ["http", "ws", "grpc"])
def test_row67_without_keys_only_this_machine_is_served(
    bare: Running, scheme: str, blobs: list[dict[str, Any]]
) -> None:
    with Client(bare.addresses[scheme]) as client:
        assert len(client.query(blobs, 2)) == 2
    with (
        Client(addresses(bare, elsewhere())[scheme]) as client,
        pytest.raises(Unauthenticated, match=r"alaas keys new.*auth: \{anonymous: true\}"),
    ):
        client.query(blobs, 2)


def test_row67_a_probe_is_answered_from_everywhere(bare: Running) -> None:
    assert requests.get(addresses(bare, elsewhere())["http"] + "/readyz", timeout=WAIT_S).ok
    with channel(addresses(bare, elsewhere())["grpc"].removeprefix("grpc://")) as opened:
        assert call(opened, HEALTH) == Outcome("OK", None)


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_row67_what_a_proxy_passes_on_is_not_from_this_machine(bare: Running, name: str) -> None:
    with ask(bare, "GET", "/strategies", **{name: "127.0.0.1"}) as response:
        assert response.status_code == 401
    with channel(bare.addresses["grpc"].removeprefix("grpc://")) as opened:
        passed = ((name.lower(), "127.0.0.1"),)
        assert call(opened, "/alaas.v1.ActiveLearning/Strategies", passed).code == "unauthenticated"


def test_row67_everybody_is_served_where_the_operator_says_so(
    anonymous: Running, blobs: list[dict[str, Any]]
) -> None:
    first = anonymous.events()[0]
    assert "everybody" in first["served"]
    for address in addresses(anonymous, elsewhere()).values():
        with Client(address) as client:
            assert len(client.query(blobs, 2)) == 2
            with pytest.raises(Forbidden):
                client.delete_pool("none")
    far = requests.get(addresses(anonymous, elsewhere())["http"] + "/metrics", timeout=WAIT_S)
    assert far.status_code == 403
    assert anonymous.get("/metrics").status_code == 200


def test_row68_a_foreign_page_gets_no_leave(keyed: Running, bare: Running) -> None:
    for server in (keyed, bare):
        for origin in (
            "https://evil.example",
            "null",
            f"{PAGE}.evil.example",
            "http://localhost:1",
        ):
            asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            with ask(server, "OPTIONS", "/query", **asked) as response:
                assert response.status_code == 403
                assert not [name for name in response.headers if name.lower().startswith("access")]
            for method in ("POST", "DELETE"):
                with ask(server, method, "/query", Origin=origin, **ROOT.header) as response:
                    assert (response.status_code, code_of(response)) == (403, "forbidden")
            with ask(server, "GET", "/ws", **handshake(Origin=origin)) as response:
                assert (response.status_code, code_of(response)) == (403, "forbidden")
            with ask(server, "GET", "/strategies", Origin=origin, **ROOT.header) as response:
                assert response.status_code == 200
                assert "Access-Control-Allow-Origin" not in response.headers


def test_row68_a_listed_page_gets_leave_for_itself_alone(keyed: Running) -> None:
    asked = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    with ask(keyed, "OPTIONS", "/query", **asked) as response:
        assert response.status_code == 200
        assert response.headers["Access-Control-Allow-Origin"] == PAGE
        assert "Origin" in response.headers["Vary"]
        assert "Access-Control-Allow-Credentials" not in response.headers
    for shown, status in ((READER.header, 200), ({}, 401)):
        with ask(keyed, "GET", "/strategies", Origin=PAGE, **shown) as response:
            assert response.status_code == status
            assert response.headers["Access-Control-Allow-Origin"] == PAGE
            assert "Origin" in response.headers["Vary"]
    with ask(keyed, "GET", "/ws", **handshake(Origin=PAGE, **READER.header)) as response:
        assert response.status_code == 101


def test_row68_a_page_of_the_service_itself_may_call(bare: Running) -> None:
    with ask(bare, "POST", "/query", Origin=bare.url) as response:
        assert response.status_code == 415


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_row68_what_a_form_can_send_is_not_taken(bare: Running, kind: str) -> None:
    body = b'{"data": [{"text": "a"}], "parameters": {"budget": 1}}'
    headers = {"Content-Type": kind} if kind else {}
    answer = requests.post(bare.url + "/query", data=body, headers=headers, timeout=WAIT_S)
    assert (answer.status_code, code_of(answer)) == (415, "unsupported_media_type")
