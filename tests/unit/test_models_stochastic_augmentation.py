"""Test-time augmentation: what the views of a picture are, and who has none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from test_models_classifier import Plain, pictures, spec
from torch import nn

from alaas.config import Characters, Tokenization, Vectors
from alaas.config.model import DrawsSettings
from alaas.core.errors import ModelUnavailable
from alaas.models.classifier import Classifier
from alaas.models.stochastic.augmentation import view

AUGMENT = DrawsSettings(by="augment")


def slow_view(image: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """The same by loops over pixels."""
    mirrored = rng.random() < 0.5
    height, width = image.shape[:2]
    down, right = (int(rng.integers(-(side // 8), side // 8 + 1)) for side in (height, width))
    contrast, brightness = rng.uniform(0.8, 1.2, 2)
    made = np.empty(image.shape)
    for y in range(height):
        for x in range(width):
            row, column = y - down, x - right
            row = -row if row < 0 else 2 * (height - 1) - row if row >= height else row
            column = (
                -column if column < 0 else 2 * (width - 1) - column if column >= width else column
            )
            made[y, x] = image[row, width - 1 - column if mirrored else column]
    made = (made.mean() + contrast * (made - made.mean())) * brightness
    clipped: NDArray[Any] = np.clip(np.round(made), 0, 255)
    return clipped


@pytest.mark.parametrize("size", [8, 17, 40])
def test_views_are_what_is_said_of_them(size: int) -> None:
    images = pictures(3, size)[:, :, : size - 1]
    for number in range(1, 9):
        found = view(images, seed=4, number=number)
        assert found.dtype == np.uint8
        for image, one in zip(images, found, strict=True):
            wanted = slow_view(image, np.random.default_rng([4, number]))
            assert np.abs(one - wanted).max() <= 1  # rounding
    assert (view(images, seed=4, number=0) == images).all()


def test_views_mirror_half_the_time_and_move_both_ways() -> None:
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[0, 16, 8] = 255
    places = []
    for number in range(1, 200):
        found = view(image, seed=0, number=number)[0].max(axis=2)
        places.append(np.unravel_index(found.argmax(), found.shape))
    rows, columns = np.array(places).T
    assert (rows.min(), rows.max()) == (12, 20)
    left = columns[columns < 16]
    assert (left.min(), left.max()) == (4, 12)
    assert 70 < len(left) < 130
    assert (columns.max(), columns[columns > 15].min()) == (27, 19)


def test_draws_are_predictions_of_views() -> None:
    classifier = Classifier(Plain(), spec(16), drawing=AUGMENT)
    images = pictures(6, 16)
    found = classifier.views(images, ("draws",), n_drop=9, seed=2)["draws"]
    for number in range(9):
        seen = view(images, seed=2, number=number)
        wanted = classifier.views(seen, ("probs",))["probs"]
        assert_allclose(found[:, number], wanted, rtol=1e-5)
    assert len({one.tobytes() for one in found[0]}) == 9
    assert_allclose(found[:, 0], classifier.views(images, ("probs",))["probs"], rtol=1e-6)
    alone = classifier.views(images[4:5], ("draws",), n_drop=9, seed=2)["draws"]
    assert_allclose(alone[0], found[4], rtol=1e-5)
    other = classifier.views(images, ("draws",), n_drop=9, seed=3)["draws"]
    assert not np.isclose(other[:, 1:], found[:, 1:]).all(axis=2).any()


def test_views_run_in_the_runtime_of_the_model() -> None:
    classifier = Classifier(Plain(), spec(16), drawing=AUGMENT)
    batches: list[Any] = []
    run = classifier.engine.run
    classifier.engine.run = lambda batch: batches.append(batch) or run(batch)  # type: ignore[method-assign, func-returns-value]
    classifier.views(pictures(2, 16), ("draws",), n_drop=4)
    assert len(batches) == 4
    assert {batch.dtype for batch in batches} == {np.dtype(np.uint8)}


@pytest.mark.parametrize(
    ("inputs", "kind"),
    [
        (Vectors(dim=4), "vectors"),
        (Tokenization(file="x", digest="0", max_tokens=9, vocabulary=9, pad=0), "texts"),
        (Characters(), "texts"),
    ],
)
def test_only_pictures_have_views(inputs: Any, kind: str) -> None:
    network = nn.Sequential(nn.Linear(4, 3))
    if kind == "texts":
        network = nn.Sequential(nn.EmbeddingBag(2_000, 4), nn.Linear(4, 3))
        network.register_forward_pre_hook(lambda _, given: (given[0].clamp(0, 1_999),))
    with pytest.raises(ModelUnavailable, match=f"changes pictures, and the model takes {kind}"):
        Classifier(network, inputs, drawing=AUGMENT)


def test_pixels_of_moved_pictures_are_not_compared() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))
    with pytest.raises(ModelUnavailable, match="cannot be compared"):
        Classifier(network, spec(16), output="segmentation", drawing=AUGMENT)
