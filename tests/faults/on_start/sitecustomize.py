"""Makes any stage of a server raise: Python imports this where the folder is on its path."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECRET = "the secret of this stage is sesame"


def _breakable(owner: Any, name: str, stage: str) -> None:
    """Have a function raise while the file ``broken`` names its stage."""
    whole: Callable[..., Any] = getattr(owner, name)
    switch = Path(os.environ["ALAAS_FAULTS_SWITCHES"]) / "broken"

    def broken(*given: Any, **named: Any) -> Any:
        if switch.exists() and switch.read_text() == stage:
            raise RuntimeError(SECRET)
        return whole(*given, **named)

    setattr(owner, name, broken)


def _install() -> None:
    from alaas.data import decode, fetch
    from alaas.pipeline import scorer

    _breakable(fetch.Fetcher, "fetch", "fetch")
    _breakable(fetch.Fetcher, "identify", "identify")
    _breakable(decode, "preprocess", "preprocess")
    for name in ("admit", "add", "select", "discard"):
        _breakable(scorer.Scorer, name, name)


if "ALAAS_FAULTS_SWITCHES" in os.environ:
    _install()
