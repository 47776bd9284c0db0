"""``python -m alaas`` and the ``alaas`` command."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line.

    Returns:
        0 for success, 1 for an error while running, 2 for one of usage or configuration,
        4 where some items of a pool failed, 130 after Ctrl-C.
    """
    try:
        from alaas.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        print(
            f"error: the command line needs {error.name}: pip install alaas [missing_extra]",
            file=sys.stderr,
        )
        return 2
    return run()


if __name__ == "__main__":
    sys.exit(main())
