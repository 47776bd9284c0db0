"""Folders of sentence-transformers: an encoder, its pooling, and what comes after it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from alaas.core.errors import ModelUnavailable
from alaas.models import weights as files
from alaas.models.transformer import Pooling, Unit

_OLD_POOLINGS = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}
_POOLINGS: Mapping[str, Pooling] = {"cls": "cls", "mean": "mean"}
_ACTIVATIONS = {"Identity": nn.Identity, "Tanh": nn.Tanh, "ReLU": nn.ReLU, "GELU": nn.GELU}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How tokens become an embedding.

    Attributes:
        body: The folder of the model that reads tokens.
        pooling: How what it makes of them becomes one row; None where nobody says.
        longest: Tokens that it takes; None where nobody says.
        after: What becomes of the row.
    """

    body: Path
    pooling: Pooling | None = None
    longest: int | None = None
    after: nn.Sequential = field(default_factory=nn.Sequential)


def is_one(folder: Path) -> bool:
    """Whether a folder is one of sentence-transformers."""
    return (folder / "modules.json").is_file()


def read(folder: Path, name: str) -> Recipe:
    """Read what a folder says of it; one that is no such folder says nothing.

    Args:
        folder: The folder.
        name: The model, for the message.

    Raises:
        ModelUnavailable: It has a step that is not known here.
    """
    if not is_one(folder):
        return Recipe(folder)
    try:
        modules = json.loads((folder / "modules.json").read_text("utf-8"))
        steps = [(str(one["type"]).rpartition(".")[2], folder / one["path"]) for one in modules]
        return _recipe(steps)
    except (OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise ModelUnavailable(
            f"{name} has a modules.json that cannot be followed: {error}"
        ) from error


def _recipe(steps: list[tuple[str, Path]]) -> Recipe:
    (kind, body), *rest = steps
    if kind != "Transformer":
        raise ValueError(f"its first module is {kind}, and not Transformer")
    pooling: Pooling | None = None
    after = nn.Sequential()
    for kind, path in rest:
        if kind == "Pooling":
            pooling = _pooling(_json(path / "config.json"))
        elif kind == "Normalize":
            after.append(Unit())
        elif kind == "Dense":
            after.append(_dense(path))
        elif kind != "Dropout":  # which does nothing when a model predicts
            raise ValueError(f"its module {kind} is not known")
    stated = _json(body / "sentence_bert_config.json", missing=True).get("max_seq_length")
    return Recipe(body, pooling, int(stated) if stated else None, after)


def _pooling(stated: Mapping[str, Any]) -> Pooling:
    named = stated.get("pooling_mode")
    modes = [named] if isinstance(named, str) else list(named or ())
    for key, on in stated.items():
        if named is None and key.startswith("pooling_mode_") and on is True:
            modes.append(_OLD_POOLINGS.get(key, key))
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        said = ", ".join(modes) or "nothing"
        raise ValueError(f"its pooling is {said}, and only mean and cls are known")
    return _POOLINGS[modes[0]]


def _dense(folder: Path) -> nn.Module:
    stated = _json(folder / "config.json")
    activation = str(stated["activation_function"]).rpartition(".")[2]
    if activation not in _ACTIVATIONS:
        raise ValueError(f"its activation {activation} is not known")
    layer = nn.Linear(stated["in_features"], stated["out_features"], bias=stated["bias"])
    state = files.read(folder / "model.safetensors")
    layer.load_state_dict({key.removeprefix("linear."): value for key, value in state.items()})
    return nn.Sequential(layer, _ACTIVATIONS[activation]())


def _json(path: Path, *, missing: bool = False) -> Mapping[str, Any]:
    if missing and not path.is_file():
        return {}
    read = json.loads(path.read_text("utf-8"))
    if not isinstance(read, Mapping):
        raise ValueError(f"{path.name} is no mapping")
    return read
