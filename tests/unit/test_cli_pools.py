"""``alaas push``, ``alaas pools`` and ``alaas query --pool``, against a small real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from client_servers import SERVERS, Service
from test_cli import run

QUERY = ("query", "--pool", "street", "-b", "50%")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for row in range(5):
        (tmp_path / f"img{row}.png").write_bytes(bytes([row, 255]))
    return tmp_path


@pytest.mark.parametrize("family", ["http", "grpc"])
def test_push_list_choose_delete(
    folder: Path, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    service = Service()
    with SERVERS[family](service) as url:
        asked = ("--ttl", "60", "--n-drop", "4", "--no-cache", "--server", url)
        assert run("push", str(folder), "--pool", "street", *asked) == 4
        told = capsys.readouterr().err.splitlines()
        assert run("pools", "--server", url, "--json") == 0
        (pool,) = json.loads(capsys.readouterr().out)
        assert run("pools", "--server", url) == 0
        assert "street" in capsys.readouterr().out
        assert run(*QUERY, "--no-cache", "--server", url, "--json") == 4
        picked = json.loads(capsys.readouterr().out)
        assert run("pools", "--delete", "street", "--server", url) == 0
        assert run(*QUERY, "--server", url) == 2
    assert service.pushed == [
        {"pool": "street", "ttl_s": 60, "n_drop": 4, "on_item_error": "skip", "cache": False}
    ]
    assert told[:2] == ["warning: one host was slow", "warning: 1 item could not be stored:"]
    assert told[-2].startswith("most time went into infer: 0.5 s of work, 0.2 s of waiting")
    assert told[-1] == "stored 4 items as 'street' in 2.5 s"
    assert (pool["name"], pool["items"]) == ("street", 4)
    ((parameters, items),) = service.asked
    assert (parameters["budget"], parameters["pool"], parameters["cache"]) == (2, "street", False)
    assert items == []
    assert [pick["id"] for pick in picked["data"]] == [
        str(folder / "img4.png"), str(folder / "img3.png"),
    ]  # fmt: skip
    assert service.deleted == ["street"]
    assert capsys.readouterr().err.endswith("[unknown_pool]\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("query", "-b", "1"),
        ("query", "photos", "--pool", "street", "-b", "1"),
        ("push", "--pool", "street"),
        ("push", "photos"),
        ("push", "photos", "--pool", "street", "--by-uri"),
        ("push", "photos", "--pool", "street", "--server", "http://a", "--model", "resnet18"),
        ("pools", "--server", "http://a", "--config", "a.yml"),
    ],
)
def test_what_does_not_go_together(arguments: tuple[str, ...]) -> None:
    assert run(*arguments) == 2


def test_nothing_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "pool.txt"
    table.write_text("a.png\nb.png\n")
    with SERVERS["http"](Service()) as url:
        assert run("push", str(table), "--pool", "street", "--server", url) == 1
    assert capsys.readouterr().err.endswith("[all_items_failed]\n")
