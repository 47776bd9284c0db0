"""Image classifiers of timm, with the preprocessing of their own weights."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alaas.config import ModelSettings, Preprocessing
from alaas.core.errors import MissingExtra, ModelUnavailable
from alaas.models import weights as files
from alaas.models.built import Built
from alaas.models.output import stated
from alaas.models.reach import unreachable
from alaas.models.reason import reason
from alaas.models.vision import SEED, tensors_only

_FILE = "model.safetensors"


def build(settings: ModelSettings) -> Built:
    """Build a classifier, give it its weights, and say what they want as input.

    `settings.name` is a model of timm, or a model and a tag of its weights, such as
    ``resnet18.a1_in1k``; `settings.weights` may name the tag as well.

    Raises:
        MissingExtra: ``alaas[timm]`` is not installed.
        ModelUnavailable: No such model, no such weights, or no way to get them.
    """
    try:
        import timm
    except ImportError as error:
        raise MissingExtra("models of timm need alaas[timm]: pip install 'alaas[timm]'") from error
    architecture, _, tag = settings.name.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ModelUnavailable(f"timm has no model {architecture!r}{hint}")
    tags = [one.partition(".")[2] for one in timm.list_pretrained(f"{architecture}.*")]
    wanted = settings.weights
    if wanted in tags:
        tag, wanted = wanted, "default"
    if tag and tag not in tags:
        raise ModelUnavailable(_no_weights(architecture, tag, tags))
    name = f"{architecture}.{tag}" if tag else architecture
    if wanted == "none":
        network = _made(name)
    elif wanted == "default":
        network = _published(name, tags, settings.revision)
    elif (path := Path(wanted).expanduser()).suffix in files.SUFFIXES or path.exists():
        network = _from_file(name, path)
    else:
        raise ModelUnavailable(_no_weights(architecture, wanted, tags))
    return Built(
        network,
        settings.preprocess or _preset(network, name),
        categories=_categories(network) if wanted == "default" else (),
        output=stated(settings),
    )


def _no_weights(architecture: str, wanted: str, tags: list[str]) -> str:
    had = f"has {', '.join(tags)}, and" if tags else "has none, but"
    return f"{architecture} has no weights {wanted!r}; it {had} takes a path, `default` or `none`"


def _made(name: str, **options: Any) -> nn.Module:
    import timm

    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            network: nn.Module = timm.create_model(name, **options)
    except Exception as error:  # some want packages of their own, or cannot be built at all
        raise ModelUnavailable(f"timm does not build {name}: {reason(error)}") from error
    return network


def _published(name: str, tags: list[str], wanted: str | None) -> nn.Module:
    """A network with weights that timm publishes."""
    import timm

    stated = timm.get_pretrained_cfg(name)
    if stated is None or not stated.has_weights:
        raise ModelUnavailable(_no_weights(name.partition(".")[0], "default", tags))
    if not stated.hf_hub_id or stated.hf_hub_filename or stated.custom_load:
        # Elsewhere, or in a form of its own: timm knows where and how.
        url = stated.url if isinstance(stated.url, str) and not stated.hf_hub_id else ""
        if fault := unreachable(url) if url else None:
            raise ModelUnavailable(f"{name} needs {url}, which cannot be read ({fault})")
        with tensors_only():
            return _made(name, pretrained=True)
    repository, _, revision = stated.hf_hub_id.partition("@")
    path = _downloaded(repository, wanted or revision or None, name)
    with tensors_only():
        return _made(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)})


def _downloaded(repository: str, revision: str | None, name: str) -> Path:
    """The file of its weights, from the hub's cache where it is there."""
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked: dict[str, Any] = {"repo_id": repository, "filename": _FILE, "revision": revision}
    try:
        return Path(hf_hub_download(**asked, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    fault = (
        "HF_HUB_OFFLINE is set"
        if constants.HF_HUB_OFFLINE
        else unreachable(constants.ENDPOINT, refusing=False)
    )
    if fault is None:
        try:
            return Path(hf_hub_download(**asked))
        except Exception as error:  # noqa: BLE001  # a network, a server, a disk
            fault = reason(error)
    raise ModelUnavailable(
        f"{name} needs {_FILE} of {repository}: not in {os.fspath(constants.HF_HUB_CACHE)}, and "
        f"{constants.ENDPOINT} does not give it ({fault}). Offline, set `weights` to a path, or "
        f"to `none` for random weights"
    )


def _from_file(name: str, path: Path) -> nn.Module:
    """A network with weights of its own file, and as many classes as the file's head has."""
    import timm

    state = files.read(path)
    stated = timm.get_pretrained_cfg(name)
    named = getattr(stated, "classifier", None) or "fc"
    head = named if isinstance(named, str) else named[0]
    weight = state.get(f"{head}.weight")
    if weight is None:
        raise ModelUnavailable(f"{str(path)!r} holds no weights of {name}: no {head}.weight in it")
    network = _made(name, num_classes=weight.shape[0])
    files.fill(network, path, name, state=state)
    return network


def _preset(network: nn.Module, name: str) -> Preprocessing:
    """What timm's own transforms do for its evaluation, in our words."""
    from timm.data.config import resolve_model_data_config

    stated: Mapping[str, Any] = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    channels, height, width = stated["input_size"]
    mode = stated["crop_mode"]
    if channels != 3 or mode not in {"center", "squash"}:
        raise ModelUnavailable(
            f"{name} wants {channels} channels and crop mode {mode!r}: set `preprocess`"
        )
    scaled = tuple(math.floor(side / stated["crop_pct"]) for side in (height, width))
    if mode == "center" and height != width:
        raise ModelUnavailable(f"{name} wants pictures of {height} x {width}: set `preprocess`")
    return Preprocessing(
        size=(height, width),
        resize=scaled if mode == "squash" else scaled[0],
        mean=tuple(stated["mean"]),
        std=tuple(stated["std"]),
        interpolation=stated["interpolation"],
    )


def _categories(network: nn.Module) -> tuple[str, ...]:
    """Names of the classes of ImageNet, where it is those that it knows."""
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(network)
    return tuple(ImageNetInfo(subset).label_descriptions()) if subset else ()
