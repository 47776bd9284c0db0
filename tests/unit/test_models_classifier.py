"""A network and its views, against torchvision's own transforms and layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.transforms.functional import convert_image_dtype, normalize

from alaas.config import Preprocessing
from alaas.core.errors import ModelOutputInvalid, ModelUnavailable
from alaas.models.classifier import Classifier
from alaas.models.foreign import Raised

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Architecture to the name of its last layer.
HEADS = {
    "resnet18": "fc",
    "mobilenet_v3_small": "classifier.3",
    "densenet121": "classifier",
    "shufflenet_v2_x0_5": "fc",
    "alexnet": "classifier.6",
    "googlenet": "fc",  # with two more classifiers that run in training only
    "a small vision transformer": "heads",
    "a small swin transformer": "head",
}
SIZE = 64


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Networks as small as these are slower on several, where other processes run too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def spec(size: Any) -> Preprocessing:
    return Preprocessing(size=size, mean=MEAN, std=STD)


def untrained(name: str) -> nn.Module:
    torch.manual_seed(7)
    network: nn.Module
    if name == "a small vision transformer":
        network = torchvision.models.VisionTransformer(SIZE, 16, 2, 2, 32, 64, num_classes=10)
    elif name == "a small swin transformer":
        network = torchvision.models.SwinTransformer(
            [4, 4], 24, [2, 2], [2, 2], [4, 4], num_classes=10
        )
    else:
        options = {"init_weights": False} if name == "googlenet" else {}
        network = torchvision.models.get_model(name, weights=None, **options)
    return network


@cache
def architecture(name: str) -> nn.Module:
    """A network with random weights, whose normalisations have seen pictures.

    Without that, what a deep random network makes of two pictures hardly differs.
    """
    network = untrained(name)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in norms:
        module.momentum = 1.0
    if norms:
        with torch.no_grad():
            network.train()(as_torchvision(pictures(8, SIZE, seed=1)))
    for parameter in network.parameters():  # the heads of some start as all zeros
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    return network.eval()


def pictures(count: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """Noise over a colour of its own: networks tell them apart, whatever their weights."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 64, (count, size, size, 3), np.uint8)
    noise += rng.integers(0, 192, (count, 1, 1, 3), np.uint8)
    return noise


def as_torchvision(images: NDArray[np.uint8]) -> Tensor:
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    given: Tensor = normalize(convert_image_dtype(pixels, torch.float32), list(MEAN), list(STD))
    return given


@pytest.mark.parametrize(("name", "head"), HEADS.items())
def test_views_are_those_of_torchvision(name: str, head: str) -> None:
    network, images = architecture(name), pictures(3, SIZE)
    headless = deepcopy(network)
    path, _, last = head.rpartition(".")
    setattr(headless.get_submodule(path), last, nn.Identity())
    with torch.inference_mode():
        given = as_torchvision(images)
        probs = network(given).softmax(1).numpy()
        embeddings = headless(given).numpy()
    classifier = Classifier(network, spec(SIZE))
    views = classifier.views(images, ("probs", "embeddings", "head"))
    assert (classifier.classes, classifier.dim) == (probs.shape[1], embeddings.shape[1])
    assert views["probs"].dtype == views["embeddings"].dtype == np.float32
    for found, wanted in ((views["probs"], probs), (views["embeddings"], embeddings)):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
        # Rows of a random network are much alike: the error must be small beside what they differ.
        assert np.abs(found - wanted).max() < 0.01 * np.abs(wanted[0] - wanted[1]).max()
    logits = views["embeddings"] @ views["head"][:, :-1].T + views["head"][:, -1]
    found = torch.from_numpy(logits).softmax(1).numpy()
    np.testing.assert_allclose(found, views["probs"], rtol=1e-3, atol=1e-6)


def test_embeddings_of_a_convolutional_head_are_averaged_over_space() -> None:
    network, images = architecture("squeezenet1_1"), pictures(2, SIZE)
    with torch.inference_mode():
        features = network.get_submodule("features")(as_torchvision(images))
    classifier = Classifier(network, spec(SIZE))
    found = classifier.views(images, ("embeddings",))["embeddings"]
    assert found.shape == (2, classifier.dim) == (2, 512)
    np.testing.assert_allclose(found, features.mean((2, 3)).numpy(), rtol=1e-4, atol=1e-5)


