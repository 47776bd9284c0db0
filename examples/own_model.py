"""Choose with a network of your own: `hub: python` and a function that builds it.

A server takes the same: `alaas serve --config FILE` with this model section, started where
Python finds this module.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from pictures import draw
from safetensors.torch import save_file
from torch import nn

import alaas


def build() -> nn.Module:
    """A network from (B, 3, 32, 32) pixels to the logits of four classes."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(256, 4),
    )


def main() -> None:
    with TemporaryDirectory() as folder:
        weights = Path(folder, "own.safetensors")
        save_file(build().state_dict(), weights)  # yours would be trained
        pictures = draw(Path(folder, "photos"))
        result = alaas.select(
            pictures,
            budget=5,
            strategy="MarginConfidence",
            model={
                "hub": "python",
                "name": "own_model:build",
                "weights": str(weights),
                "preprocess": {"size": 32, "resize": 32, "mean": [0.5] * 3, "std": [0.25] * 3},
            },
        )
        for pick in result:
            print(pick.rank, Path(pick.uri or "").name, round(pick.score, 5))
        print("chosen by the model", result.receipt.model)


if __name__ == "__main__":
    main()
