"""The certificate and key of encrypted listeners, looked at before anything is started."""

from __future__ import annotations

import ssl
import stat

import structlog

from alaas.config import TLSSettings
from alaas.core.errors import SetupError

log = structlog.get_logger()


def check(tls: TLSSettings) -> None:
    """See that certificate and key can be used, and warn of a key that others may read.

    Raises:
        SetupError: They cannot: a file is missing, is no PEM, has a passphrase, or the key
            is of another certificate.
    """
    try:
        for path in (tls.certificate, tls.key):
            path.open("rb").close()
    except OSError as error:
        raise SetupError(f"tls: {error.filename}: {error.strerror}") from error
    try:
        # A passphrase would be asked for on the terminal, in every process.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            tls.certificate, tls.key, password=""
        )
    except ssl.SSLError as error:
        raise SetupError(
            f"tls: {tls.certificate} and {tls.key} are not a certificate in PEM and its key "
            f"without a passphrase: {error.reason or error}"
        ) from error
    if tls.key.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        log.warning("others may read the key", key=str(tls.key), instead=f"chmod o= {tls.key}")
