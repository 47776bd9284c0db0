"""From a model section to a model: which hub, which input, and what is refused with which code."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from model_sources import Reader, network
from numpy.testing import assert_allclose
from pictures import encoded, picture
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

import alaas
from alaas.config import ModelSettings, Settings
from alaas.config.model import HUBS
from alaas.core.arrays import PADDING
from alaas.core.errors import ConfigError, ModelUnavailable, ViewUnavailable
from alaas.core.wire import Item
from alaas.models import load as loading
from alaas.models.card import ModelCard
from alaas.models.load import load

SQUARE = {"size": 8, "resize": 8, "mean": [0.5] * 3, "std": [0.25] * 3}
WORDS = ["[PAD]", "[UNK]", "a", "good", "bad", "film", "fun", "luck"]
TEXTS = ["a good film", "bad luck", "fun", "a bad bad film", "good"]


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    made = Tokenizer(models.WordLevel({one: at for at, one in enumerate(WORDS)}, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    return str(tmp_path / "tokenizer.json")


def settings(name: str = "network", **rest: Any) -> ModelSettings:
    return ModelSettings.model_validate(
        {"hub": "python", "name": f"model_sources:{name}", "device": "cpu", "runtime": "torch",
         **rest}
    )  # fmt: skip


def refusal(asked: ModelSettings) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        load(asked)
    assert caught.value.code == "model_unavailable"
    assert "\n" not in caught.value.detail
    return caught.value.detail


def test_every_hub_has_its_loader() -> None:
    assert tuple(sorted(loading._HUBS)) == tuple(sorted(HUBS))


def test_a_network_of_ones_own_reads_texts(tokenizer: str) -> None:
    model = settings("Reader", tokenizer=tokenizer)
    pool = [Item(str(row), text=text) for row, text in enumerate(TEXTS)]
    result = alaas.select(pool, 5, model=model)
    reader = load(model).classifier.network
    for name, score in zip(result.ids, result.scores, strict=True):
        tokens = torch.tensor([[WORDS.index(one) for one in TEXTS[int(name)].split()]])
        assert_allclose(score, 1 - reader(tokens).softmax(1).max().item(), atol=1e-5)


def test_padding_is_told_from_tokens(tokenizer: str) -> None:
    classifier = load(settings("Reader", tokenizer=tokenizer)).classifier
    rows = torch.tensor([[2, 3, 5, PADDING], [4, PADDING, PADDING, PADDING]], dtype=torch.int32)
    both = classifier.views(rows.numpy(), ("probs",))["probs"]
    alone = classifier.views(rows[1:, :1].numpy(), ("probs",))["probs"]
    assert_allclose(both[1:], alone, atol=1e-6)


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (
            {"tokenizer": "T", "preprocess": SQUARE},
            "takes pictures, as `preprocess` says, or texts",
        ),
        ({"tokenizer": "gone"}, "gone"),
    ],
)
def test_what_it_takes_has_to_be_one_thing(tokenizer: str, rest: dict[str, Any], said: str) -> None:
    if rest["tokenizer"] == "T":
        rest = {**rest, "tokenizer": tokenizer}
    assert said in refusal(settings("Reader", **rest))


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this must not be printed",))


def weights(change: Callable[[dict[str, torch.Tensor]], Any], path: Path) -> str:
    state = network().state_dict()
    change(state)
    save_file(state, path)
    return str(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("6.bias"), 'Missing key(s) in state_dict: "6.bias".'),
        (lambda state: state.update(more=torch.ones(1)),
         'Unexpected key(s) in state_dict: "more".'),
        (lambda state: state.update({"renamed": state.pop("6.bias")}),
         'Missing key(s) in state_dict: "6.bias". Unexpected key(s) in state_dict: "renamed".'),
        (lambda state: state.update({"6.bias": torch.ones(4)}),
         "size mismatch for 6.bias: copying a param with shape torch.Size([4]) from checkpoint"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit(tmp_path: Path, change: Any, said: str) -> None:
    path = weights(change, tmp_path / "w.safetensors")
    found = refusal(settings(preprocess=SQUARE, weights=path))
    assert found.startswith(f"'{path}' does not fit model_sources:network: {said}")


def test_a_long_list_of_missing_keys_is_cut(tmp_path: Path) -> None:
    save_file({f"surplus{row}": torch.ones(1) for row in range(50)}, tmp_path / "w.safetensors")
    found = refusal(settings(preprocess=SQUARE, weights=str(tmp_path / "w.safetensors")))
    assert "Missing key(s)" in found
    assert "Unexpected key(s)" in found
    assert len(found) < 600


def test_pickled_weights_are_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"6.bias": _Code()}))
    torch.save({"6.bias": _Code()}, tmp_path / "zipped.pth")
    for name in ("w.pth", "zipped.pth"):
        found = refusal(settings(preprocess=SQUARE, weights=str(tmp_path / name)))
        assert "save its tensors as safetensors" in found
    assert "must not be printed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (
            {"preprocess": {**SQUARE, "size": 9}},
            "the model fails on an input of 3 x 9 x 9: Runtime",
        ),
        ({"preprocess": SQUARE, "head": "7"}, "the model has no layer '7'"),
        ({"preprocess": SQUARE, "output": "segmentation"}, "output segmentation must return"),
    ],
)
def test_shapes_and_layers_that_do_not_fit(rest: dict[str, Any], said: str) -> None:
    assert said in refusal(settings(**rest))


def test_a_strategy_that_needs_classes(tokenizer: str) -> None:
    assert issubclass(Reader, torch.nn.Module)
    model = settings("Reader", tokenizer=tokenizer, output="embedding")
    pool = [Item(str(row), text=text) for row, text in enumerate(TEXTS)]
    assert len(alaas.select(pool, 2, strategy="KCenter", model=model)) == 2
    with pytest.raises(ViewUnavailable) as caught:
        alaas.select(pool, 2, model=model)
    assert caught.value.code == "view_unavailable"
    assert caught.value.detail == (
        "least_confidence needs the view probs, and model_sources:Reader has only embeddings: it "
        "has no classes; k_center, for one, needs none"
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"revision": "main"}, "revision has no meaning with hub torchvision; it has with hugging"),
        ({"allow_code": True}, "allow_code has no meaning with hub torchvision"),
        ({"hub": "onnx", "task": "text-classification"}, "task has no meaning with hub onnx"),
        ({"hub": "timm", "tokenizer": "x"}, "tokenizer has no meaning with hub timm"),
    ],
)
def test_a_key_that_would_do_nothing_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        alaas.select(["a.png"], 1, model=wrong)
    assert said in caught.value.detail.removeprefix("model.").replace(":", "")


class TestSettingsAreASpaceOfTheirOwn:
    """What is stored for one `head`, or for one kind of margins, is not taken for another."""

    def picked(self, strategy: str, *, cache: bool = True, **more: Any) -> list[float]:
        tree = Settings(
            active_learning={"strategy": {"model": settings(preprocess=SQUARE, **more)}},
            store={"cache": cache},
        )  # fmt: skip
        pool = [Item(str(row), blob=encoded(picture(8, 8, seed=row))) for row in range(20)]
        return list(alaas.select(pool, 6, strategy=strategy, settings=tree).scores)

    @pytest.mark.parametrize(
        ("strategy", "one", "other"),
        [
            ("KCenter", {}, {"head": "3"}),
            ("DeepFool", {"margins": "input"}, {"margins": "embedding"}),
        ],
    )
    def test_of_the_store(self, strategy: str, one: dict[str, Any], other: dict[str, Any]) -> None:
        first, second = self.picked(strategy, **one), self.picked(strategy, **other)
        assert second == self.picked(strategy, cache=False, **other) != first

    def test_of_the_card(self) -> None:
        cards = [
            load(settings(preprocess=SQUARE, **more)).card
            for more in ({}, {"head": "3"}, {"margins": "embedding"})
        ]
        assert [(card.head, card.margins) for card in cards] == [
            ("6", "input"), ("3", "input"), ("6", "embedding"),
        ]  # fmt: skip
        assert len({card.space for card in cards}) == 3
        assert len({card.digest for card in cards}) == 1
        # What `auto` and null come to is no other space than what is said.
        said = load(settings(preprocess=SQUARE, head="6", margins="input")).card
        assert said.space == cards[0].space
        assert ModelCard.from_json(said.to_json()) == said

    def test_of_a_model_that_has_neither(self, tokenizer: str) -> None:
        card = load(settings("Reader", tokenizer=tokenizer, output="embedding")).card
        assert (card.head, card.margins) == ("", "")


@pytest.mark.parametrize(
    ("name", "rest", "said"),
    [
        ("network", {"preprocess": SQUARE, "max_tokens": 9}, "`max_tokens` has no meaning"),
        ("network", {"preprocess": SQUARE, "pooling": "cls"}, "`pooling` has no meaning"),
        ("Reader", {"tokenizer": "T", "pooling": "mean"}, "`pooling` has no meaning"),
    ],
)
def test_what_is_said_of_other_items_is_refused(
    tokenizer: str, name: str, rest: dict[str, Any], said: str
) -> None:
    rest = {**rest, "tokenizer": tokenizer} if "tokenizer" in rest else rest
    takes = "texts" if "tokenizer" in rest else "images"
    assert refusal(settings(name, **rest)) == (
        f"{said} for model_sources:{name}, which takes {takes} and is of hub python"
    )