class Plain(nn.Module):
    """A small classifier over means of colours, whose logits a test can change."""

    def __init__(self, after: Callable[[Tensor], Any] = lambda logits: logits) -> None:
        super().__init__()
        self.after = after
        torch.manual_seed(1)
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Any:
        return self.after(self.head(input=x.mean((2, 3))))


def test_a_head_may_be_called_by_keyword() -> None:
    images = pictures(5, 8)
    found = Classifier(Plain(), spec(8)).views(images, ("embeddings",))["embeddings"]
    np.testing.assert_allclose(found, as_torchvision(images).mean((2, 3)), rtol=1e-5, atol=1e-6)


class Tokens(nn.Module):
    """A head over (B, L, D) tokens, whose logits are averaged after it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x.flatten(2).transpose(1, 2)).mean(1)
        return logits


def test_embeddings_of_tokens_are_averaged() -> None:
    images = pictures(3, 4)
    found = Classifier(Tokens(), spec(4)).views(images, ("embeddings",))["embeddings"]
    np.testing.assert_allclose(found, as_torchvision(images).mean((2, 3)), rtol=1e-5, atol=1e-6)


def test_only_the_named_views_are_computed() -> None:
    classifier = Classifier(Plain(), spec(8))
    assert classifier.views(pictures(2, 8), ()) == {}
    assert list(classifier.views(pictures(2, 8), ["probs"])) == ["probs"]
    assert list(classifier.views(pictures(2, 8), {"embeddings"})) == ["embeddings"]


def test_no_rows_give_views_of_no_rows() -> None:
    network = nn.Sequential(Plain(), nn.Dropout(0.5), nn.Linear(4, 2))
    classifier = Classifier(network, spec(8))
    views = classifier.views(pictures(0, 8), classifier.provides, n_drop=5)
    assert {name: rows.shape for name, rows in views.items()} == {
        "probs": (0, 2),
        "embeddings": (0, 4),
        "head": (2, 5),
        "grads": (0, 2),
        "draws": (0, 5, 2),
        "margins": (0,),
    }
    assert {rows.dtype for rows in views.values()} == {np.dtype(np.float32)}
    # The model is the same whether or not an item of this micro-batch could be read.
    assert (views["head"] == classifier.views(pictures(1, 8), ("head",))["head"]).all()


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_pixels_are_read_and_not_written() -> None:
    images = pictures(2, 8)
    before = images.tobytes()
    images.flags.writeable = False
    Classifier(Plain(), spec(8)).views(images, ("probs",))
    assert images.tobytes() == before


def test_a_row_does_not_depend_on_the_others() -> None:
    class Dropping(nn.Sequential):
        """Would give noise, and mix rows, if it were not in evaluation mode."""

    torch.manual_seed(0)
    network = Dropping(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3)
    )
    classifier, images = Classifier(network.train(), spec(8)), pictures(6, 8)
    together = classifier.views(images, ("probs",))["probs"]
    alone = np.concatenate(
        [classifier.views(images[i : i + 1], ("probs",))["probs"] for i in range(6)]
    )
    np.testing.assert_allclose(together, alone, rtol=1e-5)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    def spoil(logits: Tensor) -> Tensor:
        logits[-1, 0] = bad
        return logits

    classifier = Classifier(Plain(spoil), spec(8))
    with pytest.raises(ModelOutputInvalid, match="the model's probs hold NaN or infinity"):
        classifier.views(pictures(3, 8), ("probs",))
    assert classifier.views(pictures(3, 8), ("embeddings",))["embeddings"].shape == (3, 3)


def test_a_logit_of_minus_infinity_is_a_probability_of_zero() -> None:
    def rule_out(logits: Tensor) -> Tensor:
        logits[:, 0] = -torch.inf
        return logits

    probs = Classifier(Plain(rule_out), spec(8)).views(pictures(3, 8), ("probs",))["probs"]
    assert (probs[:, 0] == 0).all()
    np.testing.assert_allclose(probs.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("after", "got"),
    [
        (lambda logits: (logits, logits), "tuple"),
        (lambda logits: {"logits": logits}, "dict"),
        (lambda logits: logits[0], r"\(4,\)"),
        (lambda logits: logits[..., None], r"\(1, 4, 1\)"),
        (lambda logits: logits.repeat(2, 1), r"\(2, 4\)"),
    ],
)
def test_what_is_no_classifier_is_refused(after: Callable[[Tensor], Any], got: str) -> None:
    with pytest.raises(ModelUnavailable, match=rf"logits of shape \(B, C\), got {got} for one"):
        Classifier(Plain(after), spec(8))


def test_a_model_that_fails_on_its_size() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 7), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(
        ModelUnavailable, match=r"^the model fails on an input of 3 x 3 x 5: RuntimeError: "
    ):
        Classifier(network, spec((3, 5)))


@pytest.mark.parametrize("error", [AssertionError(), KeyError("fc"), IndexError("two\nlines")])
def test_a_model_may_fail_in_any_way(error: Exception) -> None:
    def fail(_: Tensor) -> Tensor:
        raise error

    with pytest.raises(ModelUnavailable) as caught:
        Classifier(Plain(fail), spec(8))
    assert caught.value.__cause__ is error
    assert type(error).__name__ in caught.value.detail
    assert "\n" not in caught.value.detail


def test_whatever_a_model_raises_while_it_predicts_has_a_class_of_its_own() -> None:
    def alone(logits: Tensor) -> Tensor:
        if len(logits) > 1:
            raise KeyError("one at a time")
        return logits

    classifier = Classifier(Plain(alone), spec(8))
    with pytest.raises(Raised) as caught:
        classifier.views(pictures(2, 8), ("probs",))
    assert str(caught.value) == "KeyError: 'one at a time'"
    assert isinstance(caught.value.__cause__, KeyError)


class Whole(nn.Linear):
    """Takes nothing from which something was dropped."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        if (input == 0).any():
            raise ValueError("a hole")
        return super().forward(input)


