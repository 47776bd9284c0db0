"""Networks that the operator's own code builds: ``hub: python``, ``name: module:factory``."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import torch
from torch import nn

from alaas.config import Inputs, ModelSettings
from alaas.core.errors import ModelUnavailable
from alaas.models import weights as files
from alaas.models.built import Built
from alaas.models.reason import misfit, reason
from alaas.models.tokenizer import find
from alaas.models.vision import SEED


def build(settings: ModelSettings) -> Built:
    """Call the factory without arguments and load its weights.

    The module is looked for where Python looks, and in the working directory.

    Raises:
        ModelUnavailable: There is no such module or factory, it gives no
            `torch.nn.Module`, or the weights do not fit.
    """
    inputs: Inputs | None = settings.preprocess
    if settings.tokenizer is not None:
        inputs = find(settings.tokenizer, max_tokens=settings.max_tokens)
    if inputs is None:
        raise ModelUnavailable(
            f"{settings.name} is a Python model: `preprocess` must say its size, mean and std"
        )
    network = _call(settings.name)
    if settings.weights not in {"none", "default"}:
        path = Path(settings.weights).expanduser()
        try:
            network.load_state_dict(files.read(path))
        except RuntimeError as error:
            raise ModelUnavailable(
                f"{str(path)!r} does not fit {settings.name}: {misfit(error)}"
            ) from error
    output = "softmax" if settings.output == "auto" else settings.output
    return Built(network, inputs, output=output)


def _call(name: str) -> nn.Module:
    module_name, _, factory_name = name.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        factory = getattr(import_module(module_name), factory_name)
    except Exception as error:  # a module may raise anything when it is imported
        raise ModelUnavailable(f"cannot import {name!r}: {reason(error)}") from error
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            network = factory()
    except Exception as error:  # and so may the factory
        raise ModelUnavailable(f"{name!r} fails: {reason(error)}") from error
    if not isinstance(network, nn.Module):
        raise ModelUnavailable(
            f"{name!r} must return a torch.nn.Module, got {type(network).__name__}"
        )
    return network
