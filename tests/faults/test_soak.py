"""Long runs of the benchmarks that say whether a service can be left alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from faults import ROOT


def verdicts(tmp_path: Path, module: str, *options: str) -> dict[str, str]:
    """Run a benchmark; what was aimed at, and whether it was reached."""
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", f"benchmarks.{module}", *options, "--json", str(figures)]
    subprocess.run(command, check=True, cwd=ROOT, timeout=3_000)
    return {one["what"]: one["verdict"] for one in json.loads(figures.read_text())["targets"]}


@pytest.mark.slow
def test_row81_a_service_stays_as_it_was(tmp_path: Path) -> None:
    found = verdicts(tmp_path, "soak", "--minutes", "5", "--every", "2")
    # Times depend on who else works on this machine.
    assert {what for what, verdict in found.items() if verdict != "met"} <= {
        what for what in found if what.startswith("p99")
    }
    assert len(found) > 5


@pytest.mark.slow
def test_row42_43_a_query_survives_what_kills_its_processes(tmp_path: Path) -> None:
    found = verdicts(tmp_path, "chaos", "--items", "2000", "--rounds", "3")
    assert set(found.values()) == {"met"}


@pytest.mark.slow
def test_row48_57_a_job_survives_what_kills_the_server(tmp_path: Path) -> None:
    found = verdicts(tmp_path, "chaos", "--items", "2000", "--rounds", "3", "--gateway")
    assert set(found.values()) == {"met"}
