"""200 real photographs through resnet18: every way to ask gives the picks of a plain loop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
import requests
import torch
import torchvision
from local_servers import free_ports, serving
from PIL import Image

from alaas.client import Client
from alaas.config import Settings
from alaas.server import Server

BUDGET = 20
DATA = Path(os.environ.get("ALAAS_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
ARCHIVE = DATA / "imagenet-200.zip"

pytestmark = pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"no photographs at {ARCHIVE}")


def loop(uris: list[str]) -> list[str]:
    """The ten lines that the service replaces."""
    weights = torchvision.models.ResNet18_Weights.DEFAULT
    model, transform = torchvision.models.resnet18(weights=weights).eval(), weights.transforms()
    scores = {}
    with torch.inference_mode(), requests.Session() as session:
        for uri in uris:
            image = Image.open(BytesIO(session.get(uri, timeout=60).content)).convert("RGB")
            scores[uri] = 1 - model(transform(image)[None]).softmax(1).max().item()
    return sorted(scores, key=scores.__getitem__, reverse=True)[:BUDGET]


def test_every_way_to_ask_gives_the_picks_of_a_plain_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path / "photographs")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    cached = tmp_path / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    cached.parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), cached)

    http, grpc = free_ports(2)
    settings = Settings.model_validate(
        {
            "active_learning": {
                "al_worker": {
                    "protocol": ["http", "grpc"],
                    "host": "127.0.0.1",
                    "port": [http, grpc],
                }
            },
            "fetch": {"networks": ["127.0.0.0/8"]},
            "log": {"level": "warning"},
        }
    )
    with serving(tmp_path / "photographs") as web, Server(settings) as server:
        uris = [f"{web}/{path.name}" for path in sorted((tmp_path / "photographs").iterdir())]
        assert len(uris) == 200
        wanted = loop(uris)

        (tmp_path / "query.json").write_text(
            json.dumps({"data": [{"uri": uri} for uri in uris], "parameters": {"budget": BUDGET}})
        )
        curl = subprocess.run(
            ["curl", "-sS", "-X", "POST", f"{server.urls['http']}/query",
             "-H", "Content-Type: application/json", "-d", f"@{tmp_path / 'query.json'}"],
            capture_output=True, check=True,
        )  # fmt: skip
        assert [one["uri"] for one in json.loads(curl.stdout)["data"]] == wanted

        for protocol in ("http", "grpc"):
            with Client(server.urls[protocol]) as client:
                assert client.query_by_uri(uris, budget=BUDGET) == wanted, protocol

        (tmp_path / "uris.txt").write_text("\n".join(uris))
        for options in (["--model", "resnet18"], ["--server", server.urls["grpc"]]):
            command = subprocess.run(
                [sys.executable, "-m", "alaas", "query", str(tmp_path / "uris.txt"),
                 "--budget", str(BUDGET), "--json", *options],
                capture_output=True, check=True,
            )  # fmt: skip
            assert [one["uri"] for one in json.loads(command.stdout)["data"]] == wanted, options
