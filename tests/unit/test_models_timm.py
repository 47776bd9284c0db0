"""Classifiers of timm: their preprocessing, their weights, and what can be wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.testing import assert_allclose
from pictures import LIMITS, encoded, picture
from safetensors.torch import save_file
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn

from alaas.config import ModelSettings, Preprocessing
from alaas.core.errors import MissingExtra, ModelUnavailable
from alaas.core.types import Raw, Raws
from alaas.data.decode import preprocess
from alaas.models import timm as hub
from alaas.models.entry import Normalisation
from alaas.models.load import load

SMALL = "test_resnet"  # of timm's own tests: half a million parameters
TAG = "r160_in1k"


def settings(name: str = SMALL, weights: str | Path = "none", **rest: Any) -> ModelSettings:
    return ModelSettings(hub="timm", name=name, weights=str(weights), device="cpu", **rest)


def refusal(asked: ModelSettings) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        load(asked)
    assert "\n" not in caught.value.detail
    return caught.value.detail


def state(seed: int = 3, **options: Any) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    tensors: dict[str, Tensor] = timm.create_model(SMALL, **options).state_dict()
    return tensors


def assert_loaded(asked: ModelSettings, expected: dict[str, Tensor]) -> None:
    loaded = load(asked).classifier.network.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub that holds weights of the small model, and no way to the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "cache" / f"models--timm--{SMALL}.{TAG}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots" / commit).mkdir(parents=True)
    path = repository / "snapshots" / commit / "model.safetensors"
    save_file(state(), path)
    return path


def test_random_weights_are_the_same_every_time() -> None:
    torch.manual_seed(1)
    first = load(settings()).card
    torch.manual_seed(2)
    assert load(settings()).card == first
    assert (first.hub, first.classes, first.categories) == ("timm", 1000, ())
    assert first.views == ("probs", "embeddings", "head", "grads", "margins")


@pytest.mark.parametrize("name", [f"{SMALL}.{TAG}", SMALL])
def test_published_weights_from_the_cache(cached: Path, name: str) -> None:
    assert_loaded(settings(name, "default"), state())
    card = load(settings(name, "default")).card
    assert len(card.categories) == 1000
    assert card.categories[0].startswith("tench")


def test_a_tag_may_be_named_as_weights(cached: Path) -> None:
    assert_loaded(settings(SMALL, TAG), state())


def test_a_revision(cached: Path) -> None:
    assert_loaded(settings(SMALL, "default", revision=cached.parent.name), state())
    assert "HF_HUB_OFFLINE is set" in refusal(settings(SMALL, "default", revision="other"))


def test_published_weights_that_cannot_be_had(cached: Path) -> None:
    cached.unlink()
    assert refusal(settings(SMALL, "default")).startswith(
        f"{SMALL} needs model.safetensors of timm/{SMALL}.{TAG}: not in {cached.parents[3]}, and "
    )
    assert refusal(settings(SMALL, "default")).endswith(
        "(HF_HUB_OFFLINE is set). Offline, set `weights` to a path, or to `none` for random weights"
    )


def test_weights_from_a_file_have_their_own_classes(tmp_path: Path) -> None:
    own = state(num_classes=4)
    save_file(own, tmp_path / "w.safetensors")
    assert_loaded(settings(weights=tmp_path / "w.safetensors"), own)
    assert load(settings(weights=tmp_path / "w.safetensors")).card.classes == 4


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    own = state()
    own["more.weight"] = own.pop("conv1.weight" if "conv1.weight" in own else next(iter(own)))
    save_file(own, tmp_path / "w.safetensors")
    said = refusal(settings(weights=tmp_path / "w.safetensors"))
    assert said.startswith(f"'{tmp_path}/w.safetensors' does not fit {SMALL}: Missing key(s)")
    assert 'Unexpected key(s) in state_dict: "more.weight"' in said
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    assert refusal(settings(weights=tmp_path / "other.safetensors")) == (
        f"'{tmp_path}/other.safetensors' holds no weights of {SMALL}: no fc.weight in it"
    )


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (settings("test_resnett"), "timm has no model 'test_resnett'; did you mean 'test_resnet'?"),
        (settings("hf-hub:somebody/else"), "timm has no model 'hf-hub:somebody/else'"),
        (settings(f"{SMALL}.gone"),
         f"{SMALL} has no weights 'gone'; it has {TAG}, and takes a path, `default` or `none`"),
        (settings(SMALL, "gone"),
         f"{SMALL} has no weights 'gone'; it has {TAG}, and takes a path, `default` or `none`"),
        (settings("efficientnet_l2", "default"), "efficientnet_l2 has no weights 'default'; it has "
         "none, but takes a path, `default` or `none`"),
        (settings(SMALL, "gone.safetensors"), "there is no weights file 'gone.safetensors'"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_named(asked: ModelSettings, said: str) -> None:
    assert refusal(asked) == said


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtra, match=r"pip install 'alaas\[timm\]'"):
        load(settings())


# Names whose configurations differ in what they do to a picture.
@pytest.mark.parametrize(
    "name",
    ["resnet18.a1_in1k", "test_resnet.r160_in1k", "mobilenetv3_small_100.lamb_in1k",
     "vit_tiny_patch16_224.augreg_in21k_ft_in1k", "efficientnet_b0.ra_in1k",
     "convnext_base.clip_laion2b_augreg_ft_in12k_in1k_384", "beit_base_patch16_224.in22k_ft_in22k"],
)  # fmt: skip
def test_a_picture_is_prepared_as_timm_prepares_it(name: str) -> None:
    bare = nn.Identity()
    bare.pretrained_cfg = timm.get_pretrained_cfg(name).to_dict()  # type: ignore[union-attr]
    spec = hub._preset(bare, name)
    theirs = create_transform(**resolve_model_data_config(bare))  # type: ignore[no-untyped-call]
    image = picture(301, 233, seed=4)
    wanted = theirs(image)
    raws = Raws(0, (Raw("a", encoded(image)),))
    batch = preprocess(raws, spec, LIMITS)
    found = Normalisation(spec)(torch.from_numpy(np.array(batch.array)))[0]
    assert found.shape == wanted.shape
    assert_allclose(found.numpy(), wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"input_size": (1, 28, 28)}, "wants 1 channels and crop mode 'center': set `preprocess`"),
        ({"crop_mode": "border"}, "wants 3 channels and crop mode 'border': set `preprocess`"),
        ({"input_size": (3, 64, 32)}, "wants pictures of 64 x 32: set `preprocess`"),
    ],
)
def test_preprocessing_that_is_not_known_has_to_be_named(stated: dict[str, Any], said: str) -> None:
    bare = nn.Identity()
    bare.pretrained_cfg = stated  # type: ignore[assignment]
    with pytest.raises(ModelUnavailable) as caught:
        hub._preset(bare, "it")
    assert caught.value.detail == f"it {said}"


def test_preprocessing_of_ones_own_goes_first() -> None:
    own = Preprocessing(size=(64, 64), resize=64, mean=(0, 0, 0), std=(1, 1, 1))
    assert load(settings(preprocess=own)).card.preprocessing == own
