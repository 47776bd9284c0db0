"""``alaas query --server`` against a small real server, which does not look into the files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest
from client_servers import SERVERS, WAIT_S, Service
from test_cli import ROOT, run

COUNT = 12


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files, below the working directory."""
    folder = tmp_path / "pool"
    folder.mkdir()
    for row in range(COUNT):
        (folder / f"img{row}.png").write_bytes(bytes([row, 255]))
    monkeypatch.chdir(tmp_path)
    return Path(folder.name)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.mark.parametrize("family", SERVERS)
def test_a_server_gets_the_bytes(
    here: Path, service: Service, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with SERVERS[family](service) as url:
        asked = ("-b", "2", "--seed", "3", "--strategy", "badge", "--param", "tau=0.5",
                 "--param", "kind=fast")  # fmt: skip
        assert run("query", str(here), *asked, "--server", url, "--json") == 4
    ((parameters, items),) = service.asked
    assert parameters == {
        "budget": 2,
        "seed": 3,
        "strategy": "badge",
        "params": {"tau": 0.5, "kind": "fast"},
        "on_item_error": "skip",
    }
    names = [str(here / f"img{row}.png") for row in range(COUNT)]
    assert [item.id for item in items] == names
    assert [item.blob for item in items] == [Path(name).read_bytes() for name in names]
    answer = json.loads(capsys.readouterr().out)
    assert [(pick["id"], pick["uri"]) for pick in answer["data"]] == [
        (names[-1], names[-1]),
        (names[-2], names[-2]),
    ]
    assert "blob" not in json.dumps(answer)
    assert [one["uri"] for one in answer["failures"]] == [names[0]]


def test_a_server_gets_addresses(
    here: Path, service: Service, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    table = tmp_path / "pool.jsonl"
    pool = [
        {"uri": "https://example.com/a.png"},
        {"id": "t", "text": "a text"},
        {"id": "f", "uri": f"file://{here.absolute()}/img1.png"},
        {"id": "gone", "uri": "gone.png"},
        {"uri": "https://example.com/b.png"},
    ]
    table.write_text("\n".join(map(json.dumps, pool)))
    with SERVERS["http"](service) as url:
        assert run("query", str(table), "-b", "3", "--server", url, "--json") == 4
    ((_, items),) = service.asked
    assert [(item.id, item.uri or item.text) for item in items if item.blob is None] == [
        ("https://example.com/a.png", "https://example.com/a.png"),
        ("t", "a text"),
        ("https://example.com/b.png", "https://example.com/b.png"),
    ]
    assert {item.id: item.blob for item in items}["f"] == (here / "img1.png").read_bytes()
    answer = json.loads(capsys.readouterr().out)
    failed = [(one["id"], one["code"]) for one in answer["failures"]]
    assert failed == [
        ("https://example.com/a.png", "upstream_not_found"),
        ("gone", "unreadable_file"),
    ]


def test_by_uri_sends_whole_paths(
    here: Path, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    with SERVERS["http"](service) as url:
        assert run("query", str(here), "-b", "1", "--server", url, "--by-uri") == 4
    ((_, items),) = service.asked
    names = [str(here / f"img{row}.png") for row in range(COUNT)]
    assert [(item.id, item.uri) for item in items] == [
        (name, str(Path(name).absolute())) for name in names
    ]
    _, row = capsys.readouterr().out.splitlines()
    assert row.split(",")[:3] == ["0", names[-1], names[-1]]


def test_no_file_can_be_read(
    service: Service, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    table = tmp_path / "pool.txt"
    table.write_text("a.png\nb.png\n")
    with SERVERS["http"](service) as url:
        assert run("query", str(table), "-b", "1", "--server", url) == 1
        assert run("query", str(table), "-b", "1", "--server", url, "--on-error", "fail") == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: none of 2 items can be read; the client cannot read ")
    assert first.endswith("[all_items_failed]")
    assert second.startswith("error: item a.png: the client cannot read ")
    assert second.endswith("[item_failed]")


def test_nobody_listens(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with SERVERS["http"](Service()) as url:
        pass
    assert run("query", str(here), "-b", "1", "--server", url) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: no connection to ")
    assert line.endswith("[connection_failed]")


def test_an_interrupt_ends_it_with_130(here: Path, service: Service) -> None:
    program = (
        "import signal, sys\n"
        # A shell that starts the tests in the background has them ignore SIGINT.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from alaas.__main__ import main\n"
        "sys.exit(main())\n"
    )
    service.hold = Event()
    with SERVERS["http"](service) as url:
        with subprocess.Popen(
            [sys.executable, "-c", program, "query", str(here), "-b", "1", "--server", url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as process:
            assert service.arrived.wait(WAIT_S)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=WAIT_S)
        assert service.gone.wait(WAIT_S)
    assert process.returncode == 130
    assert (out, err) == ("", "")
