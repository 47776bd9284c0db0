"""``alaas query`` in this process."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_cli import ROOT, run

import alaas

MODEL = ("--model", "squeezenet1_0", "--weights", "none")
COUNT = 12


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    rng = np.random.default_rng(0)
    for row in range(COUNT):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"img{row}.png")
    return folder


@pytest.fixture
def here(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder above the pictures is the working directory."""
    monkeypatch.chdir(pictures.parent)
    return Path(pictures.name)


@pytest.fixture
def broken(here: Path) -> Iterator[Path]:
    path = here / "broken.jpg"
    path.write_text("no picture")
    yield path
    path.unlink()


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def expected(source: Path | list[str], budget: int, **given: Any) -> list[str]:
    model = {"name": "squeezenet1_0", "weights": "none"}
    return alaas.select(source, budget, model=model, **given).ids


def test_a_pipe_gets_csv(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("query", str(here), "--budget", "3", *MODEL) == 0
    captured = capsys.readouterr()
    rows = rows_of(captured.out)
    assert [row["id"] for row in rows] == expected(here, 3)
    assert [row["uri"] for row in rows] == [row["id"] for row in rows]
    assert [row["rank"] for row in rows] == ["0", "1", "2"]
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert re.fullmatch(
        r"most time went into \w+: \d+\.\d s of work, \d+\.\d s of waiting for it; \d+ items "
        r"were known already\n"
        r"chose 3 of 12 items by least_confidence, seed 0, in \d+\.\d s\n",
        captured.err,
    )


def test_strategy_seed_and_share(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("query", str(here), "-b", "25%", "--strategy", "Random", "--seed", "5", "--json")
    assert run(*asked, *MODEL) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [pick["id"] for pick in answer["data"]] == expected(here, 3, strategy="RS", seed=5)
    assert answer["receipt"]["strategy"] == "random_sampling"
    assert (answer["receipt"]["seed"], answer["receipt"]["budget"]) == (5, 3)


def test_what_is_labelled_is_a_table(
    here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    known = tmp_path / "known.csv"
    files = sorted(str(path.absolute()) for path in here.iterdir())
    known.write_text(
        "path,label\n" + "".join(f"{path},{row}\n" for row, path in enumerate(files[:3]))
    )
    asked = ("query", str(here), "-b", "3", "--strategy", "KCenter", "--labelled", str(known))
    assert run(*asked, *MODEL, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    labelled = [(path, row) for row, path in enumerate(files[:3])]
    assert [pick["id"] for pick in answer["data"]] == expected(
        here, 3, strategy="KCenter", labelled=labelled
    )
    assert answer["receipt"]["labelled_size"] == 3
    assert not {pick["uri"] for pick in answer["data"]} & set(files[:3])


def test_probabilities_are_scaled_by_what_is_labelled(
    here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    known = tmp_path / "known.csv"
    files = sorted(str(path.absolute()) for path in here.iterdir())
    known.write_text(
        "path,label\n" + "".join(f"{path},{row % 2}\n" for row, path in enumerate(files))
    )
    asked = ("query", str(here), "-b", "3", "--strategy", "ES", "--labelled", str(known))
    assert run(*asked, "--calibrate", "temperature", *MODEL, "--json") == 0
    receipt = json.loads(capsys.readouterr().out)["receipt"]
    assert receipt["calibrate"] == "temperature"
    assert receipt["calibration"]["items"] == 12
    assert receipt["calibration"]["nll_after"] < receipt["calibration"]["nll_before"]
    assert run("query", str(here), "-b", "3", "--calibrate", "temperature", *MODEL) == 2
    assert "needs labelled items" in capsys.readouterr().err


def test_a_configuration_names_strategy_and_model(
    here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "alaas.yml"
    file.write_text(
        "active_learning:\n  strategy:\n    type: ES\n"
        "    model: {name: squeezenet1_0, weights: none}\n"
        # What a service may fetch is no border for its own user.
        "fetch: {schemes: https}\n"
    )
    assert run("query", str(here), "-b", "2", "--config", str(file), "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["receipt"]["strategy"] == "entropy"
    assert [pick["id"] for pick in answer["data"]] == expected(here, 2, strategy="entropy")


def test_what_failed_is_told(here: Path, broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("query", str(here), "-b", "2", *MODEL) == 4
    captured = capsys.readouterr()
    assert len(rows_of(captured.out)) == 2
    count, reason, _, summary = captured.err.splitlines()
    assert count == "warning: 1 item could not be ranked:"
    assert reason == (f"  {broken}: the content is not an image of a known format [not_an_image]")
    assert summary.startswith("chose 2 of 12 items")


def test_only_the_first_failures_are_told(
    here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "pool.txt"
    good = (here / "img3.png").absolute()
    file.write_text("\n".join([str(good), *(f"/nowhere/{row}.png" for row in range(5))]))
    assert run("query", str(file), "-b", "1", "--strategy", "rs", *MODEL) == 4
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "warning: 5 items could not be ranked:"
    assert [line.split(":")[0] for line in lines[1:4]] == [f"  /nowhere/{n}.png" for n in range(3)]
    assert lines[4] == "  and 2 more; --json lists them all"


def test_on_error_fail(here: Path, broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("query", str(here), "-b", "2", "--on-error", "fail", *MODEL) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: item '{broken}' failed in preprocess: ")


def test_files_are_written(here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for suffix in ("csv", "JSON"):
        out = tmp_path / f"picked.{suffix}"
        assert run("query", str(here), "-b", "3", "--out", str(out), *MODEL) == 0
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.rstrip().endswith(f", in {out}")
    rows = rows_of((tmp_path / "picked.csv").read_text())
    answer = json.loads((tmp_path / "picked.JSON").read_text())
    assert [row["id"] for row in rows] == [pick["id"] for pick in answer["data"]]


def test_a_warning_of_the_answer_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("query", str(here), "-b", "99", "--strategy", "rs", *MODEL) == 0
    captured = capsys.readouterr()
    assert len(rows_of(captured.out)) == COUNT
    assert captured.err.startswith("warning: the budget 99 exceeds the 12 items")


def test_a_table_keeps_its_ids(
    here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    table = tmp_path / "pool.csv"
    lines = [f"n{row},{(here / f'img{row}.png').absolute()},x" for row in range(COUNT)]
    table.write_text("\n".join(["id,photo,path", *lines]))
    assert run("query", str(table), "-b", "2", "--column", "photo", *MODEL) == 0
    rows = rows_of(capsys.readouterr().out)
    assert [f"{here / row['id'].replace('n', 'img')}.png" for row in rows] == expected(here, 2)


def test_standard_input(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [str(here / f"img{row}.png") for row in (4, 2)]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join([*lines, lines[0]])))
    assert run("query", "-", "-b", "2", *MODEL) == 0
    captured = capsys.readouterr()
    assert {row["id"] for row in rows_of(captured.out)} == set(lines)
    assert captured.err.startswith("warning: ")
    assert "1 repeated addresses were left out" in captured.err


def test_a_glob_without_quotes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = sorted(str(path) for path in here.glob("img*.png"))
    assert run("query", *paths, "-b", "3", *MODEL) == 0
    chosen = [row["id"] for row in rows_of(capsys.readouterr().out)]
    assert chosen == expected(paths, 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pool", "-b", "0"), "--budget: must be a whole number from 1"),
        (("pool", "-b", "ten"), "budget must be a whole number, or a share"),
        (("pool", "-b", "1", "--strategy", "nope"), "no strategy has the name 'nope'"),
        (
            ("pool", "-b", "1", "--param", "x=1"),
            "--param x is unknown: least_confidence has max_pool",
        ),
        (
            ("pool", "-b", "1", "--weights", "none", "--model", "resnet19"),
            "did you mean 'resnet18'",
        ),
        (("pool", "-b", "1", "--device", "gpu"), "must be auto, cpu, mps, cuda or cuda:N"),
        (("nowhere", "-b", "1"), "there is no file or folder 'nowhere'"),
        (("pool", "-b", "1", "--column", "x"), "needs a table with a header"),
        (("pool", "-b", "1", "--config", "none.yml"), "none.yml: cannot be read"),
    ],
)
def test_mistakes_are_one_line(
    here: Path, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(here) if one == "pool" else one for one in arguments]
    assert run("query", *given) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    assert said in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing option '--budget'"),
        (("-b", "1", "--param", "x"), "must be NAME=VALUE, got 'x'"),
        (("-b", "1", "--out", "picked.txt"), "must end in .csv or .json"),
        (("-b", "1", "--out", "nowhere/picked.csv"), "there is no folder 'nowhere'"),
        (("-b", "1", "--seed", "-1"), "--seed"),
        (("-b", "1", "--on-error", "cry"), "--on-error"),
        (("-b", "1", "--by-uri"), "needs --server"),
        (("-b", "1", "--server", "http://h", "--weights", "none"), "does not go with --server"),
        (("-b", "1", "--server", "h:8081"), "is not a valid scheme"),
    ],
)
def test_wrong_usage(
    here: Path, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("query", str(here), *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    # The box around the message breaks its lines.
    assert said in " ".join(re.sub(r"[│╭╮╰╯─]", " ", captured.err).split())


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_gets_a_table_and_a_bar(
    here: Path, broken: Path, environment: dict[str, str], coloured: bool
) -> None:
    status, shown = on_terminal(
        [sys.executable, "-m", "alaas", "query", str(here), "-b", "2", *MODEL],
        {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **environment},
    )
    assert status == 4
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "13 items; loading squeezenet1_0 ..." in plain
    assert "ranked: 100%" in plain
    table = plain[plain.index("rank ") :].splitlines()
    assert table[0].split() == ["rank", "score", "item"]
    assert [line.split()[2] for line in table[1:3]] == expected(here, 2)
    # The colours that a terminal has are 30 to 37.
    assert bool(re.search(r"\x1b\[(\d+;)*3[0-7]m", shown)) is coloured


def on_terminal(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Exit status of a command, and what it wrote to a terminal of 24 rows of 100 columns."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with subprocess.Popen(
        command, stdin=follower, stdout=follower, stderr=follower, env=environment
    ) as process:
        os.close(follower)
        shown = b""
        try:
            while part := os.read(leader, 65536):
                shown += part
        except OSError:  # so Linux tells that the other side is closed
            pass
        finally:
            os.close(leader)
    return process.returncode, shown.decode()
