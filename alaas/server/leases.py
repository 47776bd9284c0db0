"""Which queries are running, as all processes of a server can see it."""

from __future__ import annotations

import os
from pathlib import Path
from time import monotonic
from urllib.parse import quote

from alaas.core.errors import DeadlineExceeded, Internal
from alaas.core.types import Plan

FOLDER = "running"


class Leases:
    """A file for each query that runs: looking whether it is there costs a microsecond or two.

    The gateway makes it before the first micro-batch and deletes it when the query ends, well
    or badly, by its deadline or because the caller has gone. An executor looks for it before
    each micro-batch, so that nothing is computed that nobody awaits.

    Args:
        runtime: Folder that the processes of a server share.
    """

    def __init__(self, runtime: str | Path) -> None:
        self._folder = os.path.join(runtime, FOLDER)
        self._taken: set[str] = set()

    def take(self, query: str) -> bool:
        """Note that a query runs. False where nothing can be written: then it runs unwatched."""
        if query in self._taken:
            return True
        try:
            os.makedirs(self._folder, exist_ok=True)
            os.close(os.open(self._path(query), os.O_CREAT | os.O_WRONLY, 0o600))
        except OSError:
            return False
        self._taken.add(query)
        return True

    def end(self, query: str) -> None:
        """Note that a query has ended; twice is no error."""
        self._taken.discard(query)
        try:
            os.unlink(self._path(query))
        except OSError:
            return

    def runs(self, query: str) -> bool:
        """Whether a query runs, or may run for all that can be seen from here."""
        return os.path.exists(self._path(query)) or not os.path.exists(self._folder)

    def check(self, plan: Plan) -> None:
        """Make sure that somebody awaits what is to be computed.

        Deadlines are compared by the monotonic clock, which the processes of a machine share.

        Raises:
            DeadlineExceeded: The deadline of the query has passed.
            Internal: It has ended otherwise; this error reaches nobody.
        """
        if plan.deadline is not None and monotonic() >= plan.deadline:
            raise DeadlineExceeded("the deadline of the query has passed")
        if plan.leased and not self.runs(plan.query):
            raise Internal("the query has ended")

    def _path(self, query: str) -> str:
        # With its ending the name is never that of a folder, whatever the id is.
        return os.path.join(self._folder, f"{quote(query, safe='')}.query")
