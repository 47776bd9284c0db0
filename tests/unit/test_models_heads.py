"""The last layer as a matrix, and the gradients that labels would cause in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from test_models_classifier import Colours, Plain, Tokens, pictures, spec
from torch import Tensor, nn

from alaas.config import Tokenization
from alaas.core.arrays import PADDING
from alaas.core.errors import ModelUnavailable
from alaas.models.classifier import Classifier

LINEAR_VIEWS = {"head", "grads"}


def small(last: nn.Module, *after: nn.Module) -> nn.Module:
    """Eight by eight pixels to four features, and what a test puts on them."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last, *after
    )


class Doubled(nn.Linear):
    """Does something else than its weights say."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return 2 * super().forward(input)


@pytest.mark.parametrize("network", [Plain(), Tokens(), small(nn.Linear(4, 3))])
def test_logits_are_the_embeddings_times_the_head(network: nn.Module) -> None:
    classifier, images = Classifier(network, spec(8)), pictures(5, 8)
    views = classifier.views(images, ("embeddings", "head"))
    with torch.no_grad():
        logits = classifier.network(classifier._input(images)).numpy()
    assert views["head"].shape == (classifier.classes, classifier.dim + 1)
    found = views["embeddings"] @ views["head"][:, :-1].T + views["head"][:, -1]
    assert_allclose(found, logits, rtol=1e-4, atol=1e-6)


def test_a_head_without_bias() -> None:
    network = small(nn.Linear(4, 3, bias=False))
    head = Classifier(network, spec(8)).views(pictures(1, 8), ("head",))["head"]
    assert_allclose(head[:, :-1], network.get_parameter("4.weight").numpy())
    assert (head[:, -1] == 0).all()


@pytest.mark.parametrize(
    "network",
    [
        Colours(),
        small(nn.Unflatten(1, (4, 1, 1)), nn.Conv2d(4, 3, 1), nn.Flatten()),
        small(Doubled(4, 3)),
        small(nn.Linear(4, 3), nn.ReLU()),
        small(nn.Linear(4, 3), nn.Softmax(1)),
        small(nn.Linear(4, 3), nn.LayerNorm(3)),
        small(nn.Linear(4, 6), nn.Unflatten(1, (3, 2)), nn.Flatten(1), nn.MaxPool1d(2)),
        Plain(lambda logits: logits / 1.01),
        Plain(lambda logits: logits[:, :3]),
    ],
)
def test_what_is_no_linear_head_gives_none(network: nn.Module) -> None:
    classifier = Classifier(network, spec(8))
    assert LINEAR_VIEWS.isdisjoint(classifier.provides)
    for view in LINEAR_VIEWS:
        with pytest.raises(ModelUnavailable, match=f"this model has no view {view}"):
            classifier.views(pictures(1, 8), (view,))


def test_the_head_that_is_returned_is_a_copy() -> None:
    classifier = Classifier(Plain(), spec(8))
    classifier.views(pictures(1, 8), ("head",))["head"][:] = 0
    assert classifier.views(pictures(1, 8), ("head",))["head"].all()


TEXT = Tokenization(file="none", digest="0", max_tokens=40, vocabulary=20, pad=0)


class Words(nn.Module):
    """A linear layer for each token, and the mean of what it makes of them."""

    def __init__(self, *, masked: bool) -> None:
        super().__init__()
        self.masked = masked
        self.words, self.fc = nn.Embedding(20, 6), nn.Linear(6, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        real = (tokens != PADDING).unsqueeze(2).float()
        each: Tensor = self.fc(self.words(tokens.clamp(min=0)))
        return (each * real).sum(dim=1) / real.sum(dim=1) if self.masked else each.mean(dim=1)


def texts() -> Any:
    """Texts of other lengths, padded to the longest."""
    rng = np.random.default_rng(0)
    made = np.full((5, 12), PADDING, np.int32)
    for row, length in enumerate((12, 1, 7, 3, 11)):
        made[row, :length] = rng.integers(1, 20, length)
    return made


def test_padding_is_not_in_the_embedding_of_a_text() -> None:
    torch.manual_seed(0)
    network, batch = Words(masked=True), texts()
    classifier = Classifier(network, TEXT)
    needs = ("embeddings", "grads", "head", "probs")
    assert set(needs) <= set(classifier.provides)
    whole = classifier.views(batch, needs)
    logits = whole["embeddings"] @ whole["head"][:, :-1].T + whole["head"][:, -1]
    assert_allclose(torch.from_numpy(logits).softmax(1), whole["probs"], atol=1e-6)
    for row, tokens in enumerate(batch):
        text = tokens[tokens != PADDING]
        wanted = network.words(torch.from_numpy(text)).mean(dim=0)
        assert_allclose(whole["embeddings"][row], wanted, atol=1e-6)
        assert_allclose(classifier.views(text[None], needs)["grads"][0], whole["grads"][row],
                        atol=1e-6)  # fmt: skip


def test_a_head_that_counts_padding_is_no_matrix() -> None:
    assert LINEAR_VIEWS.isdisjoint(Classifier(Words(masked=False), TEXT).provides)


def gradients(network: nn.Module, pixels: Tensor, classes: int) -> np.ndarray[Any, Any]:
    """The lengths by backpropagation: a backward pass for each row and label, in float64."""
    network = network.double()
    *_, head = (layer for layer in network.modules() if isinstance(layer, nn.Linear))
    parameters = list(head.requires_grad_(True).parameters())
    lengths = np.empty((len(pixels), classes))
    for row, one in enumerate(pixels.double()):
        for label in range(classes):
            logits = network(one[None])
            loss = nn.functional.cross_entropy(logits, torch.tensor([label]))
            slopes = torch.autograd.grad(loss, parameters)
            lengths[row, label] = torch.cat([slope.flatten() for slope in slopes]).norm()
    return lengths


@pytest.mark.parametrize("build", [Plain, Tokens, lambda: small(nn.Linear(4, 3))])
@pytest.mark.parametrize("weight", [1, 100])
def test_gradients_are_those_of_backpropagation(
    build: Callable[[], nn.Module], weight: float
) -> None:
    network, images = build(), pictures(6, 8)
    *_, head = (layer for layer in network.modules() if isinstance(layer, nn.Linear))
    head.weight.data *= weight
    classifier = Classifier(network, spec(8))
    found = classifier.views(images, ("grads",))["grads"]
    wanted = gradients(network, classifier._input(images), classifier.classes)
    assert found.dtype == np.float32
    # Logits that are hundreds are known to about 1e-4, and so is the probability of the rest.
    # Below 1e-15 backpropagation takes 1 - p for 0.
    assert_allclose(found, wanted, rtol=1e-5 * weight, atol=1e-14)


def test_gradients_of_what_is_all_but_certain() -> None:
    network = Plain(lambda logits: logits)
    nn.init.zeros_(network.head.weight)
    network.head.bias.data = torch.tensor([25.0, 0, 0, 0])
    classifier, images = Classifier(network, spec(8)), pictures(2, 8)
    views = classifier.views(images, ("grads", "embeddings"))
    size = np.sqrt((views["embeddings"].astype(float) ** 2).sum(1) + 1)
    other = np.exp(-25)  # probability of each of the others, which float32 cannot take from 1
    assert_allclose(views["grads"][:, 0], size * other * np.sqrt(9 + 3), rtol=1e-6)


def test_a_model_with_one_class_has_nothing_to_learn() -> None:
    grads = Classifier(small(nn.Linear(4, 1)), spec(8)).views(pictures(3, 8), ("grads",))["grads"]
    assert (grads == np.zeros((3, 1))).all()
