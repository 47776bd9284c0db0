"""What is too large, too much or too slow is refused, and what was taken on goes on."""

from __future__ import annotations

import json
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import repeat
from typing import Any

import grpc
import pytest
import requests
import trustme
from faults import WAIT_S, until
from small_server import (
    LINES,
    Answer,
    Gate,
    SmallServer,
    lines,
    pool,
    query,
    request,
    serving,
)
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import ClientConnection, connect

from alaas.core import keys
from alaas.proto.alaas.v1 import active_learning_pb2 as pb
from alaas.proto.alaas.v1 import active_learning_pb2_grpc as stubs
from alaas.server.connections import DISCARDED

SMALL = {"body_bytes": 4096, "items": 20, "inline_items": 3, "stream_items": 50}
PLAIN = query(3, cache=False)  # computed for each caller, where another's work could be shared
QUICK = {"silence_s": 0.2, "stream_silence_s": 0.4}


@contextmanager
def speaking(server: SmallServer) -> Iterator[ClientConnection]:
    address = f"ws://127.0.0.1:{server.port}/ws"
    with connect(address, max_size=None, compression=None) as connection:
        yield connection


def told(connection: ClientConnection) -> dict[str, Any]:
    """The last message of a conversation."""
    for message in connection:
        event: dict[str, Any] = json.loads(message)
        if event["type"] != "progress":
            return event
    raise AssertionError("it ended without a word")


def message(items: int = 0, **parameters: Any) -> str:
    return json.dumps({"type": "query", **pool(items, **parameters)})


@contextmanager
def calling(server: SmallServer) -> Iterator[stubs.ActiveLearningStub]:
    with closing(server.channel()) as channel:
        yield stubs.ActiveLearningStub(channel)  # type: ignore[no-untyped-call]


def asked(items: int, **parameters: Any) -> pb.QueryRequest:
    return pb.QueryRequest(
        parameters=pb.Parameters(**{"budget": 1, **parameters}),
        items=[pb.Item(uri=f"u{row}") for row in range(items)],
    )


