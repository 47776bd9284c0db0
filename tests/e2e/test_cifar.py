"""CIFAR-10 through a ResNet-20 behind the service: what it is unsure of, it gets wrong."""

from __future__ import annotations

import os
import sys
import zipfile
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from local_servers import free_ports
from PIL import Image
from safetensors.torch import load_file

from alaas.client import Client
from alaas.config import Settings
from alaas.server import Server

DATA = Path(os.environ.get("ALAAS_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
ARCHIVE, WEIGHTS = DATA / "cifar10-test.zip", DATA / "resnet20-cifar10.safetensors"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.skipif(
    not (ARCHIVE.is_file() and WEIGHTS.is_file()), reason=f"no CIFAR-10 in {DATA}"
)


def loop(paths: list[Path]) -> dict[str, int]:
    """What the network predicts of each picture, without the service."""
    network = import_module("cifar_resnet").resnet20().eval()
    network.load_state_dict(load_file(WEIGHTS))
    mean, std = (np.array(one, np.float32) for one in (MEAN, STD))
    predicted: dict[str, int] = {}
    with torch.inference_mode():
        for start in range(0, len(paths), 500):
            part = paths[start : start + 500]
            pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in part])
            entering = torch.from_numpy((pixels / np.float32(255) - mean) / std)
            labels = network(entering.permute(0, 3, 1, 2)).argmax(dim=1).tolist()
            predicted |= dict(zip(map(str, part), labels, strict=True))
    return predicted


@pytest.mark.slow
def test_the_least_confident_are_mostly_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    paths = sorted((tmp_path / "test").rglob("*.jpg"))
    assert len(paths) == 10_000
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(EXAMPLES), *filter(None, sys.path)]))
    monkeypatch.syspath_prepend(str(EXAMPLES))
    settings = Settings.model_validate(
        {
            "active_learning": {
                "strategy": {
                    "model": {
                        "hub": "python",
                        "name": "cifar_resnet:resnet20",
                        "weights": str(WEIGHTS),
                        "preprocess": {
                            "size": 32,
                            "mean": MEAN,
                            "std": STD,
                        },
                    }
                },
                "al_worker": {"host": "127.0.0.1", "port": free_ports(1)[0]},
            },
            "fetch": {"roots": [str(tmp_path)]},
            "store": {"cache": False},
            "log": {"level": "warning"},
        }
    )
    with Server(settings) as server, Client(server.urls["http"]) as client:
        unsure = client.query_by_uri([str(path) for path in paths], 1_000)
    assert len(set(unsure)) == 1_000
    predicted = loop(paths)
    wrong = {path for path, label in predicted.items() if CLASSES[label] != Path(path).parent.name}
    among = len(wrong.intersection(unsure)) / 1_000
    print(f"misclassified: {among:.1%} of the least confident, {len(wrong) / 10_000:.1%} of all")
    assert among >= 0.55
    assert 0.17 <= len(wrong) / 10_000 <= 0.21
