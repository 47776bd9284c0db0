"""The stages as functions of one micro-batch, and the scorer that keeps a pool."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encoded, picture, spec
from test_pipeline_engine import probs_of
from torch import nn

from alaas.config import LimitsSettings
from alaas.core.errors import AllItemsFailed, ModelOutputInvalid
from alaas.core.types import Batch, Notes, Plan, Raw, Raws, Scored, Views
from alaas.core.wire import Failure
from alaas.data import decode
from alaas.models.classifier import Classifier
from alaas.pipeline import stages
from alaas.pipeline.scorer import ENDED, Scorer
from alaas.strategies import registry

LIMITS = LimitsSettings()
EARLIER = (Failure("lost", "fetch", "not_found", "there is no such file"),)


def plan(strategy: str = "least_confidence", query: str = "q", budget: int = 3) -> Plan:
    return Plan(query, strategy, {}, 0, budget, registry.get(strategy).needs)


def raws(*kinds: str) -> Raws:
    """A micro-batch of ``image``, ``text`` and ``broken``."""
    contents = {"image": encoded(picture(9, 7)), "text": b"words", "broken": b"\x89PNG\r\n\x1a\nx"}
    rows = (Raw(str(row), contents[kind], kind == "text") for row, kind in enumerate(kinds))
    return Raws(5, tuple(rows), EARLIER)


class TestPreprocess:
    def test_for_a_model_is_decoding(self) -> None:
        given = raws("image", "text", "broken", "image")
        batch = stages.preprocess(plan(), given, spec(8, 8), LIMITS)
        expected = decode.preprocess(given, spec(8, 8), LIMITS)
        assert batch.ids == expected.ids == ("0", "3")
        assert np.array_equal(batch.array, expected.array)
        assert batch.array.shape == (2, 8, 8, 3)
        assert batch.failures == expected.failures
        assert [one.code for one in batch.failures] == [
            "not_found",
            "wrong_modality",
            "undecodable",
        ]

    @settings(deadline=None)
    @given(st.lists(st.sampled_from(["image", "text", "broken"]), max_size=8))
    def test_without_a_model_keeps_texts_and_the_order(self, kinds: list[str]) -> None:
        batch = stages.preprocess(plan("random_sampling"), raws(*kinds), spec(8, 8), LIMITS)
        good = [str(row) for row, kind in enumerate(kinds) if kind != "broken"]
        bad = [str(row) for row, kind in enumerate(kinds) if kind == "broken"]
        assert (batch.seq, list(batch.ids)) == (5, good)
        assert batch.array.shape == (len(good), 0)
        assert batch.failures[:1] == EARLIER
        assert [(one.id, one.code) for one in batch.failures[1:]] == [
            (name, "undecodable") for name in bad
        ]

    def test_on_threads_is_the_same(self) -> None:
        given = raws(*["image", "broken", "text"] * 5)
        with ThreadPoolExecutor(3) as pool:
            for strategy in ("entropy", "random_sampling"):
                threaded = stages.preprocess(plan(strategy), given, spec(8, 8), LIMITS, pool)
                alone = stages.preprocess(plan(strategy), given, spec(8, 8), LIMITS)
                assert threaded.ids == alone.ids
                assert threaded.failures == alone.failures
                assert np.array_equal(threaded.array, alone.array)


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), spec(8))


class TestInfer:
    @pytest.mark.parametrize(
        ("strategy", "views"),
        [("entropy", {"probs": (2, 4)}), ("k_center_greedy", {"embeddings": (2, 192)})],
    )
    def test_gives_what_the_strategy_reads(
        self, classifier: Classifier, strategy: str, views: dict[str, Any]
    ) -> None:
        batch = Batch(3, ("a", "b"), np.zeros((2, 8, 8, 3), np.uint8), EARLIER)
        asked = replace(plan(strategy), cache=False)
        made = stages.infer(asked, batch, classifier, "digest")
        assert {name: array.shape for name, array in made.arrays.items()} == views
        assert (made.seq, made.ids, made.model) == (3, ("a", "b"), "digest")
        assert made.failures == EARLIER

    def test_gives_all_views_of_one_pass_where_they_are_stored(
        self, classifier: Classifier
    ) -> None:
        array = np.zeros((2, 8, 8, 3), np.uint8)
        batch = Batch(3, ("a", "b"), array, EARLIER, ("d1", "d2"))
        for strategy in ("entropy", "k_center_greedy"):
            made = stages.infer(plan(strategy), batch, classifier, "digest")
            assert {*made.arrays} == {"probs", "embeddings"}
            assert made.digests == ("d1", "d2")

    def test_leaves_the_model_alone_where_nobody_reads_it(self) -> None:
        batch = Batch(3, ("a",), np.empty((1, 0), np.uint8), EARLIER)
        no_model: Any = None  # it would fail if it were asked
        made = stages.infer(plan("random_sampling"), batch, no_model, "digest")
        assert made == Views(3, ("a",), {}, "", EARLIER)


def views(seq: int, names: list[str], model: str = "m", failures: Any = ()) -> Views:
    return Views(seq, tuple(names), {"probs": probs_of(names)}, model, failures)


class TestScorer:
    @settings(deadline=None)
    @given(
        sizes=st.lists(st.integers(0, 5), min_size=1, max_size=9).filter(any),
        strategy=st.sampled_from(["entropy", "least_confidence", "random_sampling"]),
        data=st.data(),
    )
    def test_chooses_as_one_over_the_whole_pool(
        self, sizes: list[int], strategy: str, data: st.DataObject
    ) -> None:
        names = count()
        parts = [views(seq, [f"i{next(names)}" for _ in range(n)]) for seq, n in enumerate(sizes)]
        delivered = data.draw(st.permutations([*parts, *parts[:2]]))  # some of them twice
        scorer, asked = Scorer(), plan(strategy)
        for part in delivered:
            assert scorer.add(asked, part) == Scored(part.seq, len(part.ids))
        ids = [name for part in parts for name in part.ids]
        expected = registry.run(strategy, {"probs": probs_of(ids)}, ids=ids, budget=3, model="m")
        chosen = scorer.select(asked, Notes())
        assert chosen.ids == expected.ids
        assert chosen.scores.tolist() == expected.scores.tolist()
        assert (chosen.pool_size, chosen.model) == (len(ids), "m")

    def test_passes_failures_on(self) -> None:
        assert Scorer().add(plan(), views(2, ["a"], failures=EARLIER)) == Scored(2, 1, EARLIER)

    def test_the_same_again_replaces_what_was_there(self) -> None:
        scorer = Scorer()
        scorer.add(plan(), views(0, ["a", "b"]))
        scorer.add(plan(), views(0, ["c"]))
        assert scorer.select(plan(), Notes()).ids == ("c",)

    def test_queries_do_not_see_each_other(self) -> None:
        scorer = Scorer()
        for query in ("p", "q"):
            scorer.add(plan(query=query), views(0, [f"{query}0"]))
        scorer.discard("p")
        assert scorer.select(plan(query="q"), Notes()).ids == ("q0",)

    def test_keeps_one_float_a_row_of_a_scorer(self) -> None:
        scorer = Scorer()
        wide = np.full((8, 1000), 0.001)
        left = weakref.ref(wide)
        scorer.add(plan(), Views(0, tuple("abcdefgh"), {"probs": wide}, "m", EARLIER))
        del wide
        gc.collect()
        assert left() is None
        (kept,) = scorer._queries["q"].pool.views.values()
        assert {name: array.shape for name, array in kept.arrays.items()} == {"scores": (8,)}
        assert kept.failures == ()

    def test_keeps_the_views_of_a_picker(self) -> None:
        scorer, asked = Scorer(), plan("k_center_greedy")
        names = [str(row) for row in range(6)]
        rows = np.random.default_rng(0).normal(size=(6, 2))
        for seq in (1, 0):
            part = slice(3 * seq, 3 * seq + 3)
            scorer.add(asked, Views(seq, tuple(names[part]), {"embeddings": rows[part]}, "m"))
        expected = registry.run("k_center_greedy", {"embeddings": rows}, ids=names, budget=3)
        assert scorer.select(asked, Notes()).ids == expected.ids

    @pytest.mark.parametrize("end", ["select", "discard"])
    def test_nothing_is_left_of_a_query_that_ended(self, end: str) -> None:
        scorer = Scorer()
        for query in map(str, range(3 * ENDED)):
            scorer.add(plan(query=query), views(0, ["a"]))
            if end == "select":
                scorer.select(plan(query=query), Notes())
            else:
                scorer.discard(query)
            late = scorer.add(plan(query=query), views(1, ["b"]))  # was under way
            assert late == Scored(1, 1)
        assert scorer._queries == {}
        assert len(scorer._ended) <= ENDED

    def test_a_pool_without_rows(self) -> None:
        scorer = Scorer()
        with pytest.raises(AllItemsFailed):
            scorer.select(plan(), Notes())
        scorer.add(plan(query="r"), views(0, []))
        with pytest.raises(AllItemsFailed):
            scorer.select(plan(query="r"), Notes())

    def test_two_models_do_not_mix(self) -> None:
        scorer = Scorer()
        scorer.add(plan(), views(0, ["a"], model="m2"))
        scorer.add(plan(), views(1, ["b"], model="m1"))
        with pytest.raises(ModelOutputInvalid, match="ran different models: m1, m2"):
            scorer.select(plan(), Notes())
        assert scorer._queries == {}

    def test_a_part_without_rows_has_no_say_in_the_model(self) -> None:
        scorer = Scorer()
        scorer.add(plan(), views(0, ["a"], model="m1"))
        scorer.add(plan(), views(1, [], model=""))
        assert scorer.select(plan(), Notes()).model == "m1"

    def test_what_cannot_be_ranked_is_refused_at_once(self) -> None:
        scorer = Scorer()
        bad = Views(0, ("a",), {"probs": np.array([[np.nan, 1.0]])}, "m")
        with pytest.raises(ModelOutputInvalid):
            scorer.add(plan(), bad)
        assert scorer._queries == {}

    def test_takes_micro_batches_from_many_threads(self) -> None:
        scorer, queries, parts = Scorer(), [f"q{row}" for row in range(4)], 60

        def add(task: tuple[str, int]) -> None:
            query, seq = task
            scorer.add(plan(query=query), views(seq, [f"{query}-{seq}-{row}" for row in range(3)]))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(add, [(query, seq) for seq in range(parts) for query in queries]))
            chosen = list(
                pool.map(lambda query: scorer.select(plan(query=query), Notes()), queries)
            )
        for query, selection in zip(queries, chosen, strict=True):
            ids = [f"{query}-{seq}-{row}" for seq in range(parts) for row in range(3)]
            expected = registry.run("least_confidence", {"probs": probs_of(ids)}, ids=ids, budget=3)
            assert selection.ids == expected.ids
            assert selection.pool_size == len(ids)
        assert scorer._queries == {}
