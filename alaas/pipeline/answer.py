"""Writing down what came of a query."""

from __future__ import annotations

from collections.abc import Iterable

from alaas import __version__
from alaas.config import QueryParameters
from alaas.core.types import Plan, Selection
from alaas.core.wire import Pick, QueryResponse, Receipt, Warn
from alaas.pipeline.labels import Known
from alaas.pipeline.ledger import Ledger
from alaas.strategies import Strategy, registry

MEANS = ("mc_entropy", "mc_least_confidence", "mc_margin")
"""Strategies that read the mean of several predictions: of one it is that one."""


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
            n_drop=settled.n_drop if settled.draws else 0,
            labelled_size=len(known.items) + len(known.failures) - len(ledger.unlearnt),
            calibrate=settled.calibrate,
            calibration=_figures(ledger),
        ),
        warnings=(
            *_warnings(parameters, settled, selection, known),
            *too_few(registry.get(settled.strategy), settled),
            *_calibration(parameters, settled, ledger),
            *cut(ledger),
        ),
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
    if parameters.n_drop is not None and not settled.draws:
        yield Warn(
            "n_drop_ignored",
            f"n_drop has no effect: {settled.strategy} reads one prediction an item",
        )
    asked = parameters.model
    if asked and selection.model and asked not in (settled.model, selection.model):
        yield Warn(
            "model_differs",
            f"the receipt names model {asked}, and {selection.model} ran: the selection may differ",
        )


def _figures(ledger: Ledger) -> dict[str, float]:
    found = ledger.calibrated
    return {} if found is None else {"items": found.items, **found.figures}


def _calibration(parameters: QueryParameters, settled: Plan, ledger: Ledger) -> Iterable[Warn]:
    if parameters.calibrate and not settled.calibrate:
        yield Warn(
            "calibrate_ignored",
            f"calibrate has no effect: {settled.strategy} reads no class probabilities",
        )
    if ledger.calibrated is not None and not ledger.calibrated.changed:
        yield Warn(
            "calibration_unchanged",
            f"{settled.calibrate} scaling makes the labelled items no likelier: the "
            f"probabilities are those of the model",
        )


def too_few(strategy: Strategy, settled: Plan) -> Iterable[Warn]:
    """What is said of one pass to a strategy that compares several.

    Args:
        strategy: The strategy.
        settled: How many passes there were.
    """
    if "draws" in strategy.needs and strategy.name not in MEANS and settled.n_drop == 1:
        yield Warn(
            "n_drop_too_small",
            f"{strategy.name} compares several predictions of an item, and n_drop is 1: it finds "
            f"no item more informative than another",
        )


def cut(ledger: Ledger) -> Iterable[Warn]:
    """What is said of texts that were not read to their end."""
    if count := ledger.spent["preprocess"].counts.get("cut"):
        texts = "1 text is" if count == 1 else f"{count} texts are"
        yield Warn("texts_cut", f"{texts} longer than the model takes: the rest was not read")
