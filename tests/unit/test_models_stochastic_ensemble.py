"""Deep ensembles: members from checkpoints, and what is wrong with them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from safetensors.torch import save_file
from test_models_classifier import as_torchvision, pictures
from torch import nn

from alaas.config import ModelSettings, QueryParameters, StrategySettings
from alaas.core.errors import ModelUnavailable, ValidationFailed
from alaas.models.card import ModelCard
from alaas.models.load import Model, load
from alaas.pipeline.planning import plan

MODULE = """
import torch
from torch import nn

def build():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, {classes})
    )
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine_ensemble.py").write_text(MODULE.format(classes=3))
    sys.modules.pop("mine_ensemble", None)
    for seed in range(3):
        torch.save(network(seed).state_dict(), tmp_path / f"{seed}.pt")
    return tmp_path


def network(seed: int, classes: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, classes)
    )


def settings(folder: Path, *checkpoints: str) -> ModelSettings:
    return ModelSettings.model_validate(
        {
            "hub": "python",
            "name": "mine_ensemble:build",
            "weights": str(folder / "0.pt"),
            "preprocess": {"size": 8, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
            "draws": {"by": "ensemble", "checkpoints": [str(folder / one) for one in checkpoints]},
            "runtime": "torch",
        }
    )


def drawn(model: Model, count: int, seed: int = 0) -> Any:
    return model.classifier.views(pictures(5, 8), ("draws",), n_drop=count, seed=seed)["draws"]


def test_draws_are_the_members_in_their_order(folder: Path) -> None:
    save_file(network(2).state_dict(), folder / "2.safetensors")
    model = load(settings(folder, "1.pt", "2.safetensors"))
    found = drawn(model, 3)
    with torch.inference_mode():
        given = as_torchvision(pictures(5, 8))
        wanted = [network(seed).eval()(given).softmax(1).numpy() for seed in range(3)]
    assert_allclose(found, np.stack(wanted, axis=1), rtol=1e-4)
    assert (drawn(model, 2, seed=9) == found[:, :2]).all()
    probs = model.classifier.views(pictures(5, 8), ("probs",))["probs"]
    assert_allclose(probs, wanted[0], rtol=1e-4)  # one pass is that of the model itself
    assert (model.card.draws, model.card.most_draws) == ("ensemble of 3", 3)


def test_an_ensemble_is_known_by_all_its_members(folder: Path) -> None:
    cards = [
        load(settings(folder, *names)).card for names in (["1.pt"], ["2.pt"], ["1.pt", "2.pt"])
    ]
    assert len({card.digest for card in cards}) == len({card.space for card in cards}) == 3
    assert load(settings(folder, "1.pt")).card == cards[0]


def planned(card: ModelCard, **given: Any) -> int:
    parameters = QueryParameters.model_validate({"budget": 2, **given})
    return plan(parameters, StrategySettings(), "q", card).n_drop


def test_a_query_takes_as_many_members_as_there_are_or_fewer(folder: Path) -> None:
    model = load(settings(folder, "1.pt", "2.pt"))
    assert planned(model.card, strategy="bald") == 3
    assert planned(model.card, strategy="bald", n_drop=2) == 2
    with pytest.raises(ValidationFailed, match=r"n_drop must be at most 3, .* got 4") as caught:
        planned(model.card, strategy="bald", n_drop=4)
    assert [one.pointer for one in caught.value.errors] == ["/parameters/n_drop"]
    assert planned(model.card, strategy="entropy", n_drop=50) == 3  # it reads one prediction
    with pytest.raises(ModelUnavailable, match="n_drop is 4, and the model has 3 predictions"):
        drawn(model, 4)


def renamed(seed: int, **changes: str | None) -> dict[str, torch.Tensor]:
    state = network(seed).state_dict()
    for name, other in changes.items():
        tensor = state.pop(name.replace("_", ".", 1))
        if other is not None:
            state[other] = tensor
    return state


def test_members_that_do_not_fit(folder: Path) -> None:
    cases: dict[str, tuple[Any, str]] = {
        "missing.pt": (renamed(1, **{"3_bias": None}), r'does not fit .*Missing key.*"3.bias"'),
        "surplus.pt": (
            network(1).state_dict() | {"4.bias": torch.ones(1)},
            r'Unexpected.*"4.bias"',
        ),
        "wide.pt": (network(1, classes=4).state_dict(), "size mismatch for 3.weight"),
        "same.pt": (network(0).state_dict(), "members 1 and 2 of the ensemble have the same"),
        "code.pt": (network(1), "holds other things than tensors and was not loaded"),
    }
    for name, (content, message) in cases.items():
        torch.save(content, folder / name)
        with pytest.raises(ModelUnavailable, match=message) as caught:
            load(settings(folder, name))
        assert "\n" not in str(caught.value)
        assert name == "same.pt" or str(caught.value).startswith("member 2 of the ensemble: ")
    with pytest.raises(ModelUnavailable, match="there is no weights file"):
        load(settings(folder, "gone.pt"))


def test_members_of_another_size(tmp_path: Path) -> None:
    """torchvision takes the number of classes from the file."""
    from torchvision.models import squeezenet1_1

    for classes in (3, 4):
        torch.manual_seed(0)
        state = squeezenet1_1(num_classes=classes).state_dict()
        torch.save(state, tmp_path / f"{classes}.pt")
    given = {
        "name": "squeezenet1_1", "weights": str(tmp_path / "3.pt"), "runtime": "torch",
        "draws": {"by": "ensemble", "checkpoints": str(tmp_path / "4.pt")},
    }  # fmt: skip
    with pytest.raises(ModelUnavailable, match=r"member 2 of the ensemble .* expected") as caught:
        load(ModelSettings.model_validate(given))
    assert "(1, 4)" in str(caught.value)


def test_a_live_model_has_checkpoints_by_name(folder: Path) -> None:
    from alaas.models import live

    given = settings(folder, "1.pt")
    options = {"preprocess": given.preprocess, "draws": given.draws}
    model = live.load(live.Live(network(0), options))
    assert_allclose(drawn(model, 2), drawn(load(given), 2), rtol=1e-5)
    torch.save(renamed(1, **{"3_bias": None}), folder / "missing.pt")
    options["draws"] = settings(folder, "missing.pt").draws
    with pytest.raises(ModelUnavailable, match=r'member 2 of the ensemble: .*"3.bias"'):
        live.load(live.Live(network(0), options))
