"""Whether the service could listen where it is configured to."""

from __future__ import annotations

import errno
import socket

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
                raise PortInUse(
                    f"port {port} on {host} is in use; "
                    f"set active_learning.al_worker.port to another"
                ) from error
            raise SetupError(f"cannot listen on {host}:{port}: {error.strerror}") from error
