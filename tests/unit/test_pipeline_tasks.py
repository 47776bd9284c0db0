"""Labels, pixels, boxes and values of items, from `alaas.select` to the picks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from pictures import encoded, picture
from test_pipeline_engine import in_time
from torch import Tensor, nn

import alaas
from alaas.config import (
    ModelSettings,
    PushParameters,
    Settings,
    StrategySettings,
    parse_parameters,
)
from alaas.core.errors import AlaasError, ModelUnavailable, ViewUnavailable
from alaas.core.types import Plan
from alaas.core.wire import Item
from alaas.models.card import ModelCard
from alaas.models.load import load
from alaas.pipeline import push, query
from alaas.pipeline.claims import stored_names
from alaas.pipeline.engine import LocalEngine
from alaas.pipeline.planning import plan
from alaas.pipeline.replay import Again
from alaas.strategies import strategies

SIZE = 8
COUNT = 12


class Net(nn.Module):
    """Pixels to three maps of logits, with dropout of channels."""

    def __init__(self, after: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.body, self.drop = nn.Conv2d(3, 6, 3, padding=1), nn.Dropout2d(0.5)
        self.head, self.after = nn.Conv2d(6, 3, 1), after

    def forward(self, x: Tensor) -> Any:
        return self.after(4 * self.head(self.drop(torch.tanh(self.body(x)))))


def labels() -> nn.Module:
    return Net(lambda maps: maps.mean((2, 3)))


def pixels() -> nn.Module:
    return Net(lambda maps: {"out": maps})


def boxes() -> nn.Module:
    """Of a pixel in two a box."""

    def found(maps: Tensor) -> list[dict[str, Tensor]]:
        scores = torch.sigmoid(maps[:, 0].flatten(1))
        return [{"scores": one[one > one.median()]} for one in scores]

    return Net(found)


class Value(nn.Module):
    """One value of a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(192, 9), nn.Tanh(), nn.Dropout(0.4))
        self.head = nn.Linear(9, 1)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(self.body(x))
        return made[:, 0]


def value() -> nn.Module:
    return Value()


FACTORIES = {"sigmoid": "labels", "segmentation": "pixels", "detection": "boxes", "value": "value"}


def model(output: str, **rest: Any) -> dict[str, Any]:
    return {
        "hub": "python", "name": f"{__name__}:{FACTORIES[output]}", "output": output,
        "preprocess": {"size": SIZE, "mean": [0.5] * 3, "std": [0.25] * 3},
        "device": "cpu", "batch_size": 5, "runtime": "torch", **rest,
    }  # fmt: skip


def blobs() -> list[Item]:
    return [Item(f"i{row}", blob=encoded(picture(SIZE, SIZE, seed=row))) for row in range(COUNT)]


def settings(output: str, **rest: Any) -> Settings:
    section = {"strategy": {"model": model(output, **rest)}}
    return Settings.model_validate({"active_learning": section})


def returned(output: str) -> list[Any]:
    """What the network returns for each picture by itself."""
    network = load(ModelSettings.model_validate(model(output)))
    drawn = [np.asarray(picture(SIZE, SIZE, seed=row)).copy() for row in range(COUNT)]
    given = [(torch.from_numpy(one).permute(2, 0, 1) / 255 - 0.5) / 0.25 for one in drawn]
    with torch.inference_mode():
        return [network.classifier.network(one[None]) for one in given]


def gini(probs: Any) -> float:
    return 1 - sum(float(p) ** 2 for p in probs)


def by_hand(output: str, made: Any) -> list[float]:
    """The impurity of each label, pixel or box of one item."""
    if output == "segmentation":
        probs = torch.softmax(made["out"][0], dim=0)
        return [gini(probs[:, y, x]) for y in range(SIZE) for x in range(SIZE)]
    yes = torch.sigmoid(made[0]) if output == "sigmoid" else made[0]["scores"]
    return [gini((p, 1 - p)) for p in yes]


