"""What the digest of a model covers."""

from __future__ import annotations

import sys
from collections import OrderedDict
from importlib import import_module
from pathlib import Path

import pytest
import torch
from test_models_classifier import Plain, spec
from torch import nn

from alaas.models.classifier import Classifier
from alaas.models.fingerprint import fingerprint


def test_is_of_the_values() -> None:
    first, second = Classifier(Plain(), spec(8)), Classifier(Plain(), spec(16))
    assert first.digest() == second.digest()
    assert len(first.digest()) == 16


def test_changes_with_one_number() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    classifier = Classifier(network, spec(3))
    seen = {classifier.digest()}
    for name, tensor in network.state_dict().items():
        last = (-1,) * tensor.ndim
        before = tensor[last].clone()
        tensor[last] += 1
        seen.add(classifier.digest())
        tensor[last] = before
        assert len(seen) == 2, name
        seen = {classifier.digest()}


def test_changes_with_a_name() -> None:
    same = nn.Linear(3, 4)
    first = nn.Sequential(OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), a=same))
    second = nn.Sequential(OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), b=same))
    assert Classifier(first, spec(8)).digest() != Classifier(second, spec(8)).digest()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.bool, torch.int64])
def test_takes_any_type(kind: torch.dtype) -> None:
    network = Plain()
    network.register_buffer("extra", torch.zeros(3).to(kind))
    before = Classifier(network, spec(8)).digest()
    network.register_buffer("extra", torch.ones(3).to(kind))
    assert Classifier(network, spec(8)).digest() != before


def test_does_not_depend_on_the_layout_of_memory() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    classifier = Classifier(network, spec(3))
    before = classifier.digest()
    network.to(memory_format=torch.contiguous_format)
    assert classifier.digest() == before


def test_changes_with_what_the_layers_do() -> None:
    def build(between: nn.Module) -> str:
        torch.manual_seed(0)
        return fingerprint(nn.Sequential(nn.Flatten(), nn.Linear(3, 4), between, nn.Linear(4, 2)))

    kinds = [nn.ReLU(), nn.GELU(), nn.LeakyReLU(0.1), nn.LeakyReLU(0.2)]
    assert len({build(kind) for kind in kinds}) == 4
    assert build(nn.ReLU()) == build(nn.ReLU())


def test_changes_with_the_code_of_a_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from torch import nn\n\nclass Own(nn.Module):\n    def forward(self, x):\n"
    found = []
    for number, result in enumerate(("x", "x", "2 * x")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "own_network.py").write_text(f"{code}        return {result}\n")
        with monkeypatch.context() as patched:
            patched.syspath_prepend(folder)
            found.append(fingerprint(import_module("own_network").Own()))
        del sys.modules["own_network"]
    assert found[0] == found[1] != found[2]


def test_addresses_do_not_count() -> None:
    class Shown(nn.Module):
        def extra_repr(self) -> str:
            return f"by {object()}"

    assert fingerprint(Shown()) == fingerprint(Shown())
