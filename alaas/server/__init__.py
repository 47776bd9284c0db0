"""The service. `Server` starts it; jina is imported only in the process that runs it."""

from alaas.server.handle import Server

__all__ = ["Server"]
