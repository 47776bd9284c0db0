"""The parts of the demo that need no server."""

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from alaas.client import QueryResult
from alaas.core.errors import ConfigError, MissingExtra, ValidationFailed
from alaas.core.wire import Pick, QueryResponse, Receipt, Timings
from alaas.demo import digits, network, report, run, sheet, trial
from alaas.models.load import load as load_model


@pytest.fixture(scope="module")
def data() -> digits.Digits:
    return digits.load()


@pytest.fixture(scope="module")
def parts(data: digits.Digits) -> digits.Split:
    return digits.split(len(data), seed=7)


@pytest.fixture(scope="module")
def trained(data: digits.Digits, parts: digits.Split) -> torch.nn.Module:
    rows = parts.labelled
    return network.train(data.images[rows], data.labels[rows], seed=7)


def a_trial(seed: int, *, before: float, selected: float, random: float) -> report.Trial:
    picks = tuple(Pick(str(row), rank, 0.9 - 0.1 * rank) for rank, row in enumerate((4, 2, 9)))
    return report.Trial(
        seed, ("http",), before, selected, random, picks, predicted=(4, 7, 7), labels=(4, 2, 9)
    )


def a_result(*trials: report.Trial) -> report.DemoResult:
    return report.DemoResult(
        trials, "LeastConfidence", 100, 3, 500, Path("alaas-demo/picked.png"), 61.0
    )


def test_the_files_hold_the_digits(data: digits.Digits, tmp_path: Path) -> None:
    paths = digits.write(data, tmp_path / "digits")
    assert len(data) == len(paths) == 1797
    assert sorted(tmp_path.glob("digits/*")) == sorted(paths)
    for row in (0, 11, 1796):
        with Image.open(tmp_path / "digits" / f"{row}.png") as image:
            assert (image.format, image.mode) == ("PNG", "L")
            np.testing.assert_array_equal(np.asarray(image), data.images[row])


def test_the_files_are_the_same_every_time(data: digits.Digits, tmp_path: Path) -> None:
    few = digits.Digits(data.images[:20], data.labels[:20])
    one, two = digits.write(few, tmp_path / "one"), digits.write(few, tmp_path / "two")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_grey_levels_use_the_whole_range(data: digits.Digits) -> None:
    levels = np.unique(data.images)
    assert (levels[0], levels[-1], len(levels)) == (0, 255, 17)


@given(
    seed=st.integers(0, 2**32), labelled=st.integers(0, 20), held_out=st.integers(0, 20),
    pool=st.integers(1, 40),
)  # fmt: skip
def test_a_split_deals_every_row_once(seed: int, labelled: int, held_out: int, pool: int) -> None:
    count = labelled + held_out + pool
    split = digits.split(count, seed=seed, labelled=labelled, held_out=held_out)
    assert (len(split.labelled), len(split.held_out)) == (labelled, held_out)
    dealt = np.concatenate([split.labelled, split.held_out, split.pool])
    np.testing.assert_array_equal(np.sort(dealt), np.arange(count))


def test_a_seed_means_one_split(data: digits.Digits, parts: digits.Split) -> None:
    again, other = (digits.split(len(data), seed=seed) for seed in (7, 8))
    np.testing.assert_array_equal(parts.labelled, again.labelled)
    assert set(parts.labelled.tolist()) != set(other.labelled.tolist())


def test_a_split_leaves_a_pool() -> None:
    with pytest.raises(ValidationFailed, match="leave no pool of 600 rows"):
        digits.split(600, seed=0)


def test_training_teaches(
    data: digits.Digits, parts: digits.Split, trained: torch.nn.Module
) -> None:
    images, labels = data.images[parts.held_out], data.labels[parts.held_out]
    assert network.accuracy(network.build().eval(), images, labels) < 0.4
    assert network.accuracy(trained, images, labels) > 0.8


def test_a_seed_means_one_network(data: digits.Digits, parts: digits.Split) -> None:
    rows = parts.labelled[:30]
    images, labels = data.images[rows], data.labels[rows]
    torch.manual_seed(1)
    one = network.train(images, labels, seed=3, epochs=2)
    torch.manual_seed(2)
    two = network.train(images, labels, seed=3, epochs=2)
    other = network.train(images, labels, seed=4, epochs=2)
    np.testing.assert_array_equal(network.predict(one, images), network.predict(two, images))
    assert not np.array_equal(network.predict(one, images), network.predict(other, images))


