"""What came out of the demo, and how it is told. Light: no numpy, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from rich import box
from rich.console import Console
from rich.table import Table

from alaas.core.wire import Pick


@dataclass(frozen=True, slots=True)
class Trial:
    """One split of the digits, one network, one server.

    Attributes:
        seed: Of the split, of the training and of the random choice.
        protocols: How the server was asked, such as ``("http", "grpc")``.
        before: Accuracy on the held-out digits, 0 to 1, with the first labels alone.
        selected: The same after the digits that the server chose were labelled too.
        random: The same after as many digits chosen at random were labelled instead.
        picks: What the server chose, best first; an id is a row of the data set.
        predicted: What the network of `before` took each pick for.
        labels: What each pick is.
    """

    seed: int
    protocols: tuple[str, ...]
    before: float
    selected: float
    random: float
    picks: tuple[Pick, ...]
    predicted: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def mistaken(self) -> int:
        """How many picks the network took for another digit."""
        return sum(one != other for one, other in zip(self.predicted, self.labels, strict=True))


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Everything that the demo found.

    Attributes:
        trials: One a seed.
        strategy: The strategy that chose.
        labelled: Digits that were labelled before the server was asked.
        budget: Digits that were labelled after.
        held_out: Digits that accuracy was measured on.
        sheet: The picture of the first trial's picks.
        total_s: Wall-clock seconds of the whole demo.
    """

    trials: tuple[Trial, ...]
    strategy: str
    labelled: int
    budget: int
    held_out: int
    sheet: Path
    total_s: float


def show(result: DemoResult, console: Console) -> None:
    """Print the table, what it means, where the sheet is and what to try next."""
    count = len(result.trials)
    console.print(
        f"\nAccuracy in % on {result.held_out} held-out digits, "
        f"{count} {'tries' if count > 1 else 'try'}",
        style="bold",
        highlight=False,
    )
    console.print(_table(result))
    console.print(meaning(result), highlight=False)
    console.print("\nThe digits that the server chose first:", highlight=False)
    console.print(f"  {result.sheet}", markup=False, highlight=False, soft_wrap=True)
    console.print(
        "\nNext, your own photos: the least clear ones, or the most varied ones:", highlight=False
    )
    for strategy in ("LeastConfidence", "KCenterGreedy"):
        console.print(
            f"  alaas query 'photos/*.jpg' --budget 100 --strategy {strategy} --out picked.png",
            highlight=False,
            soft_wrap=True,
        )


def _table(result: DemoResult) -> Table:
    trials = result.trials
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("labelled digits")
    table.add_column("mean ± sd", justify="right")
    for trial in trials:
        table.add_column(f"seed {trial.seed}", justify="right", style="dim")
    first, more = result.labelled, result.budget
    for label, accuracies, style in (
        (f"{first}, before", [t.before for t in trials], ""),
        (f"{first} + {more} selected", [t.selected for t in trials], "bold green"),
        (f"{first} + {more} at random", [t.random for t in trials], ""),
    ):
        each = [f"{100 * accuracy:.1f}" for accuracy in accuracies]
        table.add_row(label, spread(accuracies), *each, style=style)
    return table


def spread(shares: Sequence[float]) -> str:
    """Mean and sample standard deviation of shares, in percent; one share has no deviation.

    Example:
        >>> spread([0.90, 0.92, 0.94])
        '92.0 ± 2.0'
        >>> spread([0.5])
        '50.0'
    """
    middle = f"{100 * mean(shares):.1f}"
    return f"{middle} ± {100 * stdev(shares):.1f}" if len(shares) > 1 else middle


def meaning(result: DemoResult) -> str:
    """Two sentences for somebody who has never heard of active learning."""
    selected = 1 - mean(trial.selected for trial in result.trials)
    random = 1 - mean(trial.random for trial in result.trials)
    ahead = sum(trial.selected > trial.random for trial in result.trials)
    return (
        f"Labels cost money, so here the network itself said which {result.budget} digits it was "
        "least sure of, and only those were labelled. "
        f"Trained again with them, it misread {100 * selected:.1f} % of digits it had never seen; "
        f"with {result.budget} drawn at random instead, {100 * random:.1f} % "
        f"(selecting was better in {ahead} of {len(result.trials)} tries)."
    )
