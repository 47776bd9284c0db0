"""Queries that scale class probabilities by what is labelled, from the parameters on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from test_pipeline_engine import Toy, ask, embeddings_of, in_time, pool, probs_of

from alaas.calibration import fit, nll, reliability
from alaas.config import StrategySettings, parse_parameters
from alaas.core.errors import AlaasError, BooksLost, ValidationFailed
from alaas.core.types import Items, Notes, Plan, Scored, Views
from alaas.core.wire import Failure, Receipt
from alaas.models.card import ModelCard
from alaas.pipeline.planning import plan
from alaas.pipeline.scorer import Scorer
from alaas.strategies import run

NAMES = [f"k{row}" for row in range(30)]
LABELS = [int(row % 3 == 0) for row in range(30)]
KNOWN = [
    {"uri": name, "id": name, "label": label} for name, label in zip(NAMES, LABELS, strict=True)
]
POOL = [f"i{row}" for row in range(20)]
METHODS = ("temperature", "dirichlet")


def refused(engine: Toy, **rest: Any) -> AlaasError:
    """The error of a query for which no item was even fetched."""
    with pytest.raises(AlaasError) as caught:
        in_time(ask(engine, [pool(20)], **rest))
    assert engine.cut == []
    return caught.value


def views(ids: list[str], method: Any) -> NDArray[np.floating]:
    """Probabilities as the model gives them, scaled by hand."""
    return fit(method, probs_of(NAMES), LABELS)(probs_of(ids))


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("strategy", ["entropy", "least_confidence", "margin_confidence"])
def test_a_scorer_reads_scaled_probabilities(strategy: str, method: str, size: int) -> None:
    engine = Toy(batch_size=size)
    response = in_time(
        ask(engine, [pool(20)], budget=20, strategy=strategy, labelled=KNOWN, calibrate=method)
    )
    expected = run(strategy, {"probs": views(POOL, method)}, ids=POOL, budget=20)
    assert tuple(pick.id for pick in response.picks) == expected.ids
    assert_allclose([pick.score for pick in response.picks], expected.scores, rtol=1e-6)
    plain = run(strategy, {"probs": probs_of(POOL)}, ids=POOL, budget=20)
    assert abs(plain.scores - expected.scores).max() > 0.01
    assert engine.asked.index("calibrate") < engine.asked.index("select")


@pytest.mark.parametrize("method", METHODS)
def test_a_picker_reads_them_of_the_pool_and_of_what_is_labelled(method: str) -> None:
    expected = run(
        "contrastive",
        {
            "probs": views(POOL, method), "labelled_probs": views(NAMES, method),
            "embeddings": embeddings_of(POOL), "labelled_embeddings": embeddings_of(NAMES),
        },
        ids=POOL, budget=6,
    )  # fmt: skip
    response = in_time(
        ask(Toy(), [pool(20)], budget=6, strategy="contrastive", labelled=KNOWN, calibrate=method)
    )
    assert tuple(pick.id for pick in response.picks) == expected.ids
    assert_allclose([pick.score for pick in response.picks], expected.scores, rtol=1e-5)
    plain = in_time(ask(Toy(), [pool(20)], budget=6, strategy="contrastive", labelled=KNOWN))
    assert [pick.score for pick in plain.picks] != [pick.score for pick in response.picks]


def test_each_draw_is_scaled_by_itself() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.dirichlet([1, 1], (20, 5)).astype(np.float32)
    asked = Plan("q", "bald", {}, 0, 20, ("draws",), calibrate="temperature")
    scorer = Scorer()
    labelled = replace(asked, part="labelled", needs=("probs",))
    scorer.add(labelled, Views(0, tuple(NAMES), {"probs": probs_of(NAMES)}, "m"))
    known = dict(zip(NAMES, map(float, LABELS), strict=True))
    scorer.calibrate(asked, Notes(known, learnt=30))
    for seq in range(4):
        rows = slice(5 * seq, 5 * seq + 5)
        scorer.add(asked, Views(seq, tuple(POOL[rows]), {"draws": drawn[rows]}, "m"))
    found = scorer.select(asked, Notes(known, items=20, learnt=30))
    fitted = fit("temperature", probs_of(NAMES), LABELS)
    scaled = np.stack([fitted(drawn[:, t]) for t in range(5)], axis=1)
    expected = run("bald", {"draws": scaled}, ids=POOL, budget=20)
    assert found.ids == expected.ids
    assert_allclose(found.scores, expected.scores, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_receipt_says_what_was_done(method: Any) -> None:
    response = in_time(
        ask(Toy(), [pool(20)], strategy="entropy", labelled=KNOWN, calibrate=method)
    )  # fmt: skip
    receipt = response.receipt
    assert (receipt.calibrate, receipt.labelled_size) == (method, 30)
    before, after = probs_of(NAMES), views(NAMES, method)
    expected = {
        "items": 30, "nll_before": nll(before, LABELS), "nll_after": nll(after, LABELS),
        "ece_before": reliability(before, LABELS).error,
        "ece_after": reliability(after, LABELS).error,
    }  # fmt: skip
    if method == "temperature":
        expected["temperature"] = getattr(fit(method, before, LABELS), "temperature", None)
    assert dict(receipt.calibration) == pytest.approx(expected)
    assert Receipt.from_json(receipt.to_json()) == receipt
    again = {key: value for key, value in receipt.to_json().items() if key != "model"}
    budget = again.pop("budget")
    repeated = in_time(ask(Toy(), [pool(20)], budget=budget, labelled=KNOWN, **again))
    assert repeated.picks == response.picks
    assert repeated.receipt == response.receipt
    plain = in_time(ask(Toy(), [pool(20)], strategy="entropy")).receipt
    assert not {"calibrate", "calibration"} & plain.to_json().keys()


def test_what_would_be_no_better_is_left_and_told() -> None:
    """As often right as it says: of ten that say 0.8 eight are, and of ten that say 0.2 two."""

    class Honest(Toy):
        async def process(self, plan: Plan, items: Items) -> Scored:
            if plan.part == "pool":
                return await super().process(plan, items)
            ids = tuple(item.id for item in items.items)
            first = np.array([0.8 if int(name[1:]) < 10 else 0.2 for name in ids])
            rows = {"probs": np.stack([first, 1 - first], axis=1)}
            return self.scorer.add(plan, Views(items.seq, ids, rows, "m1"))

    known = [
        {"uri": f"y{row}", "id": f"y{row}", "label": int((row % 10 < 8) != (row < 10))}
        for row in range(20)
    ]
    response = in_time(
        ask(Honest(), [pool(20)], budget=20, strategy="entropy", labelled=known,
            calibrate="dirichlet")
    )  # fmt: skip
    assert [warning.code for warning in response.warnings] == ["calibration_unchanged"]
    figures = response.receipt.calibration
    assert figures["nll_after"] == pytest.approx(figures["nll_before"])
    expected = run("entropy", {"probs": probs_of(POOL)}, ids=POOL, budget=20)
    assert_allclose([pick.score for pick in response.picks], expected.scores, rtol=1e-6)


@pytest.mark.parametrize(
    ("labelled", "method", "pointer", "said"),
    [
        (None, "temperature", "/parameters/labelled", "needs labelled items: send"),
        (KNOWN[:9], "temperature", "/parameters/labelled", "at least 10 labelled items, got 9"),
        (
            [{**one, "label": 1} for one in KNOWN], "temperature", "/parameters/labelled",
            "two classes or more, got only 1",
        ),
        (
            [{**one, "label": 0} for one in KNOWN], "dirichlet", "/parameters/labelled",
            "two classes or more, got only 0",
        ),
        ([{**KNOWN[0], "label": "third"}], "temperature", "/parameters/labelled/0/label",
         "is unknown: 'third'"),
        ([{"uri": "k0"}], "temperature", "/parameters/labelled/0/label", "is missing"),
        (KNOWN, "platt", "/parameters/calibrate", "must be one of 'temperature', 'dirichlet'"),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted_is_refused_at_once(
    labelled: Any, method: str, pointer: str, said: str
) -> None:
    error = refused(Toy(), strategy="entropy", labelled=labelled, calibrate=method)
    assert isinstance(error, ValidationFailed)
    assert [one.pointer for one in error.errors] == [pointer]
    assert said in error.detail
    assert "\n" not in error.detail


def test_a_class_without_a_label_is_refused_at_once() -> None:
    engine = Toy()
    engine.card = replace(engine.card, classes=3, categories=("first", "second", "third"))
    error = refused(engine, strategy="entropy", labelled=KNOWN, calibrate="dirichlet")
    assert "each of the 3 classes, got none of class 2" in error.detail


def test_too_many_labelled_items_are_lost() -> None:
    lost = [Failure(name, "fetch", "fetch_failed", "no good") for name in NAMES[:21]]
    engine = Toy(lost=lost)
    with pytest.raises(ValidationFailed, match="at least 10 labelled items, got 9"):
        in_time(ask(engine, [pool(20)], strategy="entropy", labelled=KNOWN,
                    calibrate="temperature"))  # fmt: skip
    assert "select" not in engine.asked
    assert {item.id for items in engine.cut for item in items.items} == set(NAMES)


def test_a_lost_labelled_item_takes_no_part_in_the_fit() -> None:
    lost = Failure("k3", "fetch", "fetch_failed", "no good")
    response = in_time(
        ask(Toy(lost=[lost]), [pool(20)], budget=20, strategy="entropy", labelled=KNOWN,
            calibrate="temperature")
    )  # fmt: skip
    kept = [row for row in range(30) if row != 3]
    fitted = fit(
        "temperature", probs_of([NAMES[row] for row in kept]), [LABELS[row] for row in kept]
    )
    expected = run("entropy", {"probs": fitted(probs_of(POOL))}, ids=POOL, budget=20)
    assert_allclose([pick.score for pick in response.picks], expected.scores, rtol=1e-6)
    assert response.receipt.calibration["items"] == 29


def test_a_strategy_without_probabilities_has_nothing_to_scale() -> None:
    engine = Toy()
    response = in_time(
        ask(engine, [pool(20)], strategy="KCenter", labelled=KNOWN, calibrate="temperature")
    )
    assert [warning.code for warning in response.warnings] == ["calibrate_ignored"]
    assert "calibrate" not in engine.asked
    assert response.receipt.calibrate == ""


@pytest.mark.parametrize("output", ["sigmoid", "segmentation", "detection", "value"])
def test_models_of_other_tasks_have_nothing_to_scale(output: Any) -> None:
    card = replace(Toy().card, output=output, views=("uncertainty", "embeddings"))
    asked = parse_parameters(
        {"budget": 1, "strategy": "KCenter", "labelled": KNOWN, "calibrate": "temperature"}
    )
    with pytest.raises(ValidationFailed, match=f"one class an item, and toy has output {output}"):
        plan(asked, StrategySettings(), "q", card)


def test_quotas_count_the_classes_of_scaled_probabilities() -> None:
    """Dirichlet scaling may predict another class; `per_class` counts that one."""
    biased = [{**one, "label": int(row < 16)} for row, one in enumerate(KNOWN)]
    response = in_time(
        ask(Toy(), [pool(20)], budget=6, strategy="entropy", labelled=biased,
            calibrate="dirichlet", params={"per_class": 3})
    )  # fmt: skip
    fitted = fit("dirichlet", probs_of(NAMES), [int(row < 16) for row in range(30)])
    scaled = fitted(probs_of(POOL))
    assert (scaled.argmax(axis=1) != probs_of(POOL).argmax(axis=1)).any()
    expected = run("entropy", {"probs": scaled}, ids=POOL, budget=6, params={"per_class": 3})
    assert tuple(pick.id for pick in response.picks) == expected.ids


def test_a_scorer_that_was_replaced_says_so() -> None:
    asked = Plan("q", "entropy", {}, 0, 1, ("probs",), calibrate="temperature")
    batch = Views(0, ("a",), {"probs": probs_of(["a"])}, "m")
    with pytest.raises(BooksLost):
        Scorer().add(asked, batch)
    ended = Scorer()
    ended.discard("q")
    assert ended.add(asked, batch).count == 1  # it is late, and nobody reads it


def test_a_query_whose_calibration_was_lost_begins_again() -> None:
    """The scorer is replaced once, right after it has fitted."""

    class Forgetful(Toy):
        replaced = 0

        async def calibrate(self, plan: Plan, notes: Notes) -> Any:
            found = await super().calibrate(plan, notes)
            if not self.replaced:
                self.replaced, self.scorer = 1, Scorer()
            return found

    from alaas.pipeline import query
    from alaas.pipeline.replay import Again

    engine = Forgetful()
    parameters = parse_parameters(
        {"budget": 20, "strategy": "entropy", "labelled": KNOWN, "calibrate": "temperature"}
    )
    response = in_time(
        query.run(engine, parameters, Again(pool(20)), defaults=StrategySettings())
    )  # fmt: skip
    expected = run("entropy", {"probs": views(POOL, "temperature")}, ids=POOL, budget=20)
    assert engine.replaced
    assert engine.asked.count("calibrate") == 2
    assert_allclose([pick.score for pick in response.picks], expected.scores, rtol=1e-6)


def test_cards_without_probabilities_are_refused_as_ever() -> None:
    card: ModelCard = replace(Toy().card, output="embedding", views=("embeddings",), classes=0)
    asked = parse_parameters(
        {"budget": 1, "strategy": "entropy", "labelled": KNOWN, "calibrate": "temperature"}
    )
    with pytest.raises(AlaasError, match="needs the view probs") as caught:
        plan(asked, StrategySettings(), "q", card)
    assert caught.value.code == "view_unavailable"
