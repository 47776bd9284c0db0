"""Every strategy agrees with an implementation that shares no code with it."""

from __future__ import annotations

import doctest
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from oracles import CHANCE, PICKS, SCORES, SEEDED
from pools import pool

from alaas.strategies import Strategy, check_params, get, run, score, strategies

Array = NDArray[Any]
Views = dict[str, Array]
fixed = settings(deadline=None, derandomize=True, max_examples=60)


@st.composite
def some_views(draw: st.DrawFn, strategy: Strategy) -> Views:
    """The views of a small pool that a strategy takes, with ties, zeros and duplicates."""
    n, classes, draws = (draw(st.integers(1, most)) for most in (12, 6, 4))
    views = {
        "probs": some_distributions(n, classes),
        "draws": some_distributions(n, draws, classes),
        "grads": arrays(np.float64, (n, classes), elements=st.floats(0, 9)),
        "margins": arrays(np.float64, n, elements=st.floats(0, 9)),
        "predictions": arrays(np.float64, n, elements=st.integers(-3, 3).map(float)),
    }
    drawn = {name: draw(views[name]) for name in strategy.needs if name in views}
    taken = {*strategy.needs, *strategy.labelled, *strategy.optional}
    least = 1 if strategy.labelled else 0
    labelled = draw(st.integers(least, 3))
    if "embeddings" in taken:
        drawn |= draw(some_embeddings(n, labelled))
    if labelled:
        drawn["labelled_probs"] = draw(some_distributions(labelled, classes))
        drawn["labels"] = draw(arrays(np.int64, labelled, elements=st.integers(0, classes - 1)))
        values = st.integers(-3, 3).map(float)
        drawn["targets"] = draw(arrays(np.float64, labelled, elements=values))
    return {name: rows for name, rows in drawn.items() if name in taken}


@st.composite
def some_distributions(draw: st.DrawFn, *shape: int) -> Array:
    counts = st.integers(0, 3) if draw(st.booleans()) else st.floats(1e-9, 1e3)
    weights = draw(arrays(np.float64, shape, elements=counts))
    weights[weights.sum(axis=-1) == 0] = 1.0
    normalised: Array = weights / weights.sum(axis=-1, keepdims=True)
    return normalised


@st.composite
def some_embeddings(draw: st.DrawFn, n: int, labelled: int) -> Views:
    """Points of a small grid, near the origin or far away, and perhaps some labelled."""
    dims = draw(st.integers(1, 3))
    # Multiples of n have an exact mean, so that rows equally far from it tie exactly.
    grid = draw(arrays(np.int64, (n + labelled, dims), elements=st.integers(-2, 2)))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    points = (n * grid + draw(st.sampled_from([0, 1000]))).astype(dtype)
    views = {"embeddings": points[:n]}
    return views | ({"labelled_embeddings": points[n:]} if labelled else {})


def rows_of(views: Views, strategy: Strategy) -> int:
    return len(views[strategy.needs[0]])


@pytest.mark.parametrize("name", SCORES)
@fixed
@given(data=st.data())
def test_scores_of_random_pools(name: str, data: st.DataObject) -> None:
    strategy = get(name)
    views = data.draw(some_views(strategy))
    rows = zip(*(views[need] for need in strategy.needs), strict=True)
    expected = [SCORES[name](*row) for row in rows]
    scores = score(strategy, views, check_params(strategy, None))
    np.testing.assert_allclose(scores, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SCORES)
def test_scores_of_many_classes(name: str) -> None:
    strategy = get(name)
    views = {need: rows for need, rows in pool(5, classes=3000).items() if need in strategy.needs}
    rows = zip(*(views[need] for need in strategy.needs), strict=True)
    scores = score(strategy, views, check_params(strategy, None))
    np.testing.assert_allclose(scores, [SCORES[name](*row) for row in rows], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SCORES)
