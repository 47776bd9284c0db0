"""The process behind `Server`: settings on standard input, one JSON line when it is ready."""

from __future__ import annotations

import ctypes
import json
import signal
import sys
from collections.abc import Mapping

from alaas.config import Settings
from alaas.core.errors import AlaasError
from alaas.server.supervisor import serve

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Serve what standard input describes."""
    settings = Settings.model_validate_json(sys.stdin.read())
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    out = sys.stdout

    def announce(urls: Mapping[str, str]) -> None:
        print(json.dumps({"ready": dict(urls)}), file=out, flush=True)

    try:
        serve(settings, announce)
    except AlaasError as error:
        print(json.dumps({"problem": error.problem()}), flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
