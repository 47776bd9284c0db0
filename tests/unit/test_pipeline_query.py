"""A whole query: what is cut, what is chosen, what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_pipeline_engine import Toy, ask, in_time, lost, pool, probs_of, refusal

from alaas import __version__
from alaas.config import QueryParameters, StrategySettings, parse_parameters
from alaas.core.arrays import Probs, Scores
from alaas.core.errors import (
    DeadlineExceeded,
    EmptyInput,
    NoReplica,
    UnknownStrategy,
    ValidationFailed,
)
from alaas.core.types import Items, Plan
from alaas.core.wire import Failure, Item, QueryResponse
from alaas.pipeline import query
from alaas.strategies import registry


class TestCut:
    @settings(deadline=None)
    @given(
        sizes=st.lists(st.integers(0, 12), max_size=12),
        batch_size=st.integers(1, 7),
        bad=st.sets(st.integers(0, 60), max_size=10),
    )
    def test_is_the_same_whatever_the_parts(
        self, sizes: list[int], batch_size: int, bad: set[int]
    ) -> None:
        members: list[Item | Failure] = [
            lost(item.id, stage="fetch") if row in bad else item
            for row, item in enumerate(pool(sum(sizes)))
        ]
        ends = np.cumsum([0, *sizes]).tolist()
        parts = [members[a:b] for a, b in pairwise(ends)]
        whole = [member for member in members if isinstance(member, Item)]
        engine = Toy(batch_size=batch_size)
        if whole:
            in_time(ask(engine, parts))
        else:
            refusal(engine, parts)
        full = len(whole) - len(whole) % batch_size
        quarter = -(-batch_size // 4)
        starts = [*range(0, full, batch_size), *range(full, len(whole), quarter), len(whole)]
        assert engine.cut == [
            Items(seq, tuple(whole[start:end])) for seq, (start, end) in enumerate(pairwise(starts))
        ]

    def test_a_micro_batch_leaves_as_soon_as_it_is_full(self) -> None:
        drawn: list[int] = []

        async def parts() -> AsyncIterator[query.Part]:
            for row in range(0, 12, 2):
                drawn.append(row)
                yield pool(2, row)

        async def scenario() -> None:
            seen: list[int] = []

            async def during(_: Items) -> None:
                seen.append(len(drawn))

            engine = Toy(batch_size=4, window=1, during=during)
            await query.run(engine, QueryParameters(budget=1), parts(), defaults=StrategySettings())
            # With one slot, a micro-batch waits for the one before; the source waits with it.
            assert seen == [4, 6, 6]

        in_time(scenario())


class TestChoice:
    @pytest.mark.parametrize("strategy", ["LeastConfidence", "entropy", "RandomSampling"])
    def test_is_that_of_the_strategy_over_the_whole_pool(self, strategy: str) -> None:
        items, engine = pool(50), Toy()
        response = in_time(ask(engine, [items], budget=7, strategy=strategy, seed=5))
        ids = [item.id for item in items]
        expected = registry.run(strategy, {"probs": probs_of(ids)}, ids=ids, budget=7, seed=5)
        assert tuple(pick.id for pick in response.picks) == expected.ids
        assert [pick.score for pick in response.picks] == expected.scores.tolist()
        assert [pick.rank for pick in response.picks] == list(range(7))
        uris = {item.id: item.uri for item in items}
        assert all(pick.uri == uris[pick.id] and pick.text is None for pick in response.picks)

    @pytest.mark.parametrize("window", [1, 2, 9])
    def test_is_made_once_and_last(self, window: int) -> None:
        engine = Toy(window=window)
        in_time(ask(engine, [pool(20)]))
        assert engine.asked == ["process"] * 5 + ["select"]

    @settings(deadline=None)
    @given(turns=st.permutations(range(8)))
    def test_does_not_depend_on_who_comes_first(self, turns: list[int]) -> None:
        """Micro-batches finish in any order; the pool has one."""

        async def scenario() -> QueryResponse:
            done = [asyncio.Event() for _ in turns]
            order = dict(zip(turns, [None, *turns[:-1]], strict=True))

            async def during(items: Items) -> None:
                before = order[items.seq]
                if before is not None:
                    await done[before].wait()
                done[items.seq].set()

            engine = Toy(batch_size=2, window=8, during=during)
            return await ask(engine, [pool(16)], budget=5, strategy="RandomSampling")

        ids = [item.id for item in pool(16)]
        expected = registry.run("RandomSampling", {}, ids=ids, budget=5)
        assert tuple(pick.id for pick in in_time(scenario()).picks) == expected.ids

    def test_texts_come_back_as_texts(self) -> None:
        response = in_time(ask(Toy(), [[Item("a", text="good")]], strategy="RandomSampling"))
        (pick,) = response.picks
        assert (pick.id, pick.uri, pick.text, pick.blob) == ("a", None, "good", None)

    def test_the_receipt_makes_it_again(self) -> None:
        asked: dict[str, Any] = {"strategy": "Random", "seed": 11, "budget": 4}
        first = in_time(ask(Toy(), [pool(30)], **asked))
        receipt = first.receipt.to_json()
        assert receipt == {
            "strategy": "random_sampling", "params": {}, "seed": 11, "budget": 4,
            "model": "m1", "version": __version__, "pool_size": 30,
        }  # fmt: skip
        again = in_time(ask(Toy(batch_size=7, window=1), [pool(11), pool(19, 11)], **receipt))
        assert again.picks == first.picks
        assert again.warnings == ()
        assert again.request_id == "q"


class TestRefused:
    @pytest.mark.parametrize("parts", [[], [[]], [[], [], []]])
    def test_an_empty_pool(self, parts: list[query.Part]) -> None:
        assert type(refusal(Toy(), parts)) is EmptyInput

    @pytest.mark.parametrize("row", [1, 4, 9])
    @pytest.mark.parametrize("again", [Item("i0", uri="other"), lost("i0")])
    def test_an_id_that_comes_twice(self, row: int, again: Item | Failure) -> None:
        members: list[Item | Failure] = [*pool(9)]
        members.insert(row, again)
        error = refusal(Toy(), [members[:3], members[3:]])
        assert type(error) is ValidationFailed
        (field,) = error.errors
        assert field.pointer == f"/data/{row}/id"
        assert field.message == "ids must be unique; 'i0' came before, at 0"

    def test_an_unknown_strategy_before_anything_is_drawn(self) -> None:
        engine = Toy()
        with pytest.raises(UnknownStrategy):
            in_time(ask(engine, [pool(3)], strategy="none"))
        assert (engine.asked, engine.cut) == ([], [])

    def test_an_error_of_the_source(self) -> None:
        class Torn(Exception):
            pass

        async def torn() -> AsyncIterator[query.Part]:
            yield pool(9)
            raise Torn

        async def scenario() -> Toy:
            engine = Toy(window=1)
            with pytest.raises(Torn):
                await query.run(
                    engine, QueryParameters(budget=1), torn(), defaults=StrategySettings()
                )
            assert await engine.all_free()
            return engine

        engine = in_time(scenario())
        assert engine.asked[-1] == "discard"
        assert "select" not in engine.asked


class Forgetful(Toy):
    """An engine whose scorer is gone when it is told to forget."""

    async def discard(self, plan: Plan) -> None:
        await super().discard(plan)
        raise NoReplica("the scorer is gone")


class TestFirstErrorIsTheOneTold:
    def test_where_forgetting_fails_too(self) -> None:
        assert isinstance(refusal(Forgetful(), []), EmptyInput)

    def test_where_a_deadline_passes_and_forgetting_fails_too(self) -> None:
        async def never(_: object) -> None:
            await asyncio.Event().wait()

        engine = Forgetful(during=never)
        assert isinstance(refusal(engine, [pool(9)], timeout_s=0.01), DeadlineExceeded)

    def test_where_something_else_times_out(self) -> None:
        async def late(_: object) -> None:
            raise TimeoutError("a socket's own")

        with pytest.raises(TimeoutError, match="a socket's own"):
            in_time(ask(Toy(during=late), [pool(9)]))

    def test_keeps_its_cause(self) -> None:
        async def broken(_: object) -> None:
            raise NoReplica("gone") from OSError("the wire was cut")

        assert "wire" in str(refusal(Toy(during=broken), [pool(9)]).__cause__)


def test_a_scorer_that_lost_a_part_of_the_pool_does_not_choose_from_the_rest() -> None:
    engine = Toy(batch_size=4)

    async def restart() -> None:
        parts = engine.scorer._queries["q"].pool.views
        del parts[min(parts)]

    engine.choosing = restart
    with pytest.raises(NoReplica, match="lost 4 of 10"):
        in_time(ask(engine, [pool(10)]))


class TestPlan:
    @pytest.fixture(autouse=True)
    def powers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two strategies with a hyper-parameter."""
        table = registry.Registry()

        def power(probs: Probs, *, exponent: float = 2.0) -> Scores:
            """Power of the first class."""
            return probs[:, 0] ** exponent

        def root(probs: Probs, *, degree: int = 2) -> Scores:
            """Root of the first class."""
            return probs[:, 0] ** (1 / degree)

        for function in (power, root):
            table.strategy(family="toy", aliases=(), cost="O(N)", paper="none", use="Never.")(
                function
            )
        monkeypatch.setattr(registry, "get", table.get)

    def settle(self, given: dict[str, Any], **configured: Any) -> Plan:
        defaults = StrategySettings.model_construct(type="power", params=configured)
        return query.plan(parse_parameters({"budget": 2, **given}), defaults, "q")

    def test_takes_the_configured_strategy(self) -> None:
        assert self.settle({"seed": 3}, exponent=3.0) == Plan(
            "q", "power", {"exponent": 3.0}, 3, 2, ("probs",)
        )

    def test_of_the_caller_goes_before(self) -> None:
        settled = self.settle({"params": {"exponent": 4.0}}, exponent=3.0)
        assert settled.params == {"exponent": 4.0}

    def test_of_another_strategy_takes_no_configured_params(self) -> None:
        settled = self.settle({"strategy": "Root"}, exponent=3.0)
        assert (settled.strategy, settled.params) == ("root", {"degree": 2})

    def test_refuses_unknown_params(self) -> None:
        with pytest.raises(ValidationFailed) as caught:
            self.settle({"strategy": "root", "params": {"exponent": 4.0}})
        assert caught.value.errors[0].pointer == "/parameters/params/exponent"
