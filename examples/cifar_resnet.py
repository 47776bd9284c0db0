"""The ResNet-20 of He et al. 2016 for CIFAR-10, as a network of one's own: `hub: python`.

    alaas models check cifar_resnet:resnet20 --hub python --weights resnet20-cifar10.safetensors \
        --set 'preprocess={size: 32, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}'

started where Python finds this module.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Two convolutions and a shortcut, which takes every other pixel and pads with channels."""

    def __init__(self, entering: int, leaving: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(entering, leaving, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(leaving)
        self.conv2 = nn.Conv2d(leaving, leaving, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(leaving)
        self.stride, self.added = stride, (leaving - entering) // 2

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to a map of as many pixels, or of a fourth."""
        made = functional.relu(self.bn1(self.conv1(x)))
        made = self.bn2(self.conv2(made))
        short = x[:, :, :: self.stride, :: self.stride]
        short = functional.pad(short, (0, 0, 0, 0, self.added, self.added))
        return functional.relu(made + short)


class ResNet(nn.Module):
    """(B, 3, 32, 32) pixels to the logits of ten classes."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._layer(16, 16, blocks, 1)
        self.layer2 = self._layer(16, 32, blocks, 2)
        self.layer3 = self._layer(32, 64, blocks, 2)
        self.linear = nn.Linear(64, 10)

    @staticmethod
    def _layer(entering: int, leaving: int, blocks: int, stride: int) -> nn.Sequential:
        rest = [Block(leaving, leaving, 1) for _ in range(blocks - 1)]
        return nn.Sequential(Block(entering, leaving, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of normalised pixels."""
        made = functional.relu(self.bn1(self.conv1(x)))
        made = self.layer3(self.layer2(self.layer1(made)))
        logits: Tensor = self.linear(made.mean(dim=(2, 3)))
        return logits


def resnet20() -> nn.Module:
    """Three blocks in each of three layers: twenty layers with weights."""
    return ResNet(3)


if __name__ == "__main__":
    parameters = sum(one.numel() for one in resnet20().parameters())
    print(f"{parameters:,} parameters")
