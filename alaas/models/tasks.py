"""Tasks beyond one class an item: many predictions of it become one uncertainty.

A network for such a task predicts many things of an item. Each task says what they are, as
rows of probabilities; the scorer of a query ranks each row as if it were an item; a
`Reduction` makes one number of them. So no map of pixels ever leaves the process.

============  ===================================  ==================================
output        what the network returns             predictions of an item
============  ===================================  ==================================
sigmoid       (B, C) logits                        C labels: it has it, or has not
segmentation  (B, C, H, W) logits, or a mapping    H W pixels of C classes; of a
              with them as ``out``                 single channel, is or is not
detection     B mappings of ``logits`` (R, C), or  R boxes of C classes; of scores,
              of ``scores`` (R,) in [0, 1]         is or is not what it is called
value         (B,) or (B, K) values                K values, which are no probabilities
============  ===================================  ==================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alaas.core.errors import ModelOutputInvalid
from alaas.models.output import Output

Rank = Callable[[NDArray[np.floating]], NDArray[np.floating]]
"""How uncertain each of R predictions is, >= 0: of (R, C) probabilities, or (R, T, C) draws."""


@dataclass(frozen=True, slots=True)
class Reduction:
    """How the uncertainties of an item's predictions become that of the item.

    Attributes:
        kind: Their mean, largest, sum, or the mean of the largest few.
        top_k: How many these are, > 0; all of them where an item has fewer.

    Example:
        >>> amounts = np.array([0.0, 3.0, 1.0])
        >>> Reduction("sum")(amounts), Reduction("top_k", 2)(amounts), Reduction("max")(amounts)
        (4.0, 2.0, 3.0)
        >>> Reduction()(np.empty(0))
        0.0
    """

    kind: Literal["mean", "max", "sum", "top_k"] = "mean"
    top_k: int = 10

    def __call__(self, amounts: NDArray[np.floating]) -> float:
        """The uncertainty of an item, of (R,) amounts >= 0; 0 where it has none."""
        if not len(amounts):
            return 0.0
        if self.kind == "max":
            return float(amounts.max())
        if self.kind == "sum":
            return float(amounts.sum(dtype=np.float64))
        if self.kind == "top_k" and self.top_k < len(amounts):
            amounts = np.partition(amounts, len(amounts) - self.top_k)[-self.top_k :]
        return float(amounts.mean(dtype=np.float64))

    def __str__(self) -> str:
        return f"top_k-{self.top_k}" if self.kind == "top_k" else self.kind


class Task(Protocol):
    """The adapter between a network and whoever ranks its predictions.

    Attributes:
        rule: What the network must return, in words.
    """

    rule: str

    def read(self, made: Any) -> Any:
        """What a network returned, in the one form that `probs` takes.

        Raises:
            ModelOutputInvalid: It is something else.
        """
        ...

    def probs(self, made: Any) -> Tensor | list[Tensor]:
        """The predictions of all items, (B, R, C) probabilities; or (R, C) of each."""
        ...


class Classes:
    """One class an item: its one prediction."""

    rule = "logits of shape (B, C)"

    def read(self, made: Any) -> Tensor:
        """The logits."""
        return _checked(self, made, 2)

    def probs(self, made: Tensor) -> Tensor:
        """(B, 1, C)."""
        return torch.softmax(made, dim=1)[:, None]


class Labels(Classes):
    """Any number of labels an item: each is there or not."""

    def probs(self, made: Tensor) -> Tensor:
        """(B, C, 2)."""
        return _is_or_is_not(made)


class Pixels:
    """A class for each pixel of a picture."""

    rule = "logits of shape (B, C, H, W), or a mapping with them as 'out'"

    def read(self, made: Any) -> Tensor:
        """The map of logits, which models of torchvision return as ``out``."""
        if isinstance(made, Mapping) and "out" in made:
            made = made["out"]
        return _checked(self, made, 4)

    def probs(self, made: Tensor) -> Tensor:
        """(B, H W, C), or (B, H W, 2) of a single channel, which tells what is there."""
        pixels = made.flatten(2).transpose(1, 2)
        if pixels.shape[2] == 1:
            return _is_or_is_not(pixels[:, :, 0])
        return torch.softmax(pixels, dim=2)


class Boxes:
    """Things in a picture, of which each picture has another number."""

    rule = "a list with a mapping for each item, which has 'logits' (R, C > 0) or 'scores' (R,)"

    def read(self, made: Any) -> list[Tensor]:
        """The logits or scores of each item's boxes."""
        if not isinstance(made, Sequence):
            raise ModelOutputInvalid(f"the model returned {shape_of(made)}; expected {self.rule}")
        return [self._of_one(one) for one in made]

    def _of_one(self, one: Any) -> Tensor:
        for name, dims in (("logits", 2), ("scores", 1)):
            if isinstance(one, Mapping) and name in one:
                return _checked(self, one[name], dims)
        raise ModelOutputInvalid(
            f"the model returned {shape_of(one)} for an item; expected {self.rule}"
        )

    def probs(self, made: Sequence[Tensor]) -> list[Tensor]:
        """(R, C) of logits, (R, 2) of scores or of the logits of one class."""
        return [_of_boxes(one.float()) for one in made]


class Values:
    """A value or several of an item, as in regression."""

    rule = "values of shape (B,) or (B, K)"

    def read(self, made: Any) -> Tensor:
        """(B, K) values."""
        if torch.is_tensor(made) and made.ndim == 1:
            made = made[:, None]
        return _checked(self, made, 2)

    def probs(self, made: Tensor) -> Tensor:
        """(B, K, 1) the values themselves, for scorers that rank how far draws spread."""
        return made[:, :, None]


TASKS: Mapping[Output, Task] = {
    "softmax": Classes(),
    "sigmoid": Labels(),
    "segmentation": Pixels(),
    "detection": Boxes(),
    "value": Values(),
}
"""How each kind of output is read."""

REDUCED: frozenset[Output] = frozenset({"sigmoid", "segmentation", "detection", "value"})
"""The outputs of which an item has many predictions."""


def reduced(probs: Tensor | list[Tensor], rank: Rank, reduction: Reduction) -> Tensor:
    """One uncertainty for each item.

    Args:
        probs: For each of B items (R, C) probabilities, or (R, T, C) of T passes.
        rank: What ranks each prediction.
        reduction: What makes one number of an item's.

    Returns:
        (B,) uncertainties, >= 0; 0 of an item without predictions.
    """
    amounts = [
        reduction(rank(np.ascontiguousarray(one.float().cpu().numpy()))) if len(one) else 0.0
        for one in probs
    ]
    return torch.tensor(amounts, dtype=torch.float64)


def _of_boxes(made: Tensor) -> Tensor:
    if made.ndim == 1:
        return torch.stack([1 - made, made], dim=1)
    return torch.softmax(made, dim=1) if made.shape[1] > 1 else _is_or_is_not(made[:, 0])


def _is_or_is_not(logits: Tensor) -> Tensor:
    """(..., 2) probabilities of no and of yes: the sigmoids of the logit and of its negative."""
    return torch.sigmoid(torch.stack([-logits, logits], dim=-1))


def _checked(task: Task, made: Any, dims: int) -> Tensor:
    if not torch.is_tensor(made) or made.ndim != dims or 0 in made.shape[1:]:
        raise ModelOutputInvalid(f"the model returned {shape_of(made)}; expected {task.rule}")
    found: Tensor = made
    return found


def shape_of(made: Any) -> str:
    """What a network returned, in a few words."""
    return str(tuple(made.shape)) if torch.is_tensor(made) else type(made).__name__
