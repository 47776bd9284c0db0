"""Which of the ways to make predictions differ a configuration asks for."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import nn

from alaas.config import Inputs
from alaas.config.model import DrawsSettings
from alaas.core.errors import ModelUnavailable
from alaas.models.anatomy import Anatomy
from alaas.models.card import WAYS_OUT
from alaas.models.stochastic import dropconnect
from alaas.models.stochastic.augmentation import Augmentation
from alaas.models.stochastic.dropconnect import DropConnect, LastDropConnect
from alaas.models.stochastic.dropout import Dropout, LastDropout, is_dropout
from alaas.models.stochastic.ensemble import Ensemble, check_members
from alaas.models.stochastic.layers import chosen
from alaas.models.stochastic.source import Source, Ways

log = logging.getLogger(__name__)

TRIES = 8
"""Passes over noise, two of which must differ for there to be draws."""

SHARE = 0.5
"""What is dropped before a head that has no dropout of its own, where nobody says how much."""


def find(
    settings: DrawsSettings,
    network: nn.Module,
    parts: Anatomy,
    inputs: Inputs,
    members: Sequence[nn.Module] = (),
) -> Source | None:
    """Where the draws of a model come from.

    Args:
        settings: What the configuration says of them.
        network: The network, in evaluation mode.
        parts: What it is made of.
        inputs: What it takes.
        members: Further networks of an ensemble.

    Returns:
        None where nothing is asked for in particular and the network has no dropout, or
        predicts nothing that could differ.

    Raises:
        ModelUnavailable: The model does not have what is asked for.
    """
    if parts.output in {"embedding", "detection"}:
        if settings != DrawsSettings():
            what = {"embedding": "embeddings", "detection": "boxes"}[parts.output]
            raise ModelUnavailable(f"there are no draws of {what}: leave out `draws`")
        return None
    if settings.by == "ensemble":
        return Ensemble([network, *members])
    if settings.by == "augment":
        return _augmentation(parts, inputs)
    if settings.head_only:
        return _last(settings, parts)
    if settings.by == "dropconnect":
        return _dropconnect(settings, network)
    return _dropout(settings, network, parts)


def checked(found: Source | None, ways: Ways, settings: DrawsSettings) -> Source | None:
    """A source of draws whose passes differ, and are the same for every item.

    Args:
        found: What `find` gave.
        ways: How to run the model on noise.
        settings: What the configuration says of draws.

    Returns:
        None where nothing is asked for in particular and dropout changes nothing, or not the
        same for every item.

    Raises:
        ModelUnavailable: What is asked for changes nothing, or not the same for every item; or
            a member of an ensemble does not do what the model does, or is there twice.
    """
    if isinstance(found, Ensemble):
        check_members(found, ways.through)
    if not isinstance(found, Dropout):
        return found
    asked = settings != DrawsSettings()
    if not _changes(found, ways):
        if asked:
            raise ModelUnavailable("what dropout changes in this model does not reach its output")
        return None
    try:
        found.check_items(ways)
    except ModelUnavailable as error:
        if asked:
            raise
        log.warning("the model has no draws: %s", error.detail)
        return None
    return found


def _changes(found: Dropout, ways: Ways) -> bool:
    passes = (found.logits(ways, seed=0, number=number) for number in range(TRIES))
    with torch.inference_mode():
        first = next(passes)
        return any(not one.equal(first) for one in passes)


def _augmentation(parts: Anatomy, inputs: Inputs) -> Source:
    if inputs.modality != "image":
        raise ModelUnavailable(
            f"draws.by augment changes pictures, and the model takes {inputs.modality}s"
        )
    if parts.output == "segmentation":
        raise ModelUnavailable(
            "draws.by augment moves the pixels, whose predictions cannot be compared then"
        )
    return Augmentation()


def _last(settings: DrawsSettings, parts: Anatomy) -> Source:
    """Draws of the head alone."""
    if parts.matrix is None or not isinstance(parts.head, nn.Linear):
        raise ModelUnavailable("draws.head_only needs a linear last layer, and the model has none")
    if settings.by == "dropconnect":
        p = settings.p or dropconnect.SHARE
        return LastDropConnect(parts.head, p, f"dropconnect p={p:g} of the head")
    own = parts.drops_before
    p = settings.p or (own.p if own is not None and 0 < own.p < 1 else SHARE)
    return LastDropout(parts.head, own or nn.Dropout(p), p, f"dropout p={p:g} of the head")


def _dropconnect(settings: DrawsSettings, network: nn.Module) -> Source:
    what = "linear, convolutional or recurrent layer"
    layers = chosen(network, settings.layers, dropconnect.has_weights, what=what)
    if not layers:
        raise ModelUnavailable(f"draws.by dropconnect needs a {what}, and the model has none")
    p = settings.p or dropconnect.SHARE
    return DropConnect(network, layers, p, _phrase(f"dropconnect p={p:g}", settings))


def _dropout(settings: DrawsSettings, network: nn.Module, parts: Anatomy) -> Source | None:
    layers = chosen(network, settings.layers, is_dropout, what="dropout layer")
    shares = {
        layer: settings.p or layer.p
        for layer in parts.dropouts
        if layer in layers and (settings.p or layer.p)
    }
    if not shares:
        if settings != DrawsSettings():
            raise ModelUnavailable(f"no dropout layer of the model drops anything: {WAYS_OUT}")
        return None
    said = "dropout" if settings.p is None else f"dropout p={settings.p:g}"
    phrase = _phrase(said, settings)
    (layer, p), *others = shares.items()
    if not others and layer is parts.drops_before and isinstance(parts.head, nn.Linear) and p < 1:
        return LastDropout(parts.head, layer, p, phrase)
    return Dropout(network, shares, phrase)


def _phrase(said: str, settings: DrawsSettings) -> str:
    return f"{said} in {', '.join(settings.layers)}" if settings.layers else said
