"""What the laws and the oracles do not say of coverage strategies."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles.coverage import cover, directions, entropies, greedy, herd, uncertainty_herding
from pools import pool, wide
from scipy.spatial.distance import cdist

from alaas.core.errors import PoolTooLarge
from alaas.core.types import Selection
from alaas.strategies import Sizes, check_params, get, run, submodular
from alaas.strategies.preflight import preflight

Array = NDArray[Any]
NAMES = ["facility_location", "max_herding", "prob_cover", "uncertainty_herding"]

every_strategy = pytest.mark.parametrize("name", NAMES)


def pick(name: str, budget: int, *, seed: int = 0, params: Any = None, **views: Array) -> Selection:
    n = len(views["embeddings"])
    views = {"probs": np.full((n, 2), 0.5), **views}
    ids = [str(row) for row in range(n)]
    return run(name, views, ids=ids, budget=budget, seed=seed, params=params)


def rows_of(selection: Selection) -> list[int]:
    return [int(row) for row in selection.ids]


def clustered(n: int, *, seed: int = 0) -> Array:
    """Rows around 12 directions, more of them around some than around others."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(12, 8))
    of = rng.choice(12, size=n, p=np.arange(1, 13) / 78)
    points: Array = centres[of] + 0.3 * rng.normal(size=(n, 8))
    return points


def coverage(points: Array, rows: list[int]) -> float:
    """Mean Gaussian similarity to the nearest of some rows."""
    placed = directions(points)
    return float(np.exp(-(cdist(placed, placed[rows]) ** 2)).max(axis=1).mean())


# Greedy covering.


@every_strategy
@pytest.mark.parametrize(("shortlist", "tile"), [(1, 512), (3, 13), (1024, 5), (20, 64)])
def test_blocks_and_shortlists_change_no_pick(
    name: str, shortlist: int, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = {**pool(150), "embeddings": clustered(150), "labelled_embeddings": clustered(4, seed=9)}
    taken = {view: views[view] for view in ("probs", "embeddings", "labelled_embeddings")}
    expected = pick(name, 60, **taken)
    monkeypatch.setattr(submodular, "_SHORTLIST", shortlist)
    monkeypatch.setattr(submodular, "_TILE", tile)
    selection = pick(name, 60, **taken)
    assert selection.ids == expected.ids
    np.testing.assert_allclose(selection.scores, expected.scores, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shortlist", [1, 2, 5])
def test_ties_with_rows_outside_the_shortlist_go_to_the_lowest_row(
    shortlist: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submodular, "_SHORTLIST", shortlist)
    # Three lonely rows, and between them two groups whose first pick uses up all of the group.
    points = np.array([[9.0], [0.0], [20.0], [0.1], [0.2], [30.0], [40.0], [40.1]])
    params = {"delta": 1.0, "normalise": False}
    assert rows_of(pick("prob_cover", 5, params=params, embeddings=points)) == [1, 6, 0, 2, 5]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "prob_cover"])
def test_a_permuted_pool_gives_the_permuted_picks(name: str) -> None:
    # The counts of prob_cover tie, and ties go by row.
    views = pool(60)
    taken = {view: views[view] for view in ("probs", "embeddings", "labelled_embeddings")}
    order = np.random.default_rng(1).permutation(60)
    permuted = {view: rows if len(rows) < 60 else rows[order] for view, rows in taken.items()}
    found = rows_of(pick(name, 9, **permuted))
    assert [int(order[row]) for row in found] == rows_of(pick(name, 9, **taken))


@every_strategy
def test_copies_come_last_and_in_row_order(name: str) -> None:
    distinct = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.2]])
    selection = pick(name, 9, embeddings=np.repeat(distinct, 3, axis=0))
    first, rest = rows_of(selection)[:3], rows_of(selection)[3:]
    assert sorted(first) == [0, 3, 6]
    assert rest == [1, 2, 4, 5, 7, 8]
    assert (selection.scores[:3] > 0.1).all()
    np.testing.assert_array_equal(selection.scores[3:], 0)


@every_strategy
def test_labelled_rows_count_as_picked(name: str) -> None:
    points = clustered(80)
    params = {"delta": 0.6} if name == "prob_cover" else {"sigma": 1.0}
    params = {} if name == "facility_location" else params
    first = rows_of(pick(name, 6, embeddings=points, params=params))
    rest = np.delete(np.arange(80), first[:3])
    after = pick(
        name, 3, embeddings=points[rest], labelled_embeddings=points[first[:3]], params=params
    )
    # A labelled row is reached already, whether it stands in the pool or beside it.
    assert [int(rest[row]) for row in rows_of(after)] == first[3:]


