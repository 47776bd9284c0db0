"""DropConnect: what it does to a layer, and that the layer is then as it was."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from test_models_classifier import pictures, spec
from torch import Tensor, nn

from alaas.config import Vectors
from alaas.config.model import DrawsSettings
from alaas.core.errors import ModelUnavailable
from alaas.models.classifier import Classifier
from alaas.models.stochastic.dropconnect import has_weights, thinned, weights
from alaas.models.stochastic.masks import Masks

CPU = torch.device("cpu")

CONV: dict[str, Any] = {"stride": 2, "groups": 2, "dilation": 2, "padding": 3}
LAYERS = {
    "linear": (lambda: nn.Linear(6, 5), (3, 6)),
    "linear without a bias": (lambda: nn.Linear(6, 5, bias=False), (3, 6)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, **CONV), (3, 4, 12)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, **CONV, padding_mode="reflect"), (3, 4, 12, 12)),
    "conv3d": (lambda: nn.Conv3d(4, 6, 3, **CONV, bias=False), (3, 4, 9, 9, 9)),
    "conv2d same": (lambda: nn.Conv2d(4, 6, 3, padding="same"), (3, 4, 9, 9)),
    "lstm": (lambda: nn.LSTM(6, 5, num_layers=2, bidirectional=True, proj_size=3), (7, 3, 6)),
    "gru": (lambda: nn.GRU(6, 5, batch_first=True), (3, 7, 6)),
}


def output(layer: nn.Module, x: Tensor) -> Tensor:
    made = layer(x)
    return made[0] if isinstance(made, tuple) else made


@pytest.mark.parametrize("p", [0.3, 0.5])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_runs_as_a_copy_of_it_with_fewer_weights(name: str, p: float) -> None:
    build, shape = LAYERS[name]
    torch.manual_seed(1)
    layer, x = build().eval(), torch.randn(shape)
    assert has_weights(layer)
    with thinned(weights([layer]), p, Masks(2, 0)), torch.inference_mode():
        found = output(layer, x)
    # The same arithmetic by a layer that was made with such weights.
    torch.manual_seed(1)
    other, masks, number = build().eval(), Masks(2, 0), 0
    with torch.no_grad():
        for key, weight in other.named_parameters():
            if key.startswith("weight"):
                kept = masks.kept(number, weight.shape, p, CPU)
                assert 0 < kept.double().mean() < 1
                weight.copy_(torch.where(kept, weight / (1 - p), 0.0))
                number += 1
        wanted = output(other, x)
    assert number == len(weights([layer]))
    assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(found, output(layer, x), atol=1e-3)


def bits(network: nn.Module) -> dict[str, bytes]:
    return {name: one.detach().numpy().tobytes() for name, one in network.state_dict().items()}


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_afterwards_as_it_was_bit_for_bit(name: str, fails: bool) -> None:
    build, shape = LAYERS[name]
    torch.manual_seed(1)
    layer, x = build(), torch.randn(shape)
    before, places = bits(layer), [one.data_ptr() for one in layer.parameters()]
    objects, wanted = list(layer.parameters()), output(layer, x)

    def run() -> None:
        with thinned(weights([layer]), 0.5, Masks(0, 0)):
            assert bits(layer) != before
            output(layer, x)
            if fails:
                raise RuntimeError("out of memory")

    if fails:
        with pytest.raises(RuntimeError, match="out of memory"):
            run()
    else:
        run()
    assert bits(layer) == before
    assert [one.data_ptr() for one in layer.parameters()] == places
    assert all(a is b for a, b in zip(layer.parameters(), objects, strict=True))
    assert torch.equal(output(layer, x), wanted)
    # It still trains.
    output(layer, x).sum().backward()
    assert all(one.grad is not None for one in layer.parameters())


class Recurrent(nn.Module):
    """Reads a vector as a sequence, by layers of which two share their weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.first, self.second = nn.LSTM(4, 6, batch_first=True), nn.GRU(6, 6, batch_first=True)
        self.fc, self.tied, self.norm = nn.Linear(6, 6), nn.Linear(6, 6), nn.BatchNorm1d(6)
        self.tied.weight = self.fc.weight
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(x.unflatten(1, (5, 4)))[0])[0][:, -1]
        made: Tensor = self.head(self.norm(self.tied(self.fc(x).tanh())))
        return made


def settings(**given: Any) -> DrawsSettings:
    return DrawsSettings(by="dropconnect", **given)


def rows(count: int = 9) -> Any:
    return np.random.default_rng(0).normal(size=(count, 20)).astype(np.float32)


