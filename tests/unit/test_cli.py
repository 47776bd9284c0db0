"""The command line as a whole: what it loads, how it ends, what there is to choose from."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from unittest import mock

import pytest

import alaas
from alaas.__main__ import main
from alaas.cli import extras, output
from alaas.config import json_schema, load
from alaas.core import errors
from alaas.strategies import registry

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> int:
    """The exit status of a command, run in this process."""
    with mock.patch.object(sys, "argv", ["alaas", *arguments]):
        try:
            return main()
        except SystemExit as end:
            return int(end.code or 0)


def run_without(modules: tuple[str, ...], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a process where some modules are not installed.

    The last line of its standard output lists the modules that it loaded.
    """
    program = (
        "import json, sys\n"
        f"sys.modules.update(dict.fromkeys({modules!r}))\n"
        f"sys.argv = {['alaas', *arguments]!r}\n"
        "from alaas.__main__ import main\n"
        "try:\n"
        "    status = main()\n"
        "except SystemExit as end:\n"
        "    status = end.code\n"
        "print(json.dumps([name for name, one in sys.modules.items() if one is not None]))\n"
        "sys.exit(status)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={"TERM": "dumb"},
    )


@pytest.mark.parametrize(
    ("arguments", "light"),
    [
        (("--help",), {"numpy", "torch", "jina", "docarray", "pydantic", "requests", "grpc"}),
        (("--version",), {"numpy", "torch", "jina", "docarray"}),
        (("query", "--help"), {"numpy", "torch", "jina", "docarray", "requests", "grpc"}),
        (("serve", "--help"), {"numpy", "torch", "jina", "docarray"}),
        (("doctor", "--help"), {"numpy", "torch", "jina", "docarray"}),
    ],
)
def test_help_is_light(arguments: tuple[str, ...], light: set[str]) -> None:
    done = run_without((), *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "alaas.cli.app" in loaded
    assert loaded & light == set()


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    for command in ("serve", "query", "strategies", "models", "config", "doctor", "demo"):
        assert f" {command} " in shown
        assert run(command, "--help") == 0


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"alaas {alaas.__version__}\n"


@pytest.mark.parametrize(
    ("hidden", "arguments", "said"),
    [
        (("jina", "uvicorn"), ("serve",), "needs jina, uvicorn: pip install 'alaas[server]'"),
        (("torch",), ("query", ".", "--budget", "1"), "needs torch: pip install 'alaas[local]'"),
        (("numpy",), ("strategies",), "needs numpy: pip install 'alaas[local]'"),
        (("torchvision",), ("models",), "needs torchvision: pip install 'alaas[local]'"),
        (("yaml",), ("config", "show"), "needs yaml: pip install 'alaas[local]'"),
        (("jina",), ("demo",), "needs jina: run `pip install 'alaas[server]'`"),
        (("typer",), ("--help",), "needs typer: pip install alaas"),
    ],
)
def test_what_is_not_installed_is_one_line(
    hidden: tuple[str, ...], arguments: tuple[str, ...], said: str
) -> None:
    done = run_without(hidden, *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith(f"{said} [missing_extra]")


@pytest.mark.parametrize(("extra", "modules"), [("local", extras.LOCAL), ("server", extras.SERVER)])
def test_the_extras_bring_what_is_looked_for(extra: str, modules: dict[str, str]) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = declared["optional-dependencies"]
    lines = wanted["local"] + (wanted["server"] if extra == "server" else [])
    names = {line.partition("=")[0].partition(">")[0].strip() for line in lines}
    assert set(modules.values()) <= names


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ConfigError, 2),
        (errors.ModelUnavailable, 2),
        (errors.PortInUse, 2),
        (errors.MissingExtra, 2),
        (errors.EmptyInput, 2),
        (errors.ValidationFailed, 2),
        (errors.UnknownStrategy, 2),
        (errors.ItemFailed, 1),
        (errors.AllItemsFailed, 1),
        (errors.ConnectionFailed, 1),
        (errors.NotReady, 1),
        (errors.DeadlineExceeded, 1),
        (errors.Internal, 1),
    ],
)
def test_exit_codes(kind: type[errors.AlaasError], code: int) -> None:
    assert output.exit_code(kind("x")) == code


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.complain(errors.ModelUnavailable(f"one\ntwo \x1b[31mred {'long ' * 60}"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (f"error: one two \ufffd[31mred {'long ' * 60} [model_unavailable]\n")


def test_a_configuration_has_a_line_for_each_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("serve", "--port", "0", "--replicas", "0", "--strategy", "nope") == 2
    first, *others = capsys.readouterr().err.splitlines()
    assert first == "error: 3 problems [config]"
    assert [line.split(":")[0].rpartition(".")[2] for line in others] == [
        "port",
        "replicas",
        "type",
    ]


def test_strategies_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("strategies", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found] == [one.name for one in registry.strategies()]
    for one in found:
        assert set(one) == {
            "name", "aliases", "family", "needs", "cost", "paper", "params", "summary",
            "labelled", "optional", "use", "scales",
        }  # fmt: skip


def test_strategies_in_a_pipe_take_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("strategies") == 0
    _, *lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [one.name for one in registry.strategies()]
    for line, one in zip(lines, registry.strategies(), strict=True):
        assert line.rstrip().endswith(one.summary)


def test_one_strategy_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("strategies", "kcg") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("k_center_greedy\n")
    assert "KCenterGreedy, KCG" in shown
    assert "covering radius" in shown
    assert run("strategies", "kcg", "--json") == 0
    one = json.loads(capsys.readouterr().out)
    assert one["name"] == "k_center_greedy"
    assert "covering radius" in one["doc"]


def test_an_unknown_strategy_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("strategies", "entrpy") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "did you mean 'entropy'" in captured.err
    assert captured.err.endswith("[unknown_strategy]\n")


def test_models_tell_what_is_in_the_cache(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "resnet50-11ad3fa6.pth").touch()
    assert run("models", "--json") == 0
    found = {one["name"]: one["weights"] for one in json.loads(capsys.readouterr().out)}
    assert [(w["name"], w["default"], w["cached"]) for w in found["resnet50"]] == [
        ("IMAGENET1K_V2", True, True),
        ("IMAGENET1K_V1", False, False),
    ]
    assert found["resnet18"][0]["accuracy"] == pytest.approx(69.758)
    assert run("models") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["resnet50", "IMAGENET1K_V2", "(default)", "98", "80.9", "%", "yes"] in lines
    assert ["resnet50", "IMAGENET1K_V1", "98", "76.1", "%", "no"] in lines


def test_a_shell_completes_commands() -> None:
    asked = {"_ALAAS_COMPLETE": "complete_bash", "COMP_WORDS": "alaas que", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "alaas"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=asked,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "query\n", "")


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "configs").glob("*.yml")))
def test_the_shown_configuration_is_one(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given = ROOT / "configs" / name
    assert run("config", "show", "--config", str(given)) == 0
    again = tmp_path / "again.yml"
    again.write_text(capsys.readouterr().out)
    assert load(again, environ={}).settings == load(given, environ={}).settings


def test_the_origin_of_values(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "alaas.yml"
    file.write_text("name: pool\nlog: {level: debug}\n")
    monkeypatch.setenv("ALAAS_LOG__LEVEL", "error")
    assert run("config", "show", "-c", str(file), "--origin", "--json") == 0
    rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["name"] == {"key": "name", "value": "pool", "origin": "file"}
    assert rows["log.level"] == {"key": "log.level", "value": "error", "origin": "environment"}
    assert rows["log.format"]["origin"] == "default"
    assert run("config", "show", "-c", str(file), "--origin") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["log.level", "environment", "error"] in lines
    assert run("config", "show", "-c", str(file), "--json") == 0
    assert json.loads(capsys.readouterr().out)["log"] == {"format": "console", "level": "error"}


def test_a_wrong_configuration_names_file_and_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "alaas.yml"
    file.write_text("name: pool\nlog: {levl: debug}\n")
    assert run("config", "show", "-c", str(file)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {file}:2: ")
    assert line.endswith("[config]")


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "schema") == 0
    assert json.loads(capsys.readouterr().out) == json_schema()


@pytest.mark.parametrize("arguments", [(), ("frobnicate",), ("demo", "--seeds", "0"), ("config",)])
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    assert run(*arguments) == 2


def test_the_demo_needs_a_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert run("demo", "--out", str(file)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1] == (
        f"error: out must be a folder, but {str(file)!r} is a file [config]"
    )
