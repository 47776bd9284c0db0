"""CIFAR-10 as a trained ResNet-20 sees it: features with their classes, made once on the CPU."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import pad, relu

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES = 10
BATCH = 500


class Featured(NamedTuple):
    """Pictures as their network sees them.

    Attributes:
        features: (N, 64) float32, what the network's last layer receives.
        classes: (N,) class numbers, from 0 to 9 in the alphabet's order.
    """

    features: NDArray[np.float32]
    classes: NDArray[np.int64]


class _Block(nn.Module):
    """Two convolutions and a shortcut without parameters (option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.added = stride, outputs - inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        half = self.added // 2
        shortcut = pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
        out = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        return relu(out + shortcut)


class ResNet20(nn.Module):
    """The network of He et al. 2016, section 4.2, with n = 3, without its last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(_Block(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(_Block(16, 32, 2), _Block(32, 32, 1), _Block(32, 32, 1))
        self.layer3 = nn.Sequential(_Block(32, 64, 2), _Block(64, 64, 1), _Block(64, 64, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 64) means over space of what the last block gives, from (B, 3, 32, 32)."""
        out: Tensor = self.layer3(self.layer2(self.layer1(relu(self.bn1(self.conv1(x))))))
        return out.mean(dim=(2, 3))


def load(folder: Path, *, keep: Path | None = None) -> dict[str, Featured]:
    """The features of the pictures in `folder`, by ``pool`` and ``test``.

    Args:
        folder: Has `cifar10-train10k.zip`, `cifar10-test.zip` and
            `resnet20-cifar10.safetensors`.
        keep: A file to read them from if it is there, and to write them to if not.
    """
    if keep is not None and keep.exists():
        stored = np.load(keep)
        return {
            name: Featured(stored[f"{name}_features"], stored[f"{name}_classes"])
            for name in ("pool", "test")
        }
    from safetensors.torch import load_file

    network = ResNet20().eval()
    weights = load_file(folder / "resnet20-cifar10.safetensors")
    missing, unexpected = network.load_state_dict(weights, strict=False)
    # The counters of batches are not in the file; the last layer is not in the network.
    wrong = [name for name in missing if not name.endswith("num_batches_tracked")]
    wrong += set(unexpected) - {"linear.weight", "linear.bias"}
    if wrong:
        raise ValueError(f"these are not the weights of ResNet-20: {', '.join(wrong)}")
    made = {
        "pool": _featured(network, folder / "cifar10-train10k.zip"),
        "test": _featured(network, folder / "cifar10-test.zip"),
    }
    if keep is not None:
        arrays = {
            f"{name}_{k}": v for name, part in made.items() for k, v in part._asdict().items()
        }
        np.savez(keep, allow_pickle=False, **arrays)
    return made


@torch.inference_mode()
def _featured(network: ResNet20, archive: Path) -> Featured:
    """The features of an archive of ``<part>/<class>/<number>.jpg``, in the order of the names."""
    features = []
    with zipfile.ZipFile(archive) as pictures:
        names = sorted(name for name in pictures.namelist() if name.endswith(".jpg"))
        for start in range(0, len(names), BATCH):
            batch = [pictures.read(name) for name in names[start : start + BATCH]]
            features.append(network(_normalised(batch)).numpy())
    _, classes = np.unique([name.split("/")[1] for name in names], return_inverse=True)
    return Featured(np.concatenate(features), classes.astype(np.int64))


def _normalised(files: list[bytes]) -> Tensor:
    """(B, 3, 32, 32) float32, as the weights want it, from files of 32 x 32 pictures."""
    arrays = np.stack([np.asarray(Image.open(BytesIO(file)).convert("RGB")) for file in files])
    scaled = (arrays / np.float32(255) - np.float32(MEAN)) / np.float32(STD)
    return torch.from_numpy(scaled).permute(0, 3, 1, 2).contiguous()
