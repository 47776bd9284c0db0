"""Writing down what came of a query."""

from __future__ import annotations

from collections.abc import Iterable

from alaas import __version__
from alaas.config import QueryParameters
from alaas.core.types import Plan, Selection
from alaas.core.wire import Pick, QueryResponse, Receipt, Warn
from alaas.pipeline.labels import Known
from alaas.pipeline.ledger import Ledger


def answer(
    parameters: QueryParameters,
    settled: Plan,
    selection: Selection,
    *,
    known: Known,
    ledger: Ledger,
    total_s: float,
) -> QueryResponse:
    """Write the answer of a query.

    Args:
        parameters: What was asked.
        settled: What was run.
        selection: What was chosen.
        known: What was labelled already.
        ledger: Who came and who was lost.
        total_s: Seconds that all took.
    """
    chosen = zip(selection.items, selection.scores, strict=True)
    picks = [
        Pick(item.id, rank, float(score), uri=item.uri, text=item.text)
        for rank, (item, score) in enumerate(chosen)
    ]
    return QueryResponse(
        picks=tuple(picks),
        failures=(*(one for _, one in ledger.lost), *ledger.unlearnt),
        timings=ledger.timings(total_s),
        receipt=Receipt(
            strategy=selection.strategy,
            params=selection.params,
            seed=selection.seed,
            budget=settled.budget,
            model=selection.model,
            version=__version__,
            pool_size=selection.pool_size,
            n_drop=settled.n_drop if "draws" in settled.needs else 0,
            labelled_size=len(known.items) + len(known.failures) - len(ledger.unlearnt),
        ),
        warnings=(*_warnings(parameters, settled, selection, known), *_cut(ledger)),
        request_id=settled.query,
    )


def _warnings(
    parameters: QueryParameters, settled: Plan, selection: Selection, known: Known
) -> Iterable[Warn]:
    if parameters.labelled and not known.items and not known.failures:
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
    if parameters.n_drop is not None and "draws" not in settled.needs:
        yield Warn(
            "n_drop_ignored",
            f"n_drop has no effect: {settled.strategy} reads one prediction an item",
        )
    asked = parameters.model
    if asked and selection.model and asked != selection.model:
        yield Warn(
            "model_differs",
            f"the receipt names model {asked}, and {selection.model} ran: the selection may differ",
        )


def _cut(ledger: Ledger) -> Iterable[Warn]:
    if cut := ledger.spent["preprocess"].counts.get("cut"):
        yield Warn(
            "texts_cut", f"{cut} texts are longer than the model takes: their ends were not read"
        )
