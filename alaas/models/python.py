"""Networks that the operator's own code builds: ``hub: python``, ``name: module:factory``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch
from torch import nn

from alaas.config import Inputs, ModelSettings
from alaas.core.errors import ModelUnavailable
from alaas.models import weights as files
from alaas.models.built import Built
from alaas.models.reason import reason
from alaas.models.tokenizer import find
from alaas.models.vision import SEED


def build(settings: ModelSettings) -> Built:
    """Call the factory without arguments and load its weights.

    The module is looked for where Python looks, and in the working directory.

    Raises:
        ModelUnavailable: There is no such module or factory, it gives no
            `torch.nn.Module`, or the weights do not fit.
    """
    inputs = inputs_of(settings, settings.name)
    network = _call(settings.name)
    if settings.weights not in {"none", "default"}:
        files.fill(network, Path(settings.weights).expanduser(), settings.name)
    output = "softmax" if settings.output == "auto" else settings.output
    return Built(network, inputs, output=output)


def inputs_of(settings: ModelSettings, name: str) -> Inputs:
    """What a network that says nothing of it takes: pictures by `preprocess`, or texts.

    Raises:
        ModelUnavailable: The settings say neither or both, or there is no such tokenizer.
    """
    if settings.tokenizer is not None and settings.preprocess is not None:
        raise ModelUnavailable(
            f"{name} takes pictures, as `preprocess` says, or texts, as `tokenizer` says: not both"
        )
    if settings.tokenizer is not None:
        return find(settings.tokenizer, max_tokens=settings.max_tokens)
    if settings.preprocess is None:
        raise ModelUnavailable(
            f"{name} does not say what it takes: for pictures `preprocess` must say their size, "
            f"mean and std, for texts `tokenizer` where it is"
        )
    return settings.preprocess


def _call(name: str) -> nn.Module:
    module_name, _, factory_name = name.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        factory = getattr(import_module(module_name), factory_name)
    except Exception as error:  # a module may raise anything when it is imported
        raise ModelUnavailable(f"cannot import {name!r}: {reason(error)}") from error
    return call(factory, repr(name))


def call(factory: Callable[[], object], name: str) -> nn.Module:
    """The network that a factory gives; what is random in it comes from `SEED`.

    Args:
        factory: Code of somebody else.
        name: What to call it in messages.

    Raises:
        ModelUnavailable: It fails, or gives something else.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            network = factory()
    except Exception as error:  # it may raise anything
        raise ModelUnavailable(f"{name} fails: {reason(error)}") from error
    if not isinstance(network, nn.Module):
        raise ModelUnavailable(
            f"{name} must return a torch.nn.Module, got {type(network).__name__}"
        )
    return network
