"""Embeddings of a layer that is named: where it is found, and where it is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from test_models_classifier import spec
from torch import Tensor, nn

from alaas.core.errors import ModelUnavailable
from alaas.models.classifier import Classifier
from alaas.models.entry import Normalisation, noise

SPEC = spec(8)


class Branched(nn.Module):
    """A layer that does not run, one that runs twice, and the last one before the first."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 3)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(192, 7), nn.Tanh(), nn.Linear(7, 7))
        self.again = nn.Linear(7, 7)
        self.bridge = nn.Sequential(nn.Dropout(0.5), nn.Linear(7, 5))
        self.unused = nn.Linear(7, 9)

    def forward(self, pixels: Tensor) -> Tensor:
        hidden = self.again(torch.tanh(self.again(self.body(pixels))))
        logits: Tensor = self.fc(torch.relu(self.bridge(hidden)))
        return logits


class Transformer(nn.Module):
    """A small vision transformer: four patches and a token for the class."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False
        )
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.patches(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], dim=1)
        logits: Tensor = self.head(self.norm(self.encoder(tokens))[:, 0])
        return logits


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval()


def received(network: nn.Module, name: str, pixels: Tensor) -> list[Tensor]:
    """What a layer is given, by a hook of the test's own."""
    found: list[Tensor] = []
    hook = network.get_submodule(name).register_forward_pre_hook(
        lambda _, given: found.append(given[0])
    )
    with torch.inference_mode():
        network(pixels)
    hook.remove()
    return found


def embeddings(network: nn.Module, head: str | None, **rest: Any) -> Any:
    classifier = Classifier(network, SPEC, head=head, **rest)
    return classifier.views(noise(SPEC, 4), ("embeddings",))["embeddings"]


@pytest.fixture
def pixels() -> Tensor:
    normalised: Tensor = Normalisation(SPEC)(torch.from_numpy(noise(SPEC, 4)))
    return normalised


@pytest.mark.parametrize("head", ["fc", "body.1", "body.3", "bridge", "bridge.1"])
def test_they_are_what_the_layer_receives(head: str, pixels: Tensor) -> None:
    (wanted,) = received(made(Branched), head, pixels)
    assert_allclose(embeddings(made(Branched), head), wanted.flatten(1), atol=1e-5)


@pytest.mark.parametrize(("head", "name"), [("3", "body.3"), ("layers.1", "encoder.layers.1")])
def test_the_end_of_a_name_stands_for_a_layer(head: str, name: str) -> None:
    kind = Branched if name == "body.3" else Transformer
    assert (embeddings(made(kind), head) == embeddings(made(kind), name)).all()


def test_a_whole_name_is_no_end_of_another(pixels: Tensor) -> None:
    def build() -> nn.Module:
        torch.manual_seed(1)
        network = nn.Sequential(made(Branched))
        network.add_module("fc", nn.Linear(3, 3))
        return network.eval()

    (wanted,) = received(build(), "fc", pixels)
    assert_allclose(embeddings(build(), "fc"), wanted, atol=1e-5)


@pytest.mark.parametrize("head", ["1", "gone"])
def test_an_encoder_has_none(head: str) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    with pytest.raises(ModelUnavailable, match=f"leave out `head`, which is '{head}'"):
        Classifier(network, SPEC, output="embedding", head=head)


def test_of_a_layer_that_runs_twice_it_is_the_last_time(pixels: Tensor) -> None:
    first, last = received(made(Branched), "again", pixels)
    found = embeddings(made(Branched), "again")
    assert_allclose(found, last, atol=1e-5)
    assert not np.allclose(found, first, atol=1e-3)


def test_without_a_name_it_is_the_last_that_runs_and_not_the_last_that_is_there(
    pixels: Tensor,
) -> None:
    (wanted,) = received(made(Branched), "fc", pixels)
    assert_allclose(embeddings(made(Branched), None), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("head", "pooled"),
    [
        (None, lambda tokens: tokens),
        ("head", lambda tokens: tokens),
        ("norm", lambda tokens: tokens.mean(dim=1)),  # over the five tokens
        ("encoder.layers.1", lambda tokens: tokens.mean(dim=1)),
        ("patches", lambda image: image.mean(dim=(2, 3))),
    ],
)
def test_of_a_vision_transformer(head: str | None, pooled: Any, pixels: Tensor) -> None:
    (wanted,) = received(made(Transformer), head or "head", pixels)
    assert_allclose(embeddings(made(Transformer), head), pooled(wanted), atol=1e-5)


@pytest.mark.parametrize(
    ("head", "there", "absent"),
    [
        ("fc", {"head", "grads", "margins"}, set()),
        ("bridge", {"embeddings", "margins"}, {"head", "grads"}),
    ],
)
def test_gradients_are_those_of_the_last_layer_only(
    head: str, there: set[str], absent: set[str]
) -> None:
    provided = set(Classifier(made(Branched), SPEC, head=head).provides)
    assert there <= provided
    assert not absent & provided


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("fx", "the model has no layer 'fx'; near it are fc"),
        ("body.9", "the model has no layer 'body.9'; near it are body"),
        ("", "the model has no layer ''"),
        ("ody.1", "the model has no layer 'ody.1'"),
        ("1", "'1' stands for several of the model's layers: body.1, bridge.1"),
        ("network.fc", "the model has no layer 'network.fc'"),
        ("unused", "the layer 'unused' does not run: no embeddings come of it"),
    ],
)
def test_a_layer_that_is_not_there(head: str, said: str) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        Classifier(made(Branched), SPEC, head=head)
    assert caught.value.detail.startswith(said)
    assert caught.value.code == "model_unavailable"
