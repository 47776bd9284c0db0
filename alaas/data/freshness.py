"""How long an answer of a web server holds, and how to ask whether it still does: RFC 9111."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime

from multidict import CIMultiDict, CIMultiDictProxy

from alaas.core.sources import Known

Headers = CIMultiDict[str] | CIMultiDictProxy[str]

_SETTLED_S = 2.0
_DIRECTIVE = re.compile(r'([a-z-]+)(?:\s*=\s*"?([^",]*)"?)?', re.IGNORECASE)
_SECONDS = re.compile(r"[0-9]{1,10}")


def record(digest: str, headers: Headers, *, asked_at: float, target: str = "") -> Known | None:
    """What to note of an answer, or None where it may not be kept or could not be compared.

    Args:
        digest: The name of the body.
        headers: Of the answer.
        asked_at: When the request began, in seconds since 1970.
        target: The name of the address that redirects led to. How long their end holds says
            nothing of them, so that such an address is never fresh.

    Example:
        >>> answer = CIMultiDict({"Cache-Control": "max-age=60", "Age": "20"})
        >>> record("d", answer, asked_at=1000.0).fresh_until
        1040.0
    """
    control = _directives(headers)
    if "no-store" in control or headers.get("Vary", "").strip() == "*":
        return None
    modified = headers.get("Last-Modified", "")
    if not _is_settled(modified, asked_at):
        modified = ""
    found = Known(
        digest=digest,
        noted_at=asked_at,
        etag=headers.get("ETag", ""),
        modified=modified,
        fresh_until=0.0 if target else _fresh_until(control, headers, asked_at),
        target=target,
    )
    return found if found.etag or modified or found.fresh_until > asked_at else None


def condition(known: Known) -> dict[str, str]:
    """The header fields that ask for a body only if it is another one; none if nothing can."""
    if known.etag:
        return {"If-None-Match": known.etag}
    return {"If-Modified-Since": known.modified} if known.modified else {}


def confirmed(known: Known, headers: Headers, *, asked_at: float, target: str) -> Known | None:
    """The record after the server has answered that nothing changed.

    Args:
        known: The record that was asked with.
        headers: Of the answer with status 304.
        asked_at: When the request began, in seconds since 1970.
        target: The name of the address that redirects led to.

    Returns:
        The record with what the answer says anew; one without validators and of no duration
        where the answer says that it must not be kept; None where the answer is about
        something else: another address, or another version than was asked for.
    """
    etag = headers.get("ETag", known.etag)
    if target != known.target or _opaque(etag) != _opaque(known.etag):
        return None
    control = _directives(headers)
    if "no-store" in control:
        return replace(known, etag="", modified="", fresh_until=0.0)
    fresh_until = 0.0 if target else _fresh_until(control, headers, asked_at)
    return replace(known, noted_at=asked_at, fresh_until=fresh_until)


def _opaque(etag: str) -> str:
    return etag.removeprefix("W/")


def _directives(headers: Headers) -> Mapping[str, str]:
    """The directives of ``Cache-Control``; of one that is repeated, the first counts."""
    found: dict[str, str] = {}
    if "Cache-Control" not in headers:
        return found
    for name, value in _DIRECTIVE.findall(",".join(headers.getall("Cache-Control"))):
        found.setdefault(name.lower(), value.strip())
    return found


def _fresh_until(control: Mapping[str, str], headers: Headers, asked_at: float) -> float:
    if "no-cache" in control:
        return 0.0
    if "max-age" in control:
        # An age that cannot be read is none: such an answer is old at once.
        seconds = float(control["max-age"]) if _SECONDS.fullmatch(control["max-age"]) else 0.0
    else:
        expires = _date(headers.get("Expires", ""))
        seconds = expires - (_date(headers.get("Date", "")) or asked_at) if expires else 0.0
    age = headers.get("Age", "0").strip()
    left = seconds - (float(age) if _SECONDS.fullmatch(age) else seconds)
    return asked_at + left if left > 0 else 0.0


def _is_settled(modified: str, asked_at: float) -> bool:
    """Whether an object was at rest when it was asked for: a change shows in whole seconds."""
    changed = _date(modified)
    return bool(changed) and asked_at - changed >= _SETTLED_S


def _date(text: str) -> float:
    """A date of HTTP in seconds since 1970, or 0 where there is none."""
    if not text:
        return 0.0
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