@fixed
@given(data=st.data(), budget=st.integers(1, 14))
def test_the_best_rows_are_those_that_a_full_sort_puts_first(
    name: str, data: st.DataObject, budget: int
) -> None:
    strategy = get(name)
    views = data.draw(some_views(strategy))
    ids = [str(row) for row in range(rows_of(views, strategy))]
    scores = score(strategy, views, check_params(strategy, None)).tolist()
    order = sorted(range(len(ids)), key=lambda row: (-scores[row], row))[:budget]
    selection = run(name, views, ids=ids, budget=budget)
    assert selection.ids == tuple(ids[row] for row in order)
    assert selection.scores.tolist() == [scores[row] for row in order]


@pytest.mark.parametrize("name", PICKS)
@fixed
@given(data=st.data(), budget=st.integers(1, 14))
def test_picks_from_random_pools(name: str, data: st.DataObject, budget: int) -> None:
    strategy = get(name)
    views = data.draw(some_views(strategy))
    ids = [str(row) for row in range(rows_of(views, strategy))]
    rows, scores = PICKS[name](views, min(budget, len(ids)))
    selection = run(name, views, ids=ids, budget=budget)
    assert selection.ids == tuple(ids[row] for row in rows)
    np.testing.assert_allclose(selection.scores, scores, rtol=1e-12)


@pytest.mark.parametrize("name", SEEDED)
@fixed
@given(
    n=st.integers(1, 40),
    classes=st.integers(2, 6),
    budget=st.integers(1, 14),
    seed=st.integers(0, 2**32),
    labelled=st.booleans(),
)
def test_picks_from_pools_in_general_position(
    name: str, n: int, classes: int, budget: int, seed: int, labelled: bool
) -> None:
    strategy = get(name)
    taken = (*strategy.needs, *strategy.labelled, *(strategy.optional if labelled else ()))
    whole = pool(n, classes=classes, seed=seed)
    views = {view: whole[view] for view in taken}
    budget = min(budget, n)
    rows, scores = SEEDED[name](views, budget, np.random.default_rng(seed))
    ids = [str(row) for row in range(n)]
    selection = run(name, views, ids=ids, budget=budget, seed=seed)
    assert selection.ids == tuple(ids[row] for row in rows)
    np.testing.assert_allclose(selection.scores, scores, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", CHANCE)
def test_random_choices_have_their_distribution(name: str) -> None:
    def choose(
        n: int, budget: int, seed: int, params: dict[str, Any] | None = None, **views: Array
    ) -> tuple[int, ...]:
        ids = [str(row) for row in range(n)]
        selection = run(name, views, ids=ids, budget=budget, seed=seed, params=params)
        return tuple(map(int, selection.ids))

    assert CHANCE[name](choose) > 0.01


TABLES = (SCORES, PICKS, SEEDED, CHANCE)


def flaws(strategy: Strategy, tables: Sequence[Any] = TABLES) -> list[str]:
    """What a strategy lacks before it can be trusted."""
    document = strategy.function.__doc__ or ""
    examples = doctest.DocTestParser().get_examples(document)
    lacking = {
        "an oracle": any(strategy.name in table for table in tables),
        "a formula": re.search(r"``u\(x\) [=~] [^`]+``", document),
        "a doctest with a result": any(example.want for example in examples),
        "the meaning of what it returns": "Returns:" in document,
        "a cost in axis letters": re.fullmatch(
            r"O\([NMKCDTBG +()^0-9logsqrtmin,]+\)", strategy.cost
        ),
        "a paper with its year": re.search(r"\b(18|19|20)\d\d\b", strategy.paper),
    }
    return [what for what, there in lacking.items() if not there]


@pytest.mark.parametrize("strategy", strategies(), ids=lambda strategy: strategy.name)
def test_a_strategy_has_its_oracle_formula_example_cost_and_paper(strategy: Strategy) -> None:
    assert flaws(strategy) == []


def test_every_oracle_belongs_to_a_strategy() -> None:
    assert {*SCORES, *PICKS, *SEEDED, *CHANCE} == {strategy.name for strategy in strategies()}
