"""Networks of the operator's own code, and the devices that models run on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from alaas.config import ModelSettings
from alaas.core.errors import ModelUnavailable
from alaas.models.load import load, resolve_device

SQUARE = {"size": 8, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversions are not kept where the user's are."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def tiny() -> nn.Module:
    """Eight by eight pixels to three classes."""
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 3))


def settings(name: str = f"{__name__}:tiny", **rest: Any) -> ModelSettings:
    return ModelSettings.model_validate(
        {"hub": "python", "name": name, "preprocess": SQUARE, "device": "cpu", **rest}
    )


def refusal(asked: ModelSettings) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        load(asked)
    assert "\n" not in caught.value.detail
    return caught.value.detail


def test_a_network_and_its_card() -> None:
    torch.manual_seed(1)
    model = load(settings())
    torch.manual_seed(2)
    assert load(settings()).card == model.card  # random weights are seeded
    assert load(settings(weights="none")).card.digest == model.card.digest
    assert (model.card.classes, model.card.dim, model.card.categories) == (3, 192, ())
    assert model.card.preprocessing == settings().preprocess
    assert model.card.hub == "python"


def test_weights_from_a_file(tmp_path: Path) -> None:
    state = {"1.weight": torch.full((3, 192), 0.5), "1.bias": torch.arange(3.0)}
    save_file(state, tmp_path / "w.safetensors")
    model = load(settings(weights=str(tmp_path / "w.safetensors")))
    found = model.classifier.network.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    assert model.card.digest != load(settings()).card.digest


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    torch.save({"1.weight": torch.ones(3, 192)}, tmp_path / "w.pth")
    said = refusal(settings(weights=str(tmp_path / "w.pth")))
    assert said == (
        f"'{tmp_path}/w.pth' does not fit {__name__}:tiny: "
        'Missing key(s) in state_dict: "1.bias".'
    )


def test_a_module_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "found_here.py").write_text(f"from {__name__} import tiny as build\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    assert load(settings("found_here:build")).card.classes == 3


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (None, "cannot import 'broken:build': ModuleNotFoundError: No module named 'broken'"),
        ("", "cannot import 'broken:build': AttributeError: module 'broken' has no attribute"),
        ("def build(:", "cannot import 'broken:build': SyntaxError: "),
        ("1 / 0", "cannot import 'broken:build': ZeroDivisionError: division by zero"),
        ("def build(): raise KeyError('no')", "'broken:build' fails: KeyError: 'no'"),
        ("def build(size): pass", "'broken:build' fails: TypeError: build() missing 1 required"),
        ("def build(): return 3", "'broken:build' must return a torch.nn.Module, got int"),
        ("build = 3", "'broken:build' fails: TypeError: 'int' object is not callable"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str | None, said: str
) -> None:
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    if source is not None:
        (tmp_path / "broken.py").write_text(source)
    assert refusal(settings("broken:build")).startswith(said)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"preprocess": None}, "is required with hub python, whose weights carry none"),
        ({"name": "no_factory"}, "must be like 'module:factory' with hub python"),
    ],
)
def test_a_wrong_configuration_does_not_come_this_far(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        settings(**wrong)


class TestDevices:
    def test_that_are_there(self) -> None:
        assert resolve_device("cpu") == "cpu"
        assert resolve_device("auto") in {"cpu", "cuda", "mps"}

    @pytest.mark.parametrize(
        ("cuda", "mps", "chosen"),
        [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
    )
    def test_auto_takes_the_fastest(
        self, monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, chosen: str
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        assert resolve_device("auto") == chosen

    @pytest.mark.parametrize(
        ("count", "there", "absent"),
        [(0, [], ["cuda", "cuda:0"]), (2, ["cuda", "cuda:1"], ["cuda:2", "cuda:10"])],
    )
    def test_cuda_by_number(
        self, monkeypatch: pytest.MonkeyPatch, count: int, there: list[str], absent: list[str]
    ) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        assert [resolve_device(name) for name in there] == there
        for name in absent:
            with pytest.raises(ModelUnavailable) as caught:
                resolve_device(name)
            assert caught.value.detail == (
                f"device {name} is not there: torch sees {count} CUDA devices"
            )

    def test_mps_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        with pytest.raises(ModelUnavailable, match="device mps is not there"):
            load(settings(device="mps"))
