"""What the one door lets through to a strategy, and what it takes from one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pools import distributions, ids_of
from toys import toy, toys

from alaas.core.arrays import Draws, Scores
from alaas.core.errors import Internal, ModelOutputInvalid, ValidationFailed
from alaas.strategies import Picks, Registry, choose, pick, run, score

PROBS = distributions(np.random.default_rng(0), 6, 3)
EMBEDDINGS = np.arange(12.0).reshape(6, 2)


def test_params_reach_the_function_and_the_answer() -> None:
    params = {"sign": "down", "rounds": 2}
    selection = toys.run("last_class", {"probs": PROBS}, ids=ids_of(6), budget=1, params=params)
    row = int(np.argmin(PROBS[:, -1]))
    assert selection.ids == (f"item-{row}",)
    assert selection.scores.tolist() == [-2 * PROBS[row, -1]]
    assert selection.params == {"power": 1.0, "rounds": 2, "sign": "down", "loud": False}


def test_a_seed_makes_the_generator() -> None:
    draws = [toys.run("lottery", {}, ids=ids_of(40), budget=40, seed=s).ids for s in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("seed", [-1, 0.5, True, None])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    with pytest.raises(ValidationFailed, match="must be a whole number >= 0, got") as caught:
        toys.run("lottery", {}, ids=ids_of(4), budget=1, seed=seed)
    assert [error.pointer for error in caught.value.errors] == ["/parameters/seed"]


def test_integral_numbers_are_budgets_and_seeds() -> None:
    selection = toys.run("lottery", {}, ids=ids_of(4), budget=2.0, seed=np.int64(7))  # type: ignore[arg-type]
    assert (len(selection.ids), selection.seed) == (2, 7)


def test_an_optional_view_is_passed_on_or_left_out() -> None:
    views = {"embeddings": EMBEDDINGS}
    assert toys.run("nearest_label", views, ids=ids_of(6), budget=1).scores.tolist() == [0.0]
    views["labelled_embeddings"] = EMBEDDINGS[:4]
    assert toys.run("nearest_label", views, ids=ids_of(6), budget=1).scores.tolist() == [4.0]


def test_a_strategy_cannot_write_into_a_view() -> None:
    with pytest.raises(ValueError, match="read-only"):
        toys.run("writer", {"probs": PROBS.copy()}, ids=ids_of(6), budget=1)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (PROBS[:, 0], r"must have the axes \(N, C\), got shape \(6,\)"),
        (PROBS[:, :0], r"must have the axes \(N, C\), got shape \(6, 0\)"),
        (np.eye(6, dtype=np.int64), "must hold floats, got int64"),
        (np.full((6, 2), "a"), "must hold floats, got <U1"),
        (PROBS * 1.02, "row 0 has the least value .* and the sum 1.02"),
        (PROBS - [[0.9, 0, 0]] + [[0, 0.9, 0]], "row 0 has the least value -.* and the sum 1, "),
        (np.vstack([PROBS[:5], PROBS[5:] * 0]), "row 5 .* the sum 0, .*; 1 rows are wrong"),
    ],
)
def test_probabilities_are_distributions(array: Any, message: str) -> None:
    with pytest.raises(ModelOutputInvalid, match=message):
        toys.run("last_class", {"probs": array}, ids=ids_of(6), budget=1)


@pytest.mark.parametrize("classes", [2, 1000, 100_000])
def test_probabilities_rounded_to_half_precision_are_distributions(classes: int) -> None:
    logits = np.random.default_rng(1).normal(size=(3, classes))
    rounded = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float16)
    assert len(run("entropy", {"probs": rounded}, ids=ids_of(3), budget=2).ids) == 2


def test_a_row_of_draws_that_is_no_distribution_is_named() -> None:
    registry = Registry()

    @registry.strategy(**toy)
    def spread(draws: Draws) -> Scores:
        """Spread of the first class."""
        spreads: Scores = draws[:, :, 0].std(axis=1)
        return spreads

    draws = distributions(np.random.default_rng(2), 4, 3, 2)
    draws[2, 1] = [0.9, 0.3]
    with pytest.raises(ModelOutputInvalid, match=r"'draws' .*: row 2 has .* the sum 1.2"):
        registry.run("spread", {"draws": draws}, ids=ids_of(4), budget=1)


def test_rows_and_ids_must_be_as_many() -> None:
    with pytest.raises(ModelOutputInvalid, match="'embeddings' has 6 rows, expected N = 5"):
        toys.run("nearest_label", {"embeddings": EMBEDDINGS}, ids=ids_of(5), budget=1)
    with pytest.raises(ModelOutputInvalid, match=r"shape \(6,\) .* expected 5 floats"):
        toys.run("last_class", {"probs": PROBS}, ids=ids_of(5), budget=1)


def test_labelled_rows_must_be_comparable_with_the_pool() -> None:
    views = {"embeddings": EMBEDDINGS, "labelled_embeddings": EMBEDDINGS[:, :1]}
    with pytest.raises(ModelOutputInvalid, match=r"rows of shape \(1,\), expected D = 2"):
        toys.run("nearest_label", views, ids=ids_of(6), budget=1)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.5, np.nan, 0.5], "gave the score nan at 1 of 3"),
        ([0.5, 0.5, -np.inf], "gave the score -inf at 2 of 3"),
        ([[0.5], [0.5], [0.5]], r"shape \(3, 1\)"),
        ([0.5, 0.5], "expected 3 floats"),
        ([1, 2, 3], "type int64, expected 3 floats"),
        (None, "type object, expected 3 floats"),
    ],
)
def test_scores_that_cannot_be_ranked_are_refused(scores: Any, message: str) -> None:
    registry = Registry()

    @registry.strategy(**toy)
    def broken(margins: Scores) -> Scores:
        """Gives what the test says."""
        return scores  # type: ignore[no-any-return]

    with pytest.raises(ModelOutputInvalid, match=message):
        registry.run("broken", {"margins": np.zeros(3)}, ids=ids_of(3), budget=1)
    with pytest.raises(ModelOutputInvalid, match=message):
        choose(registry.get("broken"), scores, ids=ids_of(3), budget=1, params={}, seed=0)


@pytest.mark.parametrize(
    "rows", [[0, 0], [0, 6], [-1, 0], [0], [0, 1, 2], [0.0, 1.0], [[0, 1]], None]
)
def test_a_picker_that_breaks_its_contract_is_a_defect(rows: Any) -> None:
    registry = Registry()

    @registry.strategy(**toy)
    def broken(n: int, budget: int) -> Picks:
        """Gives what the test says."""
        return Picks(rows, np.zeros(budget))

    with pytest.raises(Internal, match="broken must pick 2 different rows of 6"):
        registry.run("broken", {}, ids=ids_of(6), budget=2)


@pytest.mark.parametrize("scores", [[0.0, np.nan], [0.0]])
def test_a_picker_gives_a_finite_score_for_each_row(scores: list[float]) -> None:
    registry = Registry()

    @registry.strategy(**toy)
    def broken(n: int, budget: int) -> Picks:
        """Gives what the test says."""
        return Picks(np.arange(2), np.array(scores))

    with pytest.raises(ModelOutputInvalid, match="broken gave"):
        registry.run("broken", {}, ids=ids_of(6), budget=2)


def test_scorers_score_and_pickers_pick() -> None:
    scorer, picker = toys.get("last_class"), toys.get("lottery")
    with pytest.raises(TypeError, match="lottery is a picker, not a scorer"):
        score(picker, {}, {})
    with pytest.raises(TypeError, match="lottery is a picker, not a scorer"):
        choose(picker, np.zeros(3), ids=ids_of(3), budget=1, params={}, seed=0)
    with pytest.raises(TypeError, match="last_class is a scorer, not a picker"):
        pick(scorer, {"probs": PROBS}, ids=ids_of(6), budget=1, params={}, seed=0)
