"""The API key that a client shows."""

from __future__ import annotations

import os

VARIABLE = "ALAAS_API_KEY"
"""The environment variable that a key is taken from where none is given."""


def checked_key(given: str | None) -> str | None:
    """The key to show: the one given, or the environment's; None where there is neither.

    Raises:
        ValueError: It cannot be one; the message does not say what it is.
    """
    key = given if given is not None else os.environ.get(VARIABLE) or None
    if key is not None and not (key.isascii() and key.isprintable() and key and " " not in key):
        name = VARIABLE if given is None else "api_key"
        raise ValueError(f"{name} must be one word of ASCII letters, digits and signs")
    return key
