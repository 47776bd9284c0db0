"""Jobs over HTTP: begun, looked at, followed, ended, and who may do so."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from faults import WAIT_S, until
from small_server import JSON, LINES, Gate, SmallServer, request, serving
from sqlalchemy.engine import make_url

from alaas.core.types import Items
from alaas.core.wire import Failure
from alaas.server.jobs import routes, runner
from alaas.server.jobs.database import prepare

KEYS = {"one": "k" * 43, "two": "l" * 43, "chief": "m" * 43}


class Shut(Gate):
    """A gate that is shut, but lets canaries pass: jobs begin once the service is ready."""

    def __init__(self) -> None:
        super().__init__(is_open=False)

    async def __call__(self, items: Items) -> None:
        """Pass, now or later."""
        if items.items[0].id != "canary":
            await super().__call__(items)


@contextmanager
def office(folder: Path, *, gate: Gate | None = None, **more: Any) -> Iterator[SmallServer]:
    """A small server with jobs."""
    url = f"sqlite:///{folder}/jobs.sqlite"
    prepare(make_url(url))
    jobs = {"url": url, **more.pop("jobs", {})}
    with serving(more.pop("limits", {}), gate=gate, jobs=jobs, **more) as server:
        yield server


def body(size: int = 5, **parameters: Any) -> dict[str, Any]:
    data = [{"id": f"i{row}", "uri": f"u{row}"} for row in range(size)]
    return {"data": data, "parameters": {"budget": 2, **parameters}}


def ask(server: SmallServer, method: str, path: str, **more: Any) -> requests.Response:
    return requests.request(method, server.url + path, timeout=WAIT_S, **more)


def submit(server: SmallServer, document: Any = None, **more: Any) -> dict[str, Any]:
    answer = ask(server, "POST", "/jobs", json=document or body(), **more)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"/jobs/{job['id']}"
    return job


def events(server: SmallServer, name: str, **more: Any) -> Iterator[tuple[str, Any]]:
    """Kind and data of the events of a job; a comment has no kind."""
    with ask(server, "GET", f"/jobs/{name}/events", stream=True, **more) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        kind = ""
        for line in answer.iter_lines(decode_unicode=True):
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))
            elif line.startswith(":"):
                yield "", line


def end(server: SmallServer, name: str) -> dict[str, Any]:
    """A job at its end."""
    *_, (kind, job) = events(server, name)
    assert kind == "end"
    ended: dict[str, Any] = job
    return ended


def test_a_job_answers_what_a_query_answers(tmp_path: Path) -> None:
    with office(tmp_path) as server:
        answer = ask(server, "POST", "/query", json=body()).json()
        begun = datetime.now(UTC)
        job = submit(server)
        assert (job["type"], job["state"], job["position"]) == ("query", "queued", 0)
        assert job["progress"] == {"done": 0, "failed": 0, "total": 5}
        ended = end(server, job["id"])
        assert (ended["state"], ended["problem"], ended["attempt"]) == ("succeeded", None, 1)
        assert ended["progress"] == {"done": 5, "failed": 0, "total": 5}
        assert ended["stages"]["infer"]["items"] == 5
        moments = [datetime.fromisoformat(ended[at]) for at in ("created", "started", "finished")]
        assert moments == sorted(moments)
        assert abs((moments[0] - begun).total_seconds()) < WAIT_S
        assert ask(server, "GET", f"/jobs/{job['id']}").json() == ended
        result = ask(server, "GET", f"/jobs/{job['id']}/result").json()
        same = ("data", "failures", "parameters", "receipt", "warnings")
        assert {key: result[key] for key in same} == {key: answer[key] for key in same}
        assert result["header"]["requestId"] == job["id"]
        until(lambda: server.figure('alaas_jobs{state="succeeded"} 1.0'), "it is counted")
        assert server.figure("alaas_job_duration_seconds_count 1.0")


def test_a_job_gives_pictures_back_as_a_query_does(tmp_path: Path) -> None:
    document = {"data": [{"id": "a", "blob": "AAEC"}], "parameters": {"budget": 1}}
    with office(tmp_path) as server:
        answer = ask(server, "POST", "/query", json=document).json()
        job = submit(server, document)
        end(server, job["id"])
        result = ask(server, "GET", f"/jobs/{job['id']}/result").json()
        assert result["data"] == answer["data"]
        assert result["data"][0]["blob"] == "AAEC"


def test_jobs_run_in_order_and_so_many_at_once(tmp_path: Path) -> None:
    with office(tmp_path, gate=Shut(), jobs={"at_once": 1}) as server:
        names = [submit(server)["id"] for _ in range(3)]
        until(lambda: server.gate.reached, "the first one runs")
        listed = ask(server, "GET", "/jobs").json()["jobs"]
        assert [(job["id"], job["state"], job["position"]) for job in listed] == [
            (names[2], "queued", 1), (names[1], "queued", 0), (names[0], "running", None),
        ]  # fmt: skip
        server.gate.open()
        started = [end(server, name)["started"] for name in names]
        assert started == sorted(started)


def test_a_result_is_asked_for_too_early(tmp_path: Path) -> None:
    with office(tmp_path, gate=Shut()) as server:
        job = submit(server)
        answer = ask(server, "GET", f"/jobs/{job['id']}/result")
        assert (answer.status_code, answer.json()["code"]) == (409, "job_unfinished")
        assert int(answer.headers["Retry-After"]) > 0


def test_a_job_that_fails_says_why_with_the_status_of_a_query(tmp_path: Path) -> None:
    with office(tmp_path) as server:
        server.engine.lost = {
            f"i{row}": Failure(f"i{row}", "fetch", "upstream_not_found", "gone") for row in range(5)
        }
        job = submit(server)
        ended = end(server, job["id"])
        assert (ended["state"], ended["problem"]["code"]) == ("failed", "all_items_failed")
        answer = ask(server, "GET", f"/jobs/{job['id']}/result")
        assert (answer.status_code, answer.json()["code"]) == (502, "all_items_failed")
        assert answer.json()["errors"] == ended["problem"]["errors"]


@pytest.mark.parametrize(
    ("document", "status", "code"),
    [
        (body(strategy="nope"), 404, "unknown_strategy"),
        (body(budget=0), 422, "validation"),
        (body(0), 422, "empty_input"),
        ({**body(), "type": "train"}, 422, "validation"),
        ({**body(), "type": "push"}, 422, "validation"),  # a push has a pool to name
        ([], 422, "validation"),
    ],
)
def test_what_cannot_be_run_is_refused_at_once(
    tmp_path: Path, document: Any, status: int, code: str
) -> None:
    with office(tmp_path) as server:
        answer = ask(server, "POST", "/jobs", json=document)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert ask(server, "GET", "/jobs").json() == {"jobs": [], "next": None}


def test_a_push_can_be_a_job(tmp_path: Path) -> None:
    with office(tmp_path) as server:
        job = submit(server, {**body(), "type": "push", "parameters": {"pool": "street"}})
        # The engine of this test stores nothing, which a push is told.
        assert end(server, job["id"])["problem"]["code"] == "store_disabled"
        assert ask(server, "GET", f"/jobs/{job['id']}/result").status_code == 409


def test_a_cancelled_job_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "BEAT_S", 3600.0)  # at once, and not when its lease is renewed
    with office(tmp_path, gate=Shut()) as server:
        job = submit(server)
        until(lambda: server.gate.reached, "it runs")
        cancelled = ask(server, "POST", f"/jobs/{job['id']}/cancel")
        assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
        until(lambda: server.ask(lambda: server.engine.running) == 0, "its work has stopped")
        assert server.engine.cancelled > 0
        again = ask(server, "POST", f"/jobs/{job['id']}/cancel")
        assert (again.status_code, again.json()["state"]) == (200, "cancelled")
        answer = ask(server, "GET", f"/jobs/{job['id']}/result")
        assert (answer.status_code, answer.json()["code"]) == (409, "job_cancelled")
        server.gate.open()
        assert end(server, submit(server)["id"])["state"] == "succeeded"


def test_events_begin_with_how_it_stands_and_end_once(tmp_path: Path) -> None:
    with office(tmp_path, gate=Shut()) as server:
        job = submit(server)
        until(lambda: server.gate.reached, "it runs")
        stream = events(server, job["id"])
        kind, first = next(stream)
        assert (kind, first["state"]) == ("state", "running")
        server.gate.open()
        told = list(stream)
        assert {kind for kind, _ in told[:-1]} <= {"progress"}
        assert told[-1][0] == "end"
        assert told[-1][1]["state"] == "succeeded"
        assert [kind for kind, _ in events(server, job["id"])] == ["end"]
        headers = {"Last-Event-ID": "end"}
        over = ask(server, "GET", f"/jobs/{job['id']}/events", headers=headers)
        assert over.status_code == 204


def test_a_silent_stream_says_that_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "HEARTBEAT_S", 0.0)
    with office(tmp_path, gate=Shut()) as server:
        job = submit(server)
        until(lambda: server.gate.reached, "it runs")
        stream = events(server, job["id"])
        assert next(stream)[0] == "state"
        assert next(stream) == ("", ": still here")
        server.gate.open()


def test_lines_are_taken_too(tmp_path: Path) -> None:
    lines = b'{"parameters": {"budget": 2}}\n' + b"".join(b'"u%d"\n' % row for row in range(2000))
    with office(tmp_path) as server:
        headers = {"Content-Type": LINES}
        job = ask(server, "POST", "/jobs", data=iter([lines]), headers=headers).json()
        ended = end(server, job["id"])
        assert (ended["state"], ended["progress"]["total"]) == ("succeeded", 2000)


def test_a_pool_that_does_not_arrive_leaves_nothing(tmp_path: Path) -> None:
    with office(tmp_path) as server:
        with server.connect() as connection:
            part = b'{"parameters": {"budget": 2}}\n"u1"\n'
            head = request(b"", "/jobs", kind=LINES, Transfer_Encoding="chunked")
            connection.sendall(head + b"%x\r\n%b\r\n" % (len(part), part))
            until(lambda: server.ask(lambda: server.service.admission.requests), "it has begun")
        server.until_idle()
        assert ask(server, "GET", "/jobs").json()["jobs"] == []
        assert end(server, submit(server)["id"])["state"] == "succeeded"


def test_callers_see_their_own_jobs_and_the_admin_all(tmp_path: Path) -> None:
    keys = [
        {
            "name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(),
            "scopes": ["admin" if name == "chief" else "query"],
        }
        for name, key in KEYS.items()
    ]  # fmt: skip
    with office(tmp_path, auth={"keys": keys}, limits={"jobs_per_key": 2}) as server:
        shown = {name: {"Authorization": f"Bearer {key}"} for name, key in KEYS.items()}
        mine = submit(server, headers=shown["one"])["id"]
        for path in ("", "/result", "/events"):
            answer = ask(server, "GET", f"/jobs/{mine}{path}", headers=shown["two"])
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_job")
        answer = ask(server, "POST", f"/jobs/{mine}/cancel", headers=shown["two"])
        assert answer.status_code == 404
        listed = {
            name: len(ask(server, "GET", "/jobs", headers=shown[name]).json()["jobs"])
            for name in KEYS
        }
        assert listed == {"one": 1, "two": 0, "chief": 1}
        assert ask(server, "GET", f"/jobs/{mine}", headers=shown["chief"]).status_code == 200


def test_a_list_is_read_page_by_page(tmp_path: Path) -> None:
    with office(tmp_path) as server:
        names = [submit(server)["id"] for _ in range(3)]
        for name in names:
            end(server, name)
        first = ask(server, "GET", "/jobs?limit=2").json()
        assert [job["id"] for job in first["jobs"]] == names[:0:-1]
        second = ask(server, "GET", f"/jobs?limit=2&before={first['next']}").json()
        assert [job["id"] for job in second["jobs"]] == names[:1]
        assert second["next"] is None
        assert len(ask(server, "GET", "/jobs?state=succeeded").json()["jobs"]) == 3
        assert ask(server, "GET", "/jobs?state=failed").json()["jobs"] == []
        for wrong in ("limit=0", "limit=501", "limit=x", "state=gone"):
            answer = ask(server, "GET", f"/jobs?{wrong}")
            assert (answer.status_code, answer.json()["code"]) == (422, "validation")


def test_an_unknown_job_is_a_problem(tmp_path: Path) -> None:
    with office(tmp_path) as server:
        for method, path in (
            ("GET", "/jobs/nope"), ("GET", "/jobs/%00"), ("GET", "/jobs/nope/result"),
            ("GET", "/jobs/nope/events"), ("POST", "/jobs/nope/cancel"),
            ("GET", "/jobs?before=nope"),
        ):  # fmt: skip
            answer = ask(server, method, path)
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_job")


def test_without_a_database_there_are_no_jobs() -> None:
    with serving() as server:
        answer = ask(server, "POST", "/jobs", json=body(), headers={"Content-Type": JSON})
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
