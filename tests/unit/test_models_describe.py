"""Cards of models, and describing one from a process that stays free of torch."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from io import StringIO
from pathlib import Path
from threading import Event

import pytest

import alaas
from alaas.config import ModelSettings, Preprocessing
from alaas.core.errors import MissingExtra, ModelUnavailable, from_problem
from alaas.models.card import ModelCard, resolved
from alaas.models.describe import Descriptions, describe, main
from alaas.models.load import load

REPOSITORY = str(Path(alaas.__file__).parents[1])
SQUARE = {"size": 8, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
TINY = """
from torch import nn

print("half a line of the operator's code, which ", end="")

def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules that a child process finds."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([REPOSITORY, str(tmp_path)]))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def settings(name: str, **rest: object) -> ModelSettings:
    return ModelSettings.model_validate(
        {"hub": "python", "name": name, "preprocess": SQUARE, **rest}
    )


def test_a_card_reads_back_what_it_wrote() -> None:
    card = ModelCard(
        name="é",
        hub="torchvision",
        weights="default",
        digest="0123456789abcdef",
        classes=2,
        categories=("cat", "dog"),
        dim=512,
        preprocessing=Preprocessing(
            size=(2, 3), mean=(0.1, 0.2, 0.3), std=(1, 2, 3), resize=(4, 5)
        ),
        views=("probs", "embeddings"),
    )
    assert ModelCard.from_json(card.to_json()) == card
    assert ModelCard.from_json(json.loads(json.dumps(card.to_json()))) == card


def test_describing_gives_the_card_and_leaves_torch_out(own: Path) -> None:
    (own / "described.py").write_text(TINY)
    asked = settings("described:build")
    program = """
import json, sys
from alaas.config import ModelSettings
from alaas.models.describe import describe, main
card = describe(ModelSettings.model_validate_json(sys.stdin.read()))
print(json.dumps([card.to_json(), "torch" in sys.modules]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=asked.model_dump_json(), stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    document, with_torch = json.loads(done.stdout)
    assert ModelCard.from_json(document) == load(asked, device="cpu").card
    assert not with_torch


def test_what_is_wrong_comes_out_of_the_child(own: Path) -> None:
    (own / "described.py").write_text(TINY)
    with pytest.raises(ModelUnavailable) as caught:
        describe(settings("described:build", device="cuda:99"))
    assert caught.value.detail.startswith("device cuda:99 is not there: torch sees ")


def test_the_log_of_the_child_is_that_of_the_parent(
    own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (own / "described.py").write_text(TINY)
    with caplog.at_level(logging.INFO, "alaas.models"):
        card = describe(settings("described:build"))
    assert card is not None
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"described:build runs in {card.runtime}, fp32, on cpu: ")


def test_what_was_described_is_loaded_alike(own: Path) -> None:
    (own / "described.py").write_text(TINY)
    asked = settings("described:build", precision="bf16", compile=True)
    card = describe(asked)
    assert card is not None
    assert (card.runtime, card.precision) == ("torch", "bf16")
    assert load(resolved(asked, card)).card == card


def test_a_runtime_that_is_not_installed(own: Path) -> None:
    (own / "described.py").write_text(TINY)
    (own / "sitecustomize.py").write_text("import sys\nsys.modules['openvino'] = None\n")
    with pytest.raises(MissingExtra, match="runtime openvino is not installed: pip install"):
        describe(settings("described:build", runtime="openvino"))


def test_the_child_writes_a_problem(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "silent.py").write_text("raise OSError('no such disk')\n")
    monkeypatch.setattr(sys, "stdin", StringIO(settings("silent:build").model_dump_json()))
    assert main() == 1
    error = from_problem(json.loads(capsys.readouterr().out)["problem"])
    assert type(error) is ModelUnavailable
    assert error.detail == "cannot import 'silent:build': OSError: no such disk"


@pytest.mark.parametrize(("program", "status"), [("true", 0), ("false", 1)])
def test_a_child_without_an_answer(
    monkeypatch: pytest.MonkeyPatch, program: str, status: int
) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which(program))
    with pytest.raises(ModelUnavailable) as caught:
        describe(settings("any:build"))
    expected = f"loading 'any:build' ended with status {status} and no answer"
    assert caught.value.detail == expected


def wait_for(holds: Callable[[], object]) -> None:
    """Look again and again, for a minute."""
    pause = Event()
    for _ in range(3_000):
        if holds():
            return
        pause.wait(0.02)
    raise AssertionError("it does not come to hold")


def test_several_are_described_each_under_its_name_and_once(
    own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (own / "several.py").write_text(TINY)
    gate = own / "gate"
    os.mkfifo(gate)
    (own / "later.py").write_text(f"{TINY}\nopen({str(gate)!r}).read()\n")
    models = {"default": settings("several:build"), "late": settings("later:build")}
    with caplog.at_level(logging.INFO, "alaas.models"), closing(Descriptions(models)) as several:
        wait_for(lambda: several.cards() or caplog.records)
        assert several.cards() is None
        gate.write_text("")  # the second one goes on, long after the first one was known
        wait_for(several.cards)
        cards = several.cards()
    assert cards is not None
    assert [(name, card.served_as) for name, card in cards.items()] == [
        ("default", "default"), ("late", "late"),
    ]  # fmt: skip
    told = [record.getMessage().partition(" ")[0] for record in caplog.records]
    assert told == ["several:build", "later:build"]


def test_one_that_does_not_load_ends_the_wait_for_the_others(own: Path) -> None:
    (own / "sound.py").write_text(TINY)
    models = {"default": settings("sound:build"), "broken": settings("nowhere:build")}
    with closing(Descriptions(models)) as several, pytest.raises(ModelUnavailable, match="nowhere"):
        wait_for(several.cards)
