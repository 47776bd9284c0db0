"""Tasks beyond one class an item: the uncertainty of many predictions, against slow loops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from test_models_classifier import pictures, spec
from torch import Tensor, nn

from alaas.config import ModelSettings
from alaas.core.errors import ModelOutputInvalid, ModelUnavailable
from alaas.models.classifier import Classifier
from alaas.models.load import load
from alaas.models.tasks import Reduction
from alaas.strategies import disagreement, uncertainty

REDUCTIONS = (Reduction(), Reduction("max"), Reduction("sum"), Reduction("top_k", 3))


class Net(nn.Module):
    """A network that drops channels, and what is made of its last map.

    Args:
        after: What it returns of (B, C, 8, 8) logits.
        classes: C.
    """

    def __init__(self, after: Callable[[Tensor], Any] = lambda x: x, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(11)
        self.body = nn.Conv2d(3, 6, 3, padding=1)
        self.drop = nn.Dropout2d(0.5)
        self.head = nn.Conv2d(6, classes, 1)
        self.after = after

    def forward(self, x: Tensor) -> Any:
        return self.after(4 * self.head(self.drop(torch.tanh(self.body(x)))))


def means(maps: Tensor) -> Tensor:
    return maps.mean((2, 3))


def boxes(maps: Tensor) -> list[dict[str, Tensor]]:
    """A box for each brighter half of an item's pixels, with a score; the first has none."""
    found = []
    for row, one in enumerate(maps):
        scores = torch.sigmoid(one[0].flatten())
        found.append({"scores": scores[scores > scores.median()] if row else scores[:0]})
    return found


def alone(network: nn.Module, images: NDArray[np.uint8]) -> list[Any]:
    """What a network returns for each picture by itself."""
    given = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.inference_mode():
        return [network(one[None]) for one in given]


def by_hand(amounts: list[float], reduction: Reduction) -> float:
    """A reduction, slowly."""
    largest = sorted(amounts, reverse=True)
    if reduction.kind == "max":
        return largest[0]
    if reduction.kind == "sum":
        return sum(largest)
    if reduction.kind == "top_k":
        largest = largest[: reduction.top_k]
    return sum(largest) / len(largest)


def entropy(probs: NDArray[Any]) -> float:
    return -sum(float(p) * float(np.log(p)) for p in probs if p > 0)


def binary(p: float) -> float:
    return entropy(np.array([p, 1 - p]))


def given_spec() -> Any:
    made = spec(8)
    return made.model_copy(update={"mean": (0.5,) * 3, "std": (0.25,) * 3})


def measured(
    network: nn.Module, output: Any, reduction: Reduction = REDUCTIONS[0], **rest: Any
) -> NDArray[np.floating]:
    classifier = Classifier(network, given_spec(), output=output, reduction=reduction)
    found: Mapping[str, NDArray[np.floating]] = classifier.views(
        pictures(5, 8), ("uncertainty",), rank=uncertainty.entropy, **rest
    )
    return found["uncertainty"]


@pytest.mark.parametrize("reduction", REDUCTIONS, ids=str)
def test_labels_are_each_there_or_not(reduction: Reduction) -> None:
    network = Net(means, classes=5)
    expected = [
        by_hand([binary(float(p)) for p in torch.sigmoid(logits)[0]], reduction)
        for logits in alone(network.eval(), pictures(5, 8))
    ]
    assert_allclose(measured(network, "sigmoid", reduction), expected, rtol=1e-5)


@pytest.mark.parametrize("reduction", REDUCTIONS, ids=str)
@pytest.mark.parametrize("after", [lambda x: x, lambda x: {"out": x, "aux": x[:, :1]}])
def test_pixels_each_have_a_class(after: Callable[[Tensor], Any], reduction: Reduction) -> None:
    network = Net(after)
    expected = []
    for made in alone(Net().eval(), pictures(5, 8)):
        probs = torch.softmax(made[0], dim=0).numpy()
        every = [entropy(probs[:, y, x]) for y in range(8) for x in range(8)]
        expected.append(by_hand(every, reduction))
    assert_allclose(measured(network, "segmentation", reduction), expected, rtol=1e-5)


