"""What holds for every strategy, known or yet to come."""

from __future__ import annotations

import numpy as np
import pytest
from pools import CASES, PICKERS, SCORERS, Arrays, Case, ids_of, one_hot, pool, traced, wide

from alaas.core.errors import EmptyInput, ModelOutputInvalid, ValidationFailed
from alaas.core.types import Selection
from alaas.strategies import Sizes, check_params, choose, run, score
from alaas.strategies.declaration import AXES, LABELLED
from alaas.strategies.views import DISTRIBUTIONS

N = 23

CHECKS = 60
"""Bytes a row that the checks of views and rows take, beside the strategy."""

OVERHEAD = 2 << 20
"""Bytes that any selection takes, however small its pool."""

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_sure_picker = pytest.mark.parametrize(
    "case", [case for case in PICKERS if "rng" not in case.strategy.reserved], ids=str
)
every_picker = pytest.mark.parametrize("case", PICKERS, ids=str)
every_scorer = pytest.mark.parametrize("case", SCORERS, ids=str)


def in_precision(arrays: Arrays, dtype: type[np.floating]) -> Arrays:
    """The views in another type; class numbers have none."""
    return {
        name: array if name == "labels" else array.astype(dtype) for name, array in arrays.items()
    }


def assert_lawful(selection: Selection, n: int, budget: int) -> None:
    assert len(selection.ids) == min(budget, n)
    assert len(set(selection.ids)) == len(selection.ids)
    assert set(selection.ids) <= set(ids_of(n))
    assert selection.scores.shape == (len(selection.ids),)
    assert selection.scores.dtype == np.float64
    assert np.isfinite(selection.scores).all()
    assert selection.pool_size == n


@every_case
@pytest.mark.parametrize("budget", [1, 2, N - 1, N, N + 1, 10**12])
def test_budget_is_met_exactly_and_no_id_comes_twice(case: Case, budget: int) -> None:
    assert_lawful(case.run(pool(N), N, budget=budget), N, budget)


@every_case
def test_the_same_seed_gives_the_same_answer(case: Case) -> None:
    first, second = (case.run(pool(N), N, budget=9, seed=41) for _ in range(2))
    assert first.ids == second.ids
    np.testing.assert_array_equal(first.scores, second.scores)


@every_case
def test_the_answer_says_what_it_was_made_with(case: Case) -> None:
    selection = case.run(pool(N), N, budget=2, seed=3, model="digest")
    assert selection.strategy == case.strategy.name
    assert selection.params == {param.name: param.default for param in case.strategy.params}
    assert (selection.seed, selection.model) == (3, "digest")


@every_case
def test_inputs_are_left_as_they_were(case: Case) -> None:
    arrays, untouched = pool(N), pool(N)
    case.run(arrays, N, budget=9)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, untouched[name])
        assert array.flags.writeable


@every_case
def test_read_only_inputs_are_enough(case: Case) -> None:
    arrays = pool(N)
    expected = case.run(arrays, N, budget=9)
    for array in arrays.values():
        array.flags.writeable = False
    assert case.run(arrays, N, budget=9).ids == expected.ids


@every_case
def test_views_that_it_does_not_take_change_nothing(case: Case) -> None:
    arrays = pool(N)
    known = case.strategy
    unread = set(arrays) - {*known.needs, *known.labelled, *known.optional}
    junk = dict.fromkeys(unread, np.full(3, np.nan))
    views = {**junk, **case.views(arrays)}
    selection = run(case.strategy.name, views, ids=ids_of(N), budget=9)
    assert selection.ids == case.run(arrays, N, budget=9).ids


@every_case
@pytest.mark.parametrize("budget", [1, 7, N])
def test_one_hot_rows(case: Case, budget: int) -> None:
    assert_lawful(case.run(one_hot(N), N, budget=budget), N, budget)


@every_case
@pytest.mark.parametrize("budget", [1, 7, N])
def test_duplicate_rows(case: Case, budget: int) -> None:
    arrays = {
        name: np.repeat(rows[:1], N, axis=0) if name in AXES else rows
        for name, rows in pool(N).items()
    }
    assert_lawful(case.run(arrays, N, budget=budget), N, budget)


@every_case
def test_one_row(case: Case) -> None:
    assert_lawful(case.run(pool(1), 1, budget=1), 1, 1)


@every_case
def test_one_class(case: Case) -> None:
    assert_lawful(case.run(pool(N, classes=1), N, budget=5), N, 5)


@every_case
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_lower_precision(case: Case, dtype: type[np.floating]) -> None:
    arrays = in_precision(pool(N), dtype)
    assert_lawful(case.run(arrays, N, budget=9), N, 9)


@every_case
def test_memory_layout_does_not_matter(case: Case) -> None:
    arrays = pool(N)
    expected = case.run(arrays, N, budget=9)
    columns = {name: np.asfortranarray(array) for name, array in arrays.items()}
    strided = {name: np.repeat(array, 2, axis=0)[::2] for name, array in arrays.items()}
    assert case.run(columns, N, budget=9).ids == expected.ids
    assert case.run(strided, N, budget=9).ids == expected.ids


@every_case
def test_the_pool_must_have_rows(case: Case) -> None:
    with pytest.raises(EmptyInput, match="the pool is empty"):
        case.run(pool(0), 0, budget=1)


@every_case
@pytest.mark.parametrize("budget", [0, -2, 1.5, True, "3", None, float("nan")])
def test_a_budget_is_a_whole_number_above_zero(case: Case, budget: object) -> None:
    with pytest.raises(ValidationFailed, match="must be a whole number >= 1, got") as caught:
        case.run(pool(N), N, budget=budget)
    assert [error.pointer for error in caught.value.errors] == ["/parameters/budget"]