@every_strategy
def test_as_many_anchors_as_rows_change_nothing(name: str) -> None:
    views = wide(120)
    taken = {view: views[view] for view in ("probs", "embeddings", "labelled_embeddings")}
    sampled = pick(name, 12, params={"approx": "sample", "anchors": 120}, **taken)
    assert sampled.ids == pick(name, 12, **taken).ids


@every_strategy
def test_random_anchors_cover_nearly_as_well(name: str) -> None:
    points = clustered(1500)
    exact = rows_of(pick(name, 12, embeddings=points))
    some = rows_of(
        pick(name, 12, embeddings=points, params={"approx": "sample", "anchors": 200}, seed=3)
    )
    at_random = np.random.default_rng(0).choice(1500, 12, replace=False).tolist()
    assert some != exact
    assert coverage(points, some) > 0.97 * coverage(points, exact)
    assert coverage(points, some) > coverage(points, at_random)


@every_strategy
def test_anchors_are_four_for_each_pick_at_least(name: str) -> None:
    views = wide(120)
    taken = {view: views[view] for view in ("probs", "embeddings")}
    sampled = pick(name, 30, params={"approx": "sample", "anchors": 1}, **taken)
    assert sampled.ids == pick(name, 30, **taken).ids


@every_strategy
def test_a_large_pool_is_refused_unless_it_is_sampled(name: str) -> None:
    strategy = get(name)
    sizes = Sizes(N=20_000_000, K=1000, M=1000, C=10, D=512)
    with pytest.raises(PoolTooLarge, match=r"params\.approx, one of 'none', 'sample'"):
        preflight(strategy, sizes, check_params(strategy, None), seconds=3600)
    million = Sizes(N=1_000_000, K=1000, M=1000, C=10, D=512)
    work = strategy.work(million, check_params(strategy, {"approx": "sample"}))
    assert work.memory < 2**30


@pytest.mark.parametrize("labelled", [0, 5])
def test_greedy_covering_is_within_reach_of_the_optimum(labelled: int) -> None:
    points = clustered(14)
    placed = directions(points)
    similar = 1 - cdist(placed, placed) ** 2 / 4
    known = 1 - cdist(placed, directions(clustered(labelled, seed=1))) ** 2 / 4
    start = known.max(axis=1, initial=0)
    views = {"labelled_embeddings": clustered(labelled, seed=1)} if labelled else {}
    picked = rows_of(pick("facility_location", 4, embeddings=points, **views))

    def value(rows: Any) -> float:
        return float(np.maximum(start, similar[:, list(rows)].max(axis=1)).sum() - start.sum())

    optimum = max(value(rows) for rows in combinations(range(14), 4))
    assert value(picked) >= (1 - 1 / np.e) * optimum


# ProbCover.


@pytest.mark.parametrize("labelled", [0, 6])
@pytest.mark.parametrize("normalise", [True, False])
def test_prob_cover_with_a_radius_on_a_grid_full_of_ties(labelled: int, normalise: bool) -> None:
    grid = np.random.default_rng(4).integers(-3, 4, size=(40, 2)).astype(np.float64)
    known = np.random.default_rng(5).integers(-3, 4, size=(labelled, 2)).astype(np.float64)
    placed, known_placed = (directions(grid), directions(known)) if normalise else (grid, known)
    delta = 0.31 if normalise else 2.1
    rows, scores = cover(cdist(placed, placed), cdist(placed, known_placed), delta, 12)
    views = {"labelled_embeddings": known} if labelled else {}
    params = {"delta": delta, "normalise": normalise}
    selection = pick("prob_cover", 12, embeddings=grid, params=params, **views)
    assert rows_of(selection) == rows
    np.testing.assert_allclose(selection.scores, scores, atol=1e-12)


def test_a_ball_does_not_hold_what_is_its_radius_away() -> None:
    line = np.array([[0.0], [1.0], [3.0]])
    params = {"delta": 2.0, "normalise": False}
    selection = pick("prob_cover", 2, embeddings=line, params=params)
    assert rows_of(selection) == [0, 2]
    np.testing.assert_allclose(selection.scores, [2 / 3, 1 / 3])


def test_prob_cover_far_from_the_origin() -> None:
    points = clustered(60)
    params = {"delta": 1.5, "normalise": False}
    near = pick("prob_cover", 12, embeddings=points, params=params)
    far = pick("prob_cover", 12, embeddings=points + 1e6, params=params)
    assert near.ids == far.ids


