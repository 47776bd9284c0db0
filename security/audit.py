"""Ask an advisory database about every locked package.

    python security/audit.py

What `advisories.toml` accepts is told, and does not count until its date. Where no database
can be reached, nothing was checked: that is said, and is no failure.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
REGISTER = ROOT / "security" / "advisories.toml"
LOCK = ROOT / "requirements.lock"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A weakness that does not reach this project.

    Attributes:
        id: Its identifier, of any database.
        package: The package that has it.
        why: Why it does not matter here.
        control: The test that proves this, ``file::function``.
        expires: The day on which this is thought about again.
    """

    id: str
    package: str
    why: str
    control: str
    expires: date


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an audit came to.

    Attributes:
        lines: What there is to say.
        good: Whether nothing but what is accepted was found.
    """

    lines: tuple[str, ...]
    good: bool


def register() -> list[Accepted]:
    """What is accepted."""
    return [Accepted(**one) for one in tomllib.loads(REGISTER.read_text())["accepted"]]


def judge(report: Mapping[str, Any], accepted: Sequence[Accepted], today: date) -> Verdict:
    """Compare what was found with what is accepted.

    Args:
        report: What `pip-audit` writes as JSON.
        accepted: The register.
        today: The day that counts.
    """
    packages = report["dependencies"]
    checked = [one for one in packages if "vulns" in one]
    if not checked:
        return Verdict(("no advisory database knows our packages: nothing was checked",), good=True)
    known = {(one.package, one.id): one for one in accepted}
    lines, good = [], True
    for package in checked:
        for found in package["vulns"]:
            names = [found["id"], *found.get("aliases", ())]
            entry = next(filter(None, (known.get((package["name"], name)) for name in names)), None)
            what = f"{package['name']} {package['version']}: {names[-1]}"
            if entry is None or entry.expires <= today:
                good = False
                fixed = ", ".join(found.get("fix_versions", ())) or "no version"
                state = "not accepted" if entry is None else f"accepted until {entry.expires}"
                lines.append(f"{what}: {state}; fixed in {fixed}")
            else:
                lines.append(f"{what}: accepted until {entry.expires}: {entry.why}")
    lines.append(f"{len(checked)} packages were checked, {len(packages) - len(checked)} were not")
    return Verdict(tuple(lines), good)


def audit(command: Sequence[str]) -> Verdict:
    """Run `pip-audit` and judge what it found.

    Args:
        command: Its command line, which writes a report as JSON to standard output.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        said = f"no advisory database can be reached: nothing was checked ({last})"
        return Verdict((said,), good=True)
    return judge(report, register(), datetime.now(UTC).date())


def main() -> int:
    """Print what was found; 1 if there is something that is not accepted."""
    options = ["--requirement", str(LOCK), "--no-deps", "--disable-pip", "--format", "json"]
    verdict = audit([sys.executable, "-m", "pip_audit", *options, "--progress-spinner", "off"])
    print("\n".join(verdict.lines))
    return int(not verdict.good)


if __name__ == "__main__":
    sys.exit(main())
