"""What the digest of a model covers."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from test_models_classifier import Plain, spec
from torch import nn

from alaas.models.classifier import Classifier


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
