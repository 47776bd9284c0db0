"""Choose pictures in this process: no server, and no network."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from pictures import draw

import alaas


def main() -> None:
    with TemporaryDirectory() as folder:
        draw(Path(folder))
        result = alaas.select(
            folder,
            budget="10%",
            strategy="KCenterGreedy",
            # Random weights keep this example offline; leave them out for the trained ones.
            model={"name": "squeezenet1_1", "weights": "none"},
        )
        for pick in result:
            print(pick.rank, Path(pick.uri or "").name, round(pick.score, 3))
        print(result)


if __name__ == "__main__":
    main()
