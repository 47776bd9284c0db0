"""Where an object store is and who asks it, as its vendor's own tools find out.

From the environment, a shared file, or the machine that this runs on; never from a caller.
Credentials block, and may be used from any thread.
"""

from __future__ import annotations

import os
import threading
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from alaas.config import FetchSettings
from alaas.core.errors import MissingExtra

_MODULES = {"s3": ("botocore",), "gs": ("google", "google.auth")}
_READ_ONLY = "https://www.googleapis.com/auth/devstorage.read_only"


def require(fetch: FetchSettings) -> None:
    """Make sure that what the enabled object stores need is installed.

    Raises:
        MissingExtra: It is not.
    """
    for scheme, store in (("s3", fetch.s3), ("gs", fetch.gs)):
        if scheme in fetch.schemes and not store.anonymous and not is_installed(scheme):
            raise MissingExtra(
                f"fetch.schemes has {scheme}, which needs more: pip install 'alaas[objects]'"
            )


@cache
def is_installed(scheme: str) -> bool:
    """Whether what finds the credentials of ``s3`` or ``gs`` is installed."""
    return all(find_spec(name) is not None for name in _MODULES[scheme])


def default_region() -> str:
    """The region of AWS that the environment names."""
    return _first("AWS_REGION", "AWS_DEFAULT_REGION") or "us-east-1"


def default_endpoint(scheme: str, region: str) -> str:
    """The URL of a store: as the environment says, or the well-known one.

    Args:
        scheme: s3 or gs.
        region: Of the bucket, for s3.

    Example:
        >>> default_endpoint("gs", "")
        'https://storage.googleapis.com'
    """
    if scheme == "gs":
        return _first("STORAGE_EMULATOR_HOST") or "https://storage.googleapis.com"
    named = _first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    return named or f"https://s3.{region}.amazonaws.com"


def _first(*names: str) -> str:
    """The first of these variables that is set."""
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


class AmazonCredentials:
    """Credentials of AWS, and of stores that speak its language."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: Any = None

    def sign(self, url: str, region: str) -> dict[str, str]:
        """The headers of a GET, by signature version 4.

        Args:
            url: What is got, percent-encoded.
            region: Where the bucket is.

        Raises:
            LookupError: There are no credentials, or they cannot be renewed.
        """
        try:
            auth, request = import_module("botocore.auth"), import_module("botocore.awsrequest")
            asked = request.AWSRequest("GET", url)
            auth.S3SigV4Auth(self._credentials(), "s3", region).add_auth(asked)
        except Exception as error:  # the chain of sources raises anything
            raise LookupError(_said(error)) from error
        return dict(asked.headers.items())

    def _credentials(self) -> Any:
        with self._lock:
            if self._found is None:
                self._found = import_module("botocore.session").get_session().get_credentials()
            if self._found is None:
                raise LookupError("neither the environment nor a file nor the machine has any")
            return self._found.get_frozen_credentials()


class GoogleCredentials:
    """Application default credentials of Google Cloud."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: Any = None

    def sign(self, url: str, region: str) -> dict[str, str]:
        """The headers of a GET: a token, which is renewed when it has expired.

        Args:
            url: Not needed here.
            region: Not needed here.

        Raises:
            LookupError: There are no credentials, or they cannot be renewed.
        """
        try:
            with self._lock:
                if self._found is None:
                    self._found, _ = import_module("google.auth").default(scopes=[_READ_ONLY])
                if not self._found.valid:
                    requests = import_module("google.auth.transport.requests")
                    self._found.refresh(requests.Request())
                return {"Authorization": f"Bearer {self._found.token}"}
        except Exception as error:  # so does this one
            raise LookupError(_said(error)) from error


def _said(error: Exception) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
