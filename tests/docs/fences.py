"""The code blocks of the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)

_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_NOTE = re.compile(r"<!-- (?P<note>.*) -->\n$")


@dataclass(frozen=True)
class Block:
    """A code block; `note` is the comment on the line before it, or an empty string."""

    page: Path
    line: int
    language: str
    text: str
    note: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def runs(self) -> bool:
        """Whether it is executed as it stands."""
        return not self.note.startswith("no-run: ") and self.note != "server"


def blocks(*languages: str) -> list[Block]:
    """The blocks of all pages in one of the languages; without any, all blocks."""
    found = [one for page in PAGES for one in _blocks(page)]
    return [one for one in found if not languages or one.language in languages]


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        before = _NOTE.search(text, 0, found.start())
        yield Block(
            page,
            text.count("\n", 0, found.start()) + 2,
            found["language"],
            found["text"],
            before["note"] if before else "",
        )
