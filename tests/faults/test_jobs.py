"""Jobs outlive their server, and what is asked twice is done once."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from faults import ROOT, WAIT_S, Running, configuration, free_ports, until
from jobs_models import PASSES
from PIL import Image
from small_server import LINES, SmallServer, lines
from sqlalchemy.engine import make_url
from test_jobs_http import Shut, ask, body, end, office, submit

from alaas.client import Client, QueryResult
from alaas.client.call import Call
from alaas.core.errors import AlaasError, Overloaded, StorageBusy, StorageUnusable
from alaas.server.jobs import database
from alaas.server.jobs.database import prepare
from alaas.server.jobs.store import JobStore

ITEMS, BATCH, WINDOW = 200, 8, 2

UNSTORED = 32 + (WINDOW + 1) * BATCH
"""Items that a kill may cost: what waited to be written, and what was under way."""


class Lineage:
    """Servers that come one after another, at one address and with one folder."""

    def __init__(self, folder: Path) -> None:
        self.passes = folder / "passes"
        self.passes.touch()
        self._folder, self._lives = folder, 0
        (port,) = free_ports(1)
        self._tree = configuration(
            port,
            model={"name": "jobs_models:counting", "batch_size": BATCH},
            worker={"replicas": 1, "window": WINDOW},
            fetch={"roots": [str(folder)]},
            jobs={"url": f"sqlite:///{folder}/jobs.sqlite"},
            store={"url": str(folder / "store")},
        )
        self.start()

    def start(self) -> None:
        """The next server."""
        self._lives += 1
        folder = self._folder / f"life{self._lives}"
        self.server = Running(self._tree, folder, {PASSES: str(self.passes)}).wait_ready()
        self.client = Client(self.server.url)

    def computed(self) -> Counter[str]:
        """How often each picture was computed."""
        return Counter(self.passes.read_text().split())

    def await_computed(self, number: int) -> None:
        """Wait until so many pictures have been computed, over all."""
        until(lambda: self.computed().total() >= number, "it has come so far")

    def kill(self, *, all_at_once: bool) -> None:
        """Kill the gateway, or every process; the next server starts when all are gone."""
        said = (line for line in self.server.log().splitlines() if '"job begins"' in line)
        gateway = [json.loads(line)["pid"] for line in said][-1]
        victims = [one.pid for one in self.server.family()] if all_at_once else [gateway]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        self.server.wait_end()
        self.server.assert_gone()
        self.end()
        self.start()

    def end(self) -> None:
        """Let go of the server and the connections to it."""
        self.client.close()
        self.server.close()


@contextmanager
def lineage(folder: Path) -> Iterator[Lineage]:
    servers = Lineage(folder)
    try:
        yield servers
        assert servers.server.stop() == 0
    finally:
        servers.end()


def paint(folder: Path, rng: np.random.Generator) -> list[str]:
    """Pictures of one colour each, none of which was there before."""
    folder.mkdir()
    colours = np.unique(rng.integers(0, 256, (2 * ITEMS, 3), dtype=np.uint8), axis=0)
    for row, colour in enumerate(rng.permutation(colours)[:ITEMS]):
        pixels = np.broadcast_to(colour, (8, 8, 3))
        path = folder / f"{row:03}.png"
        Image.fromarray(np.ascontiguousarray(pixels)).save(path)
        os.utime(path, (0, 0))  # one that was just written is not taken for settled
    return [str(path) for path in sorted(folder.iterdir())]


def outlive(folder: Path, rounds: int) -> None:
    """Kill the server of a job at a random point, again and again."""
    chance, rng = random.Random(0), np.random.default_rng(0)
    with lineage(folder) as servers:
        for number in range(rounds):
            uris = paint(folder / f"round{number}", rng)
            before = servers.computed()
            job = servers.client.submit(uris, 20, strategy="entropy")
            servers.await_computed(before.total() + chance.randint(BATCH, ITEMS - 6 * BATCH))
            servers.kill(all_at_once=bool(number % 2))
            found = servers.client.job(job.id).wait(WAIT_S)
            assert isinstance(found, QueryResult)
            computed = servers.computed() - before
            assert len(computed) == ITEMS
            assert computed.total() <= ITEMS + UNSTORED
            assert servers.client.job(job.id).status().attempt == 2
            undisturbed = servers.client.query(uris, 20, strategy="entropy", cache=False)
            assert (found.ids, found.scores) == (undisturbed.ids, undisturbed.scores)


def test_row57_a_job_goes_on_after_its_server_was_killed(tmp_path: Path) -> None:
    outlive(tmp_path, 3)


@pytest.mark.slow
def test_row57_a_job_goes_on_after_its_server_was_killed_twenty_times(tmp_path: Path) -> None:
    outlive(tmp_path, 20)


def post(server: SmallServer, path: str, key: str, **more: Any) -> requests.Response:
    headers = {"Idempotency-Key": key, **more.pop("headers", {})}
    return ask(server, "POST", path, headers=headers, **more)


@pytest.mark.parametrize("path", ["/query", "/jobs"])
def test_row58_the_same_request_after_its_end_gets_the_same_answer(
    tmp_path: Path, path: str
) -> None:
    with office(tmp_path) as server:
        first = post(server, path, "k", json=body())
        reached = server.gate.reached
        second = post(server, path, "k", json=body())
        assert "Idempotent-Replayed" not in first.headers
        assert second.headers["Idempotent-Replayed"] == "true"
        assert (second.status_code, second.content) == (first.status_code, first.content)
        assert second.headers.get("Location") == first.headers.get("Location")
        if path == "/query":
            assert server.gate.reached == reached
        else:
            assert len(ask(server, "GET", "/jobs").json()["jobs"]) == 1


def test_row58_the_same_request_meanwhile_is_a_conflict(tmp_path: Path) -> None:
    with office(tmp_path, gate=Shut()) as server, ThreadPoolExecutor() as threads:
        first = threads.submit(post, server, "/query", "k", json=body())
        until(lambda: server.gate.reached, "the first one runs")
        for document in (body(), body(3)):
            second = post(server, "/query", "k", json=document)
            assert (second.status_code, second.json()["code"]) == (409, "idempotency_conflict")
            assert int(second.headers["Retry-After"]) > 0
        server.gate.open()
        assert first.result(WAIT_S).status_code == 200
        third = post(server, "/query", "k", json=body())
        assert third.content == first.result().content


def test_row58_ten_at_once_are_one(tmp_path: Path) -> None:
    with office(tmp_path) as server, ThreadPoolExecutor(10) as threads:
        asked = [threads.submit(post, server, "/jobs", "k", json=body()) for _ in range(10)]
        answers = [one.result(WAIT_S) for one in asked]
        assert {answer.status_code for answer in answers} <= {202, 409}
        assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
        assert len(ask(server, "GET", "/jobs").json()["jobs"]) == 1


def test_row58_another_request_with_the_same_key_is_a_mismatch(tmp_path: Path) -> None:
    with office(tmp_path) as server:
        assert post(server, "/query", "k", json=body()).status_code == 200
        for path, document in (("/query", body(3)), ("/jobs", body())):
            answer = post(server, path, "k", json=document)
            assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")
        assert ask(server, "GET", "/jobs").json()["jobs"] == []


def test_row58_a_stream_has_a_key_too(tmp_path: Path) -> None:
    with office(tmp_path) as server:
        headers = {"Content-Type": LINES}
        sent = lines(2000)
        first = post(server, "/query", "k", data=iter([sent]), headers=headers)
        reached = server.gate.reached
        # The same bytes, cut elsewhere.
        second = post(server, "/query", "k", data=iter([sent[:99], sent[99:]]), headers=headers)
        assert second.headers["Idempotent-Replayed"] == "true"
        assert second.content == first.content
        other = post(server, "/query", "k", data=iter([lines(1999)]), headers=headers)
        assert other.json()["code"] == "idempotency_mismatch"
        assert server.gate.reached == reached


def test_row58_a_refusal_is_kept_and_a_fault_is_not(tmp_path: Path) -> None:
    with office(tmp_path) as server:
        first = post(server, "/query", "k", json=body(budget=0))
        second = post(server, "/query", "k", json=body(budget=0))
        assert (first.status_code, second.status_code) == (422, 422)
        assert second.headers["Idempotent-Replayed"] == "true"
        assert second.headers["Content-Type"] == "application/problem+json"
        assert second.json() == first.json()
        failing = [Overloaded("full")]

        async def fail(_: object) -> None:
            if failing:
                raise failing.pop()

        server.engine.during = fail
        assert post(server, "/query", "other", json=body()).status_code == 503
        again = post(server, "/query", "other", json=body())
        assert again.status_code == 200
        assert "Idempotent-Replayed" not in again.headers


def test_row58_a_client_that_leaves_leaves_no_answer(tmp_path: Path) -> None:
    with office(tmp_path, gate=Shut()) as server:
        head = f"POST /query HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {'application/json'}\r\n"
        sent = json.dumps(body()).encode()
        head += f"Idempotency-Key: k\r\nContent-Length: {len(sent)}\r\n\r\n"
        with server.connect() as connection:
            connection.sendall(head.encode() + sent)
            until(lambda: server.gate.reached, "it runs")
        server.until_idle()
        server.gate.open()
        until(lambda: post(server, "/query", "k", json=body()).status_code == 200, "it is free")


def test_row58_a_job_is_one_also_where_the_word_of_it_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = JobStore.accept

    async def lost(*given: Any) -> None:
        await accept(*given)
        raise StorageBusy("the connection broke off")

    with office(tmp_path) as server:
        monkeypatch.setattr(JobStore, "accept", lost)
        assert post(server, "/jobs", "k", json=body()).status_code == 503
        monkeypatch.undo()
        again = post(server, "/jobs", "k", json=body())
        assert (again.status_code, again.headers["Idempotent-Replayed"]) == (202, "true")
        (job,) = ask(server, "GET", "/jobs").json()["jobs"]
        assert job["id"] == again.json()["id"]


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "sch\u00f6n"])
def test_row58_a_key_that_is_none(tmp_path: Path, key: str) -> None:
    with office(tmp_path) as server:
        headers = {b"Idempotency-Key": key.encode("latin-1")}
        answer = ask(server, "POST", "/query", json=body(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation")


class Refusing:
    """A server that refuses with a status so often, and then answers; it notes who came."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.refusals: list[tuple[int, dict[str, str]]] = []
        self.asked: list[tuple[str, str | None]] = []
        self.answer = answer

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve; gives the address."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                if self.headers.get("Transfer-Encoding") == "chunked":
                    while size := int(self.rfile.readline(), 16):
                        self.rfile.read(size + 2)
                    self.rfile.readline()
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.do_GET()

            def do_GET(self) -> None:
                outer.asked.append((self.command, self.headers["Idempotency-Key"]))
                if outer.refusals:
                    status, headers = outer.refusals.pop(0)
                    if not status:
                        self.close_connection = True
                        return
                    document = {**Overloaded("full").problem(), "status": status}
                else:
                    status, headers, document = 200, {}, outer.answer
                sent = json.dumps(document).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(sent))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()
                thread.join()


