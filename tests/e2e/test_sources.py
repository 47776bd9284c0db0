"""Models of several sources behind a real server: what it picks is what they are unsure of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import requests
from local_servers import free_ports
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from alaas.client import Client
from alaas.config import Settings
from alaas.core.errors import ModelUnavailable, ViewUnavailable
from alaas.core.wire import Item
from alaas.server import Server

BUDGET = 12


def softmax(logits: Any) -> Any:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def layer(path: Path, shape: list[Any], weight: Any) -> Path:
    """One layer over flattened rows, as a file."""
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["flat"]),
         helper.make_node("MatMul", ["flat", "w"], ["logits"])],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.fixture
def settings(photos: Path) -> Callable[[dict[str, Any]], Settings]:
    def make(model: dict[str, Any]) -> Settings:
        return Settings.model_validate(
            {
                "active_learning": {
                    "strategy": {"model": model},
                    "al_worker": {"host": "127.0.0.1", "port": free_ports(1)[0]},
                },
                "fetch": {"roots": [str(photos)]},
                "log": {"level": "warning"},
            }
        )

    return make


def test_an_onnx_file_for_pictures(
    tmp_path: Path, photos: Path, settings: Callable[[dict[str, Any]], Settings]
) -> None:
    weight = np.random.default_rng(0).normal(size=(3 * 32 * 32, 4)).astype(np.float32) / 50
    path = layer(tmp_path / "m.onnx", ["B", 3, 32, 32], weight)
    files = [str(one) for one in sorted(photos.iterdir())[:150]]
    pixels = np.stack([np.asarray(Image.open(one), np.float32) / 255 - 0.5 for one in files])
    probs = softmax(pixels.transpose(0, 3, 1, 2).reshape(150, -1) / 0.25 @ weight)
    spec = {"size": 32, "resize": 32, "mean": [0.5] * 3, "std": [0.25] * 3}
    with Server(settings({"hub": "onnx", "name": str(path), "preprocess": spec})) as server:
        (card,) = requests.get(f"{server.urls['http']}/models", timeout=60).json()["models"]
        with Client(server.urls["http"]) as client:
            picks = client.query_by_uri(files, BUDGET)
            with pytest.raises(ViewUnavailable, match="deep_fool needs the view margins"):
                client.query(files, BUDGET, strategy="deep_fool")
    order = np.argsort(probs.max(axis=1), kind="stable")[:BUDGET]
    assert picks == [files[row] for row in order]
    assert (card["hub"], card["runtime"], card["views"]) == ("onnx", "onnxruntime", ["probs"])


def test_an_onnx_file_for_vectors(
    tmp_path: Path, settings: Callable[[dict[str, Any]], Settings]
) -> None:
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(6, 3)).astype(np.float32)
    rows = rng.normal(size=(200, 6)).astype("<f4")
    path = layer(tmp_path / "m.onnx", ["B", 6], weight)
    pool = [Item(f"v{row}", blob=one.tobytes()) for row, one in enumerate(rows)]
    asked = settings({"hub": "onnx", "name": str(path)})
    with Server(asked) as server, Client(server.urls["http"]) as client:
        result = client.query([*pool, Item("short", blob=bytes(20))], BUDGET)
    order = np.argsort(softmax(rows @ weight).max(axis=1), kind="stable")[:BUDGET]
    assert result.ids == [f"v{row}" for row in order]
    assert [(one.id, one.code) for one in result.failures] == [("short", "wrong_dimension")]


def test_timm(photos: Path, settings: Callable[[dict[str, Any]], Settings]) -> None:
    model = {"hub": "timm", "name": "test_resnet", "weights": "none"}
    files = [str(one) for one in sorted(photos.iterdir())[:20]]
    with Server(settings(model)) as server, Client(server.urls["http"]) as client:
        result = client.query(files, 5, strategy="badge")
    assert len(set(result.ids)) == 5


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"hub": "onnx", "name": "gone.onnx"}, "there is no ONNX file 'gone.onnx'"),
        ({"hub": "timm", "name": "test_resnett"}, "timm has no model 'test_resnett'"),
    ],
)
def test_a_start_that_cannot_be(
    settings: Callable[[dict[str, Any]], Settings], model: dict[str, Any], said: str
) -> None:
    with pytest.raises(ModelUnavailable, match=said), Server(settings(model)):
        pass
