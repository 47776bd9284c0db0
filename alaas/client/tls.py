"""Trust in servers: the system's authorities, a bundle of the caller, or none asked."""

from __future__ import annotations

import socket
import ssl
from typing import Any


def ssl_context(verify: bool | str) -> ssl.SSLContext:
    """A client's TLS context.

    Args:
        verify: True for the system's authorities, a path to a bundle of others, or False
            to take any certificate.
    """
    context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def presented_certificate(host: str, port: int, *, timeout: float) -> tuple[bytes, str]:
    """The certificate that a server presents, unverified, and a name that stands in it.

    Args:
        host: The server's name or IP address.
        port: Its port.
        timeout: Seconds to wait for it.

    Returns:
        The certificate as PEM, and one of its names.

    Raises:
        OSError: The server cannot be reached, or speaks no TLS.
    """
    pem = ssl.get_server_certificate((host, port), timeout=timeout)
    # Only a verified certificate is decoded by the standard library; it verifies itself here.
    context = ssl.create_default_context(cadata=pem)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    with (
        socket.create_connection((host, port), timeout=timeout) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        certificate = secured.getpeercert() or {}
    # Without alternative names gRPC compares the host with the subject's common name.
    names: Any = certificate.get("subjectAltName") or [("", host)]
    return pem.encode(), names[0][1]
