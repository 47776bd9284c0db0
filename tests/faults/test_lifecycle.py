"""How a server starts, drains and ends, and that it never leaves anything behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults import Running, configuration, free_ports, running, until
from moods import Mood, Query, ask, coloured, picked


@contextmanager
def moody(tmp_path: Path, *, slow: bool = False, **settings: Any) -> Iterator[tuple[Running, Mood]]:
    """A server whose network does what pictures and files say."""
    mood = Mood(tmp_path / "mood")
    if slow:
        mood.set("slow")
    with running(
        tmp_path / "server",
        ready=not slow,
        environment=mood.environment,
        model={"name": "moody:moody"},
        **settings,
    ) as server:
        yield server, mood


def test_row49_a_slow_model_leaves_the_port_open_and_the_probes_honest(tmp_path: Path) -> None:
    with moody(tmp_path, slow=True) as (server, mood):
        until(lambda: mood.says("loading"), "the model is being loaded")
        until(lambda: server.status_of("/livez") == 200, "the port is open")
        assert server.get("/v2/health/live").status_code == 200
        for path in ("/readyz", "/v2/health/ready", "/startupz"):
            refused = server.get(path)
            assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
            assert "the model is being loaded" in refused.json()["detail"]
        refused = server.post("/query", {"data": [coloured("red")], "parameters": {"budget": 1}})
        assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
        assert int(refused.headers["Retry-After"]) >= 1
        mood.clear("slow")
        server.wait_ready()
        for path in ("/livez", "/v2/health/live", "/startupz", "/v2/health/ready"):
            assert server.get(path).status_code == 200
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"name": "moody:missing"}, "missing"),
        ({"hub": "torchvision", "name": "resnet18", "weights": "/nowhere.safetensors"}, "nowhere"),
        ({"hub": "torchvision", "name": "resnet18", "weights": "{damaged}"}, "damaged"),
        ({"hub": "torchvision", "name": "resnet18", "weights": "default"}, "resnet18"),
    ],
    ids=["no such model", "no such file", "damaged file", "no network"],
)
def test_row50_a_model_that_cannot_be_loaded_is_one_clear_line(
    tmp_path: Path, model: dict[str, Any], said: str
) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"\x10\0\0\0\0\0\0\0not a header at all")
    model = {key: value.format(damaged=damaged) for key, value in model.items()}
    if model.get("hub") == "torchvision":
        model["preprocess"] = None
    # Nobody runs that proxy, so no address outside this machine is tried.
    proxies = dict.fromkeys(("https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    mood = Mood(tmp_path / "mood")
    with running(
        tmp_path / "server",
        ready=False,
        model=model,
        environment={**mood.environment, **proxies, "TORCH_HOME": str(tmp_path / "torch")},
    ) as server:
        assert server.wait_end() == 2
        server.assert_gone()
        last = server.log().splitlines()[-1]
        assert last.startswith("error: ")
        assert said in last


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_row55_what_is_in_flight_is_finished(
    tmp_path: Path, paths: list[str], pictures: Path, number: signal.Signals
) -> None:
    with moody(tmp_path, fetch={"roots": [str(pictures)]}, shutdown={"grace_s": 5}) as (
        server,
        mood,
    ):
        undisturbed = picked(ask(server, [*paths[:20], coloured("white")]))
        mood.set("hold")
        query = Query(server, [*paths[:20], coloured("white")])
        mood.held_by()
        server.signal(number)
        until(lambda: server.status_of("/readyz") == 503, "balancers are told")
        # New queries are served for a while, until balancers have noticed.
        late = Query(server, paths[:5])
        until(lambda: _is_refused(server, paths[0]), "new queries are refused")
        assert query.answer is None
        mood.clear("hold")
        assert picked(query.wait()) == undisturbed
        assert len(picked(late.wait())) == 5
        assert server.wait_end() == 0
        server.assert_gone()


def _is_refused(server: Running, path: str) -> bool:
    answer = ask(server, [path], timeout_s=1)
    if answer.status_code != 503:
        return False
    assert answer.json()["code"] == "not_ready"
    assert answer.headers["Retry-After"]
    return True


def test_row56_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with moody(tmp_path) as (server, mood):
        mood.set("hold")
        Query(server, [coloured("white")])
        mood.held_by()
        server.signal(signal.SIGTERM)
        until(lambda: server.status_of("/readyz") in {503, None}, "it is stopping")
        assert server.process.poll() is None
        server.signal(signal.SIGTERM)
        assert server.wait_end() == 128 + signal.SIGTERM
        server.assert_gone()


def test_row56_killing_the_supervisor_leaves_nothing(tmp_path: Path) -> None:
    with moody(tmp_path) as (server, _):
        assert len(server.family()) == 6
        server.signal(signal.SIGKILL)
        server.wait_end()
        server.assert_gone()


def test_row56_killing_the_supervisor_while_the_model_loads_leaves_nothing(tmp_path: Path) -> None:
    with moody(tmp_path, slow=True) as (server, mood):
        until(lambda: mood.says("loading"), "the model is being loaded")
        server.signal(signal.SIGKILL)
        server.wait_end()
        server.assert_gone()


def test_row56_a_signal_while_the_model_loads_ends_in_good_order(tmp_path: Path) -> None:
    with moody(tmp_path, slow=True) as (server, mood):
        until(lambda: mood.says("loading"), "the model is being loaded")
        until(lambda: server.status_of("/livez") == 200, "the port is open")
        server.signal(signal.SIGTERM)
        assert server.wait_end() == 0
        server.assert_gone()


def test_row83_a_second_server_on_the_port_names_the_first(tmp_path: Path) -> None:
    with moody(tmp_path) as (first, mood):
        (port,) = first.ports
        second = Running(configuration(port), tmp_path / "second", mood.environment)
        try:
            assert second.wait_end() == 2
            assert not second.family()
            said = second.log().splitlines()[-1]
            assert said.startswith(f"error: port {port} on 127.0.0.1 is in use by process ")
            holder = int(said.partition("process ")[2].partition(";")[0])
            assert holder in {one.pid for one in first.family()}
        finally:
            second.close()
        assert first.get("/readyz").status_code == 200
        assert first.stop() == 0


def test_row83_the_state_of_a_server_that_was_killed_is_no_obstacle(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    folder = tmp_path / "server"
    mood = Mood(tmp_path / "mood")
    tree = configuration(port, model={"name": "moody:moody"})
    first = Running(tree, folder, mood.environment)
    try:
        first.wait_ready()
        first.signal(signal.SIGKILL)
        first.wait_end()
        first.assert_gone()
    finally:
        first.close()
    (left,) = (folder / "tmp").glob("alaas-*")
    lock = left / "lock"
    then = lock.stat().st_mtime - 3600
    os.utime(lock, (then, then))
    second = Running(tree, folder, mood.environment)
    try:
        second.wait_ready()
        assert not left.exists()
        assert second.stop() == 0
    finally:
        second.close()
    assert not list((folder / "tmp").glob("alaas-*"))
