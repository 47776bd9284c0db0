"""The moment at which a query must have ended, and what is still under way then.

A query that ends, by its deadline or because its caller has gone, cancels what it has asked
of other processes, and what waits there is dropped. The deadline in the plan holds beside
that, for a process that cannot be told in time.
"""

from __future__ import annotations

from time import monotonic

from alaas.core.errors import DeadlineExceeded
from alaas.core.types import Plan


def after(timeout_s: float | None) -> float | None:
    """The deadline of what begins now and may take so long, as `Plan` has it."""
    return None if timeout_s is None else monotonic() + timeout_s


def check(plan: Plan) -> None:
    """Make sure that there is time left for a query; asked before each micro-batch.

    Raises:
        DeadlineExceeded: There is none.
    """
    if plan.deadline is not None and monotonic() >= plan.deadline:
        raise DeadlineExceeded("the deadline of the query has passed")