@pytest.mark.parametrize("purity", [0.95, 1.0])
def test_the_radius_of_prob_cover_keeps_two_groups_apart(purity: float) -> None:
    # Two groups, 10 apart and 2 wide: a pure ball is smaller than the gap, yet holds its group.
    line = np.concatenate([np.linspace(0, 2, 21), np.linspace(12, 14, 11)])[:, None]
    params = {"classes": 2, "purity": purity, "normalise": False}
    selection = pick("prob_cover", 2, embeddings=line, params=params)
    assert [row < 21 for row in rows_of(selection)] == [True, False]
    np.testing.assert_allclose(selection.scores, [21 / 32, 11 / 32])


def test_a_lower_purity_allows_a_larger_radius() -> None:
    points = clustered(300)
    brought = [
        pick("prob_cover", 1, embeddings=points, params={"purity": purity}).scores[0]
        for purity in (1.0, 0.9, 0.5, 0.0)
    ]
    assert brought == sorted(brought)
    assert brought[0] < brought[-1]


def test_the_radius_is_judged_by_balls_of_the_whole_pool() -> None:
    points = clustered(2600)  # more than the rows that the radius is found from
    few = pick("prob_cover", 30, embeddings=points[:1900])
    many = pick("prob_cover", 30, embeddings=points)
    np.testing.assert_allclose(few.scores[:5], many.scores[:5], rtol=0.35)


@pytest.mark.parametrize("labelled", [0, 8])
def test_prob_cover_agrees_with_scikit_activeml(labelled: int) -> None:
    from skactiveml.pool import ProbCover

    points, views = clustered(120), {}
    if labelled:
        views["labelled_embeddings"] = points[:labelled]
    params = {"delta": 0.9, "normalise": False}
    ours = pick("prob_cover", 20, embeddings=points[labelled:], params=params, **views)
    theirs = ProbCover(n_classes=2, deltas=[0.9], random_state=0)
    y = np.where(np.arange(120) < labelled, 0.0, np.nan)
    for row, score in zip(rows_of(ours), ours.scores, strict=True):
        # One at a time, since it breaks ties at random.
        _, counts = theirs.query(points, y, return_utilities=True)
        assert row + labelled == np.nanargmax(counts[0])
        assert score == pytest.approx(np.nanmax(counts[0]) / (120 - labelled))
        y[row + labelled] = 0.0


# MaxHerding and UncertaintyHerding.


@pytest.mark.parametrize("labelled", [0, 8])
@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_max_herding_agrees_with_scikit_activeml(labelled: int, sigma: float) -> None:
    from skactiveml.pool import MaxHerding

    points, views = clustered(120), {}
    if labelled:
        views["labelled_embeddings"] = points[:labelled]
    ours = pick("max_herding", 30, embeddings=points[labelled:], params={"sigma": sigma}, **views)
    theirs = MaxHerding(metric="rbf", metric_dict={"gamma": 1 / sigma**2}, random_state=0)
    y = np.where(np.arange(120) < labelled, 0.0, np.nan)
    for row, score in zip(rows_of(ours), ours.scores, strict=True):
        # One at a time: two rows that are alone together tie, and it goes by rounding there.
        _, gains = theirs.query(points, y, return_utilities=True)
        gains = gains[0] * np.isnan(y).sum() / (120 - labelled)  # its mean leaves picks out
        assert row + labelled == np.flatnonzero(gains > np.nanmax(gains) - 1e-12)[0]
        assert score == pytest.approx(np.nanmax(gains))
        y[row + labelled] = 0.0


@pytest.mark.parametrize("seed", range(20))
def test_uncertainty_herding_of_grids_full_of_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = rng.integers(-2, 3, size=(12 + 3, 2)) + (1000 if seed % 2 else 0)
    views = {
        "probs": np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]])[rng.integers(3, size=12)],
        "embeddings": grid[:12].astype(np.float16),
        **({"labelled_embeddings": grid[12:].astype(np.float16)} if seed % 3 else {}),
    }
    rows, scores = uncertainty_herding(views, 12)
    found = pick("uncertainty_herding", 12, **views)
    assert rows_of(found) == rows
    np.testing.assert_allclose(found.scores, scores, rtol=1e-8, atol=1e-12)