class Kept(nn.Linear):
    """Cannot be saved."""

    def get_extra_state(self) -> Any:
        raise KeyError("gone")


def test_draws_that_fail() -> None:
    layers = nn.Linear(192, 9), nn.Dropout(0.5), Whole(9, 4), nn.Linear(4, 3)
    network = nn.Sequential(nn.Flatten(), *layers)
    with pytest.raises(
        ModelUnavailable, match=r"^the draws of the model fail: ValueError: a hole$"
    ):
        Classifier(network, spec(8))


def test_a_model_without_a_digest() -> None:
    classifier = Classifier(nn.Sequential(nn.Flatten(), Kept(192, 3)), spec(8))
    with pytest.raises(ModelUnavailable, match="cannot be told from another one: KeyError: 'gone'"):
        classifier.digest()


def test_the_wrong_size_for_a_vision_transformer() -> None:
    with pytest.raises(ModelUnavailable, match="fails on an input of 3 x 32 x 32: AssertionError"):
        Classifier(architecture("a small vision transformer"), spec(32))


def test_a_view_that_there_is_not() -> None:
    with pytest.raises(ModelUnavailable, match=r"no view draws, predictions$"):
        Classifier(Plain(), spec(8)).views(pictures(1, 8), ("probs", "predictions", "draws"))


class Colours(nn.Module):
    """A classifier without a layer that could be its head."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def test_embeddings_need_a_head() -> None:
    classifier = Classifier(Colours(), spec(8))
    assert (classifier.parts.head, classifier.classes, classifier.dim) == (None, 3, 0)
    assert classifier.provides == ("probs", "margins")
    assert classifier.views(pictures(2, 8), ("probs",))["probs"].shape == (2, 3)
    with pytest.raises(ModelUnavailable, match="this model has no view embeddings"):
        classifier.views(pictures(2, 8), ("embeddings",))
