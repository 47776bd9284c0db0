"""``alaas bench``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import run

from alaas.cli import limit
from alaas.cli.limit import Measured, advice
from alaas.core.errors import AllItemsFailed, EmptyInput
from alaas.core.wire import STAGES, StageTiming, Timings

MODEL = ("--model", "squeezenet1_0", "--weights", "none")
COUNT = 6


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    rng = np.random.default_rng(0)
    for row in range(COUNT):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"img{row}.png")
    return folder


def measured(slow: str, **model: str) -> Measured:
    """A query of 10 s, 9 of which a stage was busy."""
    stages: dict[str, StageTiming] = {
        name: StageTiming(busy_s=9.0 if name == slow else 0.1, items=100) for name in STAGES
    }
    return Measured(
        items=100,
        failures=0,
        seconds=10.0,
        limit=20.0,
        timings=Timings(10.0, stages),
        strategy="k_center_greedy",
        model={"name": "m", "runtime": "torch", "precision": "fp32", "decode": "exact",
               "device": "cpu", **model},
        remote=model.get("remote") == "yes",
    )  # fmt: skip


def test_says_where_the_time_goes_and_what_the_limit_is(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("bench", str(pictures), *MODEL, "--rounds", "1", "--budget", "2") == 0
    done = capsys.readouterr()
    table = {line.split()[0]: line for line in done.out.splitlines()}
    assert table.keys() >= {"stage", *STAGES}
    assert sum("the bottleneck" in line for line in table.values()) == 1
    assert f"{COUNT} items in " in done.err
    assert "squeezenet1_0 alone, by " in done.err


def test_json_holds_what_the_table_shows(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "broken.png").write_text("no picture")
    try:
        assert run("bench", str(pictures), *MODEL, "--rounds", "2", "--json") == 0
    finally:
        (pictures / "broken.png").unlink()
    found = json.loads(capsys.readouterr().out)
    assert (found["items"], found["failures"]) == (COUNT, 1)
    assert found["items_per_second"] == pytest.approx(COUNT / found["seconds"])
    assert found["share_of_limit"] == pytest.approx(
        found["items_per_second"] / found["limit_per_second"]
    )
    stages = found["timings"]["stages"]
    assert stages["infer"]["items"] == COUNT
    assert stages["infer"]["hits"] == stages["fetch"]["hits"] == 0
    assert stages["preprocess"]["bytes"] == COUNT * 224 * 224 * 3
    assert found["bottleneck"] == found["timings"]["bottleneck"]
    assert found["advice"]


def test_nothing_is_kept_though_the_configuration_says_so(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALAAS_STORE__URL", str(tmp_path / "store"))
    assert run("bench", str(pictures), *MODEL, "--rounds", "1") == 0
    assert not (tmp_path / "store").exists()


def test_an_empty_source_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", str(tmp_path), *MODEL) == 2
    assert EmptyInput.code in capsys.readouterr().err


def test_a_source_without_pictures_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_text("no picture")
    assert run("bench", str(tmp_path), *MODEL) != 0
    assert AllItemsFailed.code in capsys.readouterr().err


@pytest.mark.parametrize(
    ("slow", "model", "says"),
    [
        ("fetch", {"remote": "yes"}, "limits.fetch_per_host"),
        ("fetch", {}, "files"),
        ("preprocess", {}, "decode: fast"),
        ("preprocess", {"decode": "fast"}, "only pictures"),
        ("infer", {"device": "cuda"}, "replicas"),
        ("infer", {"runtime": "openvino"}, "precision: bf16"),
        ("infer", {"runtime": "openvino", "precision": "bf16"}, "smaller model"),
        ("score", {}, "k_center_greedy"),
    ],
)
def test_advice_fits_the_bottleneck(slow: str, model: dict[str, str], says: str) -> None:
    assert says in advice(measured(slow, **model))


@pytest.mark.parametrize(("installed", "says"), [(None, "pip install"), (object(), "not taken")])
def test_advice_names_a_runtime_that_is_not_there(
    installed: object, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limit, "find_spec", lambda _: installed)
    said = advice(measured("infer"))
    assert "90 %" in said
    assert says in said


def test_half_the_limit_is_half() -> None:
    assert measured("infer").share == pytest.approx(0.5)
