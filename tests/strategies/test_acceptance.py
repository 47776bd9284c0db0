"""What earlier systems got wrong, one check each.

Checks of other files: duplicates in the pool, budgets of any kind, one-hot rows, one class and
NaN are laws (`test_laws.py`); each strategy agrees with an independent implementation
(`test_oracles.py` and the files named for the families); a drawn subset answers in the ids of
the whole, and random batches prefer the uncertain (`test_wrappers.py`); the wire shape of the
first release is `tests/e2e/test_requests.py`; that passes differ and that weights come back is
`tests/unit/test_models_stochastic_acceptance.py` and `test_models_stochastic_dropconnect.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pools import distributions, ids_of

from alaas.config import load
from alaas.core.errors import ConfigError
from alaas.strategies import get, names, run

UPSTREAM = {
    "RandomSampling": "random_sampling",
    "LeastConfidence": "least_confidence",
    "MarginConfidence": "margin_confidence",
    "RatioConfidence": "ratio_confidence",
    "EntropySampling": "entropy",
    "KMeansSampling": "k_means_sampling",
    "BadgeSampling": "badge",
    "BayesianDisagreement": "bald",
    "MeanSTDSampling": "mean_std",
    "VarRatioSampling": "variation_ratios",
    "KCenterSampling": "k_center_greedy",
    "CoreSet": "core_set",
    "DiverseMiniBatch": "diverse_mini_batch",
    "DeepFool": "deep_fool",
}


@pytest.mark.parametrize("name", UPSTREAM)
def test_every_documented_type_of_earlier_releases_loads(name: str, tmp_path: Path) -> None:
    assert get(name).name == UPSTREAM[name]
    file = tmp_path / "old.yml"
    file.write_text(
        f"name: old\nversion: 1\nactive_learning:\n  strategy:\n    type: {name}\n"
        "    model: {name: resnet18, hub: pytorch/vision, batch_size: 8, device: cpu}\n"
    )
    choices = {"active_learning.strategy.type": names()}
    chosen = load(file, choices=choices).settings.active_learning.strategy
    assert get(chosen.type).name == UPSTREAM[name]


def test_a_wrong_type_in_a_file_is_answered_with_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "old.yml"
    file.write_text("name: x\nversion: 1\nactive_learning: {strategy: {type: BadgeSampling2}}\n")
    with pytest.raises(ConfigError, match="BadgeSampling"):
        load(file, choices={"active_learning.strategy.type": names()})


def test_variation_ratios_are_not_least_confidence() -> None:
    """All passes agree in the first row without being sure; in the second they are sure apart."""
    draws = np.array([[[0.55, 0.45]] * 4, [[0.99, 0.01], [0.99, 0.01], [0.01, 0.99], [0.99, 0.01]]])
    ids, mean = ["agreed", "apart"], draws.mean(axis=1)
    assert run("variation_ratios", {"draws": draws}, ids=ids, budget=1).ids == ("apart",)
    assert run("least_confidence", {"probs": mean}, ids=ids, budget=1).ids == ("agreed",)


@pytest.mark.parametrize("name", ["entropy", "margin", "least_confidence", "bald", "mc_entropy"])
def test_logits_are_taken_where_they_are_said_to_be_logits(name: str) -> None:
    logits = np.random.default_rng(0).normal(size=(30, 8, 4)) * 3
    powers = np.exp(logits)
    draws = powers / powers.sum(axis=-1, keepdims=True)
    view = get(name).needs[0]
    raw, soft = (logits, draws) if view == "draws" else (logits[:, 0], draws[:, 0])
    expected = run(name, {view: soft}, ids=ids_of(30), budget=30)
    found = run(name, {view: raw}, ids=ids_of(30), budget=30, logits=True)
    assert found.ids == expected.ids
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-9, atol=1e-12)


def test_passes_are_averaged_as_probabilities_and_not_as_logits() -> None:
    """One pass sure of each class: the mean probability is even, whatever the logits say."""
    logits = np.array([[[8.0, 0.0], [0.0, 2.0]]])
    powers = np.exp(logits)
    draws = powers / powers.sum(axis=-1, keepdims=True)
    mean = draws[0].mean(axis=0)
    found = run("mc_entropy", {"draws": draws}, ids=["a"], budget=1).scores[0]
    assert found == pytest.approx(-(mean * np.log(mean)).sum())
    averaged = np.exp(logits[0].mean(axis=0)) / np.exp(logits[0].mean(axis=0)).sum()
    assert abs(found + (averaged * np.log(averaged)).sum()) > 0.3


def test_disagreement_is_zero_where_all_passes_are_the_same() -> None:
    probs = distributions(np.random.default_rng(1), 50, 6)
    draws = np.repeat(probs[:, None], 7, axis=1)
    scores = run("bald", {"draws": draws}, ids=ids_of(50), budget=50).scores
    assert (scores >= 0).all()
    np.testing.assert_allclose(scores, 0, atol=1e-12)


@pytest.mark.parametrize("budget", [20.0, 20])
def test_as_many_different_items_come_back_as_were_asked_for(budget: int) -> None:
    points = np.random.default_rng(2).normal(size=(100, 3)).round(1)
    for name in ("KMeansSampling", "BadgeSampling"):
        views = {"embeddings": points, "probs": distributions(np.random.default_rng(3), 100, 4)}
        assert len(set(run(name, views, ids=ids_of(100), budget=budget).ids)) == 20
