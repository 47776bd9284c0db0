"""Why one item cannot go on."""

from __future__ import annotations


class ItemError(Exception):
    """One item is given up; the stage turns this into a `Failure`, it never leaves it.

    Args:
        code: A stable reason, such as ``uri_blocked``.
        message: One sentence for a person. It never repeats an address, since
            that may carry a secret in its query.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
