"""Which draws a configuration asks for, and who is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from pydantic import ValidationError
from torch import Tensor, nn

from alaas import strategies
from alaas.config import QueryParameters, StrategySettings, Vectors
from alaas.config.model import DrawsSettings
from alaas.core.errors import ModelUnavailable, ViewUnavailable
from alaas.models.card import ModelCard
from alaas.models.classifier import Classifier
from alaas.pipeline.planning import plan

ROWS = np.random.default_rng(0).normal(size=(9, 12)).astype(np.float32)


def network(*before_last: nn.Module) -> nn.Sequential:
    torch.manual_seed(4)
    return nn.Sequential(
        nn.Sequential(nn.Linear(12, 30), nn.Dropout(0.3), nn.Tanh()),
        nn.Sequential(nn.Linear(30, 30), nn.Dropout(0.3)),
        *before_last,
        nn.Linear(30, 3),
    )


def plain() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(12, 30), nn.Tanh(), nn.Linear(30, 3))


def classifier(module: nn.Module, output: Any = "softmax", **given: Any) -> Classifier:
    return Classifier(module, Vectors(dim=12), output=output, drawing=DrawsSettings(**given))


def draws(found: Classifier, count: int = 8, seed: int = 1) -> Any:
    return found.views(ROWS, ("draws",), n_drop=count, seed=seed)["draws"]


def phrase(found: Classifier) -> str:
    assert found.source is not None
    return found.source.phrase


ALL: list[dict[str, Any]] = [
    {},
    {"p": 0.2},
    {"layers": "0.1"},
    {"layers": ["1"]},
    {"head_only": True},
    {"head_only": True, "p": 0.2},
    {"by": "dropconnect"},
    {"by": "dropconnect", "p": 0.2},
    {"by": "dropconnect", "layers": "Linear", "p": 0.2},
    {"by": "dropconnect", "head_only": True},
]


def test_every_way_makes_draws_of_its_own_and_says_so() -> None:
    found = [classifier(network(), **given) for given in ALL]
    drawn = [draws(one) for one in found]
    for one in drawn:
        assert len({row.tobytes() for row in one.swapaxes(0, 1)}) == 8
        assert_allclose(one.sum(axis=2), 1, rtol=1e-5)
    assert len({phrase(one) for one in found}) == len(ALL)
    # Two are the same under other names: of module 1 only the layer before the head drops, and
    # all weights are those of linear layers.
    assert len({one.tobytes() for one in drawn}) == len(ALL) - 2
    assert phrase(found[1]) == "dropout p=0.2"
    assert phrase(found[2]) == "dropout in 0.1"
    assert phrase(found[5]) == "dropout p=0.2 of the head"
    assert phrase(found[8]) == "dropconnect p=0.2 in Linear"


def test_a_layer_that_drops_nothing_does_with_a_share() -> None:
    silent = nn.Sequential(nn.Linear(12, 30), nn.Dropout(0.0), nn.Tanh(), nn.Linear(30, 3))
    assert "draws" not in classifier(silent).provides
    assert "draws" in classifier(silent, p=0.5).provides


def test_a_layer_that_drops_all_makes_no_draws() -> None:
    empty = nn.Sequential(nn.Linear(12, 30), nn.Dropout(1.0), nn.Linear(30, 3))
    assert "draws" not in classifier(empty).provides
    assert "draws" in classifier(empty, p=0.5).provides


def test_the_layer_before_the_head_is_enough() -> None:
    whole, last = classifier(network()), classifier(network(), layers="1.1")
    assert [one.source and one.source.last for one in (whole, last)] == [False, True]
    runs: list[int] = []
    last.network.get_submodule("0").register_forward_hook(lambda *_: runs.append(1))
    found = draws(last)
    assert len(runs) == 1
    assert_allclose(found, draws(classifier(network(nn.Identity()), layers="1.1")), rtol=1e-5)
    assert_allclose(found, draws(classifier(network(), head_only=True)), rtol=1e-5)


def moments(found: Classifier) -> tuple[float, float]:
    """Mean and variance of differences of logits, as drawn, less what they must be."""
    T = 4_000
    views = found.views(ROWS[:1], ("draws", "probs", "embeddings", "head"), n_drop=T)
    odds = np.log(views["draws"][0, :, 0].astype(float) / views["draws"][0, :, 1])
    wanted = np.log(views["probs"][0, 0] / views["probs"][0, 1])
    weight = (views["head"][0] - views["head"][1])[:-1].astype(float)
    terms = np.square(weight * views["embeddings"][0])
    if "dropconnect" in phrase(found):  # the weights of two classes are dropped on their own
        each = np.square(views["head"][:2, :-1].astype(float)).sum(axis=0)
        terms = each * np.square(views["embeddings"][0])
    return (
        abs(odds.mean() - wanted) / np.sqrt(terms.sum() / T),
        abs(odds.var() / terms.sum() - 1) / np.sqrt(2 / T),
    )


@pytest.mark.parametrize("by", ["dropout", "dropconnect"])
def test_a_head_that_nothing_stands_before_drops_one_half(by: str) -> None:
    found = classifier(plain(), by=by, head_only=True)
    assert phrase(found) == f"{by} p=0.5 of the head"
    mean, variance = moments(found)  # with p = 1/2 the variance is the sum of the squares
    assert mean < 4
    assert variance < 4


def test_fifty_draws_of_the_head_cost_one_run_of_the_network() -> None:
    found = classifier(plain(), head_only=True)
    runs: list[int] = []
    found.network.get_submodule("0").register_forward_hook(lambda *_: runs.append(1))
    views = found.views(ROWS, ("probs", "embeddings", "draws"), n_drop=50)
    assert views["draws"].shape == (9, 50, 3)
    assert len(runs) == 1


@pytest.mark.parametrize("given", [{}, {"head_only": True}, {"by": "dropconnect"}])
def test_labels_of_several_classes_have_their_own_probabilities(given: dict[str, Any]) -> None:
    one, several = (classifier(network(), output, **given) for output in ("softmax", "sigmoid"))
    found = draws(several)
    assert not np.isclose(found.sum(axis=2), 1, atol=1e-3).any()
    odds = found / (1 - found)
    assert_allclose(draws(one), odds / odds.sum(axis=2, keepdims=True), rtol=1e-3)


class Steps(nn.Module):
    """Reads a row as a sequence, as recurrent layers do unless told that items come first."""

    def __init__(self, *, items_first: bool, length: int) -> None:
        super().__init__()
        torch.manual_seed(6)
        width = 12 // length
        self.items_first, self.length = items_first, length
        self.enter = nn.Sequential(nn.Linear(width, 30), nn.Tanh())
        self.dropout = nn.Dropout(0.3)
        self.reader = nn.GRU(30, 8, batch_first=items_first)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        steps = self.enter(x.unflatten(1, (self.length, -1)))  # B, L, D
        steps = self.dropout(steps if self.items_first else steps.transpose(0, 1))
        made: Tensor = self.out(self.reader(steps)[1][0])
        return made


@pytest.mark.parametrize("length", [1, 2, 3, 4])
class TestSequences:
    def test_with_the_items_first_are_drawn_the_same_in_every_batch(self, length: int) -> None:
        found = classifier(Steps(items_first=True, length=length))
        whole = draws(found)
        alone = [found.views(ROWS[[row]], ("draws",), n_drop=8, seed=1) for row in range(9)]
        assert_allclose(np.concatenate([one["draws"] for one in alone]), whole, rtol=1e-4)

    def test_with_the_items_second_have_no_draws(
        self, length: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        found = classifier(Steps(items_first=False, length=length))
        assert found.source is None
        assert {"probs", "embeddings", "grads"} <= set(found.provides)
        assert "draws" not in found.provides
        (said,) = caplog.messages
        assert said.startswith("the model has no draws: dropout would draw an item differently")

    @pytest.mark.parametrize("given", [{"p": 0.2}, {"layers": "dropout"}])
    def test_with_the_items_second_are_refused_where_dropout_is_asked_for(
        self, length: int, given: dict[str, Any]
    ) -> None:
        with pytest.raises(ModelUnavailable, match="does not receive the items first"):
            classifier(Steps(items_first=False, length=length), **given)

    @pytest.mark.parametrize("given", [{"by": "dropconnect"}, {"head_only": True}])
    def test_with_the_items_second_are_drawn_in_other_ways(
        self, length: int, given: dict[str, Any]
    ) -> None:
        found = classifier(Steps(items_first=False, length=length), **given)
        part = found.views(ROWS[4:], ("draws",), n_drop=8, seed=1)["draws"]
        assert_allclose(part, draws(found)[4:], rtol=1e-4)


def test_a_network_that_takes_one_item_at_a_time_is_drawn_so() -> None:
    class Single(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(1, 30)

    found = classifier(network(Single(), nn.Tanh()))
    assert found.views(ROWS[:1], ("draws",), n_drop=8)["draws"].shape == (1, 8, 3)


class Functional(nn.Module):
    """Drops by a function, which is no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(nn.functional.dropout(x, 0.5, self.training))
        return made


