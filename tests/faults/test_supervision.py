"""Processes that die and hang, in a real server: they are replaced, and nothing is lost."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests
from faults import Running, running, until
from moods import PATIENCE_S, Mood, Query, ask, coloured, picked

from alaas.server.suspects import CODE

STAGES = ("fetch", "preprocess", "infer", "score")


def process(server: Running, name: str) -> psutil.Process:
    """The process of that name, once there is one."""
    found: list[psutil.Process] = []

    def look() -> bool:
        found[:] = [one for one in server.family() if one.name() == name]
        return bool(found)

    until(look, f"there is a process {name}")
    return found[0]


def figures(server: Running, name: str) -> list[tuple[dict[str, str], int]]:
    """What `/metrics` has of a name: labels, and the value of each."""
    text = server.get("/metrics").text
    lines = re.findall(rf"^{name}\{{(.*)\}} (\S+)$", text, re.MULTILINE)
    return [(dict(re.findall(r'(\w+)="(\w+)"', labels)), int(float(at))) for labels, at in lines]


def restarts(server: Running, stage: str) -> dict[str, int]:
    """How often processes of a stage were replaced, by reason."""
    told = figures(server, "alaas_replica_restarts_total")
    return {one["reason"]: count for one, count in told if one["stage"] == stage}


def is_whole(server: Running) -> bool:
    """Whether every process is there, and the server is ready."""
    if server.status_of("/readyz") != 200:
        return False
    told = figures(server, "alaas_replicas")
    return bool(told) and all(one["state"] == "ready" for one, count in told if count)


def await_whole(server: Running) -> None:
    until(lambda: is_whole(server), "every process is there", PATIENCE_S)


@pytest.fixture(scope="module")
def mood(tmp_path_factory: pytest.TempPathFactory) -> Mood:
    return Mood(tmp_path_factory.mktemp("mood") / "files")


@pytest.fixture(scope="module")
def patient(
    tmp_path_factory: pytest.TempPathFactory, mood: Mood, pictures: Path
) -> Iterator[Running]:
    """A server with two replicas of the network that does what pictures say."""
    folder = tmp_path_factory.mktemp("patient")
    with running(
        folder,
        environment=mood.environment,
        model={"name": "moody:moody"},
        worker={"replicas": 2},
        fetch={"roots": [str(pictures)]},
        supervision={"hang_s": 4, "restarts": 100},
    ) as one:
        yield one
        assert one.stop() == 0


@pytest.fixture
def server(patient: Running, mood: Mood) -> Iterator[Running]:
    await_whole(patient)
    yield patient
    for name in ("hold", "held", "broken"):
        mood.clear(name)
    await_whole(patient)


@pytest.mark.parametrize("stage", STAGES)
def test_row42_a_process_that_is_killed_while_idle_is_replaced(
    server: Running, paths: list[str], stage: str
) -> None:
    undisturbed = picked(ask(server, paths[:50]))
    before = restarts(server, stage)
    killed = process(server, f"{stage}-0")
    killed.kill()
    assert picked(ask(server, paths[:50])) == undisturbed
    until(
        lambda: restarts(server, stage)["killed"] == before["killed"] + 1,
        "it is counted",
        PATIENCE_S,
    )
    assert process(server, f"{stage}-0").pid != killed.pid
    await_whole(server)


def test_row43_a_process_that_is_killed_at_work_costs_nothing(
    server: Running, mood: Mood, paths: list[str]
) -> None:
    data = [*paths[:40], coloured("white"), *paths[40:80]]
    undisturbed = picked(ask(server, data))
    mood.set("hold")
    query = Query(server, data)
    os.kill(mood.held_by(), signal.SIGKILL)
    assert server.get("/livez").status_code == 200
    assert server.get("/readyz").status_code == 200  # the other replica is there
    mood.clear("hold")
    answer = query.wait()
    assert picked(answer) == undisturbed
    assert answer.json()["failures"] == []


@pytest.mark.parametrize("colour", ["red", "green"])
def test_row44_an_item_that_crashes_its_process_is_given_up_alone(
    server: Running, paths: list[str], colour: str
) -> None:
    undisturbed = picked(ask(server, paths[:40]))
    before = restarts(server, "infer")["died"]
    answer = ask(server, [*paths[:40], coloured(colour)])
    (failure,) = answer.json()["failures"]
    assert (failure["id"], failure["stage"], failure["code"]) == (colour, "infer", CODE)
    assert [name for name, _ in picked(answer)] == [name for name, _ in undisturbed]
    # In the crowd, alone with its micro-batch, and twice by itself.
    until(
        lambda: restarts(server, "infer")["died"] == before + 4,
        "every death is counted",
        PATIENCE_S,
    )
    assert server.process.poll() is None


def test_row45_without_a_living_process_the_service_says_so(
    server: Running, mood: Mood, paths: list[str]
) -> None:
    mood.set("broken")
    for number in range(2):
        process(server, f"infer-{number}").kill()
    until(lambda: server.status_of("/readyz") == 503, "the service is not ready", PATIENCE_S)
    refused = server.get("/readyz")
    assert refused.json()["code"] == "no_replica"
    assert server.get("/livez").status_code == 200

    answers: list[requests.Response] = []

    def is_refused() -> bool:
        # While the next process is being started it is waited for; not once that is put off.
        answers.append(ask(server, paths[:5], timeout_s=1))
        return answers[-1].status_code == 503

    until(is_refused, "queries are refused", PATIENCE_S)
    assert {one.status_code for one in answers} <= {503, 504}
    assert answers[-1].json()["code"] == "no_replica"
    assert int(answers[-1].headers["Retry-After"]) >= 1
    mood.clear("broken")
    await_whole(server)
    assert len(picked(ask(server, paths[:5]))) == 5


def test_row46_a_process_that_is_stopped_is_replaced(server: Running, paths: list[str]) -> None:
    undisturbed = picked(ask(server, paths[:50]))
    before = restarts(server, "preprocess")["hung"]
    stopped = process(server, "preprocess-0")
    stopped.suspend()
    until(
        lambda: server.status_of("/readyz") == 503,
        "the service tells that a stage is silent",
        PATIENCE_S,
    )
    query = Query(server, paths[:50])
    until(lambda: not stopped.is_running(), "the stopped process is ended", PATIENCE_S)
    assert picked(query.wait()) == undisturbed
    assert restarts(server, "preprocess")["hung"] == before + 1
    await_whole(server)


def test_row46_a_process_that_hangs_in_a_batch_is_replaced(
    server: Running, paths: list[str]
) -> None:
    before = restarts(server, "infer")["hung"]
    answer = ask(server, [*paths[:5], coloured("blue")], timeout_s=2)
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline")
    until(
        lambda: restarts(server, "infer")["hung"] == before + 1,
        "the process is replaced",
        PATIENCE_S,
    )
    assert len(picked(ask(server, paths[:50]))) == 5


@pytest.mark.slow
def test_row46_an_item_that_hangs_its_process_is_given_up(
    server: Running, paths: list[str]
) -> None:
    answer = ask(server, [*paths[:5], coloured("blue")])
    assert len(picked(answer)) == 5
    assert [(one["id"], one["code"]) for one in answer.json()["failures"]] == [("blue", CODE)]


def test_row47_a_crash_loop_ends_the_server(tmp_path: Path) -> None:
    mood = Mood(tmp_path / "mood")
    mood.set("broken")
    with running(
        tmp_path / "server",
        ready=False,
        environment=mood.environment,
        model={"name": "moody:moody"},
        supervision={"restarts": 1},
    ) as server:
        assert server.process.wait(PATIENCE_S) == 1
        server.assert_gone()
        lines = [line for line in server.log().splitlines() if "giving up" in line]
        (given_up,) = [json.loads(line) for line in lines]
        assert given_up["level"] == "critical"
        assert given_up["reason"].startswith("infer died 2 times within 600 s")


def test_row48_the_end_of_the_gateway_is_the_end(tmp_path: Path) -> None:
    mood = Mood(tmp_path / "mood")
    with running(
        tmp_path / "server", environment=mood.environment, model={"name": "moody:moody"}
    ) as server:
        process(server, "gateway-0").kill()
        assert server.process.wait(PATIENCE_S) == 1
        server.assert_gone()
        assert "the gateway ended unexpectedly" in server.log()
