"""Models beside the bare loops that people write: texts, and networks drawn at random.

    python -m benchmarks.models --rounds 5 --json models.json

Each part is a benchmark of its own, in a process of its own: `models_text` has tokens per
second, `models_draws` what several predictions of an item cost.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PARTS = ("text", "draws")


def main() -> None:
    """Run the parts one after the other, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    written: dict[str, Any] = {"cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as scratch:
        for part in arguments.parts:
            path = Path(scratch, f"{part}.json")
            module, rounds = f"benchmarks.models_{part}", str(arguments.rounds)
            command = [sys.executable, "-m", module, "--rounds", rounds, "--json", str(path)]
            subprocess.run(command, check=True)
            written[part] = json.loads(path.read_text())
    if arguments.json:
        arguments.json.write_text(json.dumps(written, indent=2))


if __name__ == "__main__":
    main()
