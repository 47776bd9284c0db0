"""What an answer says: failures, warnings, progress and timings."""

from __future__ import annotations

import asyncio
import re
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_pipeline_engine import SPENT, Toy, ask, in_time, lost, pool, refusal
from torch import nn

import alaas
from alaas import strategies
from alaas.core.errors import AllItemsFailed, ItemFailed
from alaas.core.types import Plan
from alaas.core.wire import STAGES, Failure, Item, Progress, Stage
from alaas.pipeline.answer import too_few
from alaas.pipeline.ledger import UPSTREAM
from alaas.strategies import Strategy, registry


class TestFailures:
    @settings(deadline=None)
    @given(bad=st.sets(st.integers(0, 29), max_size=29), early=st.sets(st.integers(0, 29)))
    def test_are_listed_in_the_order_of_the_pool(self, bad: set[int], early: set[int]) -> None:
        members: list[Item | Failure] = [
            lost(item.id, "invalid_blob", stage="fetch") if row in early else item
            for row, item in enumerate(pool(30))
        ]
        whole = [row for row in range(30) if row not in bad | early]
        engine = Toy(lost=[lost(f"i{row}") for row in bad - early])
        if not whole:
            assert type(refusal(engine, [members])) is AllItemsFailed
            return
        response = in_time(ask(engine, [members[:7], members[7:]], budget=30))
        assert [failure.id for failure in response.failures] == [
            f"i{row}" for row in sorted(bad | early)
        ]
        assert {pick.id for pick in response.picks} == {f"i{row}" for row in whole}
        assert response.receipt.pool_size == len(whole)

    def test_carry_the_address_of_their_item(self) -> None:
        members = [Item("a", uri="http://a"), Item("b", text="b"), Item("c", uri="http://c"),
                   Item("d", uri="d")]  # fmt: skip
        engine = Toy(lost=[lost("a"), lost("b"), lost("c", uri="http://elsewhere")])
        response = in_time(ask(engine, [members]))
        assert [failure.uri for failure in response.failures] == [
            "http://a", None, "http://elsewhere",
        ]  # fmt: skip

    @pytest.mark.parametrize("early", [True, False])
    def test_end_the_query_where_it_asks_for_that(self, early: bool) -> None:
        failure = lost("i5", stage="fetch")
        members: list[Item | Failure] = [*pool(20)]
        if early:
            members[5] = failure
        error = refusal(Toy(lost=[failure]), [members], on_item_error="fail")
        assert type(error) is ItemFailed
        assert (error.status, error.detail) == (422, "item 'i5' failed in fetch: no good")

    def test_that_ask_for_failure_and_have_none(self) -> None:
        assert in_time(ask(Toy(), [pool(9)], on_item_error="fail")).failures == ()


class TestAllFailed:
    @pytest.mark.parametrize(
        ("codes", "status"),
        [
            (sorted(UPSTREAM), 502),
            (["fetch_timeout"], 502),
            (["undecodable"], 422),
            (["upstream_not_found", "undecodable"], 422),
            (["uri_blocked"], 422),
        ],
    )
    def test_is_the_fault_of_whoever_holds_them(self, codes: list[str], status: int) -> None:
        engine = Toy(lost=[lost(f"i{row}", code) for row, code in enumerate(codes)])
        error = refusal(engine, [pool(len(codes))])
        assert type(error) is AllItemsFailed
        assert error.status == status
        first = f"all {len(codes)} items failed; the first in preprocess: no good"
        assert error.detail == first
        assert [(e.pointer, e.message) for e in error.errors] == [
            (f"/data/{row}", f"{code}: no good") for row, code in enumerate(codes[:10])
        ]

    def test_names_no_more_than_ten(self) -> None:
        engine = Toy(lost=[lost(item.id) for item in pool(25)])
        assert [e.pointer for e in refusal(engine, [pool(25)]).errors] == [
            f"/data/{row}" for row in range(10)
        ]

    def test_before_any_stage(self) -> None:
        early = [lost(item.id, "invalid_blob", stage="fetch") for item in pool(3)]
        engine = Toy()
        error = refusal(engine, [early])
        assert (type(error), error.status) == (AllItemsFailed, 422)
        assert engine.cut == []

    def test_every_upstream_code_is_one_that_fetching_gives(self) -> None:
        folder = Path(alaas.__file__).parent / "data"
        source = "\n".join(file.read_text() for file in folder.glob("*.py"))
        assert set(re.findall(r'"([a-z]+(?:_[a-z]+)+)"', source)) >= UPSTREAM