@pytest.fixture
def refusing(tmp_path: Path) -> Refusing:
    with office(tmp_path) as server:
        return Refusing(ask(server, "POST", "/query", json=body()).json())


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the client would have waited."""
    waited: list[float] = []
    monkeypatch.setattr(Call, "pause", lambda _, seconds: waited.append(seconds))
    return waited


URIS = ["u0", "u1"]


def test_row59_a_refused_client_asks_four_times_at_most_and_not_at_once(
    refusing: Refusing, waits: list[float]
) -> None:
    refusing.refusals = [(503, {})] * 9
    with refusing.serving() as url, Client(url) as client:
        with pytest.raises(Overloaded):
            client.query(URIS, 1)
        assert len(refusing.asked) == 4
        assert len({key for _, key in refusing.asked}) == 1
        assert refusing.asked[0][1]
    assert len(waits) == 3
    for attempt, wait_s in enumerate(waits):
        assert 0.125 * 2**attempt <= wait_s <= 0.25 * 2**attempt


def test_row59_clients_that_were_refused_together_come_back_apart(
    refusing: Refusing, waits: list[float]
) -> None:
    for _ in range(20):
        refusing.refusals = [(503, {"Retry-After": "7"})]
        with refusing.serving() as url, Client(url) as client:
            assert len(client.query(URIS, 2)) == 2
    assert len(waits) == 20
    assert all(7 < wait_s <= 7.25 for wait_s in waits)
    assert len(set(waits)) == 20


@pytest.mark.parametrize("status", [0, 429, 502, 503])
def test_row59_what_may_pass_is_asked_again(
    refusing: Refusing, waits: list[float], status: int
) -> None:
    refusing.refusals = [(status, {})] * 3
    with refusing.serving() as url, Client(url) as client:
        assert len(client.query(URIS, 2)) == 2
    assert len(refusing.asked) == 4


@pytest.mark.parametrize(
    ("status", "headers", "ask"),
    [
        (422, {}, lambda client: client.query(URIS, 1)),  # it would be refused again
        (503, {"Retry-After": "61"}, lambda client: client.query(URIS, 1)),  # too long to wait
        (503, {}, lambda client: client.query((f"u{row}" for row in range(2000)), 1)),  # a stream
        (503, {}, lambda client: client.job("x").cancel()),  # it has no key
    ],
)
def test_row59_what_must_not_be_sent_twice_is_not(
    refusing: Refusing,
    waits: list[float],
    status: int,
    headers: dict[str, str],
    ask: Callable[[Client], object],
) -> None:
    refusing.refusals = [(status, headers)] * 9
    with refusing.serving() as url, Client(url) as client, pytest.raises(AlaasError):
        ask(client)
    assert len(refusing.asked) == 1
    assert waits == []


def test_row59_a_deadline_is_kept(refusing: Refusing, waits: list[float]) -> None:
    refusing.refusals = [(503, {"Retry-After": "50"})] * 9
    with (
        refusing.serving() as url,
        Client(url, timeout=40) as client,
        pytest.raises(Overloaded),
    ):
        client.query(URIS, 1)
    assert len(refusing.asked) == 1


def test_row63_a_locked_database_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.01)
    with office(tmp_path) as server:
        path = tmp_path / "jobs.sqlite"
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            answer = ask(server, "POST", "/jobs", json=body())
            assert (answer.status_code, answer.json()["code"]) == (503, "storage_busy")
            assert answer.json()["retryable"]
            assert int(answer.headers["Retry-After"]) > 0
            assert ask(server, "GET", "/livez").status_code == 200
            other.execute("ROLLBACK")
        assert end(server, submit(server)["id"])["state"] == "succeeded"


def test_row63_a_job_that_ends_while_the_database_is_locked_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.01)
    with office(tmp_path, gate=Shut()) as server:
        job = submit(server)
        until(lambda: server.gate.reached, "it runs")
        with closing(sqlite3.connect(tmp_path / "jobs.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            server.gate.open()
            until(lambda: server.figure('alaas_items_total{code="",outcome="ranked"} 5.0'), "done")
            other.execute("ROLLBACK")
        ended = end(server, job["id"])
        assert (ended["state"], ended["attempt"]) == ("succeeded", 1)


PAGE = 4096
"""Bytes that SQLite reads at once."""


def corrupt(path: Path) -> None:
    """Destroy some pages at the end, where nobody looks at the start: those of a pool."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO parts VALUES (1, 0, ?)", (b"x" * 64 * PAGE,))
        connection.commit()
    with path.open("r+b") as file:
        file.seek(-8 * PAGE, os.SEEK_END)
        file.write(b"\xff" * 4 * PAGE)


