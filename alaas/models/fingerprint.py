"""What tells one network from another."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Set
from enum import Enum
from functools import partial
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

DIGITS = 16
_ADDRESS = re.compile(r"0x[0-9a-f]+")

_OF_ALL = frozenset(vars(nn.Module()))
"""Attributes that every module has: parameters and layers, which are read apart, and hooks."""

_NOTES = frozenset({
    "name_or_path", "_is_hf_initialized", "_use_kernels", "_weight_conversions",
    "pretrained_cfg", "default_cfg",
})  # fmt: skip
"""Attributes in which libraries note where weights came from and how they were loaded."""

_NOTES_OF_CONFIGURATIONS = frozenset(
    {"_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"}
)


def fingerprint(network: nn.Module) -> str:
    """SHA-256 over the values of a network and over what it does with them, 16 digits of it.

    That is: the names and values of all parameters and buffers; its layers as torch prints
    them; their further attributes, as far as these are numbers, words, arrays, functions,
    configurations or collections of such; and the code of those of its classes and functions
    that are not torch's own. What such code calls outside itself is not covered. Neither
    training mode nor hooks nor the device are a part of it.
    """
    total = hashlib.sha256()
    buffers = network.named_buffers(remove_duplicate=False)  # of those that are not saved, too
    values = {name: one for name, one in buffers if not _is_left_behind(one)}
    for name, value in sorted((values | network.state_dict()).items()):
        total.update(name.encode())
        total.update(_bytes(value) if torch.is_tensor(value) else _said(value).encode())
    # An address differs from process to process.
    total.update(_ADDRESS.sub("", repr(network)).encode())
    for name, module in network.named_modules():
        for key, value in sorted(vars(module).items()):
            if key not in _OF_ALL | _NOTES and not _is_left_behind(value):
                total.update(f"{name}.{key}={_said(value)}\n".encode())
    for kind in sorted({type(module) for module in network.modules()}, key=_full_name):
        total.update(_full_name(kind).encode())
        if not _is_of_torch(kind):
            total.update(_source(kind).encode())
    return total.hexdigest()[:DIGITS]


def _is_left_behind(value: object) -> bool:
    """Whether a pass through the network made it, which differs from device to device."""
    return isinstance(value, Tensor) and (value.is_inference() or value.grad_fn is not None)


def _said(value: Any, around: tuple[int, ...] = ()) -> str:
    """A value in words that are the same in every process; of an unknown object its type.

    Args:
        value: The value.
        around: What it is an element of, by its addresses: it may contain itself.
    """
    if id(value) in around:
        return "..."
    if isinstance(value, Enum):
        return f"{_full_name(type(value))}.{value.name}"
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | torch.dtype):
        return repr(value)
    named = value if hasattr(value, "__name__") else type(value)
    inside = [_said(one, (*around, id(value))) for one in _inside(value)]
    if isinstance(value, Mapping | Set):  # which may be in another order in another process
        inside.sort()
    return f"{_full_name(named)} {inside}"


def _inside(value: Any) -> Iterable[Any]:
    """What tells a value from others of its type."""
    for kind, inside in _INSIDE:
        if isinstance(value, kind):
            return inside(value)
    # Transformers need not be installed.
    if hasattr(value, "model_type") and callable(getattr(value, "to_dict", None)):
        return [_bare(value.to_dict())]
    if dataclasses.is_dataclass(value):
        return [getattr(value, one.name) for one in dataclasses.fields(value)]
    if hasattr(value, "__name__"):  # a function, be it Python's, torch's or numpy's
        return _of_function(value)
    return ()


_INSIDE: tuple[tuple[Any, Callable[[Any], Iterable[Any]]], ...] = (
    (type | ModuleType | nn.Module, lambda _: ()),
    (Tensor, lambda tensor: [*tensor.shape, hashlib.sha256(_bytes(tensor)).hexdigest()]),
    (np.ndarray | np.generic, lambda array: [str(array.dtype), array.tolist()]),
    (Mapping, lambda mapping: mapping.items()),
    (list | tuple | Set, lambda collection: collection),
    (partial, lambda made: [made.func, made.args, made.keywords]),
    (SimpleNamespace, lambda names: [vars(names)]),
    (CodeType, lambda code: [code.co_code, code.co_consts, code.co_names]),
)


def _bytes(tensor: Tensor) -> memoryview:
    """The bytes of a tensor, whatever the type: numpy has no bfloat16."""
    values = tensor.detach().cpu()
    values = (values.dequantize() if values.is_quantized else values).contiguous().view(-1)
    return values.view(torch.uint8).numpy().data if values.numel() else memoryview(b"")


def _bare(stated: Any) -> Any:
    """A configuration, and those inside it, without notes of where they come from."""
    if not isinstance(stated, dict):
        return stated
    return {key: _bare(one) for key, one in stated.items() if key not in _NOTES_OF_CONFIGURATIONS}


def _of_function(function: Any) -> list[Any]:
    """What a function does, and what it has at hand beside its arguments."""
    found = [getattr(function, name, None) for name in ("__defaults__", "__kwdefaults__")]
    if not _is_of_torch(function):
        found.append(getattr(function, "__code__", None))
    for cell in getattr(function, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # it is empty so far
            found.append(cell.cell_contents)
    return found


def _full_name(named: Any) -> str:
    name = getattr(named, "__qualname__", None) or named.__name__
    return f"{getattr(named, '__module__', None)}.{name}"


def _is_of_torch(named: Any) -> bool:
    """Whether a class or a function is torch's own, which its name tells enough of."""
    return str(getattr(named, "__module__", None)).startswith("torch.")


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # it was typed at a prompt, or is not written in Python
        functions = {key: one for key, one in vars(kind).items() if inspect.isfunction(one)}
        return _said(functions)