WRONG = [
    (case, name, value)
    for case in CASES
    for name in case.views(pool(1))
    if name != "labels"
    for value in (np.nan, np.inf, -np.inf, *((-0.5, 2.0) if name in DISTRIBUTIONS else ()))
]


@pytest.mark.parametrize(("case", "name", "value"), WRONG, ids=str)
def test_what_cannot_be_ranked_is_refused(case: Case, name: str, value: float) -> None:
    arrays = pool(N)
    arrays[name].flat[-1] = value
    with pytest.raises(ModelOutputInvalid, match=f"the view '{name}' must"):
        case.run(arrays, N, budget=2)


@every_case
def test_a_view_that_is_needed_and_missing_is_named(case: Case) -> None:
    for name in (*case.strategy.needs, *case.strategy.labelled):
        arrays = pool(N)
        views = {other: rows for other, rows in case.views(arrays).items() if other != name}
        needs = "labelled items" if name in LABELLED else f"the view '{name}'"
        with pytest.raises(ValidationFailed, match=f"needs {needs}"):
            run(case.strategy.name, views, ids=ids_of(N), budget=2)


@every_scorer
def test_scores_never_increase_along_the_answer(case: Case) -> None:
    scores = case.run(pool(N), N, budget=N).scores
    assert (np.diff(scores) <= 0).all()


@every_scorer
def test_scores_do_not_depend_on_memory_layout(case: Case) -> None:
    views = case.views(pool(400, classes=100))
    params = check_params(case.strategy, None)
    columns = {name: np.asfortranarray(array) for name, array in views.items()}
    np.testing.assert_array_equal(
        score(case.strategy, columns, params), score(case.strategy, views, params)
    )


@every_scorer
def test_equal_scores_go_by_row(case: Case) -> None:
    arrays = {name: np.repeat(array[:2], [4, N - 4], axis=0) for name, array in pool(2).items()}
    ids = case.run(arrays, N, budget=N).ids
    first, second = ids_of(N)[:4], ids_of(N)[4:]
    assert list(ids) in ([*first, *second], [*second, *first])


@every_scorer
def test_a_permuted_pool_gives_the_permuted_answer(case: Case) -> None:
    arrays = pool(N)
    order = np.random.default_rng(5).permutation(N)
    params = check_params(case.strategy, None)
    permuted = {name: rows[order] if name in AXES else rows for name, rows in arrays.items()}
    scores = score(case.strategy, case.views(arrays), params)
    np.testing.assert_array_equal(score(case.strategy, case.views(permuted), params), scores[order])
    if len(np.unique(scores)) < N:  # counts of votes tie, and ties go by row
        return
    ids = np.array(ids_of(N))
    chosen = choose(
        case.strategy, scores[order], ids=ids[order].tolist(), budget=9, params=params, seed=0
    )
    assert chosen.ids == case.run(arrays, N, budget=9).ids


@every_scorer
@pytest.mark.parametrize("size", [1, 2, 7, N])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_micro_batches_give_what_the_whole_gives(
    case: Case, size: int, dtype: type[np.floating]
) -> None:
    arrays = in_precision(pool(N), dtype)
    params = check_params(case.strategy, None)

    def rows(part: slice) -> Arrays:
        return {
            name: array[part] if name in case.strategy.needs else array
            for name, array in case.views(arrays).items()
        }

    parts = [score(case.strategy, rows(slice(at, at + size)), params) for at in range(0, N, size)]
    scores = np.concatenate(parts)
    np.testing.assert_array_equal(scores, score(case.strategy, case.views(arrays), params))
    chosen = choose(case.strategy, scores, ids=ids_of(N), budget=9, params=params, seed=0)
    assert chosen.ids == case.run(arrays, N, budget=9).ids


@every_scorer
def test_a_micro_batch_may_be_empty(case: Case) -> None:
    scores = score(case.strategy, case.views(pool(0)), check_params(case.strategy, None))
    assert scores.shape == (0,)


@every_scorer
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_arithmetic_is_done_in_float64(case: Case, dtype: type[np.floating]) -> None:
    low = in_precision(pool(N), dtype)
    high = in_precision(low, np.float64)
    params = check_params(case.strategy, None)
    np.testing.assert_allclose(
        score(case.strategy, case.views(low), params),
        score(case.strategy, case.views(high), params),
        rtol=1e-12,
        atol=1e-15,
    )


@every_sure_picker
def test_a_picker_without_chance_does_not_care_for_the_order_of_the_pool(case: Case) -> None:
    arrays = pool(N)
    order = np.random.default_rng(5).permutation(N)
    permuted = {name: rows[order] if name in AXES else rows for name, rows in arrays.items()}
    ids = np.array(ids_of(N))[order].tolist()
    expected = case.run(arrays, N, budget=9)
    selection = run(case.strategy.name, case.views(permuted), ids=ids, budget=9)
    assert selection.ids == expected.ids
    np.testing.assert_allclose(selection.scores, expected.scores, rtol=1e-5)


@every_picker
@pytest.mark.parametrize("n", [300, 2400])
def test_a_picker_takes_no_more_memory_than_its_estimate(case: Case, n: int) -> None:
    arrays = wide(n)
    case.run(arrays, n, budget=8)  # what is imported and measured once is not counted
    with traced() as memory:
        selection = case.run(arrays, n, budget=8)
    assert len(selection.ids) == 8
    sizes = Sizes(N=n, K=8, M=40, C=10, D=64, T=8)
    estimate = case.strategy.work(sizes, check_params(case.strategy, None)).memory
    assert memory.peak <= 1.1 * estimate + CHECKS * n + OVERHEAD
