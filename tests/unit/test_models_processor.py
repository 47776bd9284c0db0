"""Preprocessing of pictures, against what the image processors of Transformers make of them."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.testing import assert_allclose
from PIL import Image
from tiny_transformers import LABELS, loaded, settings, write_pictures

from alaas.config import LimitsSettings, Preprocessing
from alaas.core.errors import ModelUnavailable
from alaas.core.types import Raw, Raws
from alaas.data.prepare import prepare
from alaas.models.entry import Normalisation
from alaas.models.load import load
from alaas.models.processor import FILE, read

LEVEL = 3.5 / 255
"""What two libraries make of a pixel may differ by, 3 levels: each rounds and clips twice."""


def photograph(width: int, height: int) -> Image.Image:
    """Noise that was made large: neither smooth nor wild."""
    rng = np.random.default_rng(width)
    small = rng.integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def ours(pictures: list[Image.Image], spec: Preprocessing) -> np.ndarray[Any, Any]:
    """What a network gets of pictures."""
    raws = []
    for row, picture in enumerate(pictures):
        stream = BytesIO()
        picture.save(stream, "PNG")
        raws.append(Raw(str(row), stream.getvalue()))
    batch = prepare(Raws(0, tuple(raws)), spec, LimitsSettings())
    return np.asarray(Normalisation(spec)(torch.from_numpy(batch.array)))


PROCESSORS = {
    "a square": transformers.ViTImageProcessor(size={"height": 24, "width": 24}),
    "a rectangle": transformers.ViTImageProcessor(size={"height": 20, "width": 28}, resample=3),
    "a crop": transformers.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 24, "width": 24}
    ),
    "a crop of a square": transformers.DeiTImageProcessor(
        size={"height": 28, "width": 28}, crop_size={"height": 24, "width": 24}
    ),
    "a share": transformers.ConvNextImageProcessor(size={"shortest_edge": 28}),
    "no share": transformers.ConvNextImageProcessor(size={"shortest_edge": 384}),
    "pixels": transformers.ViTImageProcessor(size={"height": 24, "width": 24}, do_normalize=False),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_pictures_come_out_as_of_the_processor(tmp_path: Path, name: str) -> None:
    processor = PROCESSORS[name]
    processor.save_pretrained(tmp_path)
    spec = read(tmp_path, "m")
    # Even numbers are cut off: of an odd one libraries keep another half.
    pictures = [photograph(96, 96), photograph(80, 60), photograph(48, 64)]
    wanted = np.concatenate(
        [processor(images=one, return_tensors="np")["pixel_values"] for one in pictures]
    )
    found = ours(pictures, spec)
    assert found.shape == wanted.shape
    assert_allclose(found * spec.std[0], wanted * spec.std[0], atol=LEVEL)


def test_an_old_file_has_one_number(tmp_path: Path) -> None:
    stated = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "resample": 2}
    old = {"feature_extractor_type": "ViTFeatureExtractor", "size": 24, **stated}
    (tmp_path / FILE).write_text(json.dumps(old))
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    spec = read(tmp_path, "m")
    assert (spec.resize, spec.size) == ((24, 24), (24, 24))
    assert (spec.mean, spec.std) == ((0.5,) * 3, (0.25,) * 3)


REFUSED = {
    "channels in another order": transformers.MobileViTImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 24, "width": 24}
    ),
    "twice normalised": transformers.EfficientNetImageProcessor(
        size={"height": 24, "width": 24}, include_top=True
    ),
    "no crop": transformers.CLIPImageProcessor(size={"shortest_edge": 32}, do_center_crop=False),
    "no size": transformers.ViTImageProcessor(do_resize=False),
    "another scale": transformers.ViTImageProcessor(
        size={"height": 24, "width": 24}, rescale_factor=1 / 127.5
    ),
    "another method": transformers.ViTImageProcessor(size={"height": 24, "width": 24}, resample=5),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_here_is_refused(tmp_path: Path, name: str) -> None:
    REFUSED[name].save_pretrained(tmp_path)
    with pytest.raises(ModelUnavailable, match=r"set `preprocess`$") as caught:
        read(tmp_path, "m")
    assert caught.value.detail.startswith("m ")
    assert "\n" not in caught.value.detail


@pytest.mark.parametrize("content", [None, "{", "[]", '{"size": "big"}'])
def test_a_file_that_says_nothing(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / FILE).write_text(content)
    with pytest.raises(ModelUnavailable, match=r"set `preprocess`$"):
        read(tmp_path, "m")


def vit(**more: Any) -> Any:
    return transformers.ViTConfig(
        image_size=24, patch_size=8, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, **more,
    )  # fmt: skip


def convnext() -> Any:
    return transformers.ConvNextConfig(
        num_stages=2, hidden_sizes=[8, 16], depths=[1, 1], image_size=24
    )


def swin() -> Any:
    return transformers.SwinConfig(
        image_size=24, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=3
    )


@pytest.mark.parametrize(
    ("config", "processor"), [(vit, "a square"), (convnext, "a share"), (swin, "a crop")]
)
def test_a_classifier_of_pictures(tmp_path: Path, config: Any, processor: str) -> None:
    folder = write_pictures(tmp_path, config(), PROCESSORS[processor])
    plain = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    entered: list[torch.Tensor] = []
    plain.classifier.register_forward_pre_hook(lambda _, given: entered.append(given[0]))
    model = loaded(folder)
    assert (model.card.classes, model.card.categories) == (3, LABELS)
    assert model.card.modality == "image"
    spec = model.card.preprocessing
    assert isinstance(spec, Preprocessing)
    batch = np.random.default_rng(0).integers(0, 256, (5, *spec.size, 3), np.uint8)
    found = model.classifier.views(batch, ["probs", "embeddings"])
    with torch.inference_mode():
        pixels = torch.from_numpy((batch / 255 - spec.mean) / spec.std).permute(0, 3, 1, 2)
        logits = plain(pixel_values=pixels.float()).logits
    assert_allclose(found["probs"], logits.softmax(1), atol=1e-5)
    assert_allclose(found["embeddings"], entered[0], atol=1e-4)


@pytest.mark.parametrize(
    ("config", "pooling"), [(vit, "auto"), (vit, "mean"), (swin, "auto"), (convnext, "auto")]
)
def test_an_encoder_of_pictures(tmp_path: Path, config: Any, pooling: str) -> None:
    folder = write_pictures(tmp_path, config(), PROCESSORS["a square"], encodes=True)
    model = loaded(folder, pooling=pooling)
    assert model.card.views == ("embeddings",)
    plain = transformers.AutoModel.from_pretrained(folder).eval()
    spec = model.card.preprocessing
    assert isinstance(spec, Preprocessing)
    batch = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), np.uint8)
    with torch.inference_mode():
        pixels = torch.from_numpy((batch / 255 - spec.mean) / spec.std).permute(0, 3, 1, 2)
        hidden = plain(pixel_values=pixels.float()).last_hidden_state
    if config is vit and pooling == "auto":
        wanted = hidden[:, 0]  # the token of the whole picture
    else:
        wanted = hidden.mean(dim=(2, 3)) if hidden.ndim == 4 else hidden.mean(dim=1)
    found = model.classifier.views(batch, ["embeddings"])["embeddings"]
    assert_allclose(found, wanted, atol=1e-4)


def test_a_first_token_that_is_of_one_place(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path, swin(), PROCESSORS["a square"], encodes=True)
    with pytest.raises(ModelUnavailable, match="has no class token: set `pooling` to mean"):
        load(settings(folder, pooling="cls"))


@pytest.mark.parametrize("said", [{"tokenizer": "here"}, {"max_tokens": 9}])
def test_what_is_said_of_texts_is_refused(tmp_path: Path, said: dict[str, Any]) -> None:
    folder = write_pictures(tmp_path, vit(), PROCESSORS["a square"])
    with pytest.raises(ModelUnavailable) as caught:
        load(settings(folder, **said))
    assert caught.value.detail == (
        f"`{next(iter(said))}` has no meaning for {folder}, which takes images and is of hub "
        f"huggingface"
    )


def test_the_pooling_of_a_classifier_is_refused(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path, vit(), PROCESSORS["a square"])
    with pytest.raises(ModelUnavailable, match="is loaded as an image classifier, of which"):
        load(settings(folder, pooling="cls"))


def test_a_processor_can_be_done_without(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path, vit(), REFUSED["channels in another order"])
    with pytest.raises(ModelUnavailable, match="set `preprocess`"):
        load(settings(folder))
    asked = {"size": 24, "mean": [0.5] * 3, "std": [0.5] * 3}
    assert loaded(folder, preprocess=asked).card.preprocessing == Preprocessing.model_validate(
        asked
    )
