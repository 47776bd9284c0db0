"""Keeping secrets out of what the service writes about itself: logs, problems, spans.

An address keeps its scheme, host and path, which say what went wrong with it; what grants
access to it stands in its user name and its query, and those go. So do keys of callers, and
the secrets that the environment of the process holds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import lru_cache

HIDDEN = "[hidden]"

_ADDRESS = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,20}:[/\\]+)([^\s\"'<>]+)")
_QUERY = re.compile(r"(/[^\s/?#\"'<>]*\?)[^\s\"'<>]+")
_KEY = re.compile(r"(?i)\b(bearer|basic)(?:\s|%20)+[\w.~+/=:-]+")
_OURS = re.compile(r"\balaas_[\w-]{40,}")
_NAMED = re.compile(
    r"(?i)(signature|credential|token|secret|passw(?:or)?d|api[_-]?key|access[_-]?key(?:id)?"
    r"|\b(?:sig|key|pwd|auth))(=|%3d|[\"']\s*:\s*[\"']?)[^\s&\"'<>,;]+"
)
_SECRET = re.compile(
    r"(?i)passw(or)?d|(^|_)(secret|token|api_?key|access_?key|credentials?|otlp_headers)(_|$)"
)
_SHORTEST = 8
"""Characters of the shortest value of the environment that is taken for a secret."""


def redact(text: str) -> str:
    """Take out of a text what grants access to something.

    Args:
        text: Any text, such as a message or a stack.

    Returns:
        The same with `HIDDEN` in the place of user names, passwords and queries of
        addresses, of keys, of parameters whose name says that they are secret, and of the
        secrets in the environment of this process.

    Example:
        >>> redact("no answer from https://me:pass@host.example/a.png?X-Amz-Signature=5f&x=1")
        'no answer from https://host.example/a.png?[hidden]'
        >>> redact("Authorization: Bearer abc.def, sig=0815")
        'Authorization: Bearer [hidden], sig=[hidden]'
    """
    for secret in _own_secrets():
        text = text.replace(secret, HIDDEN)
    text = _QUERY.sub(rf"\1{HIDDEN}", _ADDRESS.sub(_bare, text))
    text = _OURS.sub(HIDDEN, _KEY.sub(rf"\1 {HIDDEN}", text))
    return _NAMED.sub(rf"\1\2{HIDDEN}", text)


def _bare(found: re.Match[str]) -> str:
    scheme, rest = found.groups()
    place, mark, _ = _cut(rest)
    authority, slash, path = place.partition("/")
    _, at, host = authority.rpartition("@")
    if "@" in rest[len(authority) :] and (at or ":" in host):
        # Perhaps a password with a slash or a question mark in it: that cannot be told.
        return f"{scheme}{HIDDEN}"
    return f"{scheme}{host}{slash}{path}" + (f"{mark}{HIDDEN}" if mark else "")


def _cut(rest: str) -> tuple[str, str, str]:
    """What stands before the query or the fragment, the sign that begins it, and it."""
    begin = re.search(r"[?#;]|%3f", rest, re.IGNORECASE)
    if begin is None:
        return rest, "", ""
    return rest[: begin.start()], "?", rest[begin.end() :]


def secrets_of(environ: Mapping[str, str]) -> list[str]:
    """The values of variables whose names say that they are secret, the longest first.

    Example:
        >>> secrets_of({"AWS_SECRET_ACCESS_KEY": "abcdefgh", "HOME": "/home/me"})
        ['abcdefgh']
    """
    found = {
        value
        for name, value in environ.items()
        if _SECRET.search(name) and len(value) >= _SHORTEST and not value.isdecimal()
    }
    # One may be a part of another.
    return sorted(found, key=lambda value: (-len(value), value))


@lru_cache(maxsize=1)
def _own_secrets() -> tuple[str, ...]:
    return tuple(secrets_of(os.environ))