def overwrite(path: Path) -> None:
    """Make it something else."""
    path.write_bytes(b"no database at all, but some text" * 1000)


def come_from_the_future(path: Path) -> None:
    """Let a later version have written it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()


HARM = [(corrupt, "move the file away"), (overwrite, "move the file away"),
        (come_from_the_future, "later version")]  # fmt: skip


@pytest.mark.parametrize(("harm", "advice"), HARM)
def test_row63_a_database_that_cannot_be_used_is_refused(
    tmp_path: Path, harm: Callable[[Path], None], advice: str
) -> None:
    path = tmp_path / "jobs.sqlite"
    url = make_url(f"sqlite:///{path}")
    prepare(url)
    harm(path)
    before = path.read_bytes()
    with pytest.raises(StorageUnusable, match=advice) as refused:
        prepare(url)
    assert str(path) in refused.value.detail
    assert "\n" not in refused.value.detail
    # What it says of itself on the first page may change, and nothing else.
    assert path.read_bytes()[PAGE:] == before[PAGE:]


def test_row63_the_server_ends_with_status_3_and_one_line(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    path = tmp_path / "jobs.sqlite"
    overwrite(path)
    config = tmp_path / "config.yml"
    config.write_text(json.dumps(configuration(port, jobs={"url": f"sqlite:///{path}"})))
    done = subprocess.run(
        [sys.executable, "-m", "alaas", "serve", "--config", str(config)],
        capture_output=True, text=True, timeout=WAIT_S, check=False,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}"},
    )  # fmt: skip
    assert done.returncode == 3
    told = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(told) == 1
    assert str(path) in told[0]


def test_row63_an_empty_database_gets_its_tables(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "jobs.sqlite"
    prepare(make_url(f"sqlite:///{path}"))
    assert path.stat().st_mode & 0o077 == 0
    with closing(sqlite3.connect(path)) as connection:
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert revision == "0001"
    prepare(make_url(f"sqlite:///{path}"))  # and stays as it is
