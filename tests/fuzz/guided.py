"""Fuzz by coverage: what is made up next is what reached new code.

    python tests/fuzz/guided.py NAME -atheris_runs=100000 -max_total_time=600

runs one of the tests of `tests/faults/test_fuzz.py` under atheris, which is not among the
dependencies: ``pip install atheris``. A name without ``test_`` will do, and so will a part
of one that is alone in having it; without a name, the names are listed.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Find the test and hand it to the fuzzer, which never returns."""
    import atheris

    sys.path[:0] = [str(ROOT), *(str(ROOT / "tests" / name) for name in ("faults", "unit"))]
    with atheris.instrument_imports(include=["alaas.data", "alaas.server.frames", "alaas.store"]):
        import test_fuzz

    fuzzed = {
        name: test.hypothesis.fuzz_one_input
        for name, test in vars(test_fuzz).items()
        if name.startswith("test_") and hasattr(test, "hypothesis")
    }
    wanted = sys.argv.pop(1) if sys.argv[1:] and not sys.argv[1].startswith("-") else ""
    found = [name for name in fuzzed if wanted and wanted in name]
    if len(found) != 1:
        sys.exit("name one of:\n  " + "\n  ".join(found or fuzzed))
    atheris.Setup(sys.argv, fuzzed[found[0]])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