def test_equal_uncertainties_make_max_herding() -> None:
    points, labelled = clustered(90), clustered(5, seed=2)
    probs = np.tile([0.6, 0.3, 0.1], (90, 1))
    expected = pick("max_herding", 20, embeddings=points, labelled_embeddings=labelled)
    for measure in ("margin", "entropy", "least_confidence"):
        found = pick(
            "uncertainty_herding", 20, probs=probs, embeddings=points,
            labelled_embeddings=labelled, params={"sigma": 1.0, "uncertainty": measure},
        )  # fmt: skip
        assert found.ids == expected.ids
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-12)


def test_no_uncertainty_at_all_makes_max_herding() -> None:
    points = clustered(90)
    certain = np.eye(2)[np.arange(90) % 2]
    found = pick("uncertainty_herding", 20, probs=certain, embeddings=points)
    assert found.ids == pick("max_herding", 20, embeddings=points).ids


def test_sure_rows_are_not_worth_covering() -> None:
    # The right half is denser, but nothing there is uncertain.
    points = np.array([[1.0, 0.0], [1.0, 0.1], *[[-1.0, 0.01 * i] for i in range(20)]])
    probs = np.array([[0.5, 0.5]] * 2 + [[1.0, 0.0]] * 20)
    found = pick("uncertainty_herding", 2, probs=probs, embeddings=points)
    assert sorted(rows_of(found)) == [0, 1]


def test_dense_labels_turn_herding_into_uncertainty_sampling() -> None:
    views = pool(80)
    angle = np.array([0.0, 1e-4])
    close = np.zeros((2, 6))
    close[:, 0], close[:, 1] = np.cos(angle), np.sin(angle)
    found = pick(
        "uncertainty_herding", 15, probs=views["probs"], embeddings=views["embeddings"],
        labelled_embeddings=close,
    )  # fmt: skip
    margin = run("margin_confidence", views, ids=[str(row) for row in range(80)], budget=15)
    assert found.ids == margin.ids


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_copies_among_the_labels_say_nothing_of_their_density(scale: float) -> None:
    points, labelled = clustered(60), clustered(3, seed=2)
    copies = np.concatenate([labelled, scale * labelled[:1]])
    expected = pick("uncertainty_herding", 9, embeddings=points, labelled_embeddings=labelled)
    found = pick("uncertainty_herding", 9, embeddings=points, labelled_embeddings=copies)
    assert found.ids == expected.ids
    one = pick("uncertainty_herding", 9, embeddings=points, labelled_embeddings=copies[[0, 3]])
    sigma = {"sigma": 1.0}
    unscaled = pick(
        "uncertainty_herding", 9, embeddings=points, labelled_embeddings=labelled[:1], params=sigma
    )
    assert one.ids == unscaled.ids


@pytest.mark.parametrize("temperature", [0.02, 0.5, 4.0])
def test_temperature_divides_the_logarithms(temperature: float) -> None:
    views = {name: rows for name, rows in pool(50).items() if name in ("probs", "embeddings")}
    params = {"temperature": temperature, "uncertainty": "entropy"}
    weights = entropies(np.maximum(views["probs"], 1e-300), temperature)
    rows, scores = herd(views, weights, 1.0, 10)
    found = pick("uncertainty_herding", 10, params=params, **views)
    assert rows_of(found) == rows
    np.testing.assert_allclose(found.scores, scores, atol=1e-11)


# Facility location.


def test_facility_location_agrees_with_apricot() -> None:
    fixture = json.loads(Path(__file__).with_name("fixtures").joinpath("apricot.json").read_text())
    points = np.array(fixture["points"])
    assert len(fixture["cases"]) == 2
    for case in fixture["cases"]:
        rest = np.delete(np.arange(len(points)), case["labelled"])
        views = {"labelled_embeddings": points[case["labelled"]]} if case["labelled"] else {}
        found = pick("facility_location", len(case["rows"]), embeddings=points[rest], **views)
        assert [int(rest[row]) for row in rows_of(found)] == case["rows"]
        np.testing.assert_allclose(found.scores * len(rest), case["gains"], atol=1e-9)


def test_a_row_of_zeros_is_served_by_itself_alone() -> None:
    points = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    similar = np.array([[1.0, 0.75, 0.75], [0.75, 1.0, 1.0], [0.75, 1.0, 1.0]])
    rows, scores = greedy(similar, np.empty((3, 0)), np.ones(3), 3)
    found = pick("facility_location", 3, embeddings=points)
    assert rows_of(found) == rows == [1, 0, 2]
    np.testing.assert_allclose(found.scores, scores, atol=1e-12)
