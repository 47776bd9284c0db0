"""What tells one network from another."""

from __future__ import annotations

import hashlib
import inspect
import re

import torch
from torch import nn

DIGITS = 16
_ADDRESS = re.compile(r"0x[0-9a-f]+")


def fingerprint(network: nn.Module) -> str:
    """SHA-256 over the values of a network and over what it does with them, 16 digits of it.

    That is: the names and values of all parameters and buffers; its layers as torch prints
    them; and the source of those of its classes that are not torch's own, as far as Python
    finds it. What such a class calls outside itself is not covered.
    """
    total = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        total.update(name.encode())
        # The bytes, whatever the type: numpy has no bfloat16.
        values = tensor.detach().cpu().contiguous().view(-1)
        if values.numel():
            total.update(values.view(torch.uint8).numpy())
    # An address differs from process to process.
    total.update(_ADDRESS.sub("", repr(network)).encode())
    for kind in sorted({type(module) for module in network.modules()}, key=_full_name):
        total.update(_full_name(kind).encode())
        if not kind.__module__.startswith("torch."):
            total.update(_source(kind).encode())
    return total.hexdigest()[:DIGITS]


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # it was typed at a prompt, or is not written in Python
        return ""
