"""API keys: how one is made, and what of it is written down."""

from __future__ import annotations

import hashlib
import secrets

PREFIX = "alaas_"
"""How keys begin, so that people and scanners of leaked secrets know one when they see it."""


def make() -> str:
    """A new key: `PREFIX` and 256 random bits in 43 letters, digits, ``-`` and ``_``."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(key: str | bytes) -> str:
    """The SHA-256 of a key, in hexadecimal: all that a server is told of it.

    A slow hash, as passwords need, would add nothing: nobody can try 2^256 keys. And
    callers without any would make the service compute it.
    """
    return hashlib.sha256(key.encode() if isinstance(key, str) else key).hexdigest()
