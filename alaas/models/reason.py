"""Why somebody else's code failed, in one line."""

from __future__ import annotations


def reason(error: BaseException) -> str:
    """The type of an error and the first line of its message, at most 300 characters.

    Example:
        >>> reason(KeyError("fc")), reason(EOFError())
        ("KeyError: 'fc'", 'EOFError')
    """
    kind = type(error).__name__
    lines = str(error).strip().splitlines()
    return f"{kind}: {lines[0]}"[:300] if lines else kind


def misfit(error: RuntimeError) -> str:
    """The first thing that `load_state_dict` complains of: its own first line is a title."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[1:2] or lines)[:300]
