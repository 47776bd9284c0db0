"""Draws of the last layer alone: from stored embeddings, without a pass of the network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from pictures import encoded, picture, spec
from test_pipeline_engine import in_time
from torch import nn

from alaas.config import QueryParameters, Settings, Vectors
from alaas.config.model import DrawsSettings
from alaas.core.wire import Item, QueryResponse
from alaas.models.classifier import Classifier
from alaas.models.stochastic.head import HeadDraws
from alaas.pipeline import query
from alaas.pipeline.claims import computed
from alaas.pipeline.engine import LocalEngine

PASSES: list[int] = []


class Counted(nn.Conv2d):
    """Counts the items that it has seen."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        PASSES.append(len(x))
        return super().forward(x)


def network() -> nn.Sequential:
    return nn.Sequential(Counted(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4))


def dropping() -> nn.Sequential:
    return nn.Sequential(Counted(3, 6, 3), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(),
                         nn.Linear(216, 4))  # fmt: skip


def settings(folder: Path, draws: dict[str, Any], factory: str = "network") -> Settings:
    model = {
        "hub": "python", "name": f"{__name__}:{factory}", "device": "cpu", "runtime": "torch",
        "preprocess": spec(8, 8).model_dump(), "batch_size": 4, "draws": draws,
    }  # fmt: skip
    strategy = {"type": "bald", "model": model}
    return Settings.model_validate(
        {"active_learning": {"strategy": strategy}, "store": {"url": str(folder)}}
    )


ITEMS = [Item(f"i{row}", blob=encoded(picture(12, 9, seed=row))) for row in range(11)]


async def ask(
    engine: LocalEngine, tree: Settings, items: list[Item], **parameters: Any
) -> QueryResponse:
    async def source() -> AsyncIterator[query.Part]:
        yield items

    return await query.run(
        engine,
        QueryParameters(**{"budget": len(items), **parameters}),
        source(),
        defaults=tree.active_learning.strategy,
    )


def scores(response: QueryResponse) -> dict[str, float]:
    return {pick.id: pick.score for pick in response.picks}


@pytest.mark.parametrize(
    "draws",
    [
        {"head_only": True},
        {"head_only": True, "p": 0.2},
        {"head_only": True, "by": "dropconnect"},
    ],
)
def test_a_query_after_another_runs_no_network(tmp_path: Path, draws: dict[str, Any]) -> None:
    tree = settings(tmp_path, draws)

    async def all_of_it() -> None:
        async with LocalEngine(tree) as engine:
            anew = await ask(engine, tree, ITEMS, n_drop=20, seed=3, cache=False)
            PASSES.clear()
            await ask(engine, tree, ITEMS[:8], strategy="entropy")
            assert sum(PASSES) == 8
            PASSES.clear()
            found = await ask(engine, tree, ITEMS, n_drop=20, seed=3)
            assert sum(PASSES) == 3  # those that nobody has seen
            assert_allclose(
                [scores(found)[item.id] for item in ITEMS],
                [scores(anew)[item.id] for item in ITEMS],
                rtol=1e-3, atol=1e-6,
            )  # fmt: skip
            PASSES.clear()
            other = await ask(engine, tree, ITEMS, n_drop=50, seed=4)
            joint = await ask(engine, tree, ITEMS, strategy="batch_bald", budget=2, n_drop=7)
            assert PASSES == []
            assert scores(other) != scores(found)
            assert other.timings.stages["infer"].hits == len(ITEMS)
            assert len(joint.picks) == 2

    in_time(all_of_it())


def test_draws_of_a_whole_network_are_kept_by_their_number_and_seed(tmp_path: Path) -> None:
    tree = settings(tmp_path, {}, "dropping")

    async def all_of_it() -> None:
        async with LocalEngine(tree) as engine:
            assert engine.card.head_draws == ""
            await ask(engine, tree, ITEMS, strategy="entropy")
            PASSES.clear()
            found = await ask(engine, tree, ITEMS, n_drop=5, seed=3)
            assert sum(PASSES) == 5 * len(ITEMS)
            PASSES.clear()
            assert scores(await ask(engine, tree, ITEMS, n_drop=5, seed=3)) == scores(found)
            assert PASSES == []
            await ask(engine, tree, ITEMS, n_drop=5, seed=4)
            assert sum(PASSES) == 5 * len(ITEMS)

    in_time(all_of_it())


@pytest.mark.parametrize("by", ["dropout", "dropconnect"])
def test_stored_embeddings_give_the_draws_of_the_model(by: Any) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(12, 40), nn.Tanh(), nn.Linear(40, 5))
    drawing = DrawsSettings(by=by, head_only=True, p=0.35)
    classifier = Classifier(module, Vectors(dim=12), drawing=drawing)
    rows = np.random.default_rng(0).normal(size=(9, 12)).astype(np.float32)
    views = classifier.views(rows, ("draws", "embeddings", "head"), n_drop=15, seed=6)
    assert classifier.source is not None
    again = classifier.source.again
    assert again == HeadDraws(by, 0.35)
    found = again.draws(views["embeddings"], views["head"], count=15, seed=6)
    assert found.dtype == np.float32
    assert_allclose(found, views["draws"], rtol=1e-4, atol=1e-6)


def test_what_drops_otherwise_is_not_done_again() -> None:
    module = nn.Sequential(nn.Linear(12, 40), nn.AlphaDropout(0.3), nn.Linear(40, 5))
    classifier = Classifier(module, Vectors(dim=12))
    assert classifier.source is not None
    assert classifier.source.last
    assert classifier.source.again is None


def test_the_head_is_kept_where_draws_will_come_of_it() -> None:
    assert computed(("draws",), head=True) == ("draws", "probs", "embeddings", "head")
    assert computed(("probs",), head=True) == ("probs", "embeddings", "head")
    assert computed((), head=True) == ()
