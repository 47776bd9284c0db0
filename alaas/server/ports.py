"""Whether the service could listen where it is configured to."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from alaas.config.listeners import Listener
from alaas.core.errors import PortInUse, SetupError


def check_free(listener: Listener) -> None:
    """Make sure that nobody listens there yet, by listening for a moment.

    Raises:
        PortInUse: Somebody does.
        SetupError: This machine has no such address, or the port needs more rights.
    """
    host, port = listener.host, listener.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As the servers do: connections that have just closed do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                user = holder(port)
                by = "" if user is None else f" by process {user}"
                raise PortInUse(
                    f"port {port} on {host} is in use{by}; "
                    f"set active_learning.al_worker.port to another"
                ) from error
            raise SetupError(f"cannot listen on {host}:{port}: {error.strerror}") from error


def holder(port: int) -> int | None:
    """The process that listens on a port of this machine, where that can be known.

    Linux tells of one's own processes, and root of all.
    """
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for link in Path("/proc").glob("[0-9]*/fd/*") if sockets else ():
        with suppress(OSError):  # it has ended, or is somebody else's
            if os.readlink(link) in sockets:
                return int(link.parts[2])
    return None


def _listening(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                _, local, _, state, *rest = line.split()
                if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                    yield rest[5]
