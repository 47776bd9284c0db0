"""The name of an item's content: equal bytes have equal names, whatever they are called."""

from __future__ import annotations

import hashlib

SIZE = 16
"""Bytes of a digest; it is written as twice as many hexadecimal digits."""


def digest(data: bytes | memoryview, *, is_text: bool = False) -> str:
    """BLAKE2b of an item's content, 32 hexadecimal digits of it.

    Args:
        data: An encoded image, or a text as UTF-8.
        is_text: Whether it is a text: one and the same bytes differ as text and as image.

    Example:
        >>> digest(b"") == digest(b""), digest(b"") == digest(b"", is_text=True)
        (True, False)
    """
    person = b"alaas text" if is_text else b"alaas"
    return hashlib.blake2b(data, digest_size=SIZE, person=person).hexdigest()
