"""What a benchmark found, as JSON for programs and as Markdown for people.

    python -m benchmarks.report figures.json ... [--into docs/speed.md]

prints the tables of one file or more, or puts them into a page, between the two lines
``<!-- figures -->`` and ``<!-- end of figures -->``; with ``--targets``, only the targets.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
PACKAGES = ("torch", "torchvision", "openvino", "onnxruntime", "numpy", "lancedb", "jina")


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that was aimed at.

    Attributes:
        what: What it is a figure of.
        got: What was measured; None where it could not be.
        at_least: The smallest that will do, or None.
        at_most: The largest that will do, or None.
        quiet: Whether nobody else used the machine.
    """

    what: str
    got: float | None
    at_least: float | None = None
    at_most: float | None = None
    quiet: bool = True

    @property
    def wanted(self) -> str:
        """The aim, in words."""
        return f">= {self.at_least:g}" if self.at_most is None else f"<= {self.at_most:g}"

    @property
    def verdict(self) -> str:
        """Whether it was reached, in a word.

        Example:
            >>> Target("speed", 2.0, at_least=1.8).verdict
            'met'
            >>> Target("time", None, at_most=1.5).verdict
            'not measured'
        """
        if self.got is None:
            return "not measured"
        low = self.at_least is not None and self.got < self.at_least
        high = self.at_most is not None and self.got > self.at_most
        return "missed" if low or high else "met"


def machine() -> dict[str, Any]:
    """What was measured on."""
    names = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]  # fmt: skip
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "cpu": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "python": platform.python_version(),
        "versions": versions,
    }


def document(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    job: str,
    targets: Sequence[Target] = (),
    notes: Sequence[str] = (),
    raw: object = None,
) -> dict[str, Any]:
    """All of a benchmark in one object.

    Args:
        title: What was measured.
        columns: Heads of the table.
        rows: Its rows.
        job: One sentence on what was done.
        targets: What was aimed at.
        notes: What else the reader must know.
        raw: Every single measurement.
    """
    return {
        "title": title,
        "command": " ".join(["python -m", _module(), *sys.argv[1:]]),
        "machine": machine(),
        "job": job,
        "columns": list(columns),
        "rows": [[str(cell) for cell in row] for row in rows],
        "targets": [
            {**asdict(one), "wanted": one.wanted, "verdict": one.verdict} for one in targets
        ],
        "notes": list(notes),
        "raw": raw,
    }


def _module() -> str:
    """The module that runs."""
    spec = sys.modules["__main__"].__spec__
    return spec.name if spec is not None else Path(sys.argv[0]).name


def publish(made: Mapping[str, Any], path: Path | None) -> None:
    """Print a document as Markdown, and write it as JSON where a path is given."""
    print(markdown(made))
    if path is not None:
        path.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def markdown(made: Mapping[str, Any]) -> str:
    """A document as a section of a page."""
    on, versions = made["machine"], made["machine"]["versions"]
    parts = [
        f"### {made['title']}",
        made["job"],
        f"`{made['command']}`, on {on['cores']} cores of {on['cpu']} with {on['memory_gib']} GiB; "
        f"Python {on['python']}, {', '.join(f'{name} {one}' for name, one in versions.items())}.",
        _table(made["columns"], made["rows"]),
    ]
    if made["targets"]:
        parts.append(targets_table(made))
    parts += [f"- {note}" for note in made["notes"]]
    return "\n\n".join(parts) + "\n"


def targets_table(made: Mapping[str, Any]) -> str:
    """The targets of a document, each met or missed."""
    rows = [
        [
            one["what"],
            one["wanted"],
            "" if one["got"] is None else f"{one['got']:.3g}",
            one["verdict"] + ("" if one["quiet"] or one["got"] is None else ", machine busy"),
        ]
        for one in made["targets"]
    ]
    return _table(["target", "wanted", "measured", ""], rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    # What is a number in every row stands on the right.
    right = [all(_numeric(row[at]) for row in rows) for at in range(len(columns))]
    lines = [columns, ["---:" if one else "---" for one in right], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _numeric(cell: str) -> bool:
    return not cell or cell.removeprefix("-")[:1].isdigit()


def insert(page: str, figures: str) -> str:
    """A page with other figures between its two marks.

    Raises:
        ValueError: It has no such marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{figures.strip()}\n\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", nargs="+", type=Path, help="JSON files of benchmarks")
    parser.add_argument("--targets", action="store_true", help="only the targets")
    parser.add_argument("--into", type=Path, metavar="PAGE", help="page to put them into")
    arguments = parser.parse_args()
    show = targets_table if arguments.targets else markdown
    made = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.figures]
    text = "\n\n".join(show(one) for one in made)
    if arguments.into is None:
        print(text)
    else:
        page = arguments.into.read_text(encoding="utf-8")
        arguments.into.write_text(insert(page, text), encoding="utf-8")


if __name__ == "__main__":
    main()
