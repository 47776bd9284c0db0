"""What is known of a query while it runs: who came, who is done, who was lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from alaas.core.errors import AllItemsFailed, EmptyInput, FieldError, ItemFailed, TooManyItems
from alaas.core.types import Admitted, Calibrated, Items, Scored, Spent
from alaas.core.wire import STAGES, Failure, Item, PoolInfo, Progress, Stage, StageTiming, Timings
from alaas.pipeline.feed import Member
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
    """What is known of a query while it runs: how many came, how many are done, who was lost.

    It grows with what is lost, and not with the pool: who is who is in the scorer's books.
    """

    on_item_error: Literal["skip", "fail"]
    on_progress: OnProgress
    watch: Preflight | None = None
    fetched_bytes: int | None = None
    received: int = 0
    done: int = 0
    lost: list[tuple[int, Failure]] = field(default_factory=list)
    lost_in: Counter[Stage] = field(default_factory=Counter)
    unlearnt: list[Failure] = field(default_factory=list)
    spent: dict[Stage, Spent] = field(default_factory=lambda: dict.fromkeys(STAGES, Spent()))
    hits: dict[Stage, int] = field(default_factory=lambda: dict.fromkeys(STAGES, 0))
    complete: bool = False
    calibrated: Calibrated | None = None

    async def admit(self, source: AsyncIterable[Part]) -> AsyncIterator[list[Member]]:
        """Note who arrives, and say where each stands in the pool."""
        async for part in source:
            yield [self._note(member) for member in part]
            if self.watch is not None:
                self.watch.check(self.received)

    async def admit_stored(self, source: AsyncIterable[Items]) -> AsyncIterator[list[Member]]:
        """Note the items of a stored pool, the names of whose contents are known."""
        async for part in source:
            named = zip(part.items, part.digests, strict=True)
            yield [self._note(item)._replace(digest=digest) for item, digest in named]

    def _note(self, member: Item | Failure) -> Member:
        row = self.received
        self.received += 1
        if isinstance(member, Failure):
            self._lose([(row, member)])
            return Member(row, Item(member.id), lost=True)
        return Member(row, member)

    def _lose(self, lost: Sequence[tuple[int, Failure]]) -> None:
        self.lost += lost
        self.lost_in.update(one.stage for _, one in lost)
        if lost and self.on_item_error == "fail":
            _, first = lost[0]
            raise ItemFailed(f"item {first.id!r} failed in {first.stage}: {first.message}")

    def take_stored(self, info: PoolInfo) -> None:
        """Note a stored pool whose views are all there."""
        self.received = self.done = self.hits["fetch"] = self.hits["infer"] = info.items
        if self.watch is not None:
            self.watch.check(self.received)

    def enter_known(self, admitted: Admitted, hits: int) -> None:
        """Note what was known of some items before they went anywhere."""
        self.done += hits
        self.hits["fetch"] += max(admitted.known, hits)
        self.hits["infer"] += hits
        self.spend(admitted.spent)
        if hits:
            self._tell()

    def enter(self, scored: Scored, members: Sequence[Member]) -> None:
        """Note what came out of the stages for one micro-batch."""
        self.done += scored.count
        self.spend(scored.spent)
        if scored.failures:
            named = {member.item.id: member for member in members}
            # Later stages do not know an item's address.
            self._lose(
                [
                    (named[one.id].row, replace(one, uri=one.uri or named[one.id].item.uri))
                    for one in scored.failures
                ]
            )
        self._tell()

    def enter_labelled(self, scored: Scored) -> None:
        """Note what came out of the stages for one micro-batch of labelled items."""
        self.spend(scored.spent)
        self.lose_labelled(scored.failures)

    def lose_labelled(self, failures: Sequence[Failure]) -> None:
        """Note labelled items that are lost: they are no part of the pool."""
        self.unlearnt += failures
        if failures and self.on_item_error == "fail":
            first = failures[0]
            raise ItemFailed(f"labelled item {first.id!r} failed in {first.stage}: {first.message}")

    def spend(self, spent: Mapping[str, Spent]) -> None:
        """Note what stages spent.

        Raises:
            TooManyItems: More has been fetched than `fetched_bytes`: a choice from what came
                first would not be one from the pool.
        """
        for stage in STAGES:
            if stage in spent:
                self.spent[stage] += spent[stage]
        most = self.fetched_bytes
        if most is not None and self.spent["fetch"].bytes > most:
            raise TooManyItems(
                f"the items of this query have more than {most} bytes in all"
                " (limits.fetched_bytes); send fewer at a time"
            )

    def close(self) -> None:
        """Check that there is something to choose from.

        Raises:
            EmptyInput: Nothing came.
            AllItemsFailed: Nothing is left.
        """
        self.complete = True
        if not self.received:
            raise EmptyInput("the pool is empty: send at least one item")
        self.lost.sort(key=lambda entry: entry[0])
        if not self.done:
            _, first = self.lost[0]
            raise AllItemsFailed(
                f"all {self.received} items failed; the first in {first.stage}: {first.message}",
                errors=[
                    FieldError(f"/data/{row}", f"{one.code}: {one.message}")
                    for row, one in self.lost[:10]
                ],
                upstream=all(one.code in UPSTREAM for _, one in self.lost),
            )
        self._tell()

    def _tell(self) -> None:
        total = self.received if self.complete else None
        self.on_progress(Progress(self.done, len(self.lost), self.received, total, self._stages()))

    def timings(self, total_s: float) -> Timings:
        """Where the time went."""
        return Timings(total_s, self._stages())

    def _stages(self) -> dict[str, StageTiming]:
        left, timings = self.received, dict[str, StageTiming]()
        for stage in STAGES:
            left -= self.lost_in[stage]
            spent = self.spent[stage]
            timings[stage] = StageTiming(
                spent.busy_s, left, spent.wait_s, spent.bytes, self.hits[stage]
            )
        return timings
