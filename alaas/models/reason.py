"""Why somebody else's code failed, in one line."""

from __future__ import annotations

_LINE = 150


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
    r"""What `load_state_dict` complains of, each complaint cut short: its first line is a title.

    Example:
        >>> misfit(RuntimeError("Error(s) ...:\n  Missing key(s): a.\n  Unexpected key(s): b."))
        'Missing key(s): a. Unexpected key(s): b.'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(map(_cut, lines[1:3] or lines))


def _cut(line: str) -> str:
    return line if len(line) <= _LINE else f"{line[:_LINE]} ..."