def test_training_leaves_torch_as_it_was(data: digits.Digits) -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    network.train(data.images[:30], data.labels[:30], seed=0, epochs=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_a_server_loads_the_same_network(
    data: digits.Digits, trained: torch.nn.Module, tmp_path: Path
) -> None:
    weights = tmp_path / "network.safetensors"
    network.save(trained, weights)
    settings = trial.settings(weights, tmp_path)
    served = load_model(settings.active_learning.strategy.model).classifier
    pixels = np.repeat(data.images[:64, :, :, None], 3, axis=3)
    np.testing.assert_allclose(
        served.views(pixels, ["probs"])["probs"],
        network.predict(trained, data.images[:64]),
        atol=1e-5,
    )


def test_the_server_reads_one_folder_and_listens_here_alone(tmp_path: Path) -> None:
    settings = trial.settings(tmp_path / "network.safetensors", tmp_path)
    worker = settings.active_learning.al_worker
    assert settings.fetch.schemes == ("file",)
    assert settings.fetch.roots == (tmp_path,)
    assert worker.host == "127.0.0.1"
    assert [one.kind for one in worker.listeners] == ["http", "grpc"]
    assert len(set(worker.port)) == 2


@pytest.mark.parametrize(
    ("ids", "scores", "equal"),
    [
        (("a", "b"), (0.5, 0.4), True),
        (("a", "b"), (0.5, 0.4000001), True),
        (("a", "b"), (0.5, 0.41), False),
        (("b", "a"), (0.5, 0.4), False),
        (("a",), (0.5,), False),
    ],
)
def test_answers_are_compared(ids: tuple[str, ...], scores: tuple[float, ...], equal: bool) -> None:
    def answer(ids: tuple[str, ...], scores: tuple[float, ...]) -> QueryResult:
        picks = [Pick(ids[k], k, scores[k]) for k in range(len(ids))]
        receipt = Receipt("LeastConfidence", {}, 0, 2, "", "", 5)
        return QueryResult(QueryResponse(picks, (), Timings(), receipt))

    assert trial.same(answer(ids, scores), answer(("a", "b"), (0.5, 0.4))) is equal


def test_the_sheet_shows_every_pick(data: digits.Digits, tmp_path: Path) -> None:
    one = a_trial(0, before=0.9, selected=0.9, random=0.9)
    path = tmp_path / "picked.png"
    sheet.draw(one, data.images, path, pool=1197, strategy="LeastConfidence")
    with Image.open(path) as image:
        pixels = np.asarray(image)
    top = sheet.MARGIN + sheet.HEADER + sheet.INSET
    for column, row in enumerate((4, 2, 9)):
        left = sheet.MARGIN + column * (sheet.CARD[0] + sheet.GAP) + sheet.INSET
        shown = pixels[top : top + sheet.SIDE, left : left + sheet.SIDE]
        enlarged = data.images[row].repeat(12, axis=0).repeat(12, axis=1)
        np.testing.assert_array_equal(shown, np.repeat(enlarged[:, :, None], 3, axis=2))


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (10, 1), (11, 2), (50, 5)])
def test_the_sheet_has_ten_picks_a_row(
    data: digits.Digits, tmp_path: Path, count: int, rows: int
) -> None:
    picks = tuple(Pick(str(row), row, 0.5) for row in range(count))
    truth = tuple(data.labels[:count].tolist())
    one = report.Trial(0, ("http",), 0.9, 0.9, 0.9, picks, predicted=truth, labels=truth)
    sheet.draw(one, data.images, tmp_path / "picked.png", pool=1197, strategy="LeastConfidence")
    with Image.open(tmp_path / "picked.png") as image:
        body = image.height - 2 * sheet.MARGIN - sheet.HEADER
    assert body == rows * sheet.CARD[1] + (rows - 1) * sheet.GAP


def test_mistaken_counts_wrong_predictions() -> None:
    assert a_trial(0, before=0.9, selected=0.9, random=0.9).mistaken == 2


def test_the_report_has_the_figures() -> None:
    result = a_result(
        a_trial(0, before=0.90, selected=0.96, random=0.93),
        a_trial(1, before=0.88, selected=0.94, random=0.95),
    )
    text = StringIO()
    report.show(result, Console(file=text, width=120))
    lines = [" ".join(line.split()) for line in text.getvalue().splitlines()]
    assert "Accuracy in % on 500 held-out digits, 2 tries" in lines
    assert "100, before 89.0 ± 1.4 90.0 88.0" in lines
    assert "100 + 3 selected 95.0 ± 1.4 96.0 94.0" in lines
    assert "100 + 3 at random 94.0 ± 1.4 93.0 95.0" in lines
    assert "alaas-demo/picked.png" in lines
    assert len([line for line in lines if line.startswith("alaas query")]) == 2


def test_the_meaning_does_not_flatter() -> None:
    text = report.meaning(a_result(a_trial(0, before=0.9, selected=0.90, random=0.95)))
    assert "misread 10.0 %" in text
    assert "at random instead, 5.0 %" in text
    assert "better in 0 of 1" in text


@pytest.mark.parametrize(
    ("seeds", "budget", "message"),
    [(0, 50, "seeds must be 1"), (1, 0, "budget must be"), (1, 1198, "from 1 to 1197")],
)
def test_numbers_out_of_range_are_refused(
    tmp_path: Path, seeds: int, budget: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run.run(tmp_path / "out", seeds=seeds, budget=budget, console=Console(file=StringIO()))
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ConfigError, match="must be a folder"):
        run.run(tmp_path / "out", console=Console(file=StringIO()))
    assert (tmp_path / "out").read_text() == "mine"


def test_it_says_first_what_will_happen(tmp_path: Path, parts: digits.Split) -> None:
    text = StringIO()
    with pytest.raises(ConfigError):
        run.run(tmp_path / "out", seeds=3, budget=9999, console=Console(file=text, width=500))
    assert f"on {len(parts.labelled)} handwritten digits" in text.getvalue()
    assert "which 9999 others" in text.getvalue()
    assert "3 times in all" in text.getvalue()


def test_missing_dependencies_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "NEEDED", ("numpy", "no_such_module"))
    with pytest.raises(MissingExtra, match=r"needs no_such_module: .* 'alaas\[server\]'"):
        run.run(tmp_path / "out", console=Console(file=StringIO()))


@pytest.mark.parametrize("existed", [True, False])
def test_an_interrupted_run_leaves_no_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existed: bool
) -> None:
    out = tmp_path / "out"
    if existed:
        out.mkdir()
        (out / "mine.txt").write_text("mine")

    def interrupt(*_: object, **__: object) -> None:
        assert (out / "digits" / "0.png").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(trial, "attempt", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.run(out, console=Console(file=StringIO()))
    assert out.exists() is existed
    assert (out / "mine.txt").exists() is existed


def test_the_door_of_the_demo_is_light() -> None:
    code = (
        "import sys, alaas.demo.run, alaas.demo.report\n"
        "heavy = {'numpy', 'torch', 'sklearn', 'PIL', 'jina', 'pydantic'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert loaded.stdout.strip() == ""
