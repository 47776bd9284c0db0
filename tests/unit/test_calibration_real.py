"""A trained network on real pictures: it says more than it knows, and scaling mends that."""

from __future__ import annotations

import os
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from alaas.calibration import classwise, fit, nll, reliability
from alaas.config import Preprocessing
from alaas.models.classifier import Classifier
from benchmarks.cifar10 import MEAN, STD, ResNet20

DATA = Path(os.environ.get("ALAAS_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
NEEDED = ("cifar10-test.zip", "resnet20-cifar10.safetensors")
PICTURES = 4_000

pytestmark = pytest.mark.skipif(
    not all((DATA / name).is_file() for name in NEEDED), reason=f"no {', '.join(NEEDED)} in {DATA}"
)


class Whole(nn.Module):
    """The ResNet-20 with its last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.linear = ResNet20(), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear(self.body(x))
        return logits


@pytest.fixture(scope="module")
def predicted() -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Class probabilities of some thousand test images, and their classes, mixed."""
    state = load_file(DATA / NEEDED[1])
    network = Whole()
    network.load_state_dict(
        {name if name.startswith("linear") else f"body.{name}": it for name, it in state.items()}
    )
    with zipfile.ZipFile(DATA / NEEDED[0]) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        folders = sorted({name.split("/")[1] for name in names})
        names = [names[row] for row in np.random.default_rng(0).permutation(len(names))[:PICTURES]]
        pixels = np.stack(
            [np.asarray(Image.open(BytesIO(archive.read(name))).convert("RGB")) for name in names]
        )
    classifier = Classifier(network, Preprocessing(size=32, mean=MEAN, std=STD))
    probs = np.concatenate(
        [
            classifier.views(pixels[start : start + 500], ("probs",))["probs"]
            for start in range(0, PICTURES, 500)
        ]
    )
    return probs, np.array([folders.index(name.split("/")[1]) for name in names])


@pytest.mark.parametrize("method", ["temperature", "dirichlet"])
def test_scaling_mends_what_a_network_says_of_pictures_that_it_was_not_fitted_on(
    method: str, predicted: tuple[NDArray[np.floating], NDArray[np.int64]]
) -> None:
    probs, labels = predicted
    half = PICTURES // 2
    fitted = fit(method, probs[:half], labels[:half])  # type: ignore[arg-type]
    rest, classes = probs[half:], labels[half:]
    scaled = fitted(rest)
    before, after = reliability(rest, classes).error, reliability(scaled, classes).error
    assert before > 0.08  # it is right in 81 % of them, and says 91 % and more
    assert after < before / 2
    assert classwise(scaled, classes).mean() < classwise(rest, classes).mean()
    assert nll(scaled, classes) < 0.8 * nll(rest, classes)
    if method == "temperature":
        assert getattr(fitted, "temperature", 0) > 1.2
        assert (scaled.argmax(axis=1) == rest.argmax(axis=1)).all()


def test_a_hundred_labels_are_enough_for_a_temperature(
    predicted: tuple[NDArray[np.floating], NDArray[np.int64]],
) -> None:
    probs, labels = predicted
    fitted = [
        fit("temperature", probs[start : start + 100], labels[start : start + 100])
        for start in range(0, 1_000, 100)
    ]
    rest, classes = probs[1_000:], labels[1_000:]
    better = [nll(one(rest), classes) < nll(rest, classes) for one in fitted]
    assert sum(better) >= 9
