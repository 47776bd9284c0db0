"""How a server starts, stops and dies, seen from outside its process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import requests
from local_servers import free_ports, listening

from alaas.client import Client
from alaas.config import Settings
from alaas.core import errors
from alaas.server import Server


class Held:
    """A web server whose pictures arrive when `gate` opens; it tells when one is asked for."""

    def __init__(self, picture: bytes) -> None:
        self.gate = threading.Event()
        self.asked = threading.Event()
        self._picture = picture
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.recv(65536)
            self.asked.set()
            self.gate.wait(60)
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(self._picture)}\r\n"
            connection.sendall(f"{head}Connection: close\r\n\r\n".encode() + self._picture)

    def close(self) -> None:
        self.gate.set()
        self._socket.close()


@pytest.fixture
def held(photos: Path) -> Iterator[Held]:
    server = Held(next(photos.iterdir()).read_bytes())
    yield server
    server.close()


def family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def assert_gone(processes: list[psutil.Process], ports: list[int]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert not alive
    assert not [port for port in ports if listening(port)]


@pytest.mark.parametrize("protocol", ["http", "ws", "grpc"])
def test_sigterm_lets_a_running_query_finish(
    make_settings: Callable[..., Settings], held: Held, protocol: str
) -> None:
    settings = make_settings(protocol=[protocol], count=1)
    ports = list(settings.active_learning.al_worker.port)
    answers: list[list[str]] = []
    with Server(settings) as server:
        assert server.pid is not None
        processes = family(server.pid)
        client = Client(server.urls[protocol])
        uris = [f"{held.url}/{row}" for row in range(3)]
        asking = threading.Thread(
            target=lambda: answers.append(client.query_by_uri(uris, budget=2))
        )
        asking.start()
        assert held.asked.wait(60)
        os.kill(server.pid, signal.SIGTERM)
        held.gate.set()
        asking.join(60)
        client.close()
        assert_gone(processes[1:], ports)
        assert server.stop() == 0
    assert [len(picked) for picked in answers] == [2]


def test_a_draining_server_refuses_new_queries(
    make_settings: Callable[..., Settings], held: Held
) -> None:
    settings = make_settings(protocol=["http"], count=1)
    with Server(settings) as server:
        assert server.pid is not None
        url = server.urls["http"]
        client = Client(url)
        asking = threading.Thread(target=client.query_by_uri, args=([held.url], 1))
        asking.start()
        assert held.asked.wait(60)
        os.kill(server.pid, signal.SIGTERM)
        body = {"data": [{"uri": "x"}], "parameters": {"budget": 1}}
        status = 200
        while status != 503:  # bounded by the drain, which the held query keeps open
            answer = requests.get(f"{url}/readyz", timeout=10)
            status = answer.status_code
        assert answer.json()["code"] == "not_ready"
        refused = requests.post(f"{url}/query", json=body, timeout=10)
        assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
        assert refused.headers["Retry-After"]
        held.gate.set()
        asking.join(60)
        client.close()


def test_killing_the_parent_leaves_no_orphan(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(protocol=["http", "grpc"], count=2)
    ports = list(settings.active_learning.al_worker.port)
    with Server(settings) as server:
        assert server.pid is not None
        processes = family(server.pid)
        assert len(processes) > 5
        os.kill(server.pid, signal.SIGKILL)
        assert_gone(processes[1:], ports)


def test_a_script_that_blocks_ends_on_sigint(tmp_path: Path) -> None:
    """`Server.start` as an old script calls it; Ctrl-C reaches it and the whole group."""
    (port,) = free_ports(1)
    script = tmp_path / "serve.py"
    script.write_text(
        "import os\n"
        "os.environ['ALAAS_ACTIVE_LEARNING__STRATEGY__MODEL__WEIGHTS'] = 'none'\n"
        "from alaas.server import Server\n"
        f"Server.start(proto='http', port={port}, host='127.0.0.1', model_name='squeezenet1_0',\n"
        "             model_hub='pytorch/vision:v0.10.0', strategy='RandomSampling')\n"
        "print('ended')\n"
    )
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        ready = False
        while not ready and running.poll() is None:
            try:
                ready = requests.get(f"http://127.0.0.1:{port}/readyz", timeout=10).ok
            except requests.ConnectionError:
                continue
        assert ready
        processes = family(running.pid)
        os.killpg(running.pid, signal.SIGINT)
        out, _ = running.communicate(timeout=60)
    assert out == "ended\n"
    assert running.returncode == 0
    assert_gone(processes, [port])


def test_start_without_block_and_stop(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(protocol=["grpc"], count=1)
    server = Server(settings).start(block=False)
    assert server.pid is not None
    processes = family(server.pid)
    with Client(server.urls["grpc"]) as client:
        assert len(client.strategies()) >= 6
    assert server.stop() == 0
    assert server.stop() is None
    assert_gone(processes, list(settings.active_learning.al_worker.port))


def test_a_port_in_use_is_one_clear_error(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(protocol=["http"], count=1)
    (port,) = settings.active_learning.al_worker.port
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(errors.PortInUse, match=str(port)),
    ):
        Server(settings).start(block=False)


def test_missing_weights_and_no_network_are_one_clear_error(
    make_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    # A proxy that nobody runs: no address outside this machine is tried.
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    settings = Settings.model_validate(
        {"active_learning": {"al_worker": {"host": "127.0.0.1", "port": free_ports(1)}}}
    )
    with pytest.raises(errors.ModelUnavailable) as refused:
        Server(settings).start(block=False)
    said = str(refused.value)
    assert "\n" not in said
    for part in ("resnet18-", ".pth", str(tmp_path), "TORCH_HOME", "weights"):
        assert part in said


def test_a_client_that_leaves_stops_its_query(
    make_settings: Callable[..., Settings], held: Held
) -> None:
    settings = make_settings(protocol=["http"], count=1)
    with Server(settings) as server:
        url = server.urls["http"]
        host, port = url.removeprefix("http://").split(":")
        body = f'{{"data": ["{held.url}"], "parameters": {{"budget": 1}}}}'
        request = (
            f"POST /query HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(request.encode())
            assert held.asked.wait(60)
            assert "alaas_requests_in_flight 1.0" in requests.get(f"{url}/metrics", timeout=10).text
        figures = ""
        while "alaas_requests_in_flight 0.0" not in figures:
            # The picture is still held back: only the lost connection can end the query.
            figures = requests.get(f"{url}/metrics", timeout=10).text
        held.gate.set()


def test_a_dead_stage_is_replaced_whatever_the_protocol(
    make_settings: Callable[..., Settings], photos: Path
) -> None:
    settings = make_settings(protocol=["http", "grpc"], count=2)
    paths = [str(path) for path in sorted(photos.iterdir())[:200]]
    with Server(settings) as server:
        assert server.pid is not None
        picks: list[Sequence[str | None]] = []
        for protocol in ("http", "grpc"):
            with Client(server.urls[protocol]) as client:
                picks.append(client.query_by_uri(paths, budget=5))
                (infer,) = [one for one in family(server.pid) if one.name() == "infer-0"]
                infer.kill()
                picks.append(client.query(paths, 5, cache=False).uris)
        assert picks == [picks[0]] * 4
        processes = family(server.pid)
        assert server.stop() == 0
        assert_gone(processes, list(settings.active_learning.al_worker.port))


def test_a_dead_gateway_ends_the_server(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(protocol=["http"], count=1)
    (port,) = settings.active_learning.al_worker.port
    with Server(settings) as server:
        assert server.pid is not None
        processes = family(server.pid)
        (gateway,) = [
            one
            for one in processes
            if port in {c.laddr.port for c in one.net_connections() if c.status == "LISTEN"}
        ]
        gateway.kill()
        assert_gone(processes[1:], [port])
        assert server.stop() == 1