@pytest.mark.parametrize("build", [plain, Functional])
class TestNothingStochastic:
    def test_has_no_draws(self, build: Any) -> None:
        found = classifier(build())
        assert found.source is None
        assert "draws" not in found.provides
        with pytest.raises(ModelUnavailable, match="no view draws"):
            draws(found)

    def test_is_refused_with_the_ways_out_before_anything_is_read(self, build: Any) -> None:
        found = classifier(build())
        card = ModelCard("mine", "python", "none", "0", 3, (), 30, found.inputs, found.provides)
        parameters = QueryParameters.model_validate({"budget": 1, "strategy": "bald"})
        with pytest.raises(ViewUnavailable) as caught:
            plan(parameters, StrategySettings(), "q", card)
        assert caught.value.code == "view_unavailable"
        said = str(caught.value)
        assert "bald needs several predictions of an item, and mine has no dropout to draw" in said
        for way in ("no dropout", "dropconnect", "ensemble", "augment", "draws.head_only"):
            assert way in said

    def test_cannot_be_told_to_drop_in_layers(self, build: Any) -> None:
        with pytest.raises(ModelUnavailable, match=r"drops anything: set draws\.by to dropconnect"):
            classifier(build(), p=0.5)
        with pytest.raises(ModelUnavailable, match="no dropout layer 'Dropout': it has none"):
            classifier(build(), layers="Dropout")


