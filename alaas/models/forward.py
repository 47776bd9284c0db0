"""One pass: from items as they arrive to logits and embeddings, as one module.

What stands before the network is a part of it, so that a runtime that takes the module over
fuses the normalisation of pixels with the first layer.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from alaas.config import Inputs
from alaas.models.entry import entry, real
from alaas.models.heads import argument, flat
from alaas.models.output import Output
from alaas.models.tasks import TASKS


class Forward(nn.Module):
    """A micro-batch to what the task reads, as (B, C) logits, and with a head embeddings (B, D).

    Args:
        network: A network in evaluation mode.
        head: The layer of it whose input the embeddings are, if any.
        inputs: What `alaas.models.entry` makes its input of.
        output: What it returns.

    Attributes:
        names: What comes out: ``logits``, ``embeddings`` or both.
        entering: What the head received, if a pass through the network alone left it behind.
    """

    def __init__(
        self,
        network: nn.Module,
        head: nn.Module | None,
        inputs: Inputs,
        *,
        output: Output = "softmax",
    ) -> None:
        super().__init__()
        self.network = network
        self.inputs = inputs
        self.entry = entry(inputs)
        self.names = ("logits",) if head is None else ("logits", "embeddings")
        self.output = output
        if output == "embedding":
            self.names = ("embeddings",)
        self.entering: Tensor | None = None
        if head is not None:
            head.register_forward_pre_hook(self._keep, with_kwargs=True)
        self.eval()

    def _keep(self, _: nn.Module, given: tuple[Tensor, ...], named: Mapping[str, Tensor]) -> None:
        self.entering = argument(given, named)

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        """What `names` says, in float32."""
        entered = self.entry(batch)
        tokens = real(self.inputs, entered)  # before the network, which may change its input
        made = self.network(entered)
        made = (made if self.output == "embedding" else TASKS[self.output].read(made)).float()
        entering, self.entering = self.entering, None
        return (made,) if entering is None else (made, flat(entering, tokens).float())
