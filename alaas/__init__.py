"""Active Learning as a Service.

    >>> import alaas
    >>> alaas.__version__
    '0.3.0'

`alaas.select` chooses from a pool in this process; `alaas.Client` asks a server;
`alaas.Server` is one. Each is imported when it is first used, so that ``import alaas``
loads neither numpy nor torch nor jina.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.3.0"

_HOMES = {
    "AlaasError": "alaas.core.errors",
    "Client": "alaas.client",
    "Live": "alaas.models.live",
    "QueryResult": "alaas.client",
    "Server": "alaas.server",
    "select": "alaas.api",
}

__all__ = ["AlaasError", "Client", "Live", "QueryResult", "Server", "__version__", "select"]

if TYPE_CHECKING:
    from alaas.api import select
    from alaas.client import Client, QueryResult
    from alaas.core.errors import AlaasError
    from alaas.models.live import Live
    from alaas.server import Server


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'alaas' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