class Wrapped(nn.Module):
    """As the network of a hub stands in one that has its logits alone."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.body = network()[:-1]
        self.model.last = network()[-1]

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.model.last(self.model.body(x))
        return made


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("body", "model.body"),
        ("body.0", "model.body.0"),
        ("body.1.1", "model.body.1.1"),
        ("1.1", "model.body.1.1"),
        ("model.body.1", "model.body.1"),
    ],
)
def test_the_end_of_a_name_stands_for_a_layer(wanted: str, name: str) -> None:
    assert (
        draws(classifier(Wrapped(), layers=wanted)) == draws(classifier(Wrapped(), layers=name))
    ).all()


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        # What holds no dropout is none of these.
        ("1", r"'1' stands for several of the model's layers: model\.body\.0\.1, model\.body\.1"),
        ("odel.body", "no dropout layer 'odel.body'"),
        ("ody", "no dropout layer 'ody'"),
        ("last", "no dropout layer 'last'"),
    ],
)
def test_the_end_of_a_name_must_be_one_of_its_own(wanted: str, said: str) -> None:
    with pytest.raises(ModelUnavailable, match=said):
        classifier(Wrapped(), layers=wanted)


def test_an_encoder_has_no_draws_to_ask_for() -> None:
    assert classifier(nn.Linear(12, 5), "embedding").source is None
    with pytest.raises(ModelUnavailable, match="no draws of embeddings"):
        classifier(nn.Linear(12, 5), "embedding", by="dropconnect")


def test_the_head_alone_must_be_linear() -> None:
    with pytest.raises(ModelUnavailable, match="head_only needs a linear last layer"):
        classifier(nn.Sequential(plain(), nn.Tanh()), head_only=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"p": 0}, "greater than 0"),
        ({"p": 1}, "less than 1"),
        ({"by": "ensemble"}, "what an ensemble consists of"),
        ({"checkpoints": "a.pt"}, "what an ensemble consists of"),
        ({"by": "augment", "p": 0.5}, "no meaning where draws are by augment"),
        ({"by": "ensemble", "checkpoints": "a.pt", "head_only": True}, "no meaning where draws"),
        ({"head_only": True, "layers": "fc"}, "no meaning with head_only"),
    ],
)
def test_settings_that_contradict_one_another(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DrawsSettings.model_validate(given)


def test_more_draws_of_what_is_dropped_less_agree_more() -> None:
    ids = [str(row) for row in range(9)]
    found = [
        np.mean(strategies.run("bald", {"draws": draws(classifier(network(), p=p), 40)}, ids=ids,
                               budget=9).scores)
        for p in (0.05, 0.2, 0.5)
    ]  # fmt: skip
    assert 0 < found[0] < found[1] < found[2]
