"""`alaas keys`, and the commands that show a key."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from test_cli import run

from alaas.config import load
from alaas.core import keys


@pytest.fixture
def made(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> tuple[str, Path]:
    """A key, and a configuration with the lines that were printed with it."""
    assert run("keys", "new", "--name", 'the "team"', "--scope", "query", "--scope", "admin") == 0
    out, err = capsys.readouterr()
    config = tmp_path / "config.yml"
    config.write_text(err)
    return out.strip(), config


def test_what_is_printed_is_a_key_and_its_configuration(made: tuple[str, Path]) -> None:
    key, config = made
    (entry,) = load(config, environ={}).settings.auth.keys
    assert (entry.name, entry.scopes) == ('the "team"', ("query", "admin"))
    assert entry.sha256 == keys.digest(key)
    assert key not in config.read_text()


def test_a_key_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("keys", "new", "--name", "a", "--json") == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document.pop("sha256") == keys.digest(document.pop("key"))
    assert document == {"name": "a", "scopes": ["query"]}
    assert err == ""


def test_a_key_is_known_again(
    made: tuple[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, config = made
    monkeypatch.setenv("ALAAS_API_KEY", key)
    assert run("keys", "check", "--config", str(config)) == 0
    assert capsys.readouterr().out == 'the "team": query, admin\n'
    monkeypatch.delenv("ALAAS_API_KEY")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{key}\n"))
    assert run("keys", "check", "--config", str(config)) == 0


def test_another_key_is_not(
    made: tuple[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = keys.make()
    monkeypatch.setenv("ALAAS_API_KEY", other)
    assert run("keys", "check", "--config", str(made[1])) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert other not in err


@pytest.mark.parametrize(
    "command",
    [("query", "photos", "--budget", "1"), ("push", "photos", "--pool", "a"), ("pools",)],
    ids=lambda command: command[0],
)
def test_a_key_goes_to_a_server_only(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*command, "--api-key", "secret-key") == 2
    err = capsys.readouterr().err
    assert "--server" in err
    assert "secret-key" not in err
