"""The preprocess stage: pixels equal to torchvision's, and batches with losses."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import LIMITS, encoded, picture, rows, spec
from PIL import Image

from alaas.config.preprocessing import Preprocessing
from alaas.core.types import Raw, Raws
from alaas.core.wire import Failure
from alaas.data.decode import FORMATS, preprocess
from alaas.data.signatures import name_format

# ---- equal to torchvision

SIZES = [
    (224, 224), (256, 256), (500, 375), (375, 500), (257, 341), (1, 1), (1, 40), (40, 1), (7, 5),
    (223, 225), (255, 256), (640, 100), (100, 640), (33, 32), (200, 3),
]  # fmt: skip
PRESETS = [
    "ResNet18_Weights", "ResNet50_Weights", "EfficientNet_B0_Weights", "EfficientNet_V2_S_Weights",
    "Inception_V3_Weights", "ViT_B_16_Weights", "Swin_T_Weights", "MobileNet_V3_Small_Weights",
]  # fmt: skip


def preset(name: str) -> tuple[Any, Preprocessing]:
    models = pytest.importorskip("torchvision").models
    transform = getattr(models, name).DEFAULT.transforms()
    (size,), (resize,) = transform.crop_size, transform.resize_size
    return transform, spec(size, resize, transform.interpolation.value)


def same_as_torchvision(transform: Any, asked: Preprocessing, images: list[Image.Image]) -> None:
    """Equal pixels before the preset's scaling, and equal numbers after it."""
    from torchvision.transforms import functional

    got = rows([encoded(image) for image in images], asked)
    for row, image in zip(got, images, strict=True):
        resized = functional.resize(
            image, transform.resize_size, interpolation=transform.interpolation
        )
        expected = np.asarray(functional.center_crop(resized, transform.crop_size))
        np.testing.assert_array_equal(row, expected)
        ours = functional.normalize(
            functional.to_tensor(row.copy()), list(asked.mean), list(asked.std)
        )
        np.testing.assert_array_equal(ours.numpy(), transform(image).numpy())


@pytest.mark.parametrize("name", PRESETS)
def test_pixels_equal_the_presets_of_torchvision_bit_for_bit(name: str) -> None:
    transform, asked = preset(name)
    asked = asked.model_copy(update={"mean": transform.mean, "std": transform.std})
    same_as_torchvision(transform, asked, [picture(w, h, seed=w + h) for w, h in SIZES])


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    size=st.tuples(st.integers(1, 64), st.integers(1, 64)),
    resize=st.none() | st.integers(1, 80) | st.tuples(st.integers(1, 80), st.integers(1, 80)),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
)
def test_any_size_resize_and_crop_equal_torchvision(
    width: int, height: int, size: tuple[int, int], resize: Any, interpolation: str
) -> None:
    transforms = pytest.importorskip("torchvision").transforms
    image = picture(width, height, seed=width * height)
    (row,) = rows([encoded(image)], spec(size, resize, interpolation))
    if resize is not None:
        mode = transforms.InterpolationMode(interpolation)
        image = transforms.functional.resize(image, resize, interpolation=mode)
    expected = transforms.functional.center_crop(image, size)
    np.testing.assert_array_equal(row, np.asarray(expected))


def photographs() -> Iterator[tuple[str, bytes]]:
    folder = Path(__file__).parents[3] / "shared" / "data"
    archive = Path(os.environ.get("ALAAS_TEST_DATA", folder)) / "imagenet-200.zip"
    if not archive.is_file():
        pytest.skip(f"no {archive.name} in ALAAS_TEST_DATA or in shared/data beside the repository")
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            if name.lower().endswith(".jpeg"):
                yield name, opened.read(name)


def test_photographs_equal_what_a_loop_over_torchvision_sees() -> None:
    transform, asked = preset("ResNet18_Weights")
    from torchvision.transforms import functional

    files = list(photographs())
    turned = 0
    for name, data in files:
        image: Image.Image = Image.open(BytesIO(data))
        if image.getexif().get(274, 1) != 1:
            turned += 1
            continue
        resized = functional.resize(
            image.convert("RGB"), transform.resize_size, interpolation=transform.interpolation
        )
        expected = functional.center_crop(resized, transform.crop_size)
        np.testing.assert_array_equal(rows([data], asked)[0], np.asarray(expected), name)
    assert len(files) == 200
    assert turned < 20


# ---- batches


def test_row37_bad_items_lose_their_row_and_keep_their_reason() -> None:
    good, before = encoded(picture(30, 20)), Failure("z", "fetch", "not_found", "gone", uri="z")
    raws = (
        Raw("a", good),
        Raw("b", b"<html>"),
        Raw("c", encoded(picture(30, 20, seed=2))),
        Raw("d", good[:60]),
        Raw("e", b"a text", is_text=True),
        Raw("f", encoded(picture(20, 30, seed=3))),
    )
    batch = preprocess(Raws(5, raws, (before,)), spec(8, 10), LIMITS)
    assert (batch.seq, batch.ids) == (5, ("a", "c", "f"))
    assert [(f.id, f.stage, f.code) for f in batch.failures] == [
        ("z", "fetch", "not_found"),
        ("b", "preprocess", "not_an_image"),
        ("d", "preprocess", "undecodable"),
        ("e", "preprocess", "wrong_modality"),
    ]
    alone = [rows([raws[i].data], spec(8, 10))[0] for i in (0, 2, 5)]
    np.testing.assert_array_equal(batch.array, np.stack(alone))
    assert batch.array.flags.c_contiguous
    assert batch.array.dtype == np.uint8


@pytest.mark.parametrize("count", [0, 1, 9])
def test_a_pool_of_threads_gives_the_same_array(count: int) -> None:
    raws = Raws(1, tuple(Raw(str(i), encoded(picture(50 + i, 40, seed=i))) for i in range(count)))
    with ThreadPoolExecutor(3) as pool:
        threaded = preprocess(raws, spec(16, 20), LIMITS, pool=pool)
    alone = preprocess(raws, spec(16, 20), LIMITS)
    assert threaded.ids == alone.ids == tuple(str(i) for i in range(count))
    assert threaded.array.shape == (count, 16, 16, 3)
    assert threaded.array.flags.c_contiguous
    np.testing.assert_array_equal(threaded.array, alone.array)


def test_all_bad_gives_an_empty_array() -> None:
    batch = preprocess(Raws(0, (Raw("a", b"x"),)), spec(8, 10), LIMITS)
    assert batch.array.shape == (0, 8, 8, 3)
    assert batch.array.flags.c_contiguous


def test_every_allowed_format_is_known_by_its_signature() -> None:
    assert {name_format(encoded(picture(4, 4), kind)) for kind in FORMATS} == set(FORMATS)
