"""Jobs as the Python client has them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults import WAIT_S, free_ports, until
from small_server import Gate, SmallServer
from sqlalchemy.engine import make_url
from test_jobs_http import Shut, office
from test_pipeline_engine import Toy

from alaas.client import Client, PushResult, QueryResult
from alaas.client import jobs as client_jobs
from alaas.config import Settings
from alaas.core.errors import (
    AllItemsFailed,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidRequest,
    JobCancelled,
    JobUnfinished,
    UnknownJob,
    ValidationFailed,
)
from alaas.core.wire import Failure, Progress
from alaas.server.jobs.database import prepare

URIS = [f"u{row}" for row in range(5)]


@contextmanager
def asking(server: SmallServer, **more: Any) -> Iterator[Client]:
    with Client(server.url, **more) as client:
        yield client


def test_a_job_gives_what_a_query_gives(tmp_path: Path) -> None:
    with office(tmp_path) as server, asking(server) as client:
        asked = client.query(URIS, 2, strategy="entropy", seed=3)
        job = client.submit(URIS, 2, strategy="entropy", seed=3)
        told: list[Progress] = []
        found = job.wait(on_progress=told.append)
        assert isinstance(found, QueryResult)
        assert (found.ids, found.scores, found.uris) == (asked.ids, asked.scores, asked.uris)
        assert told[-1].done == 5
        status = job.status()
        assert (status.state, status.type, status.over) == ("succeeded", "query", True)
        assert job.progress() == status.progress
        assert status.stages["infer"].items == 5
        assert client.job(job.id).result().ids == asked.ids  # type: ignore[union-attr]
        assert [one.id for one in client.jobs()] == [job.id]


def test_many_jobs_are_listed_page_by_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with office(tmp_path) as server, asking(server) as client:
        made = [client.submit(URIS, 1).id for _ in range(3)]
        asked: list[str] = []
        once = client._transport.job  # type: ignore[attr-defined]

        def counted(path: str, **more: Any) -> Any:
            asked.append(path)
            return once(path.replace("limit=3", "limit=2"), **more)

        monkeypatch.setattr(client._transport, "job", counted)
        assert [job.id for job in client.jobs(limit=3)] == made[::-1]
        assert len(asked) == 2
        assert [job.id for job in client.jobs(limit=1)] == made[2:]


def test_an_unfinished_job(tmp_path: Path) -> None:
    with office(tmp_path, gate=Shut()) as server, asking(server) as client:
        job = client.submit(URIS, 2)
        with pytest.raises(JobUnfinished):
            job.result()
        with pytest.raises(DeadlineExceeded):
            job.wait(timeout=0.2)
        assert job.cancel().state == "cancelled"
        assert job.cancel().over
        for ask in (job.wait, job.result):
            with pytest.raises(JobCancelled):
                ask()


def test_a_failed_job_raises_why(tmp_path: Path) -> None:
    with office(tmp_path) as server, asking(server) as client:
        gone = Failure("0", "fetch", "upstream_not_found", "gone")
        server.engine.lost = {"0": gone}
        job = client.submit(URIS[:1], 1)
        for ask in (job.wait, job.result):
            with pytest.raises(AllItemsFailed) as raised:
                ask()
            assert raised.value.status == 502


def test_what_the_client_cannot_read_is_told_with_the_answer(tmp_path: Path) -> None:
    with office(tmp_path) as server, asking(server) as client:
        found = client.submit([*URIS, tmp_path / "missing.png"], 1).wait()
        assert [one.code for one in found.failures] == ["unreadable_file"]
        with pytest.raises(AllItemsFailed):
            client.submit([tmp_path / "missing.png"], 1)


def test_a_large_pool_goes_in_lines(tmp_path: Path) -> None:
    with office(tmp_path) as server, asking(server) as client:
        found = client.submit((f"u{row}" for row in range(2000)), 3).wait()
        assert isinstance(found, QueryResult)
        assert found.receipt.pool_size == 2000


def test_a_push_that_is_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = {
        "pool": {
            "name": "street", "items": 3, "views": {}, "space": "s", "model": "m", "created": 1.0,
        },
        "failures": [], "timings": {}, "warnings": [], "requestId": "r",
    }  # fmt: skip
    with office(tmp_path) as server, asking(server) as client:
        job = client.submit(URIS, 1)
        job.wait()
        monkeypatch.setattr(client._transport, "job", lambda *_, **__: document)
        found = job.result()
        assert isinstance(found, PushResult)
        assert found.pool.items == 3


def test_events_that_break_off_are_taken_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_jobs, "LOOK_S", 0.01)
    with office(tmp_path, gate=Shut()) as server, asking(server) as client:
        broken = threading.Event()
        streams = client._transport.events  # type: ignore[attr-defined]

        @contextmanager
        def breaking(*given: Any, **more: Any) -> Iterator[Any]:
            with streams(*given, **more) as lines:
                if broken.is_set():
                    yield lines
                    return
                yield [next(lines)]
                broken.set()
                server.gate.open()
                raise ConnectionFailed("broken off")

        monkeypatch.setattr(client._transport, "events", breaking)
        assert len(client.submit(URIS, 2).wait(WAIT_S).failures) == 0
        assert broken.is_set()


def test_without_events_the_job_is_looked_at_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_jobs, "LOOK_S", 0.01)
    with office(tmp_path) as server, asking(server) as client:

        @contextmanager
        def none(*_: Any, **__: Any) -> Iterator[Any]:
            raise ConnectionFailed("a proxy does not let events through")
            yield ()

        monkeypatch.setattr(client._transport, "events", none)
        found = client.submit(URIS, 2).wait(WAIT_S)
        assert isinstance(found, QueryResult)
        assert len(found) == 2


def settled(folder: Path) -> Settings:
    url = f"sqlite:///{folder}/jobs.sqlite"
    prepare(make_url(url))
    return Settings.model_validate({"jobs": {"url": url}, "log": {"level": "error"}})


def start(settings: Settings, gate: Gate, port: int) -> SmallServer:
    server = SmallServer(settings, Toy(during=gate, window=64), gate)
    server.port, server.url = port, f"http://127.0.0.1:{port}"
    server.start()
    return server


def test_a_restart_is_outlasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_jobs, "LOOK_S", 0.01)
    settings, (port,) = settled(tmp_path), free_ports(1)
    found: list[Any] = []
    first = start(settings, Shut(), port)
    with asking(first) as client:
        job = client.submit(URIS, 2)
        waiting = threading.Thread(target=lambda: found.append(job.wait(WAIT_S)))
        waiting.start()
        until(lambda: first.gate.reached, "the job runs")
        first.leave()
        second = start(settings, Gate(), port)
        waiting.join(WAIT_S)
        assert job.status().attempt == 2
        second.stop()
    (result,) = found
    assert len(result) == 2


def test_a_server_that_stays_away_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_jobs, "LOOK_S", 0.01)
    monkeypatch.setattr(client_jobs, "PATIENCE_S", 0.0)
    (port,) = free_ports(1)
    with Client(f"http://127.0.0.1:{port}") as client, pytest.raises(ConnectionFailed):
        client.job("x").wait()


def test_an_unknown_job(tmp_path: Path) -> None:
    with office(tmp_path) as server, asking(server) as client:
        job = client.job("0" * 32)
        assert job.id in repr(job)
        for ask in (job.status, job.cancel, job.result, job.wait):
            with pytest.raises(UnknownJob):
                ask()


def test_other_protocols_have_no_jobs() -> None:
    for address in ("grpc://localhost:1", "ws://localhost:1"):
        with Client(address) as client:
            for ask in (client.jobs, lambda: client.submit(URIS, 1), lambda: client.job("x")):
                with pytest.raises(InvalidRequest, match="http"):
                    ask()


def test_a_pool_or_its_name() -> None:
    with Client("http://localhost:1") as client, pytest.raises(ValidationFailed, match="both"):
        client.submit(URIS, 1, pool="street")


def test_the_awaitable_twins(tmp_path: Path) -> None:
    async def story(client: Client) -> None:
        job = await client.asubmit(URIS, 2)
        assert len((await asyncio.to_thread(job.wait)).failures) == 0
        assert [one.id for one in await client.ajobs()] == [job.id]

    with office(tmp_path) as server, asking(server) as client:
        asyncio.run(story(client))
