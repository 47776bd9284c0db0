"""Find, fetch and read the file that holds a model's weights. Nothing in it is executed."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from safetensors.torch import load_file
from torch import nn

from alaas.core.errors import ModelUnavailable
from alaas.models.reach import unreachable
from alaas.models.reason import misfit, reason

SUFFIXES = frozenset({".safetensors", ".pth", ".pt", ".bin"})
"""Of files that hold weights."""


def cached(url: str) -> Path:
    """Where torch keeps the file of that URL."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name


def ensure(url: str, *, model: str) -> Path:
    """The local file of a URL, downloaded where it is not there yet.

    Args:
        url: Where the weights are published; its name ends in a prefix of their SHA-256.
        model: Name of the model, for the message.

    Raises:
        ModelUnavailable: It is not in the cache and cannot be downloaded.
    """
    path = cached(url)
    if path.is_file():
        return path
    fault = unreachable(url)
    if fault is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.split("-")[-1])
        except (OSError, RuntimeError, HTTPException) as error:
            fault = reason(error)
        else:
            return path
    raise ModelUnavailable(
        f"{model} needs its weights {path.name}: not in {path.parent}, and {url} cannot be "
        f"downloaded ({fault}). Offline, copy the file into that folder (TORCH_HOME moves it), "
        f"or set `weights` to a path, or to `none` for random weights"
    )


def read(path: Path) -> dict[str, Any]:
    """The tensors of a ``.safetensors`` file or of a PyTorch checkpoint, by name.

    A checkpoint is read with ``weights_only``: it can hold tensors, and no code. One that
    nests them under ``state_dict`` or ``model``, as training scripts do, is unwrapped.

    Raises:
        ModelUnavailable: There is no such file, or it holds something else.
    """
    if not path.is_file():
        raise ModelUnavailable(f"there is no weights file {str(path)!r}")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # What torch raises for a file that wants to run code.
        raise ModelUnavailable(
            f"{str(path)!r} holds other things than tensors and was not loaded; "
            f"save its tensors as safetensors"
        ) from error
    except Exception as error:  # broken bytes make the readers raise anything
        raise ModelUnavailable(
            f"{str(path)!r} holds no readable weights: {reason(error)}"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise ModelUnavailable(f"{str(path)!r} is not a mapping of names to tensors")
    return state


def fill(
    network: nn.Module, path: Path, name: str, *, state: Mapping[str, Any] | None = None
) -> None:
    """Give a network the weights of a file.

    Args:
        network: Takes them all, and no others.
        path: The file.
        name: What the network is called, for the message.
        state: What is in the file, where it was read already.

    Raises:
        ModelUnavailable: There is no such file, it holds something else, or weights are
            missing, are too many or have other shapes.
    """
    try:
        network.load_state_dict(read(path) if state is None else state)
    except RuntimeError as error:
        raise ModelUnavailable(f"{str(path)!r} does not fit {name}: {misfit(error)}") from error