@pytest.mark.parametrize("output", ["sigmoid", "segmentation", "detection"])
@pytest.mark.parametrize("reduction", ["mean", "max", "sum", "top_k"])
def test_scorers_rank_what_an_item_consists_of(output: str, reduction: str) -> None:
    chosen = model(output, reduction=reduction, top_k=2)
    result = alaas.select(blobs(), COUNT, strategy="gini", model=chosen)
    expected = []
    for made in returned(output):
        amounts = sorted(by_hand(output, made), reverse=True)
        few = {"max": amounts[:1], "top_k": amounts[:2]}.get(reduction, amounts)
        expected.append(sum(few) / (1 if reduction == "sum" else len(few)))
    scores = {pick.id: pick.score for pick in result}
    assert_allclose([scores[f"i{row}"] for row in range(COUNT)], expected, rtol=1e-4)
    assert [pick.score for pick in result] == sorted(scores.values(), reverse=True)
    assert result.receipt.n_drop == 0


@pytest.mark.parametrize("strategy", ["entropy", "margin_confidence", "ratio_confidence"])
def test_the_scores_have_the_range_of_the_strategy(strategy: str) -> None:
    """A margin is at most 0, and -1 where nothing is unsure: also of an item without boxes."""
    result = alaas.select(blobs(), COUNT, strategy=strategy, model=model("detection"))
    scores = [pick.score for pick in result]
    assert all(-1 < score < 0 if strategy == "margin_confidence" else score > 0 for score in scores)


