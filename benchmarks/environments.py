"""Virtual environments of other projects, each built from its own list of pins.

They lie in a folder that git ignores, take 5 GB each, most of it torch, and are built once:
until the lists change, the next run takes them as they are.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PEERS = HERE / "peers"
CACHE = HERE / ".envs"


class NotBuilt(Exception):
    """An environment cannot be built here; the message says why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment and what goes into it.

    Attributes:
        name: Its name, which is the name of its folder.
        steps: Lists of pins in `peers`, installed one after the other.
        exact: The lists that are taken as they stand, without looking at what the packages
            themselves ask for: where those requirements cannot be met any more.
    """

    name: str
    steps: tuple[str, ...]
    exact: frozenset[str] = frozenset()

    @property
    def digest(self) -> str:
        """Changes when a list or the interpreter changes."""
        lists = b"".join((PEERS / step).read_bytes() for step in self.steps)
        return hashlib.sha256(lists + sys.version.encode()).hexdigest()

    def build(self, cache: Path = CACHE) -> Path:
        """Build it, unless it is there, and give its interpreter.

        Args:
            cache: Folder of all environments.

        Raises:
            NotBuilt: A package cannot be had here.
        """
        folder = cache / self.name
        python, stamp = folder / "bin" / "python", folder / "built"
        if stamp.is_file() and stamp.read_text() == self.digest:
            return python
        shutil.rmtree(folder, ignore_errors=True)
        cache.mkdir(parents=True, exist_ok=True)
        (cache / ".gitignore").write_text("*\n")
        print(f"building {folder}, which takes minutes", file=sys.stderr)
        self._run([sys.executable, "-m", "venv", str(folder)])
        for step in self.steps:
            options = ["--no-deps"] if step in self.exact else []
            self._run([str(python), "-m", "pip", "install", "--quiet", *options,
                       "--requirement", str(PEERS / step)])  # fmt: skip
        stamp.write_text(self.digest)
        return python

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
            errors = [line for line in said if line.startswith("ERROR")] or said[-1:]
            raise NotBuilt(f"environment {self.name}: {errors[0]}")


# The torch of all of them comes with what it asks for; the lists say why they do without.
UPSTREAM = Environment("upstream", ("torch.txt", "upstream.txt"), frozenset({"upstream.txt"}))
LIBRARIES = Environment("libraries", ("torch.txt", "libraries.txt"), frozenset({"libraries.txt"}))
