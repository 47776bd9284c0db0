"""The process behind `Server`: settings on standard input, one JSON line when it is ready."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping

from alaas.config import Settings
from alaas.core.errors import AlaasError, SetupError, StorageUnusable
from alaas.server.supervisor import serve


def main() -> int:
    """Serve what the first line of standard input describes, until its end or a signal."""
    settings = Settings.model_validate_json(_first_line())
    threading.Thread(target=_end_with_the_caller, daemon=True).start()
    out = sys.stdout

    def announce(urls: Mapping[str, str]) -> None:
        print(json.dumps({"ready": dict(urls)}), file=out, flush=True)

    try:
        serve(settings, announce)
    except AlaasError as error:
        print(json.dumps({"problem": error.problem()}), file=out, flush=True)
        if isinstance(error, StorageUnusable):
            return 3
        return 2 if isinstance(error, SetupError) else 1
    return 0


# The raw descriptor, not `sys.stdin`: the executors are forked while it is being read, and
# would inherit the lock of its buffer.


def _first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n") and (more := os.read(0, 65536)):
        line += more
    return line


def _end_with_the_caller() -> None:
    while os.read(0, 65536):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