def test_a_single_channel_says_what_is_there() -> None:
    network = Net(classes=1)
    expected = [
        np.mean([binary(float(p)) for p in torch.sigmoid(made).flatten()])
        for made in alone(network.eval(), pictures(5, 8))
    ]
    assert_allclose(measured(network, "segmentation"), expected, rtol=1e-5)


@pytest.mark.parametrize("reduction", REDUCTIONS, ids=str)
def test_boxes_are_what_they_are_called_or_not(reduction: Reduction) -> None:
    network = Net(boxes)
    plain = [torch.sigmoid(made[0, 0].flatten()) for made in alone(Net().eval(), pictures(5, 8))]
    kept = [scores[scores > scores.median()].tolist() for scores in plain]
    assert all(len(scores) > 3 for scores in kept[1:])
    expected = [0.0] + [by_hand([binary(p) for p in scores], reduction) for scores in kept[1:]]
    assert_allclose(measured(network, "detection", reduction), expected, rtol=1e-5)


def test_boxes_may_have_logits() -> None:
    network = Net(lambda x: [{"logits": one.flatten(1).T, "scores": one[0, 0]} for one in x])
    assert_allclose(measured(network, "detection"), measured(Net(), "segmentation"), rtol=1e-6)
    single = Net(lambda x: [{"logits": one.flatten(1).T} for one in x], classes=1)
    assert_allclose(
        measured(single, "detection"), measured(Net(classes=1), "segmentation"), rtol=1e-6
    )


@pytest.mark.parametrize("output", ["sigmoid", "segmentation", "detection"])
def test_an_item_alone_is_as_uncertain_as_in_a_batch(output: Any) -> None:
    network = Net({"sigmoid": means, "detection": boxes}.get(output, lambda x: x))
    classifier = Classifier(network, given_spec(), output=output)

    def ask(images: NDArray[np.uint8]) -> NDArray[np.floating]:
        views = classifier.views(images, ("uncertainty",), rank=uncertainty.gini)
        return views["uncertainty"]

    images = pictures(6, 8)
    whole = ask(images)[1:]  # these boxes are none of the first item of a batch
    pairs = np.concatenate([ask(images[[0, row]])[1:] for row in range(1, 6)])
    assert_allclose(whole, pairs, rtol=1e-5)
    assert len(set(whole.tolist())) == 5
    assert ask(images[:0]).shape == (0,)


@pytest.mark.parametrize("output", ["sigmoid", "segmentation"])
@pytest.mark.parametrize("reduction", REDUCTIONS, ids=str)
def test_disagreement_is_that_of_each_prediction(output: Any, reduction: Reduction) -> None:
    """The masks of the passes are found with a network that returns (B, C) logits."""
    network = Net(means if output == "sigmoid" else (lambda x: x))
    classifier = Classifier(network, given_spec(), output=output, reduction=reduction)
    found = classifier.views(
        pictures(4, 8), ("disagreement",), n_drop=7, seed=3, rank=disagreement.bald
    )["disagreement"]
    if output == "sigmoid":
        drawn = classifier.views(pictures(4, 8), ("draws",), n_drop=7, seed=3)["draws"]
        passes = np.stack([1 - drawn, drawn], axis=-1)  # (B, T, C, 2)
    else:
        flat = Classifier(Net(lambda x: x.flatten(1)), given_spec(), output="sigmoid")
        drawn = flat.views(pictures(4, 8), ("draws",), n_drop=7, seed=3)["draws"]
        logits = np.log(drawn / (1 - drawn)).reshape(4, 7, 3, 64).swapaxes(2, 3)
        powers = np.exp(logits)
        passes = powers / powers.sum(axis=-1, keepdims=True)  # (B, T, H W, C)
    expected = []
    for one in passes:
        amounts = []
        for row in range(one.shape[1]):
            mean = one[:, row].mean(axis=0)
            own = np.mean([entropy(each) for each in one[:, row]])
            amounts.append(entropy(mean) - own)
        expected.append(by_hand(amounts, reduction))
    assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert min(expected) > 1e-3


