"""What the optional parts of the project import, and whether it is installed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec

from alaas.core.errors import MissingExtra

LOCAL: Mapping[str, str] = {
    "aiohttp": "aiohttp",
    "numpy": "numpy",
    "PIL": "pillow",
    "pydantic": "pydantic",
    "safetensors": "safetensors",
    "torch": "torch",
    "torchvision": "torchvision",
    "yaml": "pyyaml",
}
"""Module to distribution of ``alaas[local]``, without what only some sources of items need."""

SERVER: Mapping[str, str] = {
    **LOCAL,
    "docarray": "docarray",
    "fastapi": "fastapi",
    "grpc": "grpcio",
    "grpc_health": "grpcio-health-checking",
    "grpc_reflection": "grpcio-reflection",
    "jina": "jina",
    "prometheus_client": "prometheus-client",
    "structlog": "structlog",
    "uvicorn": "uvicorn",
}
"""Module to distribution of ``alaas[server]``."""


def missing(modules: Iterable[str]) -> list[str]:
    """Those of the modules that are not installed; none is imported."""
    return [module for module in modules if find_spec(module) is None]


def need(command: str, modules: Iterable[str], *, extra: str) -> None:
    """Check that what a command imports is installed.

    Args:
        command: What the user typed, such as ``alaas serve``.
        modules: What it imports.
        extra: The extra that brings them.

    Raises:
        MissingExtra: Some are not; the message says what to install.
    """
    if absent := missing(modules):
        raise MissingExtra(f"`{command}` needs {', '.join(absent)}: pip install 'alaas[{extra}]'")
