"""Work that fails, that nobody awaits any longer, or that takes more memory than there is."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from select import select
from typing import Any

import grpc
import pytest
import requests
from faults import ROOT, WAIT_S, Running, free_ports, running, until
from PIL import Image
from websockets.sync.client import connect
from work_models import SWITCHES

from alaas.proto.alaas.v1 import active_learning_pb2 as pb
from alaas.proto.alaas.v1 import active_learning_pb2_grpc as stubs

BATCH = 4
POOL = 40
FETCHED = 1_000_000
FAULTS = Path(__file__).parent

Documents = list[dict[str, Any]]


class Work:
    """A server whose model does what a file tells it.

    Attributes:
        server: The server.
        folder: Where the files are.
    """

    def __init__(self, server: Running, folder: Path) -> None:
        self.server = server
        self.folder = folder
        # Open for both, so that a byte waits for whoever comes to read it.
        self._gate = os.open(folder / "gate", os.O_RDWR | os.O_NONBLOCK)

    @contextmanager
    def fault(self, what: str, file: str = "switch") -> Iterator[None]:
        """Something is wrong inside."""
        (self.folder / file).write_text(what)
        try:
            yield
        finally:
            (self.folder / file).unlink()

    @contextmanager
    def gate(self) -> Iterator[None]:
        """Every micro-batch waits until it is let pass."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._gate, 4096)
        self.batches()
        with self.fault("gate"):
            yield

    def let_pass(self, count: int) -> None:
        """Let some micro-batches end that wait at the gate, or will."""
        os.write(self._gate, b"." * count)

    def all_passed(self) -> bool:
        """Whether as many have ended as were let pass."""
        return not select([self._gate], [], [], 0)[0]

    def close(self) -> None:
        """Close the gate."""
        os.close(self._gate)

    def batches(self) -> list[int]:
        """Items of every micro-batch that was begun, since this was asked last."""
        file = self.folder / "batches"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [int(line.split()[1]) for line in lines]

    def begun(self) -> int:
        """Micro-batches that were begun since `batches`, on all replicas."""
        file = self.folder / "batches"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def idle(self) -> bool:
        """Whether the gateway answers no query."""
        return "alaas_requests_in_flight 0.0" in self.server.get("/metrics").text.splitlines()

    def ask(self, items: Documents, **parameters: Any) -> requests.Response:
        """Query over HTTP; nothing is kept."""
        return self.server.post("/query", _query(items, **parameters))


def _query(items: Documents, **parameters: Any) -> dict[str, Any]:
    return {"data": items, "parameters": {"budget": 5, "cache": False, **parameters}}


def ids(answer: requests.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["data"]]


def failures(answer: requests.Response) -> list[tuple[str, str, str]]:
    return [(one["id"], one["stage"], one["code"]) for one in answer.json()["failures"]]


def plain(colour: tuple[int, int, int]) -> str:
    """A picture of one colour."""
    stream = BytesIO()
    Image.new("RGB", (8, 8), colour).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


@pytest.fixture(scope="module", params=["staged", "fused"])
def work(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pictures: Path
) -> Iterator[Work]:
    """A server with two replicas, in either layout."""
    folder = tmp_path_factory.mktemp("work")
    (switches := folder / "switches").mkdir()
    os.mkfifo(switches / "gate")
    path = os.pathsep.join(map(str, (FAULTS / "on_start", ROOT, FAULTS)))
    with running(
        folder,
        grpc=True,
        model={"name": "work_models:switched", "batch_size": BATCH},
        worker={"replicas": 2, "layout": request.param},
        fetch={"roots": [str(pictures)], "networks": ["127.0.0.0/8"]},
        limits={"fetched_bytes": FETCHED},
        supervision={"hang_s": 600},  # who waits at the gate looks as if it hung
        environment={SWITCHES: str(switches), "PYTHONPATH": path},
    ) as server:
        work = Work(server, switches)
        yield work
        work.close()
        assert server.stop() == 0


@pytest.fixture
def pool(paths: list[str]) -> Documents:
    """Ten micro-batches: more than the window of the server."""
    return [{"id": Path(path).stem, "uri": path} for path in paths[:POOL]]


