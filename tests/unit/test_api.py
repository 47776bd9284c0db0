"""`alaas.select` end to end, over pictures in a folder."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import encoded, picture
from torch import nn

import alaas
from alaas.api import Source, count
from alaas.config import ModelSettings, Settings
from alaas.core.errors import (
    AllItemsFailed,
    EmptyInput,
    ItemFailed,
    MissingExtra,
    ModelUnavailable,
    UnknownStrategy,
    ValidationFailed,
)
from alaas.core.wire import Item, Progress
from alaas.data.sources import items
from alaas.models.load import load
from alaas.strategies import registry


def network() -> nn.Module:
    """Eight by eight pixels to three classes."""
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 3))


MODEL: dict[str, Any] = {
    "hub": "python",
    "name": f"{__name__}:network",
    "preprocess": {"size": 8, "resize": 8, "mean": [0, 0, 0], "std": [0.1, 0.1, 0.1]},
    "device": "cpu",
    "batch_size": 5,
}
SIZE = 23


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for row in range(SIZE):
        image = picture(8, 8, seed=row).point(
            [value * (row + 1) // SIZE for value in range(256)] * 3
        )
        (folder / f"{row}.png").write_bytes(encoded(image))
    return folder


def test_chooses_as_a_plain_loop_does(photos: Path) -> None:
    from PIL import Image

    pool = items(photos)
    weights = load(ModelSettings.model_validate(MODEL)).classifier.network.state_dict()
    pixels = [np.asarray(Image.open(str(item.uri)).convert("RGB")) for item in pool]
    given = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float().flatten(1) / 255 / 0.1
    probs = (given @ weights["1.weight"].T + weights["1.bias"]).softmax(1).numpy()
    ids = [item.id for item in pool]
    expected = registry.run("entropy", {"probs": probs}, ids=ids, budget=6)
    result = alaas.select(photos, 6, strategy="EntropySampling", model=MODEL)
    assert tuple(result.ids) == expected.ids
    np.testing.assert_allclose(result.scores, expected.scores, rtol=1e-4)
    assert result.uris == [str(photos / Path(name).name) for name in expected.ids]
    assert result.receipt.pool_size == SIZE
    assert result.failures == ()


def test_the_receipt_makes_it_again(photos: Path) -> None:
    first = alaas.select(photos, 5, strategy="Random", seed=9, model=MODEL)
    receipt = first.receipt
    again = alaas.select(
        photos, receipt.budget, strategy=receipt.strategy, params=receipt.params,
        seed=receipt.seed, model=MODEL,
    )  # fmt: skip
    assert again.picks == first.picks
    assert alaas.select(photos, 5, strategy="Random", seed=10, model=MODEL).ids != first.ids


def test_inside_a_running_loop(photos: Path) -> None:
    async def notebook() -> list[str]:
        return alaas.select(photos, 4, model=MODEL).ids

    assert asyncio.run(notebook()) == alaas.select(photos, 4, model=MODEL).ids


def test_an_error_comes_out_of_a_running_loop(photos: Path) -> None:
    async def notebook() -> None:
        alaas.select(photos, 4, strategy="none", model=MODEL)

    with pytest.raises(UnknownStrategy):
        asyncio.run(notebook())


def test_the_model_in_three_forms(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ModelSettings.model_validate(MODEL)
    tree = Settings.model_validate(
        {
            "active_learning": {"strategy": {"model": MODEL, "type": "Random"}},
            "fetch": {"roots": [str(photos)]},
        }
    )
    expected = alaas.select(photos, 3, model=MODEL).ids
    assert alaas.select(photos, 3, model=chosen).ids == expected
    assert alaas.select(photos, 3, model="not looked at", settings=tree).ids == expected
    with pytest.raises(ModelUnavailable, match="no classifier 'resnet81'; did you mean"):
        alaas.select(photos, 3, model="resnet81")


def test_the_border_of_settings_holds(photos: Path, tmp_path: Path) -> None:
    tree = Settings.model_validate(
        {
            "active_learning": {"strategy": {"model": MODEL}},
            "fetch": {"roots": [str(tmp_path)]},
        }
    )
    with pytest.raises(AllItemsFailed) as caught:
        alaas.select(photos, 3, settings=tree)
    assert {one.message.partition(":")[0] for one in caught.value.errors} == {"uri_blocked"}


def test_bad_items_are_listed(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    pool: list[str | Path | Item] = [tmp_path / "broken.png", *sorted(photos.iterdir())[:6]]
    pool += [Item("t", text="words"), str(tmp_path / "gone.png")]
    result = alaas.select(pool, 3, model=MODEL)
    assert [(one.id, one.code) for one in result.failures] == [
        (str(tmp_path / "broken.png"), "undecodable"),
        ("t", "wrong_modality"),
        (str(tmp_path / "gone.png"), "not_found"),
    ]
    assert len(result) == 3
    assert result.receipt.pool_size == 6
    with pytest.raises(ItemFailed):
        alaas.select(pool, 3, model=MODEL, on_item_error="fail")


def test_progress_is_told(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))  # what is known already is told at once
    news: list[Progress] = []
    alaas.select(photos, 1, model=MODEL, on_progress=news.append)
    assert len(news) == 7  # four micro-batches, the rest in two pieces, and the end
    assert news[-1] == Progress(SIZE, 0, SIZE, SIZE)


@pytest.mark.parametrize(("budget", "picked"), [(4, 4), ("4", 4), ("10%", 2), ("100%", SIZE)])
def test_budgets(photos: Path, budget: int | str, picked: int) -> None:
    assert len(alaas.select(photos, budget, strategy="Random", model=MODEL)) == picked


@pytest.mark.parametrize(
    ("budget", "size", "number"),
    [
        (" 7 ", 3, 7), ("50%", 3, 2), ("0.5 %", 1000, 5), ("1e1%", 50, 5), ("0.001%", 10, 1),
        ("100%", 1, 1), (0, 5, 0), ("-3", 5, -3),
    ],
)  # fmt: skip
def test_a_share_is_at_least_one_item(budget: int | str, size: int, number: int) -> None:
    assert count(budget, size) == number


WRONG = ["", "%", "ten", "1.5", "0%", "-5%", "101%", "nan%", "inf%", "10%%", "10 percent"]


@pytest.mark.parametrize("budget", WRONG)
def test_a_wrong_budget_is_named(photos: Path, budget: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        alaas.select(photos, budget, model=MODEL)
    (field,) = caught.value.errors
    assert field.pointer == "/parameters/budget"
    assert field.message.endswith(f"got {budget!r}")


@pytest.mark.parametrize(
    "wrong", [{"budget": 0}, {"budget": "-1"}, {"seed": -1}, {"on_item_error": "stop"},
              {"params": {"a": 1}}],
)  # fmt: skip
def test_wrong_parameters(photos: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationFailed) as caught:
        alaas.select(photos, **{"budget": 3, "model": MODEL, **wrong})
    assert caught.value.errors[0].pointer.startswith(f"/parameters/{next(iter(wrong))}")


def test_an_empty_source(tmp_path: Path) -> None:
    sources: tuple[Source, ...] = (tmp_path, [], str(tmp_path / "*.png"))
    for source in sources:
        with pytest.raises(EmptyInput):
            alaas.select(source, 3, model=MODEL)


@pytest.mark.parametrize("module", ["torch", "numpy", "PIL", "pydantic"])
def test_what_is_not_installed(photos: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra) as caught:
        alaas.select(photos, 3)
    expected = f"a selection in this process needs {module}: pip install 'alaas[local]'"
    assert caught.value.detail == expected


def test_every_public_name_is_there() -> None:
    assert list(alaas.__all__) == sorted(alaas.__all__)
    for name in alaas.__all__:
        assert getattr(alaas, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        alaas.nothing  # noqa: B018
