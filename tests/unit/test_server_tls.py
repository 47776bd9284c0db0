"""Certificates and keys that cannot be used, told before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
import trustme
from cryptography.hazmat.primitives import serialization
from structlog.testing import capture_logs

from alaas.config import TLSSettings
from alaas.core.errors import SetupError
from alaas.server import tls


@pytest.fixture
def pair(tmp_path: Path) -> TLSSettings:
    """A certificate and its key, which nobody else may read."""
    return write(tmp_path, trustme.CA().issue_cert("localhost"))


def write(folder: Path, leaf: trustme.LeafCert) -> TLSSettings:
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    leaf.cert_chain_pems[0].write_to_path(str(certificate))
    leaf.private_key_pem.write_to_path(str(key))
    key.chmod(0o600)
    return TLSSettings(certificate=certificate, key=key)


def with_passphrase(pair: TLSSettings) -> None:
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    pair.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.BestAvailableEncryption(b"sesame"),
        )
    )


def of_another(pair: TLSSettings) -> None:
    other = trustme.CA().issue_cert("localhost")
    pair.key.write_bytes(other.private_key_pem.bytes())


def test_a_pair_that_fits_is_taken_without_a_word(pair: TLSSettings) -> None:
    structlog.reset_defaults()
    with capture_logs() as lines:
        tls.check(pair)
    assert lines == []


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644])
def test_a_key_that_others_may_read_is_warned_about(pair: TLSSettings, mode: int) -> None:
    structlog.reset_defaults()
    pair.key.chmod(mode)
    with capture_logs() as lines:
        tls.check(pair)
    (line,) = lines
    assert (line["log_level"], line["key"]) == ("warning", str(pair.key))


@pytest.mark.parametrize(
    "harm",
    [
        lambda pair: pair.key.unlink(),
        lambda pair: pair.certificate.unlink(),
        lambda pair: pair.certificate.write_text("no certificate"),
        lambda pair: pair.key.write_text("no key"),
        with_passphrase,
        of_another,
    ],
    ids=["no key", "no certificate", "not PEM", "key not PEM", "passphrase", "of another"],
)
def test_what_cannot_be_used_is_told(
    pair: TLSSettings, harm: Callable[[TLSSettings], object]
) -> None:
    harm(pair)
    with pytest.raises(SetupError, match=r"^tls: .*\.pem"):
        tls.check(pair)
