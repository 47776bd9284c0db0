"""Deep ensembles: predictions of networks that were trained one by one.

Lakshminarayanan, Pritzel & Blundell 2017, arXiv:1612.01474.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from alaas.core.errors import ModelUnavailable
from alaas.models.fingerprint import fingerprint
from alaas.models.reason import reason
from alaas.models.stochastic.head import HeadDraws
from alaas.models.stochastic.source import Ways
from alaas.models.stochastic.words import Seed


class Ensemble:
    """Draws that are members of an ensemble, in the order of their checkpoints.

    Args:
        members: Networks in evaluation mode; the first is the model itself.
    """

    last = False
    alone = True
    again: HeadDraws | None = None

    def __init__(self, members: Sequence[nn.Module]) -> None:
        self.members = tuple(members)
        self.most: int | None = len(members)
        self.phrase = f"ensemble of {len(members)}"

    def logits(self, ways: Ways, *, seed: Seed, number: int) -> Tensor:
        """Logits of one member; no seed moves it."""
        return ways.through(self.members[number])


def check_members(ensemble: Ensemble, through: Callable[[nn.Module], Tensor]) -> None:
    """Check that the members of an ensemble do the same work, each in its own way.

    Args:
        ensemble: The ensemble.
        through: Runs a network on one item, and checks what it returns.

    Raises:
        ModelUnavailable: One does not run, returns something else, or is there twice.
    """
    seen: dict[str, int] = {}
    for number, member in enumerate(ensemble.members, start=1):
        try:
            with torch.inference_mode():
                through(member)
        except Exception as error:  # it is the operator's code, and may raise anything
            raise ModelUnavailable(
                f"member {number} of the ensemble does not do what the first does: {reason(error)}"
            ) from error
        same = seen.setdefault(fingerprint(member), number)
        if same != number:
            raise ModelUnavailable(
                f"members {same} and {number} of the ensemble have the same weights"
            )


def together(digests: Sequence[str]) -> str:
    """One digest for several networks; of one network its own.

    Example:
        >>> together(["a1"]), together(["a1", "b2"]) == together(["b2", "a1"])
        ('a1', False)
    """
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[: len(digests[0])]
