"""Whether an address answers at all, asked before a download is begun. Free of torch."""

from __future__ import annotations

import threading
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import Request, urlopen

REACH_S = 4.0
"""Seconds to answer: a start that fails for want of a network fails within ten."""


def unreachable(url: str, *, refusing: bool = True) -> str | None:
    """Why a URL does not answer within `REACH_S` seconds, or None where it does.

    Args:
        url: An address that torchvision or the operator names, never a caller.
        refusing: Whether an answer such as 404 is a reason, too. It is none where the URL
            only stands for a server.
    """
    reasons = [f"no answer within {REACH_S:g} s"]

    def ask() -> None:
        try:
            with urlopen(Request(url, method="HEAD"), timeout=REACH_S):  # noqa: S310
                reasons.clear()
        except HTTPError as error:
            reasons[:] = [str(error.reason)] if refusing else []
        except (OSError, ValueError, HTTPException) as error:
            reasons[:] = [" ".join(str(getattr(error, "reason", error)).split())]

    # The timeout of a socket does not cover the lookup of a name; joining a thread does.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(REACH_S + 0.5)
    # In one step: where the thread is late, it may clear the list at any time.
    return next(iter(reasons), None)