class Blind(nn.Module):
    """Sees nothing in any picture."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 1, 3)

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        return [{"scores": one.flatten()[:0]} for one in self.body(x)]


def nothing() -> nn.Module:
    return Blind()


@pytest.mark.parametrize("reduction", ["mean", "max", "sum", "top_k"])
@pytest.mark.parametrize(("strategy", "least"), [("entropy", 0.0), ("margin_confidence", -1.0)])
def test_items_without_boxes_have_the_least_score(
    strategy: str, least: float, reduction: str
) -> None:
    chosen = {**model("detection", reduction=reduction), "name": f"{__name__}:nothing"}
    result = alaas.select(blobs(), 3, strategy=strategy, model=chosen)
    assert [pick.score for pick in result] == [least] * 3
    assert result.ids == ["i0", "i1", "i2"]


@pytest.mark.parametrize("output", ["sigmoid", "segmentation", "value"])
def test_draws_of_what_an_item_consists_of(output: str) -> None:
    def ask(n_drop: int, seed: int = 0) -> list[float]:
        result = alaas.select(
            blobs(), COUNT, strategy="variance", model=model(output), n_drop=n_drop, seed=seed
        )
        assert result.receipt.n_drop == n_drop
        scores = {pick.id: pick.score for pick in result}
        return [scores[f"i{row}"] for row in range(COUNT)]

    found = ask(8)
    assert min(found) > 0
    assert ask(8) == found
    assert ask(9) != found
    assert ask(8, seed=1) != found


def test_regression_by_outputs_and_by_inputs_and_outputs() -> None:
    values = [float(made[0]) for made in returned("value")]
    first = alaas.select(blobs(), 1, strategy="GSy", model=model("value"))
    assert first.ids == [f"i{int(np.abs(np.array(values) - np.mean(values)).argmin())}"]
    known = [(item, 0.25) for item in blobs()[:2]]
    result = alaas.select(blobs(), 4, strategy="iGS", model=model("value"), labelled=known)
    assert result.receipt.labelled_size == 2
    assert len(set(result.ids)) == 4


@pytest.mark.parametrize("output", ["sigmoid", "segmentation", "value"])
def test_embeddings_serve_as_ever(output: str) -> None:
    result = alaas.select(blobs(), 4, strategy="KCenter", model=model(output))
    assert len(set(result.ids)) == 4


def card(output: str) -> ModelCard:
    return load(ModelSettings.model_validate(model(output))).card


@pytest.mark.parametrize(
    ("output", "strategy", "params", "said"),
    [
        ("sigmoid", "badge", {}, "badge reads the probabilities of one class an item, and "
         ".* predicts several labels of an item; use a strategy that scores items"),
        ("segmentation", "batchbald", {}, "batch_bald reads .* predicts a class for each pixel"),
        ("detection", "epig", {}, "predicts boxes; use a strategy that scores items"),
        ("detection", "bald", {}, "compares several predictions of the same thing, and .* boxes"),
        ("detection", "KCenter", {}, "needs the view embeddings"),
        ("value", "entropy", {}, "compares probabilities of classes, and .* predicts values; use "
         "mean_std or variance, or a strategy of the family regression"),
        ("value", "bald", {}, "use mean_std or variance"),
        ("value", "alfa_mix", {}, "alfa_mix needs"),
        ("sigmoid", "egl", {}, "expected_gradient_length reads"),
        ("sigmoid", "entropy", {"per_class": 2}, "balance and per_class count classes"),
        ("segmentation", "KCenter", {"balance": True}, "balance and per_class count classes"),
        ("segmentation", "deepfool", {}, "needs the view margins"),
        ("segmentation", "GSy", {}, "needs the view predictions"),
    ],
)  # fmt: skip
def test_strategies_that_cannot_work_are_refused_with_the_reason(
    output: str, strategy: str, params: dict[str, Any], said: str
) -> None:
    known = [{"uri": "a", "label": 0}]
    name = {"egl": "expected_gradient_length", "deepfool": "deep_fool"}.get(strategy, strategy)
    asked = parse_parameters(
        {"budget": 1, "strategy": name, "params": params, "labelled": known}
    )  # fmt: skip
    with pytest.raises(ViewUnavailable, match=said) as caught:
        plan(asked, StrategySettings(), "q", card(output))
    assert [one.pointer for one in caught.value.errors] == ["/parameters/strategy"]


@pytest.mark.parametrize("output", [*FACTORIES])
def test_every_strategy_runs_or_is_refused(output: str) -> None:
    """None reaches the scorer and fails there."""
    there = card(output)
    known = [(item, row % 2) for row, item in enumerate(blobs())]
    ran = []
    for one in strategies():
        labelled = known if one.labelled else None
        asked = parse_parameters(
            {"budget": 2, "strategy": one.name, "labelled": [{"uri": "a", "label": 0}]}
        )
        try:
            plan(asked, StrategySettings(), "q", there)
        except ViewUnavailable:
            continue
        result = alaas.select(
            blobs(), 2, strategy=one.name, model=model(output), labelled=labelled, n_drop=2
        )
        assert len(result.ids) == 2
        ran.append(one.name)
    assert "random_sampling" in ran
    assert ("variance" in ran) == (output != "detection")
    assert ("entropy" in ran) == (output != "value")


def test_the_name_in_the_store_tells_strategy_reduction_and_draws_apart() -> None:
    def names(output: str, n_drop: int = 4, seed: int = 0, strategy: str = "entropy",
              **rest: Any) -> tuple[str, ...]:  # fmt: skip
        given = {"budget": 1, "strategy": strategy, "n_drop": n_drop, "seed": seed}
        there = replace(card(output), **rest)
        made = plan(parse_parameters(given), StrategySettings(), "q", there)
        return stored_names(made, made.needs)

    assert names("sigmoid") == ("uncertainty-entropy-mean",)
    assert names("sigmoid", reduction="top_k-3") == ("uncertainty-entropy-top_k-3",)
    assert names("sigmoid", strategy="gini") == ("uncertainty-gini-mean",)
    assert names("sigmoid", strategy="bald") == ("disagreement-bald-mean-4-0",)
    assert names("sigmoid", strategy="bald", seed=3, n_drop=5) == ("disagreement-bald-mean-5-3",)
    first = Plan("q", "s", {"k": 1}, 0, 1, ("uncertainty",), measure="entropy", reduction="mean")
    second = replace(first, params={"k": 2})
    assert stored_names(first, first.needs) != stored_names(second, second.needs)
    assert stored_names(first, first.needs)[0].startswith("uncertainty-entropy-mean-")


def kept(output: str, folder: Path, **rest: Any) -> Settings:
    tree = settings(output, **rest)
    store = tree.store.model_copy(update={"url": str(folder), "cache": True})
    return tree.model_copy(update={"store": store})


def test_what_is_stored_serves_the_same_query_and_no_other(tmp_path: Path) -> None:
    def ask(strategy: str, **rest: Any) -> tuple[list[str], int]:
        tree = kept("segmentation", tmp_path, **rest)
        result = alaas.select(blobs(), COUNT, strategy=strategy, settings=tree)
        return result.ids, result.timings.stages["infer"].hits

    first, hits = ask("entropy")
    assert hits == 0
    assert ask("entropy") == (first, COUNT)
    assert ask("gini")[1] == 0
    assert ask("entropy", reduction="max")[1] == 0
    assert ask("entropy") == (first, COUNT)


def test_a_stored_pool_has_what_its_strategy_reads(tmp_path: Path) -> None:
    tree = kept("segmentation", tmp_path)
    defaults = tree.active_learning.strategy

    async def run() -> tuple[list[str], int, tuple[str, ...]]:
        async with LocalEngine(tree) as engine:
            told = PushParameters(pool="street", strategy="gini")
            pushed = await push.run(engine, told, Again(blobs()), defaults=defaults)
            asked = parse_parameters({"budget": 4, "strategy": "gini", "pool": "street"})
            answer = await query.run(engine, asked, Again([]), defaults=defaults)
            stages = answer.timings.stages
            return [pick.id for pick in answer.picks], stages["infer"].hits, (*pushed.pool.views,)

    ids, hits, views = in_time(run())
    assert hits == COUNT
    assert set(views) == {"embeddings", "uncertainty-gini-mean"}
    assert ids == alaas.select(blobs(), 4, strategy="gini", model=model("segmentation")).ids


def test_a_push_for_a_strategy_that_cannot_work_is_refused() -> None:
    with pytest.raises(ViewUnavailable, match="predicts a class for each pixel"):
        push.plan(
            PushParameters(pool="p", strategy="badge"), StrategySettings(), "q",
            card("segmentation"),
        )  # fmt: skip
    configured = StrategySettings(type="badge")
    settled = push.plan(PushParameters(pool="p"), configured, "q", card("segmentation"))
    assert settled.needs == ("embeddings",)


def test_cards_of_tasks() -> None:
    there = {output: card(output) for output in FACTORIES}
    assert {output: one.classes for output, one in there.items()} == {
        "sigmoid": 3, "segmentation": 3, "detection": 0, "value": 0,
    }  # fmt: skip
    assert {one.reduction for one in there.values()} == {"mean"}
    assert all(ModelCard.from_json(one.to_json()) == one for one in there.values())


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize(
    ("output", "strategy"), [("segmentation", "entropy"), ("sigmoid", "gini"), ("value", "GSy")]
)
def test_other_runtimes_see_the_same(output: str, strategy: str, runtime: str) -> None:
    pytest.importorskip(runtime)
    assert load(ModelSettings.model_validate(model(output, runtime=runtime))).card.output == output
    here, there = (
        alaas.select(blobs(), COUNT, strategy=strategy, model=model(output, runtime=one))
        for one in ("torch", runtime)
    )
    assert_allclose([pick.score for pick in there], [pick.score for pick in here], rtol=1e-3,
                    atol=1e-4)  # fmt: skip


def test_boxes_are_for_torch() -> None:
    asked = ModelSettings.model_validate(model("detection", runtime="auto"))
    assert load(asked).card.runtime == "torch"
    asked = ModelSettings.model_validate(model("detection", runtime="onnxruntime"))
    with pytest.raises(ModelUnavailable, match="cannot run a model that returns boxes"):
        load(asked)


def test_a_network_that_is_for_another_task() -> None:
    with pytest.raises(ModelUnavailable, match=r"output value must return .*got dict") as caught:
        alaas.select(
            blobs(), 1, model={**model("value"), "name": f"{__name__}:pixels"}
        )  # fmt: skip
    assert isinstance(caught.value, AlaasError)
    assert caught.value.code == "model_unavailable"
