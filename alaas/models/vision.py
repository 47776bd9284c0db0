"""Image classifiers of torchvision, with the preprocessing of their own weights."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alaas.config import ModelSettings, Preprocessing
from alaas.core.errors import ModelUnavailable
from alaas.models import weights as files
from alaas.models.built import Built
from alaas.models.output import stated
from alaas.models.reason import reason
from alaas.models.zoo import torchvision

SEED = 0  # of random weights, so that `weights: none` means the same network everywhere


def names() -> list[str]:
    """The classification models of the installed torchvision."""
    return list(torchvision.models.list_models(module=torchvision.models))


def build(settings: ModelSettings) -> Built:
    """Build a classifier, give it its weights, and say what they want as input.

    Raises:
        ModelUnavailable: No such model, no such weights, or no way to get them.
    """
    if settings.name not in names():
        near = difflib.get_close_matches(settings.name, names(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ModelUnavailable(f"torchvision has no classifier {settings.name!r}{hint}")
    published = torchvision.models.get_model_weights(settings.name)
    preset = _preset(published.DEFAULT)
    wanted = settings.weights
    if wanted == "none":
        network, inputs = _random(settings.name), settings.preprocess or preset
        return Built(network, inputs, output=stated(settings))
    chosen = published.DEFAULT if wanted == "default" else published.__members__.get(wanted)
    if chosen is not None:
        network = _published(settings.name, chosen)
        categories = tuple(chosen.meta["categories"] or ())
        inputs = settings.preprocess or _preset(chosen)
        return Built(network, inputs, categories, stated(settings))
    if not _is_path(wanted):
        raise ModelUnavailable(
            f"{settings.name} has no weights {wanted!r}; it has "
            f"{', '.join(one.name for one in published)}, and takes a path, `default` or `none`"
        )
    network = _from_file(settings.name, Path(wanted).expanduser())
    return Built(network, settings.preprocess or preset, output=stated(settings))


def _is_path(wanted: str) -> bool:
    path = Path(wanted).expanduser()
    return path.suffix in files.SUFFIXES or path.exists()


def _random(name: str, **options: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    return network


def _published(name: str, chosen: Any) -> nn.Module:
    """A network with weights that torchvision publishes."""
    path = files.ensure(chosen.url, model=name)
    try:
        with tensors_only():
            network: nn.Module = torchvision.models.get_model(name, weights=chosen)
    except Exception as error:  # a broken or a strange file makes torch raise anything
        raise ModelUnavailable(
            f"{str(path)!r} does not hold the weights of {name} ({reason(error)}); "
            f"without it they are downloaded again"
        ) from error
    return network


def _from_file(name: str, path: Path) -> nn.Module:
    """A network with weights of its own file, and as many classes as the file's head has."""
    state = files.read(path)
    head = _head(_random(name))
    weight = state.get(f"{head}.weight")
    if weight is None:
        raise ModelUnavailable(f"{str(path)!r} holds no weights of {name}: no {head}.weight in it")
    network = _random(name, num_classes=weight.shape[0])
    files.fill(network, path, name, state=state)
    return network


def _head(network: nn.Module) -> str:
    """Name of the layer that makes the logits."""
    layers = [
        name for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]  # fmt: skip
    return str(layers[-1])


def _preset(weights: Any) -> Preprocessing:
    """The numbers of the weights' own transforms."""
    preset = weights.transforms()
    crop, resize = preset.crop_size, preset.resize_size
    return Preprocessing(
        size=(crop[0], crop[-1]),
        resize=resize[0] if len(resize) == 1 else (resize[0], resize[1]),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )


@contextmanager
def tensors_only() -> Iterator[None]:
    """Make every `torch.load` inside refuse anything but tensors.

    Libraries read their downloads with torch's permissive loader, which would run code that
    a tampered file carries.
    """
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
