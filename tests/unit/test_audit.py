"""The register of accepted advisories is whole, and the audit says what it did not check."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 12, 1)

_spec = importlib.util.spec_from_file_location("audit", ROOT / "security" / "audit.py")
assert _spec is not None
assert _spec.loader is not None
audit = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = audit  # dataclasses look their module up
_spec.loader.exec_module(audit)

KNOWN = audit.Accepted("CVE-1", "urllib3", "not used", "a::b", date(2027, 1, 1))


def report(*found: str, skipped: int = 0) -> dict[str, Any]:
    vulnerabilities = [{"id": "GHSA-1", "aliases": [one], "fix_versions": ["2.6"]} for one in found]
    return {
        "dependencies": [
            {"name": "urllib3", "version": "1.26", "vulns": vulnerabilities},
            *({"name": f"other {row}", "skip_reason": "unknown"} for row in range(skipped)),
        ]
    }


@pytest.mark.parametrize("entry", audit.register(), ids=lambda entry: entry.id)
def test_an_entry_is_whole(entry: Any) -> None:
    assert entry.id
    assert f"\n{entry.package}==" in (ROOT / "requirements.lock").read_text()
    assert len(entry.why) > 40
    assert type(entry.expires) is date


@pytest.mark.parametrize("entry", audit.register(), ids=lambda entry: entry.id)
def test_the_control_of_an_entry_is_a_test(entry: Any) -> None:
    file, name = entry.control.split("::")
    tree = ast.parse((ROOT / file).read_text())
    assert name in {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}


def test_no_entry_stands_twice() -> None:
    names = [(one.package, one.id) for one in audit.register()]
    assert len(names) == len(set(names))


def test_what_is_accepted_is_told_and_does_not_count() -> None:
    verdict = audit.judge(report("CVE-1"), [KNOWN], TODAY)
    assert verdict.good
    assert verdict.lines[0] == "urllib3 1.26: CVE-1: accepted until 2027-01-01: not used"


@pytest.mark.parametrize(
    ("found", "accepted", "today"),
    [
        ("CVE-2", [KNOWN], TODAY),
        ("CVE-1", [], TODAY),
        ("CVE-1", [KNOWN], date(2027, 1, 1)),
        ("CVE-1", [audit.Accepted("CVE-1", "other", "", "", KNOWN.expires)], TODAY),
    ],
    ids=["unknown", "no register", "expired", "another package"],
)
def test_anything_else_counts(found: str, accepted: list[Any], today: date) -> None:
    verdict = audit.judge(report(found), accepted, today)
    assert not verdict.good
    assert "fixed in 2.6" in verdict.lines[0]


def test_what_was_not_checked_is_told() -> None:
    verdict = audit.judge(report(skipped=3), [], TODAY)
    assert verdict.good
    assert verdict.lines == ("1 packages were checked, 3 were not",)
    nothing = audit.judge({"dependencies": report(skipped=3)["dependencies"][1:]}, [], TODAY)
    assert nothing.good
    assert "nothing was checked" in nothing.lines[0]


def test_a_database_that_cannot_be_reached_is_no_failure() -> None:
    verdict = audit.audit([sys.executable, "-c", "raise SystemExit('no route to host')"])
    assert verdict.good
    assert "nothing was checked (no route to host)" in verdict.lines[0]


def test_a_report_is_judged_by_the_register() -> None:
    (entry, *_) = audit.register()
    written = json.dumps(report(entry.id, "CVE-9"))
    verdict = audit.audit([sys.executable, "-c", f"print({written!r})"])
    assert not verdict.good
    assert "CVE-9: not accepted" in verdict.lines[1]


def test_the_service_never_loads_ecdsa() -> None:
    code = (
        "import sys, alaas.server.flow, alaas.server.gateway, alaas.server.supervisor\n"
        "print('ecdsa' in sys.modules, 'jina' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["False", "True"]
