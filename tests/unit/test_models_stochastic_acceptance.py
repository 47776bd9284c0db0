"""What earlier systems got wrong of draws, and their own numbers on ours."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from test_models_classifier import pictures, spec
from test_models_stochastic import early, late
from tiny_transformers import TEXTS, loaded, views, write_classifier

import alaas
from alaas import strategies
from alaas.config.model import DrawsSettings
from alaas.core.errors import ViewUnavailable
from alaas.models.classifier import Classifier

BAAL = Path(__file__).parents[2] / "benchmarks/.envs/libraries/bin/python"

WAYS: list[dict[str, Any]] = [
    {},
    {"p": 0.1},
    {"head_only": True},
    {"by": "dropconnect"},
    {"by": "augment"},
]


def drawn(build: Any = early, count: int = 20, items: int = 30, **given: Any) -> NDArray[Any]:
    classifier = Classifier(build(), spec(8), drawing=DrawsSettings(**given))
    return classifier.views(pictures(items, 8), ("draws",), n_drop=count, seed=7)["draws"]


def scores(name: str, draws: NDArray[Any], **given: Any) -> list[float]:
    ids = [str(row) for row in range(len(draws))]
    chosen = strategies.run(name, {"draws": draws}, ids=ids, budget=len(ids), **given)
    found = dict(zip(chosen.ids, chosen.scores, strict=True))
    return [found[name] for name in ids]


def entropy(p: NDArray[Any]) -> NDArray[Any]:
    terms = np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0)
    return np.asarray(-terms.sum(axis=-1))


@pytest.mark.parametrize("given", WAYS)
@pytest.mark.parametrize("count", [2, 20])
def test_exactly_as_many_different_passes_as_asked_for_and_they_disagree(
    count: int, given: dict[str, Any]
) -> None:
    draws = drawn(count=count, **given)
    assert draws.shape == (30, count, 3)
    assert len({one.tobytes() for one in draws.swapaxes(0, 1)}) == count
    assert min(scores("bald", draws)) > 0


@pytest.mark.parametrize("given", WAYS)
def test_bald_is_the_mutual_information_of_the_passes(given: dict[str, Any]) -> None:
    """Houlsby et al. 2011, arXiv:1112.5745: H of the mean less the mean of H, in nats."""
    draws = drawn(**given).astype(np.float64)
    wanted = entropy(draws.mean(axis=1)) - entropy(draws).mean(axis=1)
    assert_allclose(scores("bald", draws), wanted, rtol=1e-6, atol=1e-9)


@pytest.mark.skipif(not BAAL.is_file(), reason="Baal is not installed in benchmarks/.envs")
@pytest.mark.parametrize("given", WAYS)
def test_bald_is_what_baal_makes_of_the_same_passes(given: dict[str, Any]) -> None:
    draws = drawn(**given)
    program = (
        "import json, sys, numpy\n"
        "from baal.active.heuristics import BALD\n"
        "draws = numpy.array(json.load(sys.stdin))\n"
        "print(json.dumps(BALD().compute_score(draws.transpose(0, 2, 1)).tolist()))\n"
    )
    said = subprocess.run(
        [str(BAAL), "-c", program], input=json.dumps(draws.astype(float).tolist()),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    theirs = json.loads(said.stdout.splitlines()[-1])
    found = scores("bald", draws)
    assert_allclose(found, theirs, rtol=1e-9, atol=1e-12)
    assert np.argsort(found).tolist() == np.argsort(theirs).tolist()


def test_the_mean_is_that_of_probabilities_and_not_of_logits() -> None:
    classifier = Classifier(late(), spec(8))
    draws = classifier.views(pictures(30, 8), ("draws",), n_drop=20, seed=7)["draws"]
    mean = draws.mean(axis=1, dtype=np.float64)
    assert_allclose(scores("mc_entropy", draws), entropy(mean), rtol=1e-5)
    logits = np.log(draws.astype(np.float64))
    powers = np.exp(logits.mean(axis=1))
    wrong = entropy(powers / powers.sum(axis=1, keepdims=True))
    assert np.abs(entropy(mean) - wrong).max() > 1e-3
    # Logits are taken where they are said to be logits, pass by pass, and nowhere else.
    assert_allclose(
        scores("mc_entropy", logits + 3.0, logits=True), scores("mc_entropy", draws), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("kind", "layers", "whole"),
    [
        ("bert", "encoder.layer", "model.bert.encoder.layer"),
        ("bert", "bert.encoder.layer", "model.bert.encoder.layer"),
        ("gpt2", "h.0", "body.h.0"),
    ],
)
def test_layers_have_the_names_that_they_have_in_their_hub(
    tmp_path: Path, kind: str, layers: str, whole: str
) -> None:
    folder = write_classifier(tmp_path, kind)

    def draws(name: str) -> NDArray[Any]:
        return views(loaded(folder, draws={"layers": [name]}), TEXTS, "draws")["draws"]

    found = draws(layers)
    assert min(scores("bald", found)) > 0
    assert (found == draws(whole)).all()
    last = layers if kind == "gpt2" else f"{layers}.1"
    embeddings, named = (
        views(loaded(folder, head=name), TEXTS, "embeddings")["embeddings"]
        for name in (last, whole + last.removeprefix(layers))
    )
    assert (embeddings == named).all()


def test_a_model_without_anything_stochastic_is_refused_in_one_line(tmp_path: Path) -> None:
    from PIL import Image

    for number, picture in enumerate(pictures(3, 40)):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    resnet = {"name": "resnet18", "weights": "none", "runtime": "torch"}
    with pytest.raises(ViewUnavailable, match=r"set draws\.by to dropconnect, ensemble") as caught:
        alaas.select(tmp_path, 1, strategy="bald", model=resnet)
    assert "\n" not in str(caught.value)
    found = alaas.select(
        tmp_path, 3, strategy="bald", model=resnet | {"draws": {"head_only": True}}, n_drop=50
    )
    assert found.receipt.n_drop == 50
    assert min(pick.score for pick in found) > 0
