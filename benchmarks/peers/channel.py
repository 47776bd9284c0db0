"""How a benchmark asks a process of its own: one JSON object a line, one answer a line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

Question = dict[str, Any]
"""``paths`` and ``uris`` of the same photographs in the same order, and the ``budget``."""


def take_over() -> TextIO:
    """Keep standard output for the answers; what libraries print goes to standard error."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return out


def answer(ask: Callable[[Question], Any], out: TextIO | None = None) -> None:
    """Say that the process is ready, and answer until standard input ends.

    Args:
        ask: Rows of the chosen photographs, best first; or what else was asked for.
        out: What `take_over` gave, where something was printed before this.
    """
    with out or take_over() as answers:
        print("{}", file=answers)
        for line in sys.stdin:
            print(json.dumps({"answer": ask(json.loads(line))}), file=answers)


def best(scores: list[float], budget: int) -> list[int]:
    """Rows of the largest scores, the first of equals first."""
    return sorted(range(len(scores)), key=lambda row: -scores[row])[:budget]