def test_shared_weights_are_dropped_once() -> None:
    network = Recurrent()
    found = weights([one for one in network.modules() if has_weights(one)])
    assert len(found) == 6  # two of each recurrent layer, the shared one, and the head's
    assert not has_weights(network.norm)


def test_draws_of_a_network_without_dropout() -> None:
    network = Recurrent()
    classifier = Classifier(network, Vectors(dim=20), drawing=settings())
    assert "draws" in classifier.provides
    before, probs = bits(network), classifier.views(rows(), ("probs",))["probs"]
    found = classifier.views(rows(), ("draws",), n_drop=12, seed=5)["draws"]
    assert found.shape == (9, 12, 3)
    assert_allclose(found.sum(axis=2), 1, rtol=1e-5)
    assert len({one.tobytes() for one in found[0]}) == 12
    assert bits(network) == before
    assert (classifier.views(rows(), ("probs",))["probs"] == probs).all()
    # The same networks for every micro-batch, and others for another seed.
    for part in (slice(0, 1), slice(1, 9)):
        again = classifier.views(rows()[part], ("draws",), n_drop=12, seed=5)["draws"]
        assert_allclose(again, found[part], rtol=1e-4)
    other = classifier.views(rows(), ("draws",), n_drop=12, seed=6)["draws"]
    assert not np.isclose(other, found).all(axis=2).any()


@pytest.mark.parametrize(
    "drawing",
    [settings(), settings(head_only=True), DrawsSettings(), DrawsSettings(head_only=True)],
    ids=["dropconnect", "dropconnect of the head", "dropout", "dropout of the head"],
)
def test_two_threads_do_not_disturb_each_other(drawing: DrawsSettings) -> None:
    network = nn.Sequential(nn.Dropout(0.2), Recurrent())
    classifier = Classifier(network, Vectors(dim=20), drawing=drawing)
    wanted = {seed: classifier.views(rows(), ("draws",), seed=seed)["draws"] for seed in range(4)}
    probs = classifier.views(rows(), ("probs",))["probs"]
    wrong: list[str] = []

    def ask(seed: int) -> None:
        for _ in range(5):
            if not (classifier.views(rows(), ("draws",), seed=seed)["draws"] == wanted[seed]).all():
                wrong.append(f"draws of {seed}")
            if not (classifier.views(rows(), ("probs",))["probs"] == probs).all():
                wrong.append("probs")

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("layers", "changed"),
    [
        (("head",), {"head.weight"}),
        (("GRU",), {"second.weight_ih_l0", "second.weight_hh_l0"}),
        (("tied", "first"), {"fc.weight", "tied.weight", "first.weight_ih_l0",
                             "first.weight_hh_l0"}),
    ],
)  # fmt: skip
def test_layers_by_name_or_type(layers: tuple[str, ...], changed: set[str]) -> None:
    network = Recurrent()
    before = bits(network)
    during: list[dict[str, bytes]] = []
    classifier = Classifier(network, Vectors(dim=20), drawing=settings(layers=layers))
    network.register_forward_pre_hook(lambda *_: during.append(bits(network)))
    classifier.views(rows(), ("draws",), n_drop=2)
    assert [{name for name in one if one[name] != before[name]} for one in during] == [changed] * 2


def test_the_head_alone() -> None:
    network = Recurrent()
    found, wanted = (
        Classifier(network, Vectors(dim=20), drawing=settings(p=0.4, **given))
        for given in ({"head_only": True}, {"layers": ("head",)})
    )
    assert found.source is not None
    assert found.source.last
    runs: list[int] = []
    network.norm.register_forward_hook(lambda *_: runs.append(1))
    one = found.views(rows(), ("draws",), n_drop=50)["draws"]
    assert len(runs) == 1
    assert_allclose(one, wanted.views(rows(), ("draws",), n_drop=50)["draws"], rtol=1e-4)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (("fcc",), "no linear, convolutional or recurrent layer 'fcc'; it has fc"),
        (("norm",), "layer 'norm'"),
        (("Conv2d",), "layer 'Conv2d'"),
    ],
)
def test_layers_that_are_not_there(layers: tuple[str, ...], message: str) -> None:
    with pytest.raises(ModelUnavailable, match=message) as caught:
        Classifier(Recurrent(), Vectors(dim=20), drawing=settings(layers=layers))
    assert caught.value.code == "model_unavailable"


def test_a_network_without_weights() -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ModelUnavailable, match="and the model has none"):
        Classifier(network, spec(8), drawing=settings())


def test_pictures_in_the_memory_in_which_they_come() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3))
    classifier = Classifier(network, spec(8), drawing=settings(p=0.2))
    found = classifier.views(pictures(4, 8), ("draws",), n_drop=3)["draws"]
    assert len({one.tobytes() for one in found[0]}) == 3
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
