"""The pictures and the learning curves of the strategies are of the strategies that there are."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fences import ROOT
from PIL import Image

from alaas.strategies import registry
from alaas.strategies.declaration import AXES, LABELLED, MODEL
from alaas.strategies.views import softmax
from benchmarks import learning_curves, situations
from benchmarks.cifar10 import Featured

FOLDER = ROOT / "docs" / "strategies"
NAMES = {one.name for one in registry.strategies()}
ROWS = list(csv.reader((FOLDER / "learning_curves.csv").read_text().splitlines()))[1:]


def test_every_strategy_has_one_picture() -> None:
    pictures = list((FOLDER / "pictures").iterdir())
    assert {path.stem for path in pictures} == NAMES, "run `python docs/strategies/draw.py`"
    for path in pictures:
        assert path.stat().st_size < 15 * 1024
        with Image.open(path) as picture:
            assert (picture.format, picture.size) == ("PNG", (360, 290))


def test_pictures_are_drawn(tmp_path: Path) -> None:
    names = ["badge", "greedy_sampling"]
    for folder in ("once", "again"):
        (tmp_path / folder).mkdir()
        script = [sys.executable, str(FOLDER / "draw.py"), *names, "--out", str(tmp_path / folder)]
        subprocess.run(script, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=True)
    once = sorted((tmp_path / "once").iterdir())
    assert [path.stem for path in once] == names
    assert [path.read_bytes() for path in once] == [
        (tmp_path / "again" / path.name).read_bytes() for path in once
    ]
    assert once[0].read_bytes() != once[1].read_bytes()


def test_every_view_is_explained() -> None:
    explained = (FOLDER / "index.md").read_text().partition("\n## ")[0]
    shown = set(re.findall(r"`(\w+)`", explained))
    assert {*AXES, *MODEL, *LABELLED} <= shown


def test_choosing_names_strategies_that_there_are() -> None:
    text = (FOLDER / "choosing.md").read_text()
    linked = re.findall(r"\[`?(\w+)`?\]\(index\.md#(\w+)\)", text)
    assert len(linked) > 8
    assert [pair for pair in linked if pair[0] != pair[1] or pair[0] not in NAMES] == []


def test_curves_are_of_every_situation() -> None:
    planned = {
        (one.name, situations.label(choice))
        for one in situations.SITUATIONS
        for choice in one.choices
    }
    assert {(row[0], row[1]) for row in ROWS} == planned
    assert len({row[1] for row in ROWS if row[0] == "few_labels"} - {situations.BASELINE}) >= 8
    assert {len(row) for row in ROWS} == {5 + 5}


def test_intervals_and_areas_are_those_of_the_seeds() -> None:
    for _, _, _, mean, half, *values in ROWS:
        expected = learning_curves.interval(np.array(values, float))
        assert (float(mean), float(half)) == pytest.approx(expected, abs=2e-4)
    areas = list(csv.reader((FOLDER / "areas.csv").read_text().splitlines()))[1:]
    assert areas == learning_curves.areas(ROWS)


def test_percentages_in_the_text_were_measured() -> None:
    text = (FOLDER / "choosing.md").read_text().partition("<!-- generated")[0]
    said = set(re.findall(r"(\d+\.\d) %", text))
    measured = {f"{100 * float(row[3]):.1f}" for row in ROWS}
    assert len(said) >= 3
    assert said <= measured


def pictures(per_class: int = 60) -> Featured:
    """Ten classes, each around a centre of its own."""
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(10), per_class)
    features = 3 * rng.normal(size=(10, 8))[classes] + rng.normal(size=(len(classes), 8))
    return Featured(features.astype(np.float32), classes)


def test_a_curve_grows_by_its_steps_and_repeats() -> None:
    data = {"pool": pictures(), "test": pictures()}
    short = replace(situations.SITUATIONS[1], start=6, step=7, rounds=3)
    for choice in short.choices[:3]:
        found = learning_curves.curve(data, (short, choice, 1))
        assert found.labels == [6, 13, 20, 27]
        assert found == learning_curves.curve(data, (short, choice, 1))
        assert found.accuracies[0] < found.accuracies[-1] <= 1
    starts = {
        learning_curves.curve(data, (short, choice, 1)).accuracies[0] for choice in short.choices
    }
    assert len(starts) == 1


def test_a_head_gives_no_chance_to_a_class_without_labels() -> None:
    some = pictures()
    for there in ([2, 5], [1, 4, 7]):
        known = situations.rows_of(some, np.flatnonzero(np.isin(some.classes, there)))
        head = learning_curves.train(known)
        probs = softmax(some.features @ head[:, :-1].T + head[:, -1])
        assert np.delete(probs, there, axis=1).max() < 1e-6
        assert (probs.argmax(axis=1) == some.classes)[np.isin(some.classes, there)].mean() > 0.9


def test_the_pools_are_what_they_are_called() -> None:
    some, rng = pictures(300), np.random.default_rng(0)
    assert situations.whole(some, rng) is some
    counts = sorted(np.bincount(situations.long_tail(some, rng).classes))
    assert counts[-1] == 300
    assert 20 < counts[-1] / counts[0] < 100
    copies = situations.redundant(some, rng)
    assert len(copies.classes) == len(some.classes)
    spread = copies.features.reshape(-1, 5, 8).std(axis=1)
    assert 0.03 < spread.mean() / some.features.std() < 0.06
    assert (np.ptp(copies.classes.reshape(-1, 5), axis=1) == 0).all()
