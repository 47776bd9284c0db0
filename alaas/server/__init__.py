"""The service. `Server` starts it; jina is imported only in the process that runs it."""

from alaas.core.errors import MissingExtra

try:
    from alaas.server.handle import Server
except ModuleNotFoundError as error:
    raise MissingExtra(f"the server needs {error.name}: pip install 'alaas[server]'") from error

__all__ = ["Server"]