@pytest.mark.parametrize("held", [1, 3 * 64 * 5, 1 << 24])
def test_maps_are_drawn_a_few_at_a_time(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = Classifier(Net(), given_spec(), output="segmentation")
    ask: dict[str, Any] = {"n_drop": 5, "seed": 1, "rank": disagreement.variance}
    expected = classifier.views(pictures(5, 8), ("disagreement",), **ask)["disagreement"]
    monkeypatch.setattr("alaas.models.classifier.DRAWN", held)
    found = classifier.views(pictures(5, 8), ("disagreement",), **ask)["disagreement"]
    assert_allclose(found, expected, rtol=1e-5)


class Line(nn.Module):
    """Values of a picture: a dropout layer and a linear one after its pixels."""

    def __init__(self, values: int = 1, *, squeeze: bool = False) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.drop, self.head, self.squeeze = nn.Dropout(0.3), nn.Linear(192, values), squeeze

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(self.drop(x.flatten(1)))
        return made[:, 0] if self.squeeze else made


@pytest.mark.parametrize("squeeze", [False, True])
def test_values_and_how_far_their_draws_spread(squeeze: bool) -> None:
    classifier = Classifier(Line(squeeze=squeeze), given_spec(), output="value")
    assert classifier.provides == ("embeddings", "predictions", "disagreement")
    needs = ("predictions", "embeddings", "disagreement")
    views = classifier.views(
        pictures(5, 8), needs, n_drop=400, seed=2, rank=disagreement.variance
    )  # fmt: skip
    plain = [float(made.flatten()[0]) for made in alone(Line().eval(), pictures(5, 8))]
    assert_allclose(views["predictions"], plain, rtol=1e-4, atol=1e-5)
    # Var of sum_d w_d h_d m_d / (1 - p) with m_d ~ Bernoulli(1 - p).
    weight = classifier.network.get_parameter("head.weight").numpy()[0]
    expected = 0.3 / 0.7 * ((weight * views["embeddings"]) ** 2).sum(axis=1)
    assert_allclose(views["disagreement"], expected, rtol=0.25)


def test_several_values_are_reduced_and_are_no_prediction() -> None:
    first, both = Line(1), Line(2)
    with torch.no_grad():
        both.head.weight[0], both.head.bias[0] = first.head.weight[0], first.head.bias[0]
        both.head.weight[1] = 3 * first.head.weight[0]
    one = Classifier(first, given_spec(), output="value")
    two = Classifier(both, given_spec(), output="value")
    assert two.provides == ("embeddings", "disagreement")
    ask: dict[str, Any] = {"n_drop": 6, "rank": disagreement.variance}
    single = one.views(pictures(3, 8), ("disagreement",), **ask)["disagreement"]
    found = two.views(pictures(3, 8), ("disagreement",), **ask)["disagreement"]
    assert_allclose(found, (single + 9 * single) / 2, rtol=1e-4)


def test_the_views_of_each_task() -> None:
    def views(output: Any, after: Callable[[Tensor], Any] = lambda x: x) -> tuple[str, ...]:
        return Classifier(Net(after), given_spec(), output=output).provides

    assert views("sigmoid", means) == ("probs", "embeddings", "draws", "uncertainty",
                                       "disagreement")  # fmt: skip
    assert views("segmentation") == ("embeddings", "uncertainty", "disagreement")
    assert views("detection", boxes) == ("uncertainty",)


def test_embeddings_of_a_detector_are_those_of_a_layer_with_a_name() -> None:
    network = Net(boxes)
    classifier = Classifier(network, given_spec(), output="detection", head="head")
    assert classifier.provides == ("embeddings", "uncertainty")
    found = classifier.views(pictures(4, 8), ("embeddings",))["embeddings"]
    same = Classifier(Net(), given_spec(), output="segmentation")
    assert_allclose(found, same.views(pictures(4, 8), ("embeddings",))["embeddings"], rtol=1e-6)


@pytest.mark.parametrize(
    ("output", "after", "said"),
    [
        ("segmentation", means, r"\(B, C, H, W\), or a mapping with them as 'out', got \(1, 3\)"),
        ("segmentation", lambda x: {"mask": x}, "as 'out', got dict"),
        (
            "detection",
            lambda x: x,
            r"which has 'logits' \(R, C > 0\) or 'scores' \(R,\), got \(1, 3",
        ),
        ("detection", lambda _: [{"boxes": 1}], "'scores' .*, got list"),
        ("detection", lambda x: [{"scores": x}], "'scores' .*, got list"),
        ("detection", lambda _: [], "got list"),
        ("detection", lambda _: None, "got NoneType"),
        ("detection", lambda x: [{"logits": x.new_zeros(5, 0)}], r"\(R, C > 0\) .*, got list"),
        ("value", lambda x: x, r"values of shape \(B,\) or \(B, K\), got \(1, 3, 8, 8\)"),
        ("value", lambda x: x.mean(), r"got \(\)"),
        ("sigmoid", lambda x: x, r"logits of shape \(B, C\), got \(1, 3, 8, 8\)"),
        ("sigmoid", lambda x: (means(x),), "got tuple"),
        ("sigmoid", lambda x: means(x)[:, :0], r"got \(1, 0\)"),
        ("segmentation", lambda x: x[:, :0], r"got \(1, 0, 8, 8\)"),
    ],
)
def test_what_does_not_fit_the_task_is_refused(
    output: Any, after: Callable[[Tensor], Any], said: str
) -> None:
    with pytest.raises(ModelUnavailable, match=f"output {output} must return .*{said}") as caught:
        Classifier(Net(after), given_spec(), output=output)
    assert "\n" not in caught.value.detail


@pytest.mark.parametrize(
    ("output", "after"),
    [
        ("detection", lambda x: boxes(x)[:1]),
        ("detection", lambda x: boxes(x) if len(x) == 1 else [{}] * len(x)),
        ("detection", lambda x: boxes(x)[:1] + [{"logits": x.new_zeros(5, 0)}] * (len(x) - 1)),
        ("segmentation", lambda x: x if len(x) == 1 else x[0]),
        ("segmentation", lambda x: x[:1]),
        ("value", lambda x: means(x)[:1]),
    ],
)
def test_what_no_longer_fits_is_told(output: Any, after: Callable[[Tensor], Any]) -> None:
    classifier = Classifier(Net(after), given_spec(), output=output)
    view = "disagreement" if output == "value" else "uncertainty"
    with pytest.raises(ModelOutputInvalid):
        classifier.views(pictures(2, 8), (view,), rank=disagreement.variance)


def test_what_cannot_be_ranked_is_told() -> None:
    network = Net(lambda x: x / 0 * 0)
    with pytest.raises(ModelOutputInvalid, match="NaN"):
        measured(network, "segmentation")


def test_where_nobody_ranks_nothing_is_uncertain() -> None:
    """As for the canary, which asks whether a model answers."""
    classifier = Classifier(Net(), given_spec(), output="segmentation")
    assert classifier.views(pictures(2, 8), ("uncertainty",))["uncertainty"].tolist() == [0, 0]


@pytest.mark.parametrize(("hub", "name"), [("torchvision", "resnet18"), ("timm", "resnet10t")])
def test_a_network_of_a_hub_may_have_been_trained_for_labels(hub: str, name: str) -> None:
    if hub == "timm":
        pytest.importorskip("timm")
    asked = {"hub": hub, "name": name, "weights": "none", "output": "sigmoid", "runtime": "torch",
             "device": "cpu", "reduction": "top_k", "top_k": 4}  # fmt: skip
    card = load(ModelSettings.model_validate(asked)).card
    assert (card.output, card.reduction) == ("sigmoid", "top_k-4")
    assert "uncertainty" in card.views
