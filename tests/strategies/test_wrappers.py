"""What can be asked of any strategy: a smaller pool, chance, balance, quotas, distance."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import CASES, Case, distributions, ids_of, pool
from toys import toys

from alaas.core.errors import BudgetUnfillable, PoolTooLarge, ValidationFailed
from alaas.strategies import Registry, check_params, get, run
from alaas.strategies.cost import Sizes, Work, free_memory
from alaas.strategies.preflight import preflight
from alaas.strategies.wrappers import Wrappers

N = 60
every_case = pytest.mark.parametrize("case", CASES, ids=str)


def rows(ids: tuple[str, ...]) -> list[int]:
    return [int(name.removeprefix("item-")) for name in ids]


def views_of(case: Case, arrays: dict[str, Any], *more: str) -> dict[str, Any]:
    return {**{name: arrays[name] for name in more}, **case.views(arrays)}


@every_case
def test_a_subset_answers_in_the_ids_of_the_whole(case: Case) -> None:
    """The picks are those that the strategy makes of the drawn rows alone."""
    arrays = pool(N)
    seen = set()
    for seed in range(3):
        picked = case.run(arrays, N, budget=5, seed=seed, params={"max_pool": 20}).ids
        assert len(set(picked)) == 5
        assert set(picked) <= set(ids_of(N))
        seen.add(frozenset(picked))
    assert len(seen) > 1


def test_a_subset_is_what_the_strategy_chose_from() -> None:
    """Each chosen id carries its own score, not that of the row it had in the subset."""
    probs = distributions(np.random.default_rng(0), N, 5)
    params = {"max_pool": 20}
    chosen = run("entropy", {"probs": probs}, ids=ids_of(N), budget=5, seed=3, params=params)
    whole = run("entropy", {"probs": probs}, ids=ids_of(N), budget=N)
    score = dict(zip(whole.ids, whole.scores.tolist(), strict=True))
    assert chosen.scores.tolist() == [score[name] for name in chosen.ids]
    points = np.random.default_rng(1).normal(size=(N, 4))
    picks = run(
        "k_center_greedy", {"embeddings": points}, ids=ids_of(N), budget=20, seed=3, params=params
    )
    # All of the subset is asked for, so the picks are the subset; alone it is picked alike.
    subset = sorted(rows(picks.ids))
    alone = run(
        "k_center_greedy", {"embeddings": points[subset]}, ids=[f"item-{r}" for r in subset],
        budget=20,
    )  # fmt: skip
    assert alone.ids == picks.ids


def test_a_subset_smaller_than_the_budget_is_refused() -> None:
    with pytest.raises(ValidationFailed, match="must be at least the budget, 5, or 0, got 4"):
        toys.run("lottery", {}, ids=ids_of(N), budget=5, params={"max_pool": 4})


def test_a_subset_is_uniform() -> None:
    seen = Counter(
        name
        for seed in range(600)
        for name in toys.run("lottery", {}, ids=ids_of(6), budget=2, seed=seed,
                             params={"max_pool": 2}).ids
    )  # fmt: skip
    assert len(seen) == 6
    assert max(seen.values()) - min(seen.values()) < 80  # 200 each, deviation 11.5


@every_case
@pytest.mark.parametrize("budget", [1, 7, 15])
def test_quotas_of_classes_are_kept(case: Case, budget: int) -> None:
    arrays = pool(N)
    views = views_of(case, arrays, "probs")
    name = case.strategy.name
    chosen = run(name, views, ids=ids_of(N), budget=budget, params={"per_class": 3})
    assert len(set(chosen.ids)) == budget
    classes = arrays["probs"].argmax(axis=1)[rows(chosen.ids)]
    assert max(Counter(classes.tolist()).values()) <= 3


@every_case
def test_quotas_of_groups_are_kept(case: Case) -> None:
    arrays, groups = pool(N), np.arange(N) % 7
    name, views = case.strategy.name, case.views(arrays)
    params = {"per_group": 2}
    chosen = run(name, views, ids=ids_of(N), budget=14, params=params, groups=groups)
    assert set(Counter(groups[rows(chosen.ids)].tolist()).values()) == {2}


@every_case
def test_near_duplicates_are_left_out(case: Case) -> None:
    arrays = pool(30)
    twice = {
        name: np.repeat(view, 2, axis=0) if len(view) == 30 else view
        for name, view in arrays.items()
    }
    views = views_of(case, twice, "embeddings")
    chosen = run(
        case.strategy.name, views, ids=ids_of(60), budget=20, params={"min_distance": 1e-6}
    )  # fmt: skip
    assert len({row // 2 for row in rows(chosen.ids)}) == 20


@every_case
def test_balance_evens_the_classes_out(case: Case) -> None:
    arrays = pool(200)
    views = views_of(case, arrays, "probs")
    if "labels" not in case.strategy.labelled:
        views.pop("labels", None)
    chosen = run(case.strategy.name, views, ids=ids_of(200), budget=25, params={"balance": True})
    counts = Counter(arrays["probs"].argmax(axis=1)[rows(chosen.ids)].tolist())
    known = Counter(views["labels"].tolist()) if "labels" in views else Counter()
    together = [counts[c] + known[c] for c in range(5)]
    assert max(together) - min(together) <= 1


def test_without_quotas_the_best_rows_are_taken_in_order() -> None:
    probs = np.array([[0.5, 0.5], [0.6, 0.4], [0.1, 0.9], [0.45, 0.55]])
    ids = ["a", "b", "c", "d"]
    assert run("margin", {"probs": probs}, ids=ids, budget=3).ids == ("a", "d", "b")
    quota = {"per_class": 1}
    assert run("margin", {"probs": probs}, ids=ids, budget=2, params=quota).ids == ("a", "d")
    radius = {"min_distance": 1.5}
    line = np.array([[0.0], [5.0], [6.0], [1.0]])
    views = {"probs": probs, "embeddings": line}
    assert run("margin", views, ids=ids, budget=2, params=radius).ids == ("a", "b")


def test_what_is_labelled_counts_as_picked_for_the_radius() -> None:
    views = {
        "embeddings": np.array([[0.0], [5.0], [9.0]]),
        "labelled_embeddings": np.array([[0.1]]),
        "probs": np.array([[0.5, 0.5], [0.6, 0.4], [0.7, 0.3]]),
    }
    params = {"min_distance": 1.0}
    assert run("margin", views, ids=["a", "b", "c"], budget=2, params=params).ids == ("b", "c")


@pytest.mark.parametrize(
    ("params", "possible"), [({"per_class": 1}, 2), ({"min_distance": 100.0}, 1)]
)
def test_a_budget_that_cannot_be_filled_says_how_much_can(
    params: dict[str, Any], possible: int
) -> None:
    views = {"probs": np.eye(2)[[0, 1, 0, 1]], "embeddings": np.arange(4.0)[:, None]}
    with pytest.raises(BudgetUnfillable, match=f"leave {possible} items to pick, got 3") as caught:
        run("entropy", views, ids=ids_of(4), budget=3, params=params)
    assert [error.pointer for error in caught.value.errors] == ["/parameters/budget"]


def test_a_quota_of_groups_needs_groups() -> None:
    with pytest.raises(ValidationFailed, match="needs items with a group"):
        toys.run("lottery", {}, ids=ids_of(4), budget=1, params={"per_group": 1})


@pytest.mark.parametrize("params", [{"balance": True}, {"min_distance": 1.0}])
def test_a_view_that_they_need_is_named(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationFailed, match="quotas and distance need the view"):
        toys.run("lottery", {}, ids=ids_of(4), budget=1, params=params)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    n=st.integers(1, 30),
    cap=st.integers(1, 5),
    seed=st.integers(0, 99),
    budget=st.integers(1, 30),
)
def test_quotas_fill_all_that_can_be_filled(n: int, cap: int, seed: int, budget: int) -> None:
    probs = distributions(np.random.default_rng(seed), n, 3)
    there = Counter(probs.argmax(axis=1).tolist())
    possible = sum(min(cap, count) for count in there.values())
    wanted = min(budget, n)
    ask: dict[str, Any] = {"ids": ids_of(n), "budget": budget, "params": {"per_class": cap}}
    if wanted <= possible:
        assert len(run("entropy", {"probs": probs}, **ask).ids) == wanted
    else:
        with pytest.raises(BudgetUnfillable, match=f"leave {possible} items"):
            run("entropy", {"probs": probs}, **ask)


class TestSampling:
    PROBS = np.array([[0.5, 0.5], [0.9, 0.1], [0.99, 0.01]])

    def first(self, kind: str, beta: float, draws: int = 2000) -> list[float]:
        params = {"sampling": kind, "sampling_beta": beta}
        seen = Counter(
            run("least_confidence", {"probs": self.PROBS}, ids=["0", "1", "2"], budget=1,
                seed=seed, params=params).ids[0]
            for seed in range(draws)
        )  # fmt: skip
        return [seen[name] / draws for name in "012"]

    @pytest.mark.parametrize(
        ("kind", "weights"),
        [
            ("power", [0.5, 0.1, 0.01]),
            ("softmax", np.exp([0.5, 0.1, 0.01])),
            ("softrank", [1, 1 / 2, 1 / 3]),
        ],
    )
    def test_draws_by_the_law_of_its_kind(self, kind: str, weights: Any) -> None:
        expected = np.array(weights) / np.sum(weights)
        np.testing.assert_allclose(self.first(kind, 1.0), expected, atol=0.04)

    def test_beta_sharpens(self) -> None:
        assert self.first("power", 8.0, draws=200)[0] > 0.99

    @pytest.mark.parametrize("name", ["margin", "least_confidence", "entropy", "ratio"])
    @pytest.mark.parametrize("kind", ["power", "softmax", "softrank"])
    def test_the_uncertain_half_is_preferred(self, name: str, kind: str) -> None:
        """A base whose scores are all <= 0, as margins are, must not turn the preference."""
        first = np.linspace(0.5, 0.99, 40)
        probs = np.stack([first, 1 - first], axis=1)
        chosen = [
            row
            for seed in range(100)
            for row in rows(
                run(name, {"probs": probs}, ids=ids_of(40), budget=5, seed=seed,
                    params={"sampling": kind, "sampling_beta": 4.0}).ids
            )
        ]  # fmt: skip
        assert np.mean(np.array(chosen) < 20) > 0.6

    def test_the_scores_of_the_answer_are_the_strategys(self) -> None:
        chosen = run(
            "least_confidence", {"probs": self.PROBS}, ids=["0", "1", "2"], budget=3,
            params={"sampling": "softmax"},
        )  # fmt: skip
        assert dict(zip(chosen.ids, chosen.scores.round(6).tolist(), strict=True)) == {
            "0": 0.5,
            "1": 0.1,
            "2": 0.01,
        }
        assert chosen.params["sampling"] == "softmax"

    def test_a_strategy_that_picks_a_set_cannot_be_sampled(self) -> None:
        with pytest.raises(ValidationFailed, match="k_center_greedy chooses a set") as caught:
            check_params(get("k_center_greedy"), {"sampling": "power"})
        assert [e.pointer for e in caught.value.errors] == ["/parameters/params/sampling"]

    def test_scores_without_a_least_have_no_powers(self) -> None:
        with pytest.raises(ValidationFailed, match="must be 'softmax' or 'softrank'"):
            check_params(get("deep_fool"), {"sampling": "power"})


def test_what_is_asked_of_all_is_in_the_record_only_where_it_is_asked() -> None:
    chosen = toys.run(
        "lottery", {}, ids=ids_of(9), budget=1, params={"max_pool": 5, "sampling_beta": 1.0}
    )
    assert chosen.params == {"max_pool": 5}


class TestPreflight:
    def hungry(self, **work: float) -> Registry:
        registry = Registry()

        @registry.strategy(
            family="toys", cost="O(N)", paper="Toy 2001", use="Never.",
            work=lambda sizes, params: Work(
                flops=work.get("flops", 0) * sizes.N, memory=work.get("memory", 0) * sizes.N
            ),
        )  # fmt: skip
        def hungry(n: int, budget: int) -> Any:
            """Must not be called."""
            raise AssertionError

        return registry

    def test_refuses_what_does_not_fit_and_says_what_to_do(self) -> None:
        registry = self.hungry(memory=free_memory())
        with pytest.raises(PoolTooLarge, match=r"would take .*GiB of memory \(N = 4, K = 1\)"):
            registry.run("hungry", {}, ids=ids_of(4), budget=1)
        with pytest.raises(PoolTooLarge, match=r"params\.max_pool=N"):
            registry.run("hungry", {}, ids=ids_of(4), budget=1)

    def test_counts_the_subset_and_not_the_pool(self) -> None:
        registry = self.hungry(memory=free_memory() / 10)
        with pytest.raises(PoolTooLarge):
            registry.run("hungry", {}, ids=ids_of(20), budget=1)
        with pytest.raises(AssertionError):
            registry.run("hungry", {}, ids=ids_of(20), budget=1, params={"max_pool": 2})

    def test_refuses_what_takes_longer_than_there_is_time(self) -> None:
        strategy = self.hungry(flops=1e18).get("hungry")
        with pytest.raises(PoolTooLarge, match="and 24 h may be used"):
            preflight(strategy, Sizes(N=10, K=1), {})
        preflight(self.hungry(flops=1e3).get("hungry"), Sizes(N=10, K=1), {}, seconds=5)
        with pytest.raises(
            PoolTooLarge, match=r"about .*days \(N = 10, K = 1\), and 5 s may be used"
        ):
            preflight(strategy, Sizes(N=10, K=1), {}, seconds=5)


def test_wrappers_read_what_they_need() -> None:
    assert Wrappers().needs == ()
    assert Wrappers(balance=True).needs == ("probs",)
    assert Wrappers(per_class=1, min_distance=2.0).needs == ("probs", "embeddings")
