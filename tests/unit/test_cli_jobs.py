"""``alaas query --job`` and ``alaas jobs``, against a small real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_server import SmallServer
from structlog.testing import capture_logs
from test_cli import run
from test_jobs_http import Shut, office

from alaas.core.wire import Failure


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The server's log, which goes to standard output here, is not that of the commands."""
    with capture_logs():
        yield


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "pool.csv"
    path.write_text("uri\n" + "".join(f"http://e.org/{row}.png\n" for row in range(5)))
    return str(path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SmallServer]:
    with office(tmp_path) as running:
        yield running


def begin(table: str, server: SmallServer, capsys: pytest.CaptureFixture[str]) -> str:
    """The id of a job."""
    assert run("query", table, "-b", "40%", "--job", "--server", server.url) == 0
    return capsys.readouterr().out.strip()


def test_begin_wait_look(
    table: str, server: SmallServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = begin(table, server, capsys)
    asked = (name, "--server", server.url, "--no-progress")
    assert run("jobs", "result", *asked, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["data"]) == 2
    assert run("jobs", "result", *asked, "--out", str(tmp_path / "picked.csv")) == 0
    assert len((tmp_path / "picked.csv").read_text().splitlines()) == 3
    capsys.readouterr()
    assert run("jobs", "list", "--server", server.url, "--json") == 0
    (job,) = json.loads(capsys.readouterr().out)
    assert (job["id"], job["state"], job["progress"]["done"]) == (name, "succeeded", 5)
    assert run("jobs", "list", "--server", server.url) == 0
    assert name in capsys.readouterr().out
    assert run("jobs", "show", name, "--server", server.url) == 0
    shown = capsys.readouterr().out
    assert "5 of 5, 0 failed" in shown
    assert "infer" in shown
    assert run("jobs", "show", name, "--server", server.url, "--json") == 0
    assert json.loads(capsys.readouterr().out) == job


def test_cancel(table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with office(tmp_path, gate=Shut()) as server:
        name = begin(table, server, capsys)
        assert run("jobs", "cancel", name, "--server", server.url) == 0
        assert "cancelled" in capsys.readouterr().out
        assert run("jobs", "result", name, "--server", server.url, "--no-progress") == 2
        assert "[job_cancelled]" in capsys.readouterr().err


def test_a_job_that_lost_items_is_partial(
    table: str, server: SmallServer, capsys: pytest.CaptureFixture[str]
) -> None:
    address = "http://e.org/0.png"
    server.engine.lost = {address: Failure(address, "fetch", "upstream_not_found", "gone")}
    name = begin(table, server, capsys)
    assert run("jobs", "result", name, "--server", server.url, "--no-progress") == 4


def test_an_unknown_job(server: SmallServer, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("show", "cancel", "result"):
        assert run("jobs", command, "0" * 32, "--server", server.url) == 2
        assert "[unknown_job]" in capsys.readouterr().err


def test_a_job_needs_a_server(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("query", table, "-b", "1", "--job") == 2
    assert "--job" in capsys.readouterr().err
