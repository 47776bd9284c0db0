"""The engine of this process, end to end over pictures, against a plain loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import encoded, picture, spec
from test_pipeline_engine import in_time
from torch import nn

from alaas.config import LimitsSettings, QueryParameters, Settings
from alaas.core.errors import AllItemsFailed, DeadlineExceeded, ModelUnavailable, TooManyItems
from alaas.core.types import Raw, Raws
from alaas.core.wire import STAGES, Item, QueryResponse
from alaas.data.decode import preprocess
from alaas.models.vision import SEED
from alaas.pipeline import query
from alaas.pipeline.engine import LocalEngine
from alaas.strategies import registry

SQUARE = spec(8, 8)


def network() -> nn.Sequential:
    """Eight by eight pixels to four classes."""
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4))


def settings(**rest: Any) -> Settings:
    model = {
        "hub": "python",
        "name": f"{__name__}:network",
        "preprocess": SQUARE.model_dump(),
        "device": "cpu",
        "batch_size": 4,
    }
    return Settings.model_validate({"active_learning": {"strategy": {"model": model}}, **rest})


def blobs(size: int) -> list[Item]:
    return [Item(f"i{row}", blob=encoded(picture(12, 9, seed=row))) for row in range(size)]


async def ask(engine: LocalEngine, items: list[Item], **parameters: Any) -> QueryResponse:
    async def source() -> AsyncIterator[query.Part]:
        yield items[:7]
        yield items[7:]

    return await query.run(
        engine,
        QueryParameters(**{"budget": 5, **parameters}),
        source(),
        defaults=settings().active_learning.strategy,
    )


def answer(
    items: list[Item], *, rest: dict[str, Any] | None = None, **parameters: Any
) -> QueryResponse:
    async def scenario() -> QueryResponse:
        async with LocalEngine(settings(**(rest or {}))) as engine:
            return await ask(engine, items, **parameters)

    return in_time(scenario())


@pytest.mark.parametrize(
    ("strategy", "view"), [("MarginConfidence", "probs"), ("k_center_greedy", "embeddings")]
)
def test_chooses_as_a_plain_loop_does(strategy: str, view: str) -> None:
    items = blobs(30)
    raws = tuple(Raw(item.id, item.blob or b"") for item in items)
    pixels = preprocess(Raws(0, raws), SQUARE, LimitsSettings()).array
    torch.manual_seed(SEED)
    layers = network().eval()
    with torch.inference_mode():
        given = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        given = (given - torch.tensor(SQUARE.mean)[:, None, None]) / torch.tensor(SQUARE.std)[
            :, None, None
        ]
        rows = {
            "probs": layers(given).softmax(1).numpy(),
            "embeddings": layers[:3](given).numpy(),
        }
    ids = [item.id for item in items]
    expected = registry.run(strategy, {view: rows[view]}, ids=ids, budget=5)
    response = answer(items, strategy=strategy)
    assert tuple(pick.id for pick in response.picks) == expected.ids
    np.testing.assert_allclose(
        [pick.score for pick in response.picks], expected.scores, rtol=1e-4, atol=1e-6
    )


def test_the_answer_tells_all_of_it() -> None:
    items = [*blobs(9), Item("text", text="words"), Item("broken", blob=b"\xff\xd8\xff broken")]
    response = answer(items)
    assert [(one.id, one.stage, one.code) for one in response.failures] == [
        ("text", "preprocess", "wrong_modality"),
        ("broken", "preprocess", "undecodable"),
    ]
    assert {name: stage.items for name, stage in response.timings.stages.items()} == {
        "fetch": 11, "preprocess": 9, "infer": 9, "score": 9,
    }  # fmt: skip
    assert all(response.timings.stages[stage].busy_s > 0 for stage in STAGES)
    assert len(response.receipt.model) == 16
    assert all(pick.blob is None for pick in response.picks)


def test_texts_can_be_sampled_beside_pictures() -> None:
    items = [*blobs(3), Item("text", text="words")]
    response = answer(items, strategy="RandomSampling", budget=9)
    assert {pick.id for pick in response.picks} == {"i0", "i1", "i2", "text"}
    assert response.receipt.model == ""


def test_reads_files_below_its_roots(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(picture(12, 9)))
    items = [Item("a", uri=str(tmp_path / "a.png")), Item("b", uri=str(tmp_path / "b.png"))]
    response = answer(items, rest={"fetch": {"roots": [str(tmp_path)]}})
    assert [pick.uri for pick in response.picks] == [str(tmp_path / "a.png")]
    assert [(one.code, one.uri) for one in response.failures] == [
        ("not_found", str(tmp_path / "b.png"))
    ]
    with pytest.raises(AllItemsFailed) as caught:
        answer(items)
    assert caught.value.status == 422


def test_a_pool_of_too_many_bytes_is_not_chosen_from() -> None:
    async def scenario() -> None:
        items, defaults = blobs(20), settings().active_learning.strategy
        size = sum(len(item.blob or b"") for item in items)

        async def choose(engine: LocalEngine, most: int) -> QueryResponse:
            async def source() -> AsyncIterator[query.Part]:
                yield items

            asked = QueryParameters(budget=2, cache=False)
            return await query.run(engine, asked, source(), defaults=defaults, fetched_bytes=most)

        async with LocalEngine(settings()) as engine:
            assert (await choose(engine, size)).timings.stages["fetch"].bytes == size
            with pytest.raises(TooManyItems, match=f"more than {size - 1} bytes"):
                await choose(engine, size - 1)
            assert engine._scorer._queries == {}
            assert engine.slots._taken == 0

    in_time(scenario())


def test_answers_many_queries_at_once_and_after_one_another() -> None:
    async def scenario() -> None:
        async with LocalEngine(settings()) as engine:
            first = await ask(engine, blobs(20))
            others = await asyncio.gather(*(ask(engine, blobs(20)) for _ in range(3)))
            assert all(other.picks == first.picks for other in others)
            assert engine._scorer._queries == {}
            assert engine.slots._taken == 0

    in_time(scenario())


def test_a_query_that_is_given_up_leaves_the_engine_whole() -> None:
    async def scenario() -> None:
        async with LocalEngine(settings()) as engine:
            with pytest.raises(DeadlineExceeded):
                await ask(engine, blobs(40), timeout_s=1e-6)
            running = asyncio.create_task(ask(engine, blobs(40)))
            await asyncio.sleep(0)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert engine._scorer._queries == {}
            assert engine.slots._taken == 0
            assert len((await ask(engine, blobs(8))).picks) == 5

    in_time(scenario())


def test_a_query_that_fails_half_way_leaves_no_pool_behind() -> None:
    async def scenario() -> None:
        async with LocalEngine(settings()) as engine:
            scored = asyncio.Event()

            async def torn() -> AsyncIterator[query.Part]:
                yield blobs(8)
                await scored.wait()
                assert engine._scorer._queries
                raise ConnectionResetError

            with pytest.raises(ConnectionResetError):
                await query.run(
                    engine,
                    QueryParameters(budget=1),
                    torn(),
                    defaults=settings().active_learning.strategy,
                    on_progress=lambda _: scored.set(),
                )
            assert engine._scorer._queries == {}

    in_time(scenario())


def test_a_model_that_is_not_there() -> None:
    tree = settings()
    strategy = tree.active_learning.strategy
    model = strategy.model.model_copy(update={"name": f"{__name__}:nothing"})
    learning = tree.active_learning.model_copy(
        update={"strategy": strategy.model_copy(update={"model": model})}
    )
    with pytest.raises(ModelUnavailable, match="nothing"):
        LocalEngine(tree.model_copy(update={"active_learning": learning}))
