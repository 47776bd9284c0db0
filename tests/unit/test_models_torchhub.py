"""Repositories of torch.hub, in the cache and from a server of the test's own."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from alaas.config import ModelSettings
from alaas.core.errors import ModelUnavailable
from alaas.models import torchhub
from alaas.models.load import load

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB = f"some-body/some.repo:{COMMIT}"
SQUARE = {"size": 4, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
SOURCE = """
import torch
from parts_of_it import Network

dependencies = ["torch"]

def plain():
    return Network(3)

def trained(pretrained=False, classes=3):
    network = Network(classes)
    if pretrained:
        torch.nn.init.constant_(network.fc.weight, 0.5)
    return network

def broken():
    raise RuntimeError("no\\nluck")

def number():
    return 3

def _hidden():
    return Network(3)
"""
PARTS = """
from torch import nn

class Network(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.flatten, self.fc = nn.Flatten(), nn.Linear(48, classes)

    def forward(self, x):
        return self.fc(self.flatten(x))
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of torch.hub, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delitem(sys.modules, "parts_of_it", raising=False)
    return tmp_path / "torch" / "hub"


@pytest.fixture
def repository(cache: Path) -> Path:
    """The repository as torch.hub keeps it."""
    folder = cache / f"some-body_some.repo_{COMMIT}"
    folder.mkdir(parents=True)
    (folder / "hubconf.py").write_text(SOURCE)
    (folder / "parts_of_it.py").write_text(PARTS)
    return folder


def settings(name: str = "plain", **rest: Any) -> ModelSettings:
    return ModelSettings.model_validate(
        {"hub": HUB, "name": name, "allow_code": True, "preprocess": SQUARE, "device": "cpu",
         "runtime": "torch", **rest}
    )  # fmt: skip


def refusal(asked: ModelSettings) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        load(asked)
    assert "\n" not in caught.value.detail
    return caught.value.detail


def test_a_network_and_its_card(repository: Path) -> None:
    before = list(sys.path)
    model = load(settings())
    assert sys.path == before
    card = model.card
    assert (card.hub, card.name, card.origin) == (HUB, "plain", COMMIT)
    assert (card.classes, card.dim) == (3, 48)
    assert load(settings()).card == card  # random weights are seeded


def test_what_is_called_default_is_trained(repository: Path) -> None:
    def weight(**rest: Any) -> torch.Tensor:
        return load(settings("trained", **rest)).classifier.network.get_parameter("fc.weight")

    assert (weight() == 0.5).all()
    assert not (weight(weights="none") == 0.5).any()


def test_weights_from_a_file(repository: Path, tmp_path: Path) -> None:
    state = {"fc.weight": torch.full((3, 48), 2.0), "fc.bias": torch.arange(3.0)}
    save_file(state, tmp_path / "w.safetensors")
    network = load(settings("trained", weights=str(tmp_path / "w.safetensors"))).classifier.network
    assert all(torch.equal(network.state_dict()[name], one) for name, one in state.items())
    save_file({"fc.weight": state["fc.weight"], "x": state["fc.bias"]}, tmp_path / "x.safetensors")
    said = refusal(settings("trained", weights=str(tmp_path / "x.safetensors")))
    assert 'Missing key(s) in state_dict: "fc.bias". Unexpected key(s) in state_dict: "x".' in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone", "some-body/some.repo has no entrypoint 'gone'; it has Network, broken, number, "
                 "plain, trained"),
        ("_hidden", "some-body/some.repo has no entrypoint '_hidden'; it has Network, broken"),
        ("broken", "some-body/some.repo: broken fails: RuntimeError: no"),
        ("number", "some-body/some.repo: number must return a torch.nn.Module, got int"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(repository: Path, name: str, said: str) -> None:
    assert refusal(settings(name)).startswith(said)


def test_code_that_fails(repository: Path) -> None:
    (repository / "hubconf.py").write_text("import no_such_package_of_theirs")
    assert refusal(settings()) == (
        "hubconf.py of some-body/some.repo fails: ModuleNotFoundError: No module named "
        "'no_such_package_of_theirs'"
    )
    (repository / "hubconf.py").unlink()
    assert refusal(settings()) == (
        "some-body/some.repo has no hubconf.py: it is no repository of torch.hub"
    )


def test_what_it_takes_has_to_be_said(repository: Path) -> None:
    assert refusal(settings(preprocess=None)).startswith(
        "plain of some-body/some.repo does not say what it takes"
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"allow_code": False}, "must be true: .* is code that would run here"),
        ({"hub": "some-body/some.repo:main"}, "with the commit in full"),
        ({"hub": f"some-body/some.repo:{COMMIT[:12]}"}, "with the commit in full"),
        ({"hub": "some-body/some.repo"}, "with the commit in full"),
    ],
)
def test_code_is_not_run_unless_it_is_named_and_allowed(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        settings(**wrong)


def test_it_is_downloaded_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.mkdir("some-body-some.repo-0123456/")
        archive.writestr("some-body-some.repo-0123456/hubconf.py", SOURCE)
        archive.writestr("some-body-some.repo-0123456/parts_of_it.py", PARTS)
    asked: list[str] = []

    def download(url: str, target: str, **_: Any) -> None:
        asked.append(url)
        Path(target).write_bytes(packed.getvalue())

    monkeypatch.setattr(torchhub, "unreachable", lambda _: None)
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    first = load(settings()).card
    assert load(settings()).card == first
    assert asked == [f"https://github.com/some-body/some.repo/zipball/{COMMIT}"]
    assert capfd.readouterr().out == ""


def test_it_is_neither_there_nor_to_be_had(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchhub, "unreachable", lambda _: "no route")
    assert refusal(settings()) == (
        f"some-body/some.repo at {COMMIT} is not in {cache}, and "
        f"https://github.com/some-body/some.repo/zipball/{COMMIT} cannot be downloaded (no route). "
        f"Offline, unpack it to {cache}/some-body_some.repo_{COMMIT} (TORCH_HOME moves that)"
    )
