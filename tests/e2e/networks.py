"""A network for tests: quick, with something to be uncertain about."""

from __future__ import annotations

from torch import nn


def tiny() -> nn.Module:
    """Two convolutions, dropout and a head over 32 x 32 pixels, five classes."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(64, 5),
    )


def pixels() -> nn.Module:
    """Convolutions over 32 x 32 pixels with dropout of channels, a map of four classes."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Tanh(),
        nn.Dropout2d(0.3),
        nn.Conv2d(8, 4, 3, padding=1),
    )
