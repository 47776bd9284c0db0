"""Encrypted listeners, with certificates made here."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from local_servers import free_ports

from alaas.client import Client
from alaas.config import Settings
from alaas.core.errors import ConnectionFailed
from alaas.server import Server


@pytest.fixture
def authority(tmp_path: Path) -> dict[str, str]:
    """Paths of an authority, and of a certificate of this machine with its key."""
    ca = trustme.CA()
    leaf = ca.issue_cert("127.0.0.1", "localhost")
    paths = {name: str(tmp_path / f"{name}.pem") for name in ("ca", "certificate", "key")}
    ca.cert_pem.write_to_path(paths["ca"])
    leaf.private_key_pem.write_to_path(paths["key"])
    for part in leaf.cert_chain_pems:
        part.write_to_path(paths["certificate"], append=True)
    return paths


def agreed(port: int, newest: ssl.TLSVersion, ca: str) -> str | None:
    """The version of TLS that is agreed upon with a client that knows none beyond `newest`."""
    context = ssl.create_default_context(cafile=ca)
    context.set_ciphers("ALL:@SECLEVEL=0")  # or it would not offer the old ones itself
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, newest
    with (
        socket.create_connection(("127.0.0.1", port), 60) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        return secured.version()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_https_wss_and_grpcs_beside_plain_http(
    make_settings: Callable[..., Settings], authority: dict[str, str], photos: Path
) -> None:
    ports = free_ports(3)
    settings = make_settings(
        protocol=["https", "wss", "grpcs", "http"],
        count=4,
        tls={"certificate": authority["certificate"], "key": authority["key"]},
    )
    worker = settings.active_learning.al_worker
    worker = worker.model_copy(update={"port": (ports[0], ports[0], ports[1], ports[2])})
    learning = settings.active_learning.model_copy(update={"al_worker": worker})
    paths = [str(path) for path in sorted(photos.iterdir())[:40]]
    with Server(settings.model_copy(update={"active_learning": learning})) as server:
        with Client(server.urls["http"]) as client:
            wanted = client.query_by_uri(paths, budget=5)
        for protocol in ("https", "wss", "grpcs"):
            with Client(server.urls[protocol], verify=authority["ca"]) as client:
                assert client.query_by_uri(paths, budget=5) == wanted, protocol
            with Client(server.urls[protocol]) as client, pytest.raises(ConnectionFailed):
                client.query_by_uri(paths, budget=5)
        for port in ports[:2]:
            assert agreed(port, ssl.TLSVersion.TLSv1_3, authority["ca"]) == "TLSv1.3"
            assert agreed(port, ssl.TLSVersion.TLSv1_2, authority["ca"]) == "TLSv1.2"
            # The server's word or its silence; what the client cannot offer reads differently.
            with pytest.raises(OSError, match=r"ALERT_PROTOCOL_VERSION|EOF occurred|reset by peer"):
                agreed(port, ssl.TLSVersion.TLSv1_1, authority["ca"])
