"""``alaas doctor``."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_cli import run, run_without

import alaas
from alaas.cli import machine
from alaas.models.reach import unreachable

FILE = "resnet18-f37072fd.pth"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free(taken: int) -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.fixture
def configuration(tmp_path: Path, free: int) -> Path:
    """A service that could start on any machine."""
    return write(tmp_path, port=free, weights="none")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of torch's downloads, empty, on a machine whose proxy does not answer."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def write(folder: Path, *, port: int, roots: tuple[str, ...] = (), **model: Any) -> Path:
    path = folder / "alaas.yml"
    tree = {
        "active_learning": {
            "strategy": {"model": model},
            "al_worker": {"host": "127.0.0.1", "port": port},
        },
        "fetch": {"roots": roots},
    }
    path.write_text(json.dumps(tree))
    return path


def examine(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, str]]:
    """The checks by name; status and exit code must agree."""
    status = run("doctor", "--json", *arguments)
    answer = json.loads(capsys.readouterr().out)
    statuses = {check["status"] for check in answer["checks"]}
    assert statuses <= {"ok", "warning", "problem"}
    assert answer["ok"] is ("problem" not in statuses)
    assert status == (1 if "problem" in statuses else 0)
    return {check["name"]: check for check in answer["checks"]}


def test_all_is_well(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = examine(capsys, "-c", str(configuration))
    assert "problem" not in {check["status"] for check in found.values()}
    assert found["alaas"]["detail"].startswith(alaas.__version__)
    assert "jina 3.34.0" in found["server"]["detail"]
    assert "torch " in found["local"]["detail"]
    assert int(found["cores"]["detail"]) == len(os.sched_getaffinity(0))
    assert found["weights"]["detail"] == "resnet18 with random weights, nothing to download"


def test_each_check_is_a_line(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "-c", str(configuration), "--uri", "/nowhere.png") == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["ok", "alaas"], ["ok", "server"]]
    problem, advice = lines[-2:]
    assert problem.split()[:3] == ["problem", "uri", "/nowhere.png:"]
    assert "alaas serve --root FOLDER" in advice


def test_a_port_in_use(tmp_path: Path, taken: int, capsys: pytest.CaptureFixture[str]) -> None:
    found = examine(capsys, "-c", str(write(tmp_path, port=taken, weights="none")))
    assert found["port"]["status"] == "problem"
    assert found["port"]["detail"].startswith(f"port {taken} on 127.0.0.1 is in use")
    assert "--port" in found["port"]["advice"]


def test_weights_in_the_cache(
    tmp_path: Path, free: int, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cache / FILE).touch()
    found = examine(capsys, "-c", str(write(tmp_path, port=free)))
    assert found["weights"]["status"] == "ok"
    assert found["weights"]["detail"] == f"resnet18 from {cache / FILE}"
    assert str(cache) in found["disk"]["detail"]


def test_weights_out_of_reach(
    tmp_path: Path, free: int, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = examine(capsys, "-c", str(write(tmp_path, port=free)))
    assert found["weights"]["status"] == "problem"
    assert found["weights"]["detail"].startswith(f"resnet18 is not in {cache}, and https://")
    assert "--weights none" in found["weights"]["advice"]


@pytest.mark.parametrize(("free_mib", "status"), [(44, "problem"), (45, "warning"), (2000, "ok")])
def test_room_for_the_weights(
    tmp_path: Path,
    free: int,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    free_mib: int,
    status: str,
) -> None:
    monkeypatch.setattr(machine, "free_disk", lambda _: free_mib << 20)
    found = examine(capsys, "-c", str(write(tmp_path, port=free)))
    assert found["disk"]["status"] == status


def test_a_file_of_weights(tmp_path: Path, free: int, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "own.safetensors"
    path = write(tmp_path, port=free, weights=str(file))
    assert examine(capsys, "-c", str(path))["weights"]["status"] == "problem"
    file.touch()
    assert examine(capsys, "-c", str(path))["weights"]["detail"] == f"resnet18 from {file}"


def test_an_unknown_model(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = examine(capsys, "-c", str(configuration), "--model", "resnet19")
    assert found["weights"]["status"] == "problem"
    assert found["weights"]["detail"] == "torchvision has no classifier 'resnet19'"


def test_a_device_that_is_not_there(
    tmp_path: Path, free: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, port=free, weights="none", device="cuda:99")
    found = examine(capsys, "-c", str(path))
    assert found["device"]["status"] == "problem"
    assert found["device"]["detail"].startswith("device cuda:99 is not there")


def test_a_picture(tmp_path: Path, free: int, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.fromarray(np.zeros((3, 5, 3), np.uint8)).save(good)
    bad.write_text("no picture")
    closed = write(tmp_path, port=free, weights="none")
    found = examine(capsys, "-c", str(closed), "--uri", str(good))
    assert found["uri"]["status"] == "problem"
    assert found["uri"]["detail"].endswith("[scheme_disabled]")
    opened = write(tmp_path, port=free, weights="none", roots=(str(tmp_path),))
    found = examine(capsys, "-c", str(opened), "--uri", str(good))
    assert found["uri"]["status"] == "ok"
    assert found["uri"]["detail"] == f"{good}: 5 x 3 pixels, {good.stat().st_size} bytes"
    found = examine(capsys, "-c", str(opened), "--uri", str(bad))
    assert found["uri"]["detail"].endswith("[not_an_image]")


def test_a_wrong_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "-c", str(write(tmp_path, port=0))) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_missing_packages_are_reported() -> None:
    done = run_without(("jina", "torch"), "doctor", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    found = {c["name"]: c for c in json.loads(done.stdout[: done.stdout.rindex("\n[")])["checks"]}
    for extra, package in (("server", "jina"), ("local", "torch")):
        assert found[extra]["status"] == "problem"
        assert found[extra]["detail"] == f"not installed: {package}"
        assert found[extra]["advice"] == f"pip install 'alaas[{extra}]'"
    assert found["not checked"]["status"] == "warning"


class _Headed(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(200 if self.path == "/here" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


def test_whether_a_url_answers() -> None:
    with HTTPServer(("127.0.0.1", 0), _Headed) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            assert unreachable(f"{url}/here") is None
            assert unreachable(f"{url}/gone") == "Not Found"
        finally:
            server.shutdown()
            thread.join()
    assert "refused" in str(unreachable(url))


def test_memory_is_what_a_container_may_use(tmp_path: Path) -> None:
    meminfo, cgroup = tmp_path / "meminfo", tmp_path / "memory.max"
    meminfo.write_text("MemTotal:  8000 kB\nMemAvailable:    4000 kB\n")
    assert machine.memory(meminfo=meminfo, cgroup=cgroup) == 4_096_000
    cgroup.write_text("max\n")
    assert machine.memory(meminfo=meminfo, cgroup=cgroup) == 4_096_000
    cgroup.write_text("1000000\n")
    assert machine.memory(meminfo=meminfo, cgroup=cgroup) == 1_000_000
    assert machine.memory(meminfo=tmp_path / "none", cgroup=cgroup) is None


def test_disk_below_a_folder_to_be_made(tmp_path: Path) -> None:
    stat = os.statvfs(tmp_path)
    size = stat.f_blocks * stat.f_frsize
    assert 0 < machine.free_disk(tmp_path / "a" / "b") <= size
