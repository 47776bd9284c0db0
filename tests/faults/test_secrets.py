"""What grants access to something, and what would pass for a line of the log, stay out of sight.

One server whose every secret has the same sign in it, asked well and badly over all protocols.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import pytest
import requests
from faults import Running, free_ports, running, until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from alaas.core import keys
from alaas.proto.alaas.v1 import active_learning_pb2 as pb
from alaas.proto.alaas.v1 import active_learning_pb2_grpc as stubs

SIGN = "s3nt1nel"
KEY = keys.make()
EVIL = (
    'x\n{"event": "forged", "level": "info"}\r\n'
    "2026-01-01T00:00:00Z [info] forged\x1b[2J\x00\u2028y"
)


class Holder(BaseHTTPRequestHandler):
    """Holds items behind addresses with secrets in them, and says secrets itself."""

    items: bytes

    def do_GET(self) -> None:
        name = self.path.partition("?")[0]
        self.send_response({"/good": 200, "/moved": 302}.get(name, 403))
        self.send_header("Location", f"http://{SIGN}:{SIGN}@127.0.0.1:1/a?sig={SIGN}")
        self.send_header("WWW-Authenticate", f"Bearer {SIGN}")
        body = self.items if name == "/good" else f"the signature {SIGN} has expired".encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def holder(paths: list[str]) -> Iterator[str]:
    """The address of a server that holds items."""
    Holder.items = Path(paths[0]).read_bytes()
    with ThreadingHTTPServer(("127.0.0.1", 0), Holder) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def secretive(
    tmp_path_factory: pytest.TempPathFactory, pictures: Path
) -> Iterator[tuple[Running, int]]:
    """A server with secrets everywhere, and the port of its figures."""
    figures, nowhere = free_ports(2)
    with running(
        tmp_path_factory.mktemp("secretive"),
        grpc=True,
        environment={
            "AWS_SECRET_ACCESS_KEY": f"{SIGN}-of-the-store",
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{SIGN}",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        },
        fetch={"roots": [str(pictures)], "networks": ["127.0.0.0/8"]},
        auth={"keys": [{"name": "mine", "sha256": keys.digest(KEY), "scopes": ["admin"]}]},
        metrics={"port": figures},
        tracing={"endpoint": f"http://me:{SIGN}@127.0.0.1:{nowhere}/traces?of={SIGN}"},
        log={"format": "json", "level": "debug"},
    ) as server:
        yield server, figures
        assert server.stop() == 0


def bad_uris(holder: str) -> list[str]:
    port = holder.rpartition(":")[2]
    return [
        f"{holder}/refused?X-Amz-Credential=a&X-Amz-Signature={SIGN}",
        f"{holder}/moved?token={SIGN}",
        f"http://me:{SIGN}@127.0.0.1:{port}/good",
        f"https://127.0.0.1:1/a.png?sig={SIGN}",
        f"ftp://me:{SIGN}@host/a",
        f"s3://bucket/key?X-Amz-Security-Token={SIGN}",
        f"http://[::{SIGN}",
        f"file:///nowhere/a.png?key={SIGN}",
    ]


def headers(key: str = KEY, **more: str) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {key}",
        "Cookie": f"session={SIGN}",
        "User-Agent": SIGN,
        "Referer": f"https://page/?token={SIGN}",
        **more,
    }


def documents(holder: str) -> list[tuple[str, Any]]:
    """Path and body of requests, good and bad."""
    uri = f"{holder}/good?X-Amz-Signature={SIGN}"
    good = {"data": [uri, *bad_uris(holder)], "parameters": {"budget": 1}}
    twice = {"data": [{"id": uri, "uri": uri}, {"id": uri, "uri": uri}]}
    return [
        ("/query", good),
        ("/query", {**good, "parameters": {"budget": 1, "on_item_error": "fail"}}),
        ("/query", {"data": bad_uris(holder), "parameters": {"budget": 1}}),
        ("/query", {**good, "parameters": {"budget": uri}}),
        ("/query", {**good, "parameters": {"budget": 1, "strategy": uri}}),
        ("/query", {**good, "parameters": {"budget": 1, "pool": uri}}),
        ("/query", {**good, "parameters": {"budget": 1, f"api_key={SIGN}": 1}}),
        ("/query", {**twice, "parameters": {"budget": 1}}),
        ("/query", {"data": [{"uri": uri, "text": uri}], "parameters": {"budget": 1}}),
        ("/query", {"data": [{"id": "a", "blob": f"{SIGN}!"}], "parameters": {"budget": 1}}),
        ("/push", {**good, "parameters": {"pool": "kept"}}),
        ("/push", {"data": bad_uris(holder), "parameters": {"pool": uri}}),
        ("/post", {**good, "exec_endpoint": uri}),
    ]


def over_http(server: Running, holder: str) -> list[tuple[int, str]]:
    """Ask over HTTP; statuses and answers without what a caller said itself."""
    answers = [
        requests.post(f"{server.url}{path}?token={SIGN}", json=body, headers=headers(), timeout=60)
        for path, body in documents(holder)
    ]
    answers += [
        requests.get(f"{server.url}{path}", headers=headers(key), timeout=60)
        for path in ("/info", "/models", "/metrics", f"/pools/https://a/b?sig={SIGN}",
                     "/openapi.json", "/strategies", "/", "/readyz", "/livez",
                     f"/nothing?sig={SIGN}")
        for key in (KEY, f"alaas_{SIGN}")
    ]  # fmt: skip
    broken = f'{{"data": ["https://a/b?sig={SIGN}"'
    answers.append(
        requests.post(f"{server.url}/query", data=broken, timeout=60,
                      headers=headers(**{"Content-Type": "application/json"}))
    )  # fmt: skip
    return [(answer.status_code, shown(answer)) for answer in answers]


def shown(answer: requests.Response) -> str:
    """An answer and its headers without the items that the caller named itself."""
    text = answer.text
    if answer.ok and answer.headers["Content-Type"] == "application/json":
        document = answer.json()
        for key in ("data", "failures", "parameters"):
            document.pop(key, None)
        text = json.dumps(document)
    return f"{answer.headers} {text}"


def over_the_others(server: Running, holder: str) -> list[str]:
    """Ask over a WebSocket and gRPC; the errors that came back."""
    told = []
    for path, body in documents(holder):
        if path != "/post":
            with connect(f"{server.addresses['ws']}/ws", additional_headers=headers()) as socket:
                socket.send(json.dumps({"type": path[1:], **body}))
                socket.send(json.dumps({"type": "end"}))
                try:
                    while "progress" in (text := str(socket.recv(timeout=60)))[:20]:
                        pass
                except ConnectionClosed as closed:
                    text = str(closed)
                if "problem" in text[:60]:
                    told.append(text)
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{server.addresses['ws']}/ws", additional_headers=headers(f"alaas_{SIGN}"))
    told.append(f"{refused.value.response.headers} {refused.value.response.body!r}")
    with grpc.insecure_channel(server.addresses["grpc"].removeprefix("grpc://")) as channel:
        stub = stubs.ActiveLearningStub(channel)
        asked = pb.QueryRequest(
            parameters=pb.Parameters(budget=1),
            items=[pb.Item(id=u, uri=u) for u in bad_uris(holder)],
        )
        for key in (KEY, f"alaas_{SIGN}"):
            with pytest.raises(grpc.RpcError) as failed:
                stub.Query(asked, timeout=60, metadata=[("authorization", f"Bearer {key}")])
            told.append(f"{failed.value.details()} {failed.value.trailing_metadata()}")
    return told


def test_row69_secrets_are_nowhere_but_where_the_caller_reads_its_own(
    secretive: tuple[Running, int], holder: str
) -> None:
    server, figures = secretive
    answers = over_http(server, holder)
    statuses = [status for status, _ in answers]
    assert statuses.count(200) >= 10
    assert {401, 404, 422} <= set(statuses)
    told = [text for _, text in answers] + over_the_others(server, holder)
    assert len(told) > 45
    assert [text for text in told if SIGN in text or KEY in text] == []
    exposed = requests.get(f"http://127.0.0.1:{figures}/metrics", timeout=60).text
    assert "alaas_items_total" in exposed
    assert SIGN not in exposed
    assert KEY not in exposed
    # The collector does not answer, and the line that says so has its address.
    until(lambda: "opentelemetry" in server.log(), "somebody has complained of the collector")
    log = server.log()
    assert SIGN not in log
    assert KEY not in log
    # There were occasions: addresses are quoted, without what is secret of them.
    assert "/good?[hidden]" in log
    events = server.events()
    assert {event["process"] for event in events} >= {"supervisor", "gateway"}
    assert [event for event in events if event.get("code") == "unauthenticated"]
    encoded = base64.b64encode(SIGN.encode()).decode()
    assert encoded not in log


def test_row70_whatever_a_caller_writes_a_record_is_one_line(
    secretive: tuple[Running, int],
) -> None:
    server, _ = secretive
    before = len(server.events())
    mine = {"X-Request-ID": "row-70"}
    for body in (
        {"data": [{"id": EVIL, "uri": EVIL, "group": EVIL}], "parameters": {"budget": 1}},
        {"data": ["a"], "parameters": {"budget": 1, "strategy": EVIL}},
        {"data": ["a"], "parameters": {"budget": 1, "pool": EVIL}},
        {"data": ["a"], "parameters": {"budget": EVIL}},
        {"data": ["a"], "parameters": {"budget": 1, EVIL: EVIL}},
        {
            "data": [{"id": EVIL, "text": "a"}, {"id": EVIL, "text": "b"}],
            "parameters": {"budget": 1},
        },
    ):
        answer = server.post("/query", body, headers=headers(**mine))
        assert 400 <= answer.status_code < 500
        assert answer.headers["X-Request-ID"] == "row-70"
    server.get(f"/pools/{requests.utils.quote(EVIL)}", headers=headers(**mine))
    events = server.events()[before:]  # each line is a JSON document, or this raises
    assert len([event for event in events if event.get("request_id") == "row-70"]) >= 6
    assert "forged" not in {event["event"] for event in events}
    # The text was there, and stood in a field.
    assert [event for event in events if "forged" in str(event.get("detail"))]
    assert re.fullmatch(r"[\x20-\x7e\n]*", server.log())
