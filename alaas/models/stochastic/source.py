"""The interface of what draws come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alaas.core.errors import ModelUnavailable
from alaas.models.stochastic.head import HeadDraws
from alaas.models.stochastic.words import Seed


@dataclass
class Ways:
    """The ways that lead from a micro-batch to its logits.

    Attributes:
        batch: B items, as `alaas.models.entry` lists them.
        through: Runs a network of torch on them.
        engine: Runs the model's runtime on other items than these.
        entered: Gives (B, D) what the head receives of them.
    """

    batch: NDArray[Any]
    through: Callable[[nn.Module], Tensor]
    engine: Callable[[NDArray[Any]], Tensor]
    entered: Callable[[], Tensor]

    @property
    def rows(self) -> int:
        """Items, B."""
        return len(self.batch)

    @cached_property
    def embeddings(self) -> Tensor:
        """(B, D) what the head receives."""
        return self.entered()


class Source(Protocol):
    """Where several predictions of an item come from.

    Attributes:
        phrase: What tells these draws from others of the same network, in a few words.
        most: Passes that there are, T at most; None for any number.
        last: Whether they start from embeddings, so that all of them cost about one pass.
        alone: Whether the network is another one during a pass, so that nothing else may run.
        again: How they come of embeddings that are stored, without the model; None if not so.
    """

    phrase: str
    most: int | None
    last: bool
    alone: bool
    again: HeadDraws | None

    def logits(self, ways: Ways, *, seed: Seed, number: int) -> Tensor:
        """Logits of pass `number`, from 0: the same network for all items of a seed."""
        ...


def draws(
    source: Source,
    ways: Ways,
    *,
    count: int,
    seed: Seed,
    activation: Callable[[Tensor], Tensor],
) -> Tensor:
    """Run a network several times, each time as another one.

    Args:
        source: What makes it another one.
        ways: How to run it.
        count: Passes, T.
        seed: The same seed draws the same networks, on every device.
        activation: What makes probabilities of logits.

    Returns:
        (B, T, ...) what `activation` makes of each pass.

    Raises:
        ModelUnavailable: There are fewer passes than that.
    """
    if source.most is not None and count > source.most:
        raise ModelUnavailable(
            f"n_drop is {count}, and the model has {source.most} predictions of an item"
        )
    with torch.inference_mode():
        return torch.stack(
            [
                activation(source.logits(ways, seed=seed, number=number).float())
                for number in range(count)
            ],
            dim=1,
        )
