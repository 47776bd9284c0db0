"""``alaas models check``: what it tells of a model, and how it ends where one does not work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from onnx_files import network, written
from test_cli import run
from torch import nn

SQUARE = "preprocess={size: 8, mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2]}"
PYTHON = ("--hub", "python", "--set", SQUARE, "--device", "cpu", "--set", "runtime=torch")


class Blind(nn.Module):
    """Returns what nobody can rank."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(192, 3)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(pixels.flatten(1)) * torch.nan
        return logits


class Few(nn.Module):
    """Fails where there are more pictures than it was recorded with."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.fc, self.most = nn.Linear(192, 3), most

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > self.most:
            raise ValueError("too many\nof them")
        logits: torch.Tensor = self.fc(pixels.flatten(1))
        return logits


def one() -> nn.Module:
    return Few(1)


def hundred() -> nn.Module:
    return Few(100)


def tiny() -> nn.Module:
    """Eight by eight pixels to three classes."""
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 3))


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run("models", "check", *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run("models", "check", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return " ".join(captured.err.replace("│", " ").split())  # typer draws a box


def test_what_it_tells(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, f"{__name__}:tiny", *PYTHON)
    assert (found["name"], found["hub"]) == (f"{__name__}:tiny", "python")
    assert found["views"] == ["probs", "embeddings", "head", "grads", "draws", "margins"]
    assert (found["classes"], found["dim"], found["modality"]) == (3, 192, "image")
    assert len(found["digest"]) == 16
    assert found["preprocessing"]["size"] == [8, 8]
    assert (found["runtime"], found["precision"], found["device"]) == ("torch", "fp32", "cpu")
    assert (found["parameters"], found["weights_bytes"]) == (192 * 3 + 3, 4 * (192 * 3 + 3))
    assert found["per_second"] > 0
    assert found["batch"] == 256
    assert found["memory_bytes"] > found["weights_bytes"]


def test_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "check", f"{__name__}:tiny", *PYTHON) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    facts = {line[0]: line[1].strip() for line in lines}
    assert facts["model"] == f"{__name__}:tiny of python, weights default"
    assert facts["classes"] == "3, which have no names"
    assert facts["views"] == "probs, embeddings, head, grads, draws, margins"
    assert facts["items"].startswith("image: size [8, 8], resize None")
    assert facts["weights"] == "579 parameters, 0.0 MiB"
    assert facts["speed"].endswith("items a second, 256 at once")


def test_without_a_name_it_is_the_configured_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path / "m.onnx", network(("B", 5)))
    (tmp_path / "a.yml").write_text(
        f"active_learning: {{strategy: {{model: {{hub: onnx, name: {tmp_path}/m.onnx}}}}}}"
    )
    found = told(capsys, "--config", str(tmp_path / "a.yml"))
    assert (found["hub"], found["runtime"], found["views"]) == (
        "onnx", "onnxruntime", ["probs", "embeddings"],
    )  # fmt: skip
    assert found["preprocessing"] == {"dim": 5}


def test_other_keys(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(
        capsys, f"{__name__}:tiny", *PYTHON, "--set", "output=sigmoid", "--set", "batch_size=7",
        "--set", "draws.by=dropconnect",
    )  # fmt: skip
    assert (found["output"], found["batch"]) == ("sigmoid", 7)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("resnet81", "--weights", "none"), "torchvision has no classifier 'resnet81'; did you"),
        (("gone.onnx", "--hub", "onnx"), "there is no ONNX file 'gone.onnx' [model_unavailable]"),
        ((f"{__name__}:tiny", *PYTHON, "--set", "head=fc"), "the model has no layer 'fc'"),
        ((f"{__name__}:Blind", *PYTHON),
         "test_cli_models:Blind loads, but the model's probs hold NaN or infinity"),
        ((f"{__name__}:one", *PYTHON),
         "test_cli_models:one loads, but its probs fail: ValueError: too many [model_unav"),
        ((f"{__name__}:hundred", *PYTHON),
         "hundred loads, but fails on 256 items at once: ValueError: too many [model_unav"),
        ((f"{__name__}:tiny", *PYTHON, "--weights", "gone.safetensors"),
         "there is no weights file 'gone.safetensors' [model_unavailable]"),
        (("a", "--set", "ouput=sigmoid"), "ouput: unknown key; did you mean"),
        (("a", "--hub", "nowhere"), "model.hub: must be torchvision, huggingface, timm, onnx"),
        (("a", "--set", "preprocess={size: 3"), "for --set: preprocess: "),
        (("a", "--set", "output"), "must be KEY=VALUE, got 'output'"),
    ],
)  # fmt: skip
def test_what_does_not_work(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert said in complaint(capsys, *arguments)


def test_flags_of_a_model_do_not_go_with_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    status = run(
        "query", "a.png", "--budget", "1", "--server", "http://localhost:1", "--set", "head=fc"
    )
    assert status == 2
    assert "--set" in capsys.readouterr().err
