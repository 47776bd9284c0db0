"""What readiness sends through the stages, for every kind of model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alaas.config import Inputs, LimitsSettings, Preprocessing, Tokenization, Vectors
from alaas.core.types import Raw, Raws, Views
from alaas.core.wire import Item
from alaas.data.prepare import prepare
from alaas.models.card import ModelCard
from alaas.models.output import Output
from alaas.pipeline.scorer import Scorer
from alaas.server import canary

PICTURES = Preprocessing(size=(8, 8), mean=(0, 0, 0), std=(1, 1, 1))


def card(
    inputs: Inputs = PICTURES,
    views: tuple[str, ...] = ("probs", "head"),
    output: Output = "softmax",
) -> ModelCard:
    return ModelCard("toy", "python", "none", "m1", 2, (), 3, inputs, views, output=output)


def raw(item: Item) -> Raw:
    if item.text is not None:
        return Raw(item.id, item.text.encode(), is_text=True)
    assert item.blob is not None
    return Raw(item.id, item.blob)


@pytest.mark.parametrize("inputs", [PICTURES, Vectors(dim=5)])
def test_it_becomes_one_row_of_the_input(inputs: Inputs) -> None:
    sent = canary.items(card(inputs))
    batch = prepare(Raws(0, tuple(map(raw, sent.items))), inputs, LimitsSettings())
    assert (batch.ids, batch.failures) == (("canary",), ())
    assert batch.array.shape[0] == 1


def test_a_model_of_texts_gets_a_text() -> None:
    inputs = Tokenization(file="t.json", digest="0", max_tokens=8, vocabulary=9, pad=0)
    (item,) = canary.items(card(inputs)).items
    assert item.text
    assert item.blob is None


@pytest.mark.parametrize(
    ("views", "output", "strategy", "needs"),
    [
        (("probs", "embeddings", "head"), "softmax", "least_confidence", ("probs",)),
        (("probs", "uncertainty"), "sigmoid", "", ("probs",)),
        (("head", "embeddings"), "embedding", "", ("embeddings",)),
        ((), "softmax", "", ()),
    ],
)
def test_it_asks_for_what_the_model_has(
    views: tuple[str, ...], output: Output, strategy: str, needs: tuple[str, ...]
) -> None:
    made = card(views=views, output=output)
    plan = canary.plan(made)
    assert (plan.strategy, plan.needs, plan.cache) == (strategy, needs, False)
    assert canary.plan(made).query != plan.query
    arrays: dict[str, Any] = {name: np.full((1, 2), 0.5, np.float32) for name in needs}
    scorer = Scorer()
    assert scorer.add(plan, Views(0, ("canary",), arrays, "m1")).count == 1
    scorer.discard(plan.query)