def refusal(call: Callable[[], Any]) -> tuple[grpc.StatusCode, dict[str, Any], dict[str, Any]]:
    """The status of a call that fails, its trailers, and its problem."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    trailers = {entry.key: entry.value for entry in error.trailing_metadata()}
    return error.code(), trailers, json.loads(trailers.get("alaas-problem-bin", b"{}"))


def names(problem: dict[str, Any], key: str, value: object) -> bool:
    """Whether a problem says which limit it is, and how much it allows."""
    return f"limits.{key}" in problem["detail"] and str(value) in problem["detail"]


def test_row08_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent() -> None:
    with serving(SMALL) as server:
        for path in ("/query", "/push", "/post"):
            answer = server.send(request(b"", path, size=4097))
            assert (answer.status, answer.json()["code"]) == (413, "body_too_large")
            assert names(answer.json(), "body_bytes", 4096)
        waiting = server.send(request(b"", size=4097, Expect="100-continue"))
        assert (waiting.status, waiting.headers["connection"]) == (413, "close")
        assert server.engine.cut == []
        assert server.figure('alaas_rejected_total{reason="body_too_large"} 4.0')
        assert server.send(request(query(9).ljust(4096))).status == 200


def test_row08_whoever_sends_it_all_the_same_gets_the_answer_and_can_go_on() -> None:
    with serving(SMALL) as server, server.connect() as connection:
        connection.sendall(request(b" " * 3_000_000))
        assert Answer(connection).status == 413
        connection.sendall(request(query(5)))
        assert Answer(connection).status == 200


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)


def send_on(connection: socket.socket, block: bytes) -> int:
    """Send for as long as somebody reads; how many bytes that were."""
    sent = 0
    with suppress(ConnectionError):
        while sent < 10 * DISCARDED:
            connection.sendall(block)
            sent += len(block)
    return sent


@pytest.mark.parametrize("kind", ["application/json", LINES])
def test_row09_a_body_that_grows_past_the_limit_takes_no_more_memory_than_it(kind: str) -> None:
    limit, block = 4 * 2**20, chunked(b" " * 2**16)
    with serving({"body_bytes": limit}) as server, server.connect() as connection:
        assert server.send(request(query(3))).status == 200  # what is loaded once is loaded
        tracemalloc.start()
        try:
            connection.sendall(request(b"", kind=kind, Transfer_Encoding="chunked"))
            sent = send_on(connection, block)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 2 * limit
        # What is sent beyond the limit is read for a while, and what the system holds is a part.
        assert sent < 1.5 * DISCARDED
        server.until_idle()
        assert server.figure('alaas_rejected_total{reason="body_too_large"} 1.0')


def test_row09_a_body_without_a_length_is_answered_and_the_connection_closed() -> None:
    with serving({**SMALL, **QUICK}) as server, server.connect() as connection:
        body = chunked(b" " * 4096, b" ")
        connection.sendall(request(body, Transfer_Encoding="chunked"))
        answer = Answer(connection)
        assert (answer.status, answer.json()["code"]) == (413, "body_too_large")
        connection.settimeout(0.02)
        for _ in range(2_000):
            with suppress(TimeoutError):
                assert answer.closed
                break
            connection.sendall(chunked(b"x"))
        else:
            raise AssertionError("it is read for ever")


def test_row09_a_length_that_lies_does_not_reach_the_next_request() -> None:
    with serving(QUICK) as server, server.connect() as connection:
        connection.sendall(request(query(3) + b"GET /pools HTTP/1.1\r\n", size=len(query(3))))
        assert Answer(connection).status == 200
        late = Answer(connection)  # what is beyond the length is a request that has no end
        assert (late.status, late.closed) == (408, True)


def test_row10_too_many_items_are_refused_with_the_limit_and_a_way_out() -> None:
    blobs = [{"blob": "AAAA"}] * 4
    with serving({**SMALL, "body_bytes": 10**6}) as server:
        many = server.send(request(query(21))).json()
        assert (many["code"], names(many, "items", 20)) == ("too_many_items", True)
        assert "application/x-ndjson" in many["detail"]
        inline = {"data": blobs, "parameters": {"budget": 1}}
        inside = server.send(request(json.dumps(inline).encode())).json()
        assert (inside["code"], names(inside, "inline_items", 3)) == ("too_many_items", True)
        stream = server.send(request(lines(51), kind=LINES)).json()
        assert (stream["code"], names(stream, "stream_items", 50)) == ("too_many_items", True)
        assert server.send(request(query(20))).status == 200
        assert server.send(request(lines(50), kind=LINES)).status == 200


def test_row10_over_websocket_and_grpc_as_well() -> None:
    with serving({**SMALL, "body_bytes": 10**6}) as server:
        with speaking(server) as connection:
            connection.send(message())
            for _ in range(6):
                connection.send(json.dumps({"type": "items", "data": ["u"] * 9}))
            assert told(connection)["problem"]["code"] == "too_many_items"
        with calling(server) as stub:
            status, trailers, problem = refusal(lambda: stub.Query(asked(21), timeout=WAIT_S))
            assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert trailers["alaas-code"] == "too_many_items"
            assert names(problem, "items", 20)
            inline = pb.QueryRequest(items=[pb.Item(blob=b"x")] * 4)
            _, _, problem = refusal(lambda: stub.Query(inline, timeout=WAIT_S))
            assert names(problem, "inline_items", 3)
            parts = [pb.QueryPart(parameters=asked(0).parameters, items=asked(9).items)] * 6
            _, trailers, problem = refusal(
                lambda: list(stub.QueryStream(iter(parts), timeout=WAIT_S))
            )
            assert names(problem, "stream_items", 50)


def dribble(connection: socket.socket, letters: Iterator[bytes]) -> Answer:
    """Send little by little until there is an answer."""
    connection.settimeout(0.02)
    for letter in letters:
        connection.sendall(letter)
        try:
            connection.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            continue
        connection.settimeout(WAIT_S)
        return Answer(connection)
    raise AssertionError("it was heard to its end")


HEAD = b"POST /query HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.mark.parametrize(
    ("begun", "letter"),
    [
        (HEAD, b""),
        (HEAD + b"X-Slow: ", b"x"),
        (request(b'{"data": [', size=4000), b""),
        (request(b'{"data": [', size=4000), b" "),
        (request(b'{"parameters"', kind=LINES, size=4000), b" "),
        (request(lines(1) + b'"u', kind=LINES, size=4000), b"u"),
        (request(lines(1), kind=LINES, size=4000), b""),
    ],
    ids=["head", "slow head", "body", "slow body", "slow first line", "slow line", "lines"],
)
def test_row11_what_comes_too_slowly_is_given_up(begun: bytes, letter: bytes) -> None:
    with serving(QUICK) as server, server.connect() as connection:
        connection.sendall(begun)
        answer = dribble(connection, repeat(letter, 2_000))
        assert (answer.status, answer.json()["code"]) == (408, "request_timeout")
        assert "limits." in answer.json()["detail"]
        assert answer.headers["connection"] == "close"
        assert answer.closed


def test_row11_a_connection_without_a_word_is_closed_without_one() -> None:
    with serving(QUICK) as server, server.connect() as connection:
        assert connection.recv(1) == b""


def test_row11_nobody_waits_for_those_who_dribble() -> None:
    with serving({"silence_s": 600, "requests": 2}) as server, ExitStack() as stack:
        for _ in range(50):
            slow = stack.enter_context(server.connect())
            slow.sendall(HEAD)
        assert server.send(request(query(5))).status == 200
        assert requests.get(f"{server.url}/livez", timeout=WAIT_S).status_code == 200


def test_row11_silence_on_websocket_and_grpc() -> None:
    with serving(QUICK) as server:
        with speaking(server) as silent:
            assert told(silent)["problem"]["code"] == "request_timeout"
        with speaking(server) as connection:
            connection.send(message())
            event = told(connection)
            assert event["problem"]["code"] == "request_timeout"
            assert "limits.stream_silence_s" in event["problem"]["detail"]
        never = threading.Event()

        def nothing(*first: pb.QueryPart) -> Iterator[pb.QueryPart]:
            yield from first
            never.wait()

        with calling(server) as stub:
            for first in ((), (pb.QueryPart(parameters=pb.Parameters(budget=1)),)):
                status, trailers, _ = refusal(lambda: list(stub.QueryStream(nothing(*first))))  # noqa: B023
                assert status is grpc.StatusCode.DEADLINE_EXCEEDED
                assert trailers["alaas-code"] == "request_timeout"
            never.set()


def test_heads_have_a_size() -> None:
    with serving({"header_bytes": 1024}) as server:
        for head in (b"x" * 1025, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 1000 + b"\r\n\r\n"):
            answer = server.send(head)
            assert (answer.status, answer.headers["connection"]) == (431, "close")
            assert names(answer.json(), "header_bytes", 1024)
        fits = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "
        assert server.send(fits + b"x" * (1020 - len(fits)) + b"\r\n\r\n").status == 200


def test_messages_and_lines_have_a_size() -> None:
    with serving(SMALL) as server:
        line = server.send(request(lines(3) + b'"' + b"u" * 4096, kind=LINES)).json()
        assert (line["code"], names(line, "body_bytes", 4096)) == ("body_too_large", True)
        with speaking(server) as connection:
            connection.send(message().ljust(4097))
            problem = told(connection)["problem"]
            assert (problem["code"], names(problem, "body_bytes", 4096)) == ("body_too_large", True)
        with speaking(server) as connection:
            connection.send(message().ljust(3 * 4096))
            with pytest.raises(ConnectionClosedError) as cut:
                told(connection)
        assert cut.value.rcvd is not None
        assert (cut.value.rcvd.code, "limits.body_bytes" in cut.value.rcvd.reason) == (1009, True)


def at_once(server: SmallServer, count: int, sent: bytes) -> list[Answer]:
    """Send the same many times at once; as soon as the refused know, all others may finish."""
    refused = []

    def send() -> Answer:
        answer = server.send(sent)
        if answer.status == 503:
            refused.append(answer)
        return answer

    most = server.service.settings.limits.requests
    with ThreadPoolExecutor(count) as clients:
        answers = [clients.submit(send) for _ in range(count)]
        until(lambda: len(refused) == count - most, "all others are refused")
        assert server.ask(lambda: server.service.admission.requests) == most
        assert requests.get(f"{server.url}/livez", timeout=WAIT_S).status_code == 200
        server.gate.open()
        return [answer.result(WAIT_S) for answer in answers]


@pytest.mark.parametrize("kind", ["application/json", LINES])
def test_row51_of_200_clients_those_with_a_place_finish_and_others_know_at_once(kind: str) -> None:
    with serving({"requests": 8}, gate=Gate(is_open=False)) as server:
        sent = request(lines(12) if kind == LINES else query(12), kind=kind)
        answers = at_once(server, 200, sent)
        assert [answer.status for answer in answers].count(200) == 8
        refused = [answer for answer in answers if answer.status != 200]
        assert {answer.json()["code"] for answer in refused} == {"overloaded"}
        assert all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in refused)
        assert all(names(answer.json(), "requests", 8) for answer in refused)
        assert server.figure('alaas_rejected_total{reason="overloaded"} 192.0')
        assert server.send(sent).status == 200


@contextmanager
def busy(server: SmallServer, *sent: bytes) -> Iterator[list[socket.socket]]:
    """Have requests under way; in the end they finish."""
    with ExitStack() as stack:
        before = server.gate.reached
        connections = []
        for one in sent:
            connections.append(stack.enter_context(server.connect()))
            connections[-1].sendall(one)
        until(lambda: server.gate.reached >= before + len(sent), "all are under way")
        yield connections
        server.gate.open()
        assert [Answer(one).status for one in connections] == [200] * len(sent)


def test_row51_the_refusal_comes_before_the_body_and_over_every_protocol() -> None:
    with (
        serving({"requests": 1}, gate=Gate(is_open=False)) as server,
        busy(server, request(query(5))),
    ):
        for kind in ("application/json", LINES):
            answer = server.send(request(b"", kind=kind, size=2_000))
            assert (answer.status, answer.json()["code"]) == (503, "overloaded")
            assert int(answer.headers["retry-after"]) >= 1
        with speaking(server) as connection:
            event = told(connection)
            assert (event["problem"]["code"], event["retry_after_s"] >= 1) == ("overloaded", True)
        with calling(server) as stub:
            never: Iterator[pb.QueryPart] = iter(threading.Event().wait, True)
            for call in (
                lambda: stub.Query(asked(3), timeout=WAIT_S),
                lambda: list(stub.PushStream(never, timeout=WAIT_S)),
            ):
                status, trailers, _ = refusal(call)
                assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert trailers["alaas-code"] == "overloaded"
                assert int(trailers["retry-after-s"]) >= 1
            assert stub.Strategies(pb.StrategiesRequest(), timeout=WAIT_S).strategies
        assert requests.get(f"{server.url}/info", timeout=WAIT_S).status_code == 200


def test_row51_documents_are_held_up_to_so_many_bytes_and_items() -> None:
    bytes_held, items_held = {"held_bytes": 4096}, {"held_items": 10}
    large = request(query(5).ljust(3000))
    with serving(bytes_held, gate=Gate(is_open=False)) as server, busy(server, large):
        early = server.send(request(b"", size=3000)).json()
        assert (early["code"], names(early, "held_bytes", 4096)) == ("overloaded", True)
        grown = request(chunked(query(5).ljust(3000)), Transfer_Encoding="chunked")
        assert server.send(grown).json()["code"] == "overloaded"
        with calling(server) as stub:
            much = asked(1, strategy="x" * 3000)
            _, trailers, _ = refusal(lambda: stub.Query(much, timeout=WAIT_S))
            assert trailers["alaas-code"] == "overloaded"
        assert server.send(request(b"{", size=1)).status == 400
    with serving(items_held, gate=Gate(is_open=False)) as server, busy(server, request(query(6))):
        assert server.figure("alaas_queue_items 6.0")
        later = server.send(request(query(5))).json()
        assert (later["code"], names(later, "held_items", 10)) == ("overloaded", True)
        assert server.send(request(b'{"data": ["a"]}')).status == 422
    with serving({"held_bytes": 10, "held_items": 1}) as server:
        # One alone is taken, or it would be refused for ever.
        assert server.send(request(query(5))).status == 200


def test_row52_a_key_has_a_quota_and_others_do_not_feel_it() -> None:
    one, other = keys.make(), keys.make()
    entries = [{"name": "one", "sha256": keys.digest(one)}]
    entries.append({"name": "other", "sha256": keys.digest(other)})
    mine, theirs = (request(PLAIN, Authorization=f"Bearer {key}") for key in (one, other))
    with (
        serving(
            {"requests_per_key": 2}, gate=Gate(is_open=False), auth={"keys": entries}
        ) as server,
        busy(server, mine, mine),
    ):
        answer = server.send(request(b"", size=500, Authorization=f"Bearer {one}"))
        assert (answer.status, answer.json()["code"]) == (429, "quota")
        assert int(answer.headers["retry-after"]) >= 1
        assert names(answer.json(), "requests_per_key", 2)
        with calling(server) as stub:
            shown = (("authorization", f"Bearer {one}"),)
            status, trailers, _ = refusal(
                lambda: stub.Query(asked(3), timeout=WAIT_S, metadata=shown)
            )
            assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert (trailers["alaas-code"], "retry-after-s" in trailers) == ("quota", True)
        assert server.figure('alaas_rejected_total{reason="quota"} 2.0')
        with busy(server, theirs, theirs):
            pass


def test_callers_without_a_key_share_no_quota() -> None:
    with (
        serving({"requests_per_key": 1}, gate=Gate(is_open=False)) as server,
        busy(server, *[request(PLAIN)] * 3),
    ):
        pass


@pytest.mark.parametrize(
    "sent",
    [
        request(query(5)),
        request(query(5), size=4000),
        request(lines(5), kind=LINES),
        request(lines(5), kind=LINES, size=4000),
        request(b'{"parameters"', kind=LINES, size=4000),
    ],
    ids=["waiting", "sending", "waiting for lines", "sending lines", "sending the first line"],
)
def test_whoever_leaves_gives_the_place_back(sent: bytes) -> None:
    with serving({"requests": 1}, gate=Gate(is_open=False)) as server:
        for _ in range(2):
            with server.connect() as connection:
                connection.sendall(sent)
                until(lambda: server.ask(lambda: not server.idle()), "it has a place")
            server.until_idle()


def test_every_end_gives_the_place_back() -> None:
    ends = [
        (b"{", 400),
        (query(0), 422),
        (query(3, strategy="nothing"), 404),
        (query(3, timeout_s=1e-3), 504),
        (b"{" + b" " * 5000, 413),
    ]
    gate = Gate(is_open=False)
    with serving({"requests": 1, "body_bytes": 4096}, gate=gate) as server:
        for body, status in ends:
            assert server.send(request(body)).status == status
            server.until_idle()
        with speaking(server) as connection:
            connection.send("{")
            assert told(connection)["problem"]["code"] == "malformed_json"
        server.until_idle()
        with calling(server) as stub:
            refusal(lambda: stub.Query(asked(0), timeout=WAIT_S))
            refusal(lambda: stub.Query(asked(3, timeout_s=1e-3), timeout=WAIT_S))
        server.until_idle()


def test_row75_a_range_of_ten_thousand_ranges_is_not_looked_at() -> None:
    def ranges(count: int) -> bytes:
        spans = ",".join(f"{row}-{row}" for row in range(count))
        return (
            f"GET /strategies HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: bytes={spans}\r\n\r\n".encode()
        )

    with serving() as server:
        plain = requests.get(f"{server.url}/strategies", timeout=WAIT_S)
        answer = server.send(ranges(1_000))
        assert (answer.status, answer.body) == (200, plain.content)
        assert server.send(ranges(10_000)).status == 431
    with serving({"header_bytes": 2**17}) as server:
        assert server.send(ranges(10_000)).status == 200


def test_row78_grpc_messages_that_are_too_large_or_none() -> None:
    with serving(SMALL) as server, calling(server) as stub:
        large = [pb.Item(text="x" * 5_000)]
        for call in (
            lambda: stub.Query(pb.QueryRequest(items=large), timeout=WAIT_S),
            lambda: list(stub.QueryStream(iter([pb.QueryPart(items=large)]), timeout=WAIT_S)),
        ):
            status, trailers, problem = refusal(call)
            assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert trailers["alaas-code"] == "body_too_large"
            assert names(problem, "body_bytes", 4096)
        huge = pb.QueryRequest(items=[pb.Item(text="x" * 10_000)])
        status, _, _ = refusal(lambda: stub.Query(huge, timeout=WAIT_S))
        assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
        with closing(server.channel()) as channel:
            for method, sent in (
                ("Query", b"\xff\xff"), ("PushStream", b"\xff\xff"), ("DeletePool", b"\x0a\xff"),
                ("Query", None),
            ):  # fmt: skip
                raw = channel.stream_stream(f"/alaas.v1.ActiveLearning/{method}")
                status, trailers, _ = refusal(lambda: list(raw(iter([sent] if sent else []))))  # noqa: B023
                assert status is grpc.StatusCode.INVALID_ARGUMENT
                assert trailers["alaas-code"] in {"invalid_request", "empty_input"}


def test_row78_a_grpc_deadline_and_a_cancelled_call_end_the_work() -> None:
    gate = Gate(is_open=False)
    with serving(gate=gate) as server, calling(server) as stub:
        status, _, _ = refusal(lambda: stub.Query(asked(5), timeout=0.2))
        assert status is grpc.StatusCode.DEADLINE_EXCEEDED
        server.until_idle()
        status, trailers, _ = refusal(lambda: stub.Query(asked(5, timeout_s=0.1), timeout=WAIT_S))
        assert status is grpc.StatusCode.DEADLINE_EXCEEDED
        assert trailers["alaas-code"] == "deadline"
        reached = gate.reached
        call = stub.Query.future(asked(5))
        until(lambda: gate.reached > reached, "it is under way")
        call.cancel()
        server.until_idle()
        assert server.engine.cancelled >= 3


def test_row78_the_deadline_of_a_call_is_one_of_the_query() -> None:
    with serving() as server, calling(server) as stub:
        seen, answer = [], server.service.query

        async def noting(parameters: Any, *rest: Any, **more: Any) -> Any:
            seen.append(parameters.get("timeout_s"))
            return await answer(parameters, *rest, **more)

        server.service.query = noting  # type: ignore[method-assign]
        stub.Query(asked(3), timeout=WAIT_S)
        stub.Query(asked(3, timeout_s=2), timeout=WAIT_S)
        stub.Query(asked(3, timeout_s=2 * WAIT_S), timeout=WAIT_S)
        first = pb.QueryPart(parameters=pb.Parameters(budget=1), items=asked(3).items)
        list(stub.QueryStream(iter([first]), timeout=WAIT_S))
        stub.Query(asked(3))
        assert seen[1::3] == [2.0, None]
        # gRPC rounds up what is left on its way.
        assert all(0 < one < WAIT_S + 1 for one in (seen[0], *seen[2:4]))


def test_row78_plain_text_to_a_port_with_tls_is_unavailable() -> None:
    issued = trustme.CA().issue_cert("localhost")
    chain = b"".join(one.bytes() for one in issued.cert_chain_pems)
    secret = grpc.ssl_server_credentials([(issued.private_key_pem.bytes(), chain)])
    with serving(credentials=secret) as server, calling(server) as stub:
        status, _, _ = refusal(lambda: stub.Query(asked(3), timeout=WAIT_S))
        assert status is grpc.StatusCode.UNAVAILABLE
