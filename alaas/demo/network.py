"""A small network for 8x8 digits: what the demo trains, and what its server runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from alaas.config import Preprocessing

CLASSES = 10
BATCH = 25
PREPROCESSING = Preprocessing(
    size=(8, 8), resize=None, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bilinear"
)
"""What the server must do to an image before this network sees it."""


def build() -> nn.Module:
    """An untrained network from (B, 3, 8, 8) pixels, normalised, to (B, 10) logits."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(32 * 4 * 4, 64),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(64, CLASSES),
    )


def train(
    images: NDArray[np.uint8], labels: NDArray[np.int64], *, seed: int, epochs: int = 40
) -> nn.Module:
    """Train a new network from scratch, in about a second on one core.

    Args:
        images: (M, 8, 8) greyscale.
        labels: (M,) digits, 0 to 9.
        seed: Of the first weights, the order of the images and the dropout: the same
            seed and images give the same network.
        epochs: Passes over the images.

    Returns:
        The network, in evaluation mode.
    """
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build()
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-3, weight_decay=1e-4)
        pixels, targets = _normalise(images), torch.from_numpy(labels)
        for _ in range(epochs):
            order = torch.randperm(len(pixels))
            for start in range(0, len(order), BATCH):
                rows = order[start : start + BATCH]
                loss = nn.functional.cross_entropy(network(pixels[rows]), targets[rows])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
    return network.eval()


def predict(network: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 10) class probabilities of (N, 8, 8) greyscale images."""
    with _one_thread(), torch.inference_mode():
        probs: NDArray[np.float32] = torch.softmax(network(_normalise(images)), dim=1).numpy()
    return probs


def accuracy(
    network: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> float:  # fmt: skip
    """The share of (N, 8, 8) images whose most probable class is their label, 0 to 1."""
    return float((predict(network, images).argmax(axis=1) == labels).mean())


def save(network: nn.Module, path: Path) -> None:
    """Write the weights as safetensors, which a server reads back into `build`."""
    save_file(network.state_dict(), path)


def _normalise(images: NDArray[np.uint8]) -> Tensor:
    """(B, 3, 8, 8) float32: the same numbers that a server makes of the PNG files."""
    pixels = torch.from_numpy(images).unsqueeze(1).expand(-1, 3, -1, -1)
    mean = torch.tensor(PREPROCESSING.mean).view(1, 3, 1, 1)
    std = torch.tensor(PREPROCESSING.std).view(1, 3, 1, 1)
    return pixels.float().div(255).sub(mean).div(std)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order, so that a seed means one network; small layers gain nothing from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
