"""What the digest of a model covers."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from test_models_classifier import Plain, spec
from torch import Tensor, nn
from torch.nn import functional

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


class Shaped(nn.Module):
    """A network whose values are all in its layer, and which does with them what it is told."""

    def __init__(self, act: Any = functional.relu, **said: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)
        self.act = act
        vars(self).update(said)

    def forward(self, rows: Tensor) -> Tensor:
        made: Tensor = self.act(self.layer(rows))
        return made


@dataclass
class Sizes:
    scale: float = 1
    inside: Any = None


def scaled(by: float) -> Callable[[Tensor], Tensor]:
    return lambda rows: by * rows


class Colour(Enum):
    RED = 1
    BLUE = 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (functional.relu, torch.tanh),
        (torch.relu, torch.tanh),
        (np.tanh, np.exp),
        (functional.max_pool1d, functional.max_pool2d),
        (lambda rows: rows + 1, lambda rows: rows + 2),
        (scaled(1), scaled(2)),
        (partial(functional.gelu, approximate="tanh"), partial(functional.gelu)),
        (20, 21),
        (1, True),
        (None, False),
        (0.1, 0.2),
        ("mean", "cls"),
        ((1, 2), (2, 1)),
        ([1, {"a": 1}], [1, {"a": 2}]),
        ({1, 2}, {1, 3}),
        (Colour.RED, Colour.BLUE),
        (Sizes(1), Sizes(2)),
        (Sizes(inside=Sizes(1)), Sizes(inside=Sizes(2))),
        (SimpleNamespace(scale=1), SimpleNamespace(scale=2)),
        (torch.ones(3), torch.zeros(3)),
        (torch.ones(3), torch.ones(3, 1)),
        (np.ones(3), np.zeros(3)),
        (np.float32(1), np.float64(1)),
        (torch.float16, torch.float32),
        (nn.ReLU, nn.Tanh),
        (transformers.BertConfig(layer_norm_eps=0.1), transformers.BertConfig(layer_norm_eps=0.2)),
    ],
)  # fmt: skip
def test_changes_with_attributes(one: Any, other: Any) -> None:
    first, second = Shaped(said=one), Shaped(said=other)
    assert fingerprint(first) != fingerprint(second)
    assert fingerprint(Shaped(said=one)) == fingerprint(copy.deepcopy(first)) == fingerprint(first)


def test_changes_with_a_buffer_that_is_not_saved() -> None:
    first, second = Shaped(), Shaped()
    first.register_buffer("scale", torch.ones(1), persistent=False)
    second.register_buffer("scale", torch.zeros(1), persistent=False)
    assert fingerprint(first) != fingerprint(second)


def test_what_has_no_words_is_told_by_its_type() -> None:
    itself: list[Any] = [1]
    itself.append(itself)
    for said in (itself, object(), torch.device("cpu"), torch.Generator(), nn.Linear(2, 2).forward):
        assert fingerprint(Shaped(said=said)) == fingerprint(Shaped(said=said))
    assert fingerprint(Shaped(said=object())) != fingerprint(Shaped(said=Sizes()))


def test_neither_mode_nor_hooks_nor_passes_change_it() -> None:
    class Remembering(Shaped):
        def forward(self, rows: Tensor) -> Tensor:
            self.last = super().forward(rows)
            return self.last

    network = Remembering().eval()
    network.last = torch.ones(2, 3).requires_grad_() * 1
    before = fingerprint(network)
    network.train()
    network.register_forward_hook(lambda *_: None)
    network.layer.register_forward_pre_hook(lambda *_: None)
    network.requires_grad_(False)
    assert fingerprint(network) == before
    with torch.inference_mode():
        network(torch.ones(2, 4))
    assert fingerprint(network) == before


def test_is_the_same_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "nets_of_words.py").write_text(
        "import torch\n"
        "from torch import nn\n\n"
        "class Own(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.words, self.kinds = {'a', 'b', 'c', 'd'}, {str: {int, float, bool}}\n"
        "        self.act, self.made = (lambda x: x), object()\n"
    )
    code = (
        "from alaas.models.fingerprint import fingerprint\n"
        "from nets_of_words import Own\n"
        "print(fingerprint(Own()))"
    )
    found = set()
    for seed in "12":
        paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
        environment = {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        found.add(done.stdout)
    assert len(found) == 1
    assert len(found.pop().strip()) == 16


def test_of_layers_whose_weights_are_packed() -> None:
    def packed(seed: int) -> str:
        torch.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = nn.Sequential(nn.Linear(4, 3))
            return fingerprint(torch.ao.quantization.quantize_dynamic(network, {nn.Linear}))

    assert packed(0) == packed(0) != packed(1)


def test_changes_with_code_that_has_no_source() -> None:
    def typed(result: str) -> str:
        names: dict[str, Any] = {"nn": nn, "__name__": "typed"}
        code = f"class Own(nn.Module):\n    def forward(self, rows):\n        return {result}\n"
        exec(code, names)
        return fingerprint(names["Own"]())

    assert typed("rows") == typed("rows") != typed("2 * rows")
