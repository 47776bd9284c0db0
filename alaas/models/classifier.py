"""A network and the views of its predictions."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alaas.config import Inputs, Preprocessing
from alaas.core.errors import ModelOutputInvalid, ModelUnavailable
from alaas.models.anatomy import Anatomy, dissect
from alaas.models.entry import entry, noise, portions
from alaas.models.fingerprint import fingerprint
from alaas.models.forward import Forward
from alaas.models.heads import gradient_lengths
from alaas.models.margins import linear_margins, margins
from alaas.models.output import Output
from alaas.models.runtimes.engine import Engine
from alaas.models.runtimes.pytorch import TorchEngine, autocast, placed
from alaas.models.stochastic import draws


class Classifier:
    """A network in evaluation mode on one device.

    What it returns is logits, of which `probs` are the softmax or, where an item may have
    several classes, the sigmoid; or it is embeddings. Else embeddings are what its head
    receives, averaged over space where that is a map. `parts` says what it has views for.

    Args:
        network: Any module from what `alaas.models.entry` makes of `inputs` to (B, C) logits,
            or to (B, D) embeddings, each row on its own.
        inputs: What makes items of that kind.
        device: Torch device to run on.
        output: What it returns.
        head: Name of the layer whose input embeddings are; None for the last linear or
            convolutional one that runs.
        margins: Whether these are distances of inputs or of embeddings; ``auto`` takes inputs
            where the logits have a gradient there.
        most: Items that go through it at once, other than texts; None for all of a batch.

    Attributes:
        forward: The one pass that probabilities, embeddings and gradients come from.
        engine: What runs it, at first torch in fp32. The network itself runs in torch for
            draws, other than those of its last layers alone, and for margins of inputs.

    Raises:
        ModelUnavailable: One pass over noise fails, or gives anything but (1, C) or (1, D).
    """

    engine: Engine

    def __init__(
        self,
        network: nn.Module,
        inputs: Inputs,
        *,
        device: str = "cpu",
        output: Output = "softmax",
        head: str | None = None,
        margins: Literal["auto", "input", "embedding"] = "auto",
        most: int | None = None,
    ) -> None:
        # Convolutions run faster over NHWC memory, the layout in which pixels arrive.
        self.network = network.eval().requires_grad_(False).to(device)
        self.network.to(memory_format=torch.channels_last)
        self.device = torch.device(device)
        self.inputs = inputs
        enter = entry(inputs).to(device)
        example = enter(placed(noise(inputs, 1), self.device))
        self.parts = dissect(self.network, example, output=output, head=head)
        self.classes, self.dim = self.parts.classes, self.parts.dim
        encodes = output == "embedding"
        self.forward = Forward(self.network, self.parts.head, inputs, encodes=encodes).to(device)
        self.engine = TorchEngine(self.forward, device=self.device)
        self._most = most
        self._by_input = _by_input(margins, self.parts)
        self._alone = threading.Lock()

    @property
    def lanes(self) -> int:
        """Micro-batches that `views` may be asked for at once."""
        return self.engine.lanes

    def _input(self, batch: NDArray[Any]) -> Tensor:
        entered: Tensor = self.forward.entry(placed(batch, self.device))
        return entered

    @property
    def provides(self) -> tuple[str, ...]:
        """The views that it can compute."""
        return self.parts.views

    def views(
        self,
        batch: NDArray[Any],
        needs: Collection[str],
        *,
        n_drop: int = 10,
        seed: int = 0,
    ) -> dict[str, NDArray[np.floating]]:
        """Compute the named views of a micro-batch.

        Args:
            batch: B items as `alaas.models.entry` lists them, such as (B, H, W, 3) pixels.
            needs: View names out of `provides`.
            n_drop: Stochastic passes, T, where draws are among them.
            seed: Seed of the draws: with the same one every micro-batch meets the same T
                networks.

        Returns:
            View name to its float32 rows: ``probs`` (B, C), ``embeddings`` (B, D), ``grads``
            (B, C), ``draws`` (B, T, C), ``margins`` (B,); and the ``head`` (C, D + 1).

        Raises:
            ModelOutputInvalid: The network returned NaN or infinity, or anything but one row
                of C logits an item.
            ModelUnavailable: The model has no such view.
        """
        if missing := set(needs) - set(self.provides):
            raise ModelUnavailable(f"this model has no view {', '.join(sorted(missing))}")
        shapes = self._shapes(n_drop)
        arrays = {name: np.empty((len(batch), *shapes[name]), np.float32) for name in shapes}
        for rows, part in portions(self.inputs, batch, self._most) if len(batch) else ():
            made = self._computed(part, needs, n_drop, seed)
            for name, array in made.items():
                _check_shape(name, array.shape, (len(rows), *shapes[name]))
            if len(rows) == len(batch) and np.array_equal(rows, np.arange(len(batch))):
                arrays |= made
                break
            for name, array in made.items():
                arrays[name][rows] = array
        if self.parts.matrix is not None:
            arrays["head"] = self.parts.matrix.copy()
        arrays = {name: arrays[name] for name in needs}
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise ModelOutputInvalid(f"the model's {name} hold NaN or infinity")
        return arrays

    def _shapes(self, n_drop: int) -> dict[str, tuple[int, ...]]:
        """The shape of one row of every view."""
        C = self.classes
        return {
            "probs": (C,), "embeddings": (self.dim,), "grads": (C,), "draws": (n_drop, C),
            "margins": (),
        }  # fmt: skip

    def _computed(
        self, batch: NDArray[Any], needs: Collection[str], n_drop: int, seed: int
    ) -> dict[str, NDArray[np.floating]]:
        if self.lanes > 1 and not {"draws", "margins"}.intersection(needs):
            return self._passed(batch, needs, n_drop, seed)
        # Draws and margins change the network's own state on their way, as torch's hooks do.
        with self._alone:
            try:
                return self._passed(batch, needs, n_drop, seed)
            finally:
                self.forward.entering = None

    def _passed(
        self, batch: NDArray[Any], needs: Collection[str], n_drop: int, seed: int
    ) -> dict[str, NDArray[np.floating]]:
        views: dict[str, Tensor] = {}
        shared = {"probs", "embeddings", "grads"}.intersection(needs)
        if "margins" in needs and not self._by_input:
            shared.add("margins")
        made: dict[str, Tensor] = {}
        if shared or ("draws" in needs and self.parts.drops_last):
            arrays = self.engine.run(batch)
            made = dict(zip(self.forward.names, map(torch.from_numpy, arrays), strict=True))
            if "logits" in made:
                _check_shape("logits", made["logits"].shape, (len(batch), self.classes))
            views |= {name: self._predicted(name, made) for name in shared}
        if "draws" in needs:
            last = self.parts.drops_last
            forward = self._head(made["embeddings"]) if last else self._whole(batch)
            with torch.inference_mode():
                views["draws"] = draws(
                    forward,
                    self.parts.dropouts,
                    rows=len(batch),
                    count=n_drop,
                    seed=seed,
                    activation=self._activation,
                )
        if "margins" in needs and self._by_input:
            inputs = self._input(batch)
            views["margins"] = margins(self.network, inputs, farthest=self._diameter(inputs))
        return {name: view.float().cpu().numpy() for name, view in views.items()}

    def _activation(self, logits: Tensor) -> Tensor:
        """Logits to probabilities."""
        if self.parts.output == "sigmoid":
            return torch.sigmoid(logits)
        return torch.softmax(logits, dim=1)

    def _predicted(self, name: str, made: Mapping[str, Tensor]) -> Tensor:
        """A view that one pass tells."""
        if name == "embeddings":
            return made["embeddings"]
        if name == "probs":
            return self._activation(made["logits"])
        if name == "grads":
            return gradient_lengths(made["logits"], made["embeddings"])
        assert self.parts.matrix is not None
        weight = torch.from_numpy(self.parts.matrix[:, :-1])
        return linear_margins(made["logits"], weight)

    def _head(self, embeddings: Tensor) -> Callable[[], Tensor]:
        """One pass through the last layers, before which nothing drops."""
        (layer,), head = self.parts.dropouts, self.parts.head
        assert head is not None
        entering = embeddings.to(self.device)
        return lambda: head(layer(entering))

    def _whole(self, batch: NDArray[Any]) -> Callable[[], Tensor]:
        """One pass through the network."""
        inputs = self._input(batch)

        def forward() -> Tensor:
            with autocast(self.device, self.engine.precision):
                logits: Tensor = self.network(inputs.clone())  # it may change its input in place
            return logits

        return forward

    def _diameter(self, inputs: Tensor) -> float:
        """Distance between the two inputs that differ most, or for vectors a far one."""
        if isinstance(self.inputs, Preprocessing):
            height, width = self.inputs.size
            return math.sqrt(height * width * sum(1 / std**2 for std in self.inputs.std))
        return float(torch.finfo(inputs.dtype).max)

    def digest(self) -> str:
        """What tells the network from another one: its `fingerprint`."""
        return fingerprint(self.network)


def _check_shape(name: str, found: Sequence[int], wanted: Sequence[int]) -> None:
    if tuple(found) != tuple(wanted):
        raise ModelOutputInvalid(
            f"the model's {name} have the shape {tuple(found)}; expected {tuple(wanted)}"
        )


def _by_input(asked: str, parts: Anatomy) -> bool:
    """Whether margins are distances of inputs.

    Raises:
        ModelUnavailable: They cannot be what is asked for.
    """
    if asked == "input" and not parts.differentiable:
        raise ModelUnavailable("margins of inputs need logits with a gradient there: it has none")
    if asked == "embedding" and parts.matrix is None:
        raise ModelUnavailable("margins of embeddings need a linear last layer: it has none")
    return parts.differentiable if asked == "auto" else asked == "input"
