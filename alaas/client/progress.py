"""A progress bar on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from alaas.core.wire import Progress

OnProgress = Callable[[Progress], None]
"""Is told how far a query has come."""


@contextmanager
def progress_bar(wanted: bool | None, listener: OnProgress | None = None) -> Iterator[OnProgress]:
    """What shows the progress of one query on stderr.

    The bar appears with the first news: a transport that brings none shows none.

    Args:
        wanted: Whether to show it; None shows it where stderr is a terminal.
        listener: Is told as well.
    """
    tell = listener or (lambda _: None)
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield tell
        return
    bar: Any = None

    def show(progress: Progress) -> None:
        nonlocal bar
        tell(progress)
        if bar is None:
            from tqdm import tqdm

            bar = tqdm(desc="ranked", unit=" items", file=sys.stderr)
        bar.total = progress.total
        if progress.failed:
            bar.set_postfix(failed=progress.failed, refresh=False)
        bar.update(progress.done + progress.failed - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()