class TestWarnings:
    def codes(self, **rest: Any) -> list[str]:
        return [one.code for one in in_time(ask(Toy(), [pool(9)], **rest)).warnings]

    def test_none_where_all_is_well(self) -> None:
        assert self.codes(budget=9) == []

    def test_a_budget_above_the_pool(self) -> None:
        assert self.codes(budget=10) == ["budget_exceeds_pool"]
        engine = Toy(lost=[lost("i0")])  # what counts is what could be ranked
        response = in_time(ask(engine, [pool(9)], budget=9))
        assert len(response.picks) == 8
        assert [one.message for one in response.warnings] == [
            "the budget 9 exceeds the 8 items that could be ranked: all of them are returned"
        ]

    def test_passes_that_nobody_reads(self) -> None:
        assert self.codes(n_drop=5) == ["n_drop_ignored"]

    @pytest.mark.parametrize(
        ("strategy", "n_drop", "codes"),
        [
            ("bald", 1, ["n_drop_too_small"]),
            ("bald", 2, []),
            ("batch_bald", 1, ["n_drop_too_small"]),
            ("mc_entropy", 1, []),  # which is the entropy of that one
            ("entropy", 1, ["n_drop_ignored"]),
        ],
    )
    def test_one_pass_where_several_are_compared(
        self, strategy: str, n_drop: int, codes: list[str]
    ) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 20), nn.Dropout(0.5), nn.Tanh(), nn.Linear(20, 3))
        rows = np.random.default_rng(1).normal(size=(12, 4)).astype(np.float32)
        found = alaas.select(rows, 3, strategy=strategy, model=model, n_drop=n_drop)
        assert [one.code for one in found.warnings] == codes
        if codes == ["n_drop_too_small"]:
            assert [pick.score for pick in found] == pytest.approx([0, 0, 0], abs=1e-6)
            assert found.warnings[0].message.startswith(f"{strategy} compares several predictions")

    @pytest.mark.parametrize(
        "strategy",
        [one for one in registry.strategies() if "draws" in one.needs],
        ids=lambda one: one.name,
    )
    def test_one_pass_says_nothing_to_whom_that_is_said(self, strategy: Strategy) -> None:
        rng, ids = np.random.default_rng(2), list("abcdefghij")
        either = [
            strategies.run(
                strategy.name, {"draws": rng.dirichlet(np.ones(3), (10, 1))}, ids=ids, budget=4
            )
            for _ in range(2)
        ]
        told = [*too_few(strategy, Plan("q", strategy.name, {}, 0, 4, ("draws",), n_drop=1))]
        assert bool(told) == np.allclose(*(one.scores for one in either), atol=1e-9)
        assert not [*too_few(strategy, Plan("q", strategy.name, {}, 0, 4, ("draws",), n_drop=2))]

    def test_another_model_than_the_receipts(self) -> None:
        assert self.codes(model="m1") == []
        assert self.codes(model="m2") == ["model_differs"]

    def test_all_of_them(self) -> None:
        codes = self.codes(budget=99, n_drop=5, model="m2")
        assert codes == ["budget_exceeds_pool", "n_drop_ignored", "model_differs"]


class TestProgress:
    @settings(deadline=None)
    @given(
        sizes=st.lists(st.integers(0, 9), max_size=8).filter(any),
        window=st.integers(1, 4),
        bad=st.sets(st.integers(1, 72)),
    )
    def test_only_grows_and_ends_with_the_total(
        self, sizes: list[int], window: int, bad: set[int]
    ) -> None:
        news: list[Progress] = []
        members = pool(sum(sizes))
        parts = [[members.pop(0) for _ in range(size)] for size in sizes]
        engine = Toy(window=window, lost=[lost(f"i{row}") for row in bad])
        response = in_time(ask(engine, parts, on_progress=news.append))
        for before, after in pairwise(news):
            assert after.done >= before.done
            assert after.failed >= before.failed
            assert after.received >= before.received
        assert all(one.done + one.failed <= one.received for one in news)
        assert all(one.total is None for one in news[:-1])
        failed = len(response.failures)
        assert news[-1] == Progress(sum(sizes) - failed, failed, sum(sizes), sum(sizes))

    def test_comes_after_every_micro_batch(self) -> None:
        news: list[Progress] = []
        in_time(ask(Toy(batch_size=4, window=1), [pool(10)], on_progress=news.append))
        assert [one.done for one in news] == [4, 8, 9, 10, 10]


class TestTimings:
    def test_sum_the_work_of_every_stage(self) -> None:
        timings = in_time(ask(Toy(batch_size=4), [pool(10)])).timings
        assert timings.total_s > 0
        for stage, spent in SPENT.items():
            # The choice itself is work of the last stage.
            more = timings.total_s if stage == "score" else 0
            assert timings.stages[stage].items == 10
            busy = timings.stages[stage].busy_s
            # Two whole micro-batches, and what is left in two pieces.
            assert 4 * spent.busy_s <= busy <= 4 * spent.busy_s + more

    def test_count_the_choice_as_work_of_the_score_stage(self) -> None:
        async def choose() -> None:
            await asyncio.get_running_loop().run_in_executor(None, sum, range(1_000_000))

        timings = in_time(ask(Toy(batch_size=10, choosing=choose), [pool(10)])).timings
        assert timings.stages["score"].busy_s > SPENT["score"].busy_s

    def test_count_what_comes_out_of_every_stage(self) -> None:
        engine = Toy(
            lost=[
                lost("i1", stage="fetch"), lost("i2", stage="preprocess"),
                lost("i5", stage="preprocess"), lost("i7", stage="infer"),
            ]
        )  # fmt: skip
        stages = in_time(ask(engine, [[lost("x", stage="fetch")], pool(10)])).timings.stages
        assert {name: stage.items for name, stage in stages.items()} == {
            "fetch": 9, "preprocess": 7, "infer": 6, "score": 6,
        }  # fmt: skip
        assert tuple(stages) == STAGES == get_args(Stage)
