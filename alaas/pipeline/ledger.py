"""What is known of a query while it runs: who came, who is done, who was lost."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from alaas import __version__
from alaas.config import QueryParameters
from alaas.core.errors import AllItemsFailed, EmptyInput, FieldError, ItemFailed, ValidationFailed
from alaas.core.types import Plan, Scored, Selection
from alaas.core.wire import (
    STAGES,
    Failure,
    Item,
    Pick,
    Progress,
    QueryResponse,
    Receipt,
    StageTiming,
    Timings,
    Warn,
)
from alaas.pipeline.labels import Known
from alaas.pipeline.planning import Preflight

Part = Sequence[Item | Failure]
"""Some consecutive items of a pool; one that is already lost stands there as its failure."""

OnProgress = Callable[[Progress], None]

UPSTREAM = frozenset(
    {"upstream_forbidden", "upstream_not_found", "upstream_unavailable", "upstream_error",
     "fetch_timeout", "fetch_failed", "tls_invalid"}
)  # fmt: skip
"""Failures for which the servers that hold the items are to blame."""


@dataclass(slots=True)
class Ledger:
    """What is known of a query while it runs: who came, who is done, who was lost."""

    parameters: QueryParameters
    on_progress: OnProgress
    watch: Preflight
    rows: dict[str, int] = field(default_factory=dict)
    kept: list[Item] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    unlearnt: list[Failure] = field(default_factory=list)
    busy: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    done: int = 0
    complete: bool = False

    async def admit(self, source: AsyncIterable[Part]) -> AsyncIterator[list[Item]]:
        """Note who arrives, and pass on the items that are still whole."""
        async for part in source:
            whole = [member for member in part if self._note(member)]
            self.watch.check(len(self.kept))
            if whole:
                yield whole  # type: ignore[misc]  # _note told the items apart

    def _note(self, member: Item | Failure) -> bool:
        row = len(self.kept)
        if self.rows.setdefault(member.id, row) != row:
            pointer = f"/data/{row}/id"
            message = f"ids must be unique; {member.id!r} came before, at {self.rows[member.id]}"
            raise ValidationFailed(f"{pointer}: {message}", errors=[FieldError(pointer, message)])
        if isinstance(member, Failure):
            self.kept.append(Item(member.id))
            self._lose([member])
            return False
        # Bytes are on their way to the stages; only what the answer needs stays here.
        self.kept.append(replace(member, blob=None))
        return True

    def _lose(self, failures: Sequence[Failure]) -> None:
        self.failures += failures
        if failures and self.parameters.on_item_error == "fail":
            first = failures[0]
            raise ItemFailed(f"item {first.id!r} failed in {first.stage}: {first.message}")

    def groups(self) -> dict[str, int]:
        """The number of the group of each item, where any item has one."""
        if all(item.group is None for item in self.kept):
            return {}
        # An item without a group is alone in its own.
        names = {item.group: None for item in self.kept if item.group is not None}
        numbers = {name: number for number, name in enumerate(names)}
        alone = count(len(numbers))
        return {
            item.id: next(alone) if item.group is None else numbers[item.group]
            for item in self.kept
        }

    def lose_labelled(self, failures: Sequence[Failure]) -> None:
        """Note labelled items that are lost: they are no part of the pool."""
        self.unlearnt += failures
        if failures and self.parameters.on_item_error == "fail":
            first = failures[0]
            raise ItemFailed(f"labelled item {first.id!r} failed in {first.stage}: {first.message}")

    def enter_labelled(self, scored: Scored) -> None:
        """Note what came out of the stages for one micro-batch of labelled items."""
        for stage, seconds in scored.busy.items():
            self.busy[stage] += seconds
        self.lose_labelled(scored.failures)

    def enter(self, scored: Scored) -> None:
        """Note what came out of the stages for one micro-batch."""
        self.done += scored.count
        for stage, seconds in scored.busy.items():
            self.busy[stage] += seconds
        self._lose([self._addressed(failure) for failure in scored.failures])
        self._tell()

    def _addressed(self, failure: Failure) -> Failure:
        """The failure with its item's address, which later stages do not know."""
        return replace(failure, uri=failure.uri or self.kept[self.rows[failure.id]].uri)

    def close(self) -> None:
        """Check that there is something to choose from.

        Raises:
            EmptyInput: Nothing came.
            AllItemsFailed: Nothing is left.
        """
        self.complete = True
        if not self.kept:
            raise EmptyInput("the pool is empty: send at least one item")
        self.failures.sort(key=lambda failure: self.rows[failure.id])
        if not self.done:
            first = self.failures[0]
            raise AllItemsFailed(
                f"all {len(self.kept)} items failed; the first in {first.stage}: {first.message}",
                errors=[
                    FieldError(f"/data/{self.rows[f.id]}", f"{f.code}: {f.message}")
                    for f in self.failures[:10]
                ],
                upstream=all(failure.code in UPSTREAM for failure in self.failures),
            )
        self._tell()

    def _tell(self) -> None:
        received = len(self.kept)
        self.on_progress(
            Progress(self.done, len(self.failures), received, received if self.complete else None)
        )

    def answer(
        self, settled: Plan, selection: Selection, known: Known, total_s: float
    ) -> QueryResponse:
        """Write the answer."""
        picks = []
        for rank, (name, score) in enumerate(zip(selection.ids, selection.scores, strict=True)):
            item = self.kept[self.rows[name]]
            picks.append(Pick(name, rank, float(score), uri=item.uri, text=item.text))
        lost = dict.fromkeys(STAGES, 0)
        for failure in self.failures:
            lost[failure.stage] += 1
        timings: dict[str, StageTiming] = {}
        left = len(self.kept)
        for stage in STAGES:
            left -= lost[stage]
            timings[stage] = StageTiming(self.busy[stage], left)
        return QueryResponse(
            picks=tuple(picks),
            failures=(*self.failures, *self.unlearnt),
            timings=Timings(total_s, timings),
            receipt=Receipt(
                strategy=selection.strategy,
                params=selection.params,
                seed=selection.seed,
                budget=settled.budget,
                model=selection.model,
                version=__version__,
                pool_size=selection.pool_size,
                n_drop=settled.n_drop if "draws" in settled.needs else 0,
                labelled_size=len(known.items) + len(known.failures) - len(self.unlearnt),
            ),
            warnings=tuple(self._warnings(settled, selection, known)),
            request_id=settled.query,
        )

    def _warnings(self, settled: Plan, selection: Selection, known: Known) -> Iterable[Warn]:
        if self.parameters.labelled and not known.items and not known.failures:
            yield Warn(
                "labelled_ignored",
                f"the labelled items have no effect: {settled.strategy} learns from none",
            )
        if settled.budget > selection.pool_size:
            yield Warn(
                "budget_exceeds_pool",
                f"the budget {settled.budget} exceeds the {selection.pool_size} items that "
                f"could be ranked: all of them are returned",
            )
        if self.parameters.n_drop is not None and "draws" not in settled.needs:
            yield Warn(
                "n_drop_ignored",
                f"n_drop has no effect: {settled.strategy} reads one prediction an item",
            )
        asked = self.parameters.model
        if asked and selection.model and asked != selection.model:
            yield Warn(
                "model_differs",
                f"the receipt names model {asked}, and {selection.model} ran: "
                f"the selection may differ",
            )