class TestAnswers:
    def test_row15_the_same_answer_every_time(self, work: Work, pool: Documents) -> None:
        """Twenty at once, computed anew by whichever replica is free."""
        for strategy in ("least_confidence", "k_center_greedy", "random_sampling"):

            def ask(_: int, strategy: str = strategy) -> list[tuple[str, float]]:
                answer = work.ask(pool, strategy=strategy, seed=7, budget=20).json()
                return [(one["id"], one["score"]) for one in answer["data"]]

            with ThreadPoolExecutor(20) as threads:
                answers = list(threads.map(ask, range(20)))
            assert len(answers[0]) == 20
            assert [answer for answer in answers if answer != answers[0]] == []
            if strategy == "least_confidence":
                scores = [score for _, score in answers[0]]
                assert scores == sorted(scores, reverse=True)

    def test_row37_one_bad_item_among_a_thousand(self, work: Work, paths: list[str]) -> None:
        items = [{"id": str(row), "uri": paths[row % len(paths)]} for row in range(1_000)]
        items[500] = {"id": "500", "blob": base64.b64encode(b"no picture").decode()}
        answer = work.ask(items, budget=1_000)
        assert sorted(map(int, ids(answer))) == [row for row in range(1_000) if row != 500]
        assert failures(answer) == [("500", "preprocess", "not_an_image")]

    def test_row38_all_items_fail(self, work: Work) -> None:
        noise = base64.b64encode(b"no picture").decode()
        ours = work.ask([{"id": str(row), "blob": noise} for row in range(9)])
        assert (ours.status_code, ours.json()["code"]) == (422, "all_items_failed")
        (port,) = free_ports(1)
        nobody = f"http://127.0.0.1:{port}"
        theirs = work.ask([{"uri": f"{nobody}/{row}.png"} for row in range(3)])
        assert (theirs.status_code, theirs.json()["code"]) == (502, "all_items_failed")

    def test_no_choice_from_the_first_part_of_what_is_too_much(
        self, work: Work, pool: Documents
    ) -> None:
        noise = base64.b64encode(os.urandom(FETCHED // 9)).decode()
        items = [*pool, *({"id": f"noise {row}", "blob": noise} for row in range(10))]
        for path, given in (("/query", {"budget": 5}), ("/push", {"pool": "p"})):
            body = {"data": items, "parameters": {**given, "cache": False}}
            answer = work.server.post(path, body)
            assert (answer.status_code, answer.json()["code"]) == (413, "too_many_items")
            assert "limits.fetched_bytes" in answer.json()["detail"]
        assert len(ids(work.ask(items[:-2]))) == 5

    def test_row82_what_is_logged_has_its_moment_in_utc(self, work: Work) -> None:
        moments = [one["timestamp"] for one in work.server.events()]
        assert moments
        assert {moment[-1] for moment in moments} == {"Z"}
        apart = [datetime.now(UTC) - datetime.fromisoformat(moment) for moment in moments]
        assert max(abs(one) for one in apart) < timedelta(hours=1)


class TestFaultyModels:
    def test_row39_what_a_model_raises_is_for_the_log(self, work: Work, pool: Documents) -> None:
        with work.fault("raise"):
            answer = work.ask(pool)
        _assert_silent(work, answer, "infer")
        assert len(ids(work.ask(pool))) == 5

    @pytest.mark.parametrize("stage", ["fetch", "identify", "preprocess", "admit", "add", "select"])
    def test_row39_what_a_stage_raises_is_for_the_log(
        self, work: Work, pool: Documents, stage: str
    ) -> None:
        # Nobody asks what is known of items where nothing is kept.
        cache = stage == "identify"
        with work.fault(stage, file="broken"):
            answer = work.ask(pool, cache=cache)
        _assert_silent(work, answer, stage)
        assert len(ids(work.ask(pool, cache=cache))) == 5

    def test_row39_over_grpc(self, work: Work, blobs: Documents) -> None:
        with work.fault("raise"), pytest.raises(grpc.RpcError) as caught:
            call(work.server, blobs).result(timeout=WAIT_S)
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        told = f"{caught.value.details()} {caught.value.trailing_metadata()}"
        assert "internal" in told
        _assert_nothing_leaks(told)

    def test_row39_over_websocket(self, work: Work, pool: Documents) -> None:
        with work.fault("raise"), connect(work.server.addresses["ws"] + "/ws") as opened:
            opened.send(json.dumps({"type": "query", **_query(pool)}))
            opened.send(json.dumps({"type": "end"}))
            *_, last = list(opened)
        assert json.loads(last)["problem"]["code"] == "internal"
        _assert_nothing_leaks(str(last))

    @pytest.mark.parametrize(
        "fault", ["nan", "a row less", "a class more", "one number", "a dimension more"]
    )
    def test_row40_what_cannot_be_ranked_is_not(
        self, work: Work, pool: Documents, fault: str
    ) -> None:
        with work.fault(fault):
            answer = work.ask(pool)
        assert (answer.status_code, answer.json()["code"]) == (500, "model_output_invalid")
        assert len(ids(work.ask(pool))) == 5


class TestMemory:
    @pytest.mark.parametrize("fault", ["memory", "allocator"])
    def test_row41_a_batch_that_does_not_fit_is_halved(
        self, work: Work, pool: Documents, fault: str
    ) -> None:
        whole = ids(work.ask(pool, budget=20))
        work.batches()
        with work.fault(fault):
            assert ids(work.ask(pool, budget=20)) == whole
        assert sorted(work.batches()) == [2] * 20 + [4] * 10
        assert ids(work.ask(pool, budget=20)) == whole
        assert work.batches() == [4] * 10

    def test_row41_an_item_that_does_not_fit_alone_is_lost(
        self, work: Work, pool: Documents
    ) -> None:
        bright = {"id": "bright", "blob": plain((255, 255, 255))}
        items = [*pool[:5], bright, *pool[5:]]
        with work.fault("memory"):
            answer = work.ask(items, budget=POOL + 1)
        assert failures(answer) == [("bright", "infer", "oom")]
        assert sorted(ids(answer)) == sorted(item["id"] for item in pool)
        assert failures(work.ask(items, budget=POOL + 1)) == []

    def test_row41_where_the_kernel_grants_no_more(self, work: Work, pool: Documents) -> None:
        whole = ids(work.ask(pool, budget=20))
        work.batches()
        with work.fault("limit"):
            assert ids(work.ask(pool, budget=20)) == whole
        sizes = work.batches()
        assert 4 in sizes
        assert {*sizes} - {4} == {2}


class TestGivenUp:
    def test_row53_a_deadline_stops_the_work(self, work: Work, pool: Documents) -> None:
        with work.gate():
            answer = work.ask(pool, timeout_s=1)
            assert (answer.status_code, answer.json()["code"]) == (504, "deadline")
            _assert_stopped(work, pool)

    def test_row54_a_caller_over_http_who_goes(self, work: Work, pool: Documents) -> None:
        with work.gate():
            with _asked(work, json.dumps(_query(pool)).encode(), "application/json"):
                _wait_busy(work)
            _assert_stopped(work, pool)

    def test_row54_a_caller_who_streams_and_goes(self, work: Work, pool: Documents) -> None:
        """What was sent and not read yet does not hide that nobody waits any more."""
        head = json.dumps({"parameters": _query([])["parameters"]})
        lines = [{**pool[row % POOL], "id": str(row)} for row in range(3_000)]
        body = "\n".join([head, *map(json.dumps, lines)]).encode()
        with work.gate():
            with _asked(work, body, "application/x-ndjson"):
                _wait_busy(work)
            _assert_stopped(work, pool)

    @pytest.mark.parametrize("messages", [0, 300])
    def test_row54_a_caller_over_websocket_who_goes(
        self, work: Work, pool: Documents, messages: int
    ) -> None:
        """With a word of farewell; and without, after messages that are not read yet."""
        with work.gate():
            with connect(work.server.addresses["ws"] + "/ws") as opened:
                opened.send(json.dumps({"type": "query", **_query(pool)}))
                for number in range(messages):
                    items = [{**item, "id": f"{number} {item['id']}"} for item in pool]
                    opened.send(json.dumps({"type": "items", "data": items}))
                opened.send(json.dumps({"type": "end"}))
                _wait_busy(work)
                if messages:
                    opened.socket.shutdown(socket.SHUT_RDWR)
            _assert_stopped(work, pool)

    def test_row54_a_caller_over_grpc_who_goes(self, work: Work, pool: Documents) -> None:
        with work.gate():
            running = call(work.server, pool)
            _wait_busy(work)
            running.cancel()
            _assert_stopped(work, pool)

    def test_row54_an_error_stops_the_rest(self, work: Work, pool: Documents) -> None:
        """One of the first items fails, and the caller wanted none to."""
        noise = {"id": "noise", "blob": base64.b64encode(b"no picture").decode()}
        with work.gate():
            with ThreadPoolExecutor(1) as thread:
                asked = thread.submit(work.ask, [noise, *pool], on_item_error="fail")
                _wait_busy(work)
                passed = _pass_until_done(work, asked)
                answer = asked.result()
            assert (answer.status_code, answer.json()["code"]) == (422, "item_failed")
            _assert_stopped(work, pool, begun=2 + passed)


@contextmanager
def _asked(work: Work, body: bytes, kind: str) -> Iterator[None]:
    """A query has been sent over a connection that is closed at the end."""
    host, port = "127.0.0.1", int(work.server.url.rpartition(":")[2])
    head = (
        f"POST /query HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, port)) as opened:
        opened.sendall(head.encode() + body)
        yield


def call(server: Running, items: Documents) -> Any:
    """A query over gRPC, under way."""
    read: dict[str, Callable[[str], Any]] = {"blob": base64.b64decode, "uri": str, "id": str}
    messages = [
        pb.Item(**{name: read[name](value) for name, value in one.items()}) for one in items
    ]
    channel = grpc.insecure_channel(server.addresses["grpc"].removeprefix("grpc://"))
    parameters = pb.Parameters(budget=5, cache=False)
    request = pb.QueryRequest(parameters=parameters, items=messages)
    return stubs.ActiveLearningStub(channel).Query.future(request, timeout=WAIT_S)


def _wait_busy(work: Work) -> None:
    until(lambda: work.begun() == 2, "both replicas hold a micro-batch")


def _pass_until_done(work: Work, asked: Future[requests.Response]) -> int:
    """Let micro-batches pass one by one: of two, the same replica may take both.

    Returns:
        How many it took.
    """
    for passed in range(1, POOL // BATCH):
        work.let_pass(1)
        until(lambda: asked.done() or work.all_passed(), "somebody waits at the gate")
        if asked.done():
            return passed
    raise AssertionError("the error did not end the query")


def _assert_stopped(work: Work, pool: Documents, *, begun: int = 2) -> None:
    """Not one micro-batch more a replica is computed than had begun when the query ended.

    The window is four times as large: all of it would be computed otherwise.
    """
    until(work.idle, "the query has ended")
    (work.folder / "switch").write_text("")
    work.let_pass(POOL)
    # Behind whatever is left of the old one, and with every slot of the server.
    assert len(ids(work.ask(pool))) == 5
    assert len(work.batches()) - POOL // BATCH <= begun + 2


def _assert_silent(work: Work, answer: requests.Response, stage: str) -> None:
    """The caller learns that something broke, and the log under which id what broke."""
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    _assert_nothing_leaks(answer.text)
    request_id = answer.headers["X-Request-ID"]
    assert request_id in answer.json()["detail"]
    told = [one for one in work.server.events() if one.get("request_id") == request_id]
    stacks = [str(one) for one in told if "sesame" in str(one)]
    assert stacks, (stage, told)
    assert any("Traceback" in one for one in stacks)


def _assert_nothing_leaks(text: str) -> None:
    for secret in ("sesame", "Traceback", "RuntimeError", ".py", "/tmp", "line "):
        assert secret not in text
