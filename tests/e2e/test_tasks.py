"""Pixels instead of one class an item, and scaled probabilities, asked of real servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
from local_servers import MODEL
from networks import pixels
from PIL import Image

import alaas
from alaas.client import Client
from alaas.config import Settings
from alaas.core import errors
from alaas.server import Server

COUNT = 200
SEGMENTER: dict[str, Any] = {
    **MODEL, "name": "networks:pixels", "output": "segmentation", "reduction": "top_k", "top_k": 50,
}  # fmt: skip


@pytest.fixture(scope="module")
def segmenting(make_settings: Callable[..., Settings]) -> Iterator[Server]:
    """A server of a segmenter, in stages of their own."""
    settings = make_settings(protocol=["http", "grpc"], count=2, layout="staged", replicas=2)
    learning = settings.model_dump(mode="json")["active_learning"]
    learning["strategy"]["model"] = SEGMENTER
    tree = {**settings.model_dump(mode="json"), "active_learning": learning}
    with Server(Settings.model_validate(tree)) as running:
        yield running


def by_hand(paths: list[str]) -> list[float]:
    """The mean entropy of the fifty most uncertain pixels of each picture."""
    torch.manual_seed(0)
    network, found = pixels().eval(), []
    with torch.inference_mode():
        for path in paths:
            given = torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy())
            entering = (given.permute(2, 0, 1)[None].float() / 255 - 0.5) / 0.25
            probs = network(entering)[0].softmax(0).flatten(1)
            entropies = -(probs * probs.log()).sum(0)
            found.append(float(entropies.topk(50).values.mean()))
    return found


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_server_ranks_pictures_by_their_pixels(
    segmenting: Server, photos: Path, protocol: str
) -> None:
    paths = [str(path) for path in sorted(photos.iterdir())[:COUNT]]
    expected = dict(zip(paths, by_hand(paths), strict=True))
    with Client(segmenting.urls[protocol]) as client:
        result = client.query(paths, 10, strategy="entropy")
        spread = client.query(paths, 5, strategy="bald", n_drop=6, seed=1)
        with pytest.raises(errors.ViewUnavailable, match="a class for each pixel"):
            client.query(paths, 10, strategy="badge")
    assert [pick.uri for pick in result] == sorted(paths, key=lambda path: -expected[path])[:10]
    assert np.allclose(result.scores, [expected[str(pick.uri)] for pick in result], atol=1e-5)
    here = alaas.select(paths, 5, strategy="bald", n_drop=6, seed=1, model=SEGMENTER)
    assert spread.receipt == here.receipt
    assert spread.receipt.n_drop == 6
    assert [pick.uri for pick in spread] == list(here.ids)


def test_the_card_and_the_probe_of_a_segmenter(segmenting: Server) -> None:
    url = segmenting.urls["http"]
    (card,) = requests.get(f"{url}/models", timeout=60).json()["models"]
    assert (card["output"], card["reduction"], card["classes"]) == ("segmentation", "top_k-50", 4)
    assert card["views"] == ["embeddings", "uncertainty", "disagreement"]
    assert requests.get(f"{url}/readyz", timeout=60).status_code == 200


@pytest.mark.parametrize("method", ["temperature", "dirichlet"])
def test_probabilities_are_scaled_alike_over_every_protocol(
    server: Server, photos: Path, method: Any
) -> None:
    paths = [str(path) for path in sorted(photos.iterdir())[:COUNT]]
    known = [(path, row % 5) for row, path in enumerate(paths[:60])]
    asked: dict[str, Any] = {"strategy": "entropy", "labelled": known, "calibrate": method}
    here = alaas.select(paths[60:], 12, model=MODEL, **asked)
    assert here.receipt.calibrate == method
    assert here.receipt.calibration["items"] == 60
    for protocol in ("http", "ws", "grpc"):
        with Client(server.urls[protocol]) as client:
            there = client.query(paths[60:], 12, **asked)
            assert [pick.uri for pick in there] == list(here.ids)
            assert np.allclose(there.scores, here.scores, atol=1e-5)
            assert there.receipt.calibration == pytest.approx(dict(here.receipt.calibration))
            assert there.receipt.calibrate == method
            with pytest.raises(errors.ValidationFailed, match="at least 10 labelled items"):
                client.query(paths[60:], 3, **{**asked, "labelled": known[:5]})


def test_a_job_and_a_stored_pool_are_scaled_too(server: Server, photos: Path) -> None:
    paths = [str(path) for path in sorted(photos.iterdir())[:COUNT]]
    known = [(path, row % 5) for row, path in enumerate(paths[:60])]
    asked: dict[str, Any] = {
        "strategy": "margin_confidence", "labelled": known, "calibrate": "temperature",
    }  # fmt: skip
    with Client(server.urls["http"]) as client:
        plain = client.query(paths[60:], 12, **asked)
        job = client.submit(paths[60:], 12, **asked).wait()
        client.push(paths[60:], "scaled", ttl_s=600)
        stored = client.query(None, 12, pool="scaled", **asked)
        client.delete_pool("scaled")
    for other in (job, stored):
        assert [pick.uri for pick in other] == [pick.uri for pick in plain]
        assert np.allclose(other.scores, plain.scores, atol=1e-6)
        assert other.receipt.calibration == pytest.approx(dict(plain.receipt.calibration))
