"""Files of weights: what is read, what is refused, and how they are downloaded."""

from __future__ import annotations

import hashlib
import pickle
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from alaas.core.errors import ModelUnavailable
from alaas.models import reach, weights

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}
CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()[:8]


def assert_read(path: Path) -> None:
    found = weights.read(path)
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


def refusal(path: Path) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        weights.read(path)
    assert repr(str(path)) in caught.value.detail
    assert "\n" not in caught.value.detail
    return caught.value.detail


class TestRead:
    @pytest.mark.parametrize(
        "wrapped",
        [TENSORS, {"state_dict": TENSORS}, {"model": TENSORS, "epoch": 1}],
        ids=["plain", "state_dict", "model"],
    )
    def test_checkpoints(self, tmp_path: Path, wrapped: Any) -> None:
        torch.save(wrapped, tmp_path / "w.pth")
        assert_read(tmp_path / "w.pth")

    def test_safetensors(self, tmp_path: Path) -> None:
        save_file(TENSORS, tmp_path / "w.safetensors")
        assert_read(tmp_path / "w.safetensors")

    def test_old_form_of_checkpoints(self, tmp_path: Path) -> None:
        torch.save(TENSORS, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
        assert_read(tmp_path / "w.pth")

    @pytest.mark.parametrize("zipped", [True, False])
    def test_code_does_not_run(self, tmp_path: Path, zipped: bool) -> None:
        marker = tmp_path / "ran"
        bomb = {"a": Bomb(marker)}
        torch.save(bomb, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
        assert "holds other things than tensors and was not loaded" in refusal(tmp_path / "w.pth")
        assert not marker.exists()

    @pytest.mark.filterwarnings("ignore:Detected pickle protocol")
    def test_code_in_a_bare_pickle_does_not_run(self, tmp_path: Path) -> None:
        marker = tmp_path / "ran"
        bomb = pickle.dumps(Bomb(marker))
        (tmp_path / "w.pth").write_bytes(bomb)
        refusal(tmp_path / "w.pth")
        assert not marker.exists()
        pickle.loads(bomb)
        assert marker.exists()  # it was a bomb

    @pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
    @pytest.mark.parametrize(
        "content", [b"", b"\x80", b"PK\x03\x04", b"hello"], ids=["empty", "pickle", "zip", "text"]
    )
    def test_what_is_broken(self, tmp_path: Path, name: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        assert "holds no readable weights: " in refusal(tmp_path / name)

    def test_what_is_cut_off(self, tmp_path: Path) -> None:
        for name in ("w.pth", "w.safetensors"):
            path = tmp_path / name
            save_file(TENSORS, path) if name.endswith("s") else torch.save(TENSORS, path)
            path.write_bytes(path.read_bytes()[:-20])
            assert "holds no readable weights: " in refusal(path)

    @pytest.mark.parametrize("saved", [[torch.ones(1)], {"a": 1.0}, {"model": 3}, torch.ones(1)])
    def test_what_is_no_mapping_of_tensors(self, tmp_path: Path, saved: Any) -> None:
        torch.save(saved, tmp_path / "w.pth")
        assert "is not a mapping of names to tensors" in refusal(tmp_path / "w.pth")

    def test_what_is_not_there(self, tmp_path: Path) -> None:
        assert "there is no weights file" in refusal(tmp_path / "w.pth")
        assert "there is no weights file" in refusal(tmp_path)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.marker, "w")


class Shelf(BaseHTTPRequestHandler):
    """Has `CONTENT` below every path but those that say what to answer instead."""

    asked: list[str] = []  # noqa: RUF012  # emptied by the fixture

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        self.asked.append(self.command)
        if self.path.startswith("/nonsense"):
            self.wfile.write(b"this is not HTTP\r\n\r\n")
            return
        self.send_response(404 if self.path.startswith("/gone") else 200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if self.command == "GET":
            half = len(CONTENT) // 2 if self.path.startswith("/cut") else None
            self.wfile.write(CONTENT[:half])

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def shelf() -> Iterator[str]:
    """The URL of a server that has weights."""
    Shelf.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Shelf) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch keeps weights: not there yet. Loopback is asked without a proxy."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "hub" / "checkpoints"


def offline(url: str) -> str:
    """What is said of weights that cannot be had."""
    with pytest.raises(ModelUnavailable) as caught:
        weights.ensure(url, model="net")
    said = caught.value.detail
    name = url.rpartition("/")[2]
    assert said.startswith(f"net needs its weights {name}: not in ")
    assert f"{url} cannot be downloaded (" in said
    assert "set `weights` to a path, or to `none`" in said
    assert "\n" not in said
    return said


class TestEnsure:
    def test_downloads_once(self, shelf: str, folder: Path) -> None:
        url = f"{shelf}/net-{DIGEST}.pth"
        for _ in range(2):
            path = weights.ensure(url, model="net")
            assert path == folder / f"net-{DIGEST}.pth"
            assert path.read_bytes() == CONTENT
        assert Shelf.asked == ["HEAD", "GET"]

    def test_what_is_there_needs_no_network(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "net.pth").write_bytes(b"any")
        assert weights.ensure("http://127.0.0.1:9/net.pth", model="net").read_bytes() == b"any"

    @pytest.mark.parametrize("name", ["net-00000000.pth", f"cut/net-{DIGEST}.pth", "net.pth"])
    def test_a_wrong_hash_leaves_no_file(self, shelf: str, folder: Path, name: str) -> None:
        assert "(RuntimeError: invalid hash value" in offline(f"{shelf}/{name}")
        assert list(folder.iterdir()) == []

    def test_what_is_not_published(self, shelf: str, folder: Path) -> None:
        assert "(Not Found)" in offline(f"{shelf}/gone/net-{DIGEST}.pth")
        assert not folder.exists()

    def test_what_is_not_http(self, shelf: str) -> None:
        assert "this is not HTTP" in offline(f"{shelf}/nonsense/net-{DIGEST}.pth")

    def test_nobody_listens(self) -> None:
        assert "refused" in offline(f"http://127.0.0.1:9/net-{DIGEST}.pth")

    def test_a_silent_server_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reach, "REACH_S", 0.05)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            said = offline(f"http://127.0.0.1:{silent.getsockname()[1]}/net-{DIGEST}.pth")
        assert "timed out" in said

    def test_a_silent_name_service_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answered = threading.Event()

        def look_up(*_: Any, **__: Any) -> Any:
            answered.wait()  # without a bound, the test would never end
            raise socket.gaierror("too late")

        monkeypatch.setattr(reach, "REACH_S", 0.05)
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        assert "no answer within 0.05 s" in offline(f"http://weights.invalid/net-{DIGEST}.pth")
        answered.set()

    def test_a_folder_that_cannot_be_written(self, shelf: str, folder: Path) -> None:
        folder.parent.parent.joinpath("hub").write_text("a file where a folder should be")
        assert "Error: " in offline(f"{shelf}/net-{DIGEST}.pth")
