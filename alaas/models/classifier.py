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

from alaas.config import Inputs, Preprocessing, Tokenization
from alaas.config.model import DrawsSettings
from alaas.core.errors import ModelOutputInvalid, ModelUnavailable
from alaas.models.anatomy import Anatomy, dissect
from alaas.models.entry import MANY_TOKENS, TOKENS, entry, noise, portions, real
from alaas.models.fingerprint import fingerprint
from alaas.models.foreign import guarded, predicting
from alaas.models.forward import Forward
from alaas.models.heads import flat, gradient_lengths
from alaas.models.margins import linear_margins, margins
from alaas.models.output import Output
from alaas.models.runtimes.engine import Engine
from alaas.models.runtimes.pytorch import TorchEngine, autocast, placed
from alaas.models.stochastic.choice import checked, find
from alaas.models.stochastic.ensemble import together
from alaas.models.stochastic.source import Source, Ways, draws
from alaas.models.tasks import TASKS, Rank, Reduction, reduced

DRAWN = 1 << 24
"""Numbers of maps of several passes that are held at once."""

N_DROP = 10
"""Stochastic passes where nobody says how many."""


class Classifier:
    """A network in evaluation mode on one device.

    What it returns is logits, of which `probs` are the softmax or, where an item may have
    several classes, the sigmoid; or it is embeddings. Else embeddings are what its head
    receives, averaged over space where that is a map. `parts` says what it has views for. Of a
    network for one of `alaas.models.tasks` there is a number an item: how unsure it is of all
    that it predicts of the item.

    Args:
        network: Any module from what `alaas.models.entry` makes of `inputs` to (B, C) logits,
            or to (B, D) embeddings, each row on its own; or to what its task reads.
        inputs: What makes items of that kind.
        device: Torch device to run on.
        output: What it returns.
        head: Name of the layer whose input embeddings are; None for the last linear or
            convolutional one that runs.
        margins: Whether these are distances of inputs or of embeddings; ``auto`` takes inputs
            where the logits have a gradient there.
        drawing: Where several predictions of an item come from.
        members: Further networks of an ensemble, like the first.
        reduction: What makes one uncertainty of those of an item's labels, pixels or boxes.
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
        drawing: DrawsSettings | None = None,
        members: Sequence[nn.Module] = (),
        reduction: Reduction | None = None,
        most: int | None = None,
    ) -> None:
        self.network, *others = (_prepared(one, device) for one in (network, *members))
        self._members = tuple(others)
        self.device = torch.device(device)
        self.inputs = inputs
        enter = entry(inputs).to(device)
        # Of two texts the second one is padded.
        rows = 2 if isinstance(inputs, Tokenization) else 1
        example = enter(placed(noise(inputs, rows), self.device))
        with guarded("the model cannot be looked into"):
            self.parts = dissect(
                self.network, example, output=output, head=head, real=real(inputs, example)
            )
        self.classes, self.dim = self.parts.classes, self.parts.dim
        self.forward = Forward(self.network, self.parts.head, inputs, output=output).to(device)
        self.engine = TorchEngine(self.forward, device=self.device)
        self.reduction = reduction or Reduction()
        self._most = most
        self._by_input = _by_input(margins, self.parts)
        self._alone = threading.Lock()
        self.source = self._source(drawing or DrawsSettings())

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
        return self.parts.views(drawn=self.source is not None)

    @property
    def head(self) -> str:
        """Name of the layer whose input the embeddings are; empty where that is none."""
        named = self.network.named_modules()
        return next((name for name, one in named if one is self.parts.head), "")

    @property
    def margins_of(self) -> str:
        """What margins are distances of, ``input`` or ``embedding``; empty without any."""
        if "margins" not in self.provides:
            return ""
        return "input" if self._by_input else "embedding"

    def views(
        self,
        batch: NDArray[Any],
        needs: Collection[str],
        *,
        n_drop: int | None = None,
        seed: int = 0,
        rank: Rank | None = None,
    ) -> dict[str, NDArray[np.floating]]:
        """Compute the named views of a micro-batch.

        Args:
            batch: B items as `alaas.models.entry` lists them, such as (B, H, W, 3) pixels.
            needs: View names out of `provides`.
            n_drop: Stochastic passes, T, where draws are among them; by default `N_DROP`, or
                all that there are.
            seed: Seed of the draws: with the same one every micro-batch meets the same T
                networks.
            rank: What says how uncertain each prediction of an item is, for ``uncertainty``
                and ``disagreement``; by default none of them is.

        Returns:
            View name to its float32 rows: ``probs`` (B, C), ``embeddings`` (B, D), ``grads``
            (B, C), ``draws`` (B, T, C); ``margins``, ``predictions``, ``uncertainty`` and
            ``disagreement`` (B,); and the ``head`` (C, D + 1).

        Raises:
            ModelOutputInvalid: The network returned NaN or infinity, or anything but one row
                of C logits an item.
            ModelUnavailable: The model has no such view.
            Raised: The network raised anything but a shortage of memory.
        """
        if missing := set(needs) - set(self.provides):
            raise ModelUnavailable(f"this model has no view {', '.join(sorted(missing))}")
        if n_drop is None:
            n_drop = min(N_DROP, (self.source and self.source.most) or N_DROP)
        shapes = self._shapes(n_drop)
        arrays = {
            name: np.empty((len(batch), *shape), np.float32)
            for name, shape in shapes.items()
            if name in needs
        }
        tokens = TOKENS if self.device.type == "cpu" else MANY_TOKENS
        parts = portions(self.inputs, batch, self._most, tokens=tokens) if len(batch) else ()
        for rows, part in parts:
            with predicting():
                made = self._computed(part, needs, n_drop, seed, rank or _certain)
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
            "margins": (), "predictions": (), "uncertainty": (), "disagreement": (),
        }  # fmt: skip

    def _computed(
        self, batch: NDArray[Any], needs: Collection[str], n_drop: int, seed: int, rank: Rank
    ) -> dict[str, NDArray[np.floating]]:
        changing = {"margins"}
        if self.source is not None and self.source.alone:
            changing |= {"draws", "disagreement"}
        if self.lanes > 1 and not changing.intersection(needs):
            return self._passed(batch, needs, n_drop, seed, rank)
        # These change the network's own state on their way, as torch's hooks do.
        with self._alone:
            try:
                return self._passed(batch, needs, n_drop, seed, rank)
            finally:
                self.forward.entering = None

    def _passed(
        self, batch: NDArray[Any], needs: Collection[str], n_drop: int, seed: int, rank: Rank
    ) -> dict[str, NDArray[np.floating]]:
        if self.parts.output == "detection":
            return self._detected(batch, needs, rank)
        views: dict[str, Tensor] = {}
        shared = {"probs", "embeddings", "grads", "predictions", "uncertainty"}.intersection(needs)
        if "margins" in needs and not self._by_input:
            shared.add("margins")
        made: dict[str, Tensor] = {}
        several = {"draws", "disagreement"}.intersection(needs)
        if shared or (several and self.source is not None and self.source.last):
            arrays = self.engine.run(batch)
            made = dict(zip(self.forward.names, map(torch.from_numpy, arrays), strict=True))
            if "logits" in made:
                _check_shape("logits", made["logits"].shape[:2], (len(batch), self.classes))
            views |= {name: self._predicted(name, made, rank) for name in shared}
        if "draws" in needs:
            views["draws"] = self._drawn(batch, made, n_drop, seed, self._activation)
        if "disagreement" in needs:
            views["disagreement"] = self._disagreement(batch, made, n_drop, seed, rank)
        if "margins" in needs and self._by_input:
            inputs = self._input(batch)
            views["margins"] = margins(self.network, inputs, farthest=self._diameter(inputs))
        return {name: view.float().cpu().numpy() for name, view in views.items()}

    def _drawn(
        self,
        batch: NDArray[Any],
        made: Mapping[str, Tensor],
        n_drop: int,
        seed: int,
        activation: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """(B, T, ...) what `activation` makes of T stochastic passes."""
        assert self.source is not None
        ways = Ways(
            batch,
            through=self._through(batch),
            engine=self._logits,
            entered=lambda: made["embeddings"].to(self.device),
        )
        return draws(self.source, ways, count=n_drop, seed=seed, activation=activation)

    def _disagreement(
        self, batch: NDArray[Any], made: Mapping[str, Tensor], n_drop: int, seed: int, rank: Rank
    ) -> Tensor:
        """How far the passes are from one another, reduced: a few maps at a time are held."""
        maps = self.parts.output == "segmentation"
        numbers = n_drop * self.classes * (math.prod(batch.shape[1:3]) if maps else 1)
        size = max(1, DRAWN // numbers)
        found = []

        def probs(logits: Tensor) -> Tensor:
            made = TASKS[self.parts.output].probs(logits)
            assert isinstance(made, Tensor)  # (B, R, C)
            return made

        for start in range(0, len(batch), size):
            rows = slice(start, start + size)
            entering = {name: view[rows] for name, view in made.items()}
            drawn = self._drawn(batch[rows], entering, n_drop, seed, probs)
            found.append(reduced(drawn.transpose(1, 2), rank, self.reduction))
        return torch.cat(found)

    def _detected(
        self, batch: NDArray[Any], needs: Collection[str], rank: Rank
    ) -> dict[str, NDArray[np.floating]]:
        """What there is of a network that returns boxes, which no other runtime takes over."""
        task = TASKS["detection"]
        with torch.inference_mode(), autocast(self.device, self.engine.precision):
            boxes = task.read(self.network(self._input(batch)))
        _check_shape("boxes", (len(boxes),), (len(batch),))
        views: dict[str, NDArray[np.floating]] = {}
        if "uncertainty" in needs:
            amounts = reduced(task.probs(boxes), rank, self.reduction)
            views["uncertainty"] = amounts.float().numpy()
        if "embeddings" in needs:
            assert self.forward.entering is not None
            views["embeddings"] = flat(self.forward.entering).float().cpu().numpy()
        return views

    def _activation(self, logits: Tensor) -> Tensor:
        """Logits to probabilities."""
        if self.parts.output == "sigmoid":
            return torch.sigmoid(logits)
        return torch.softmax(logits, dim=1)

    def _predicted(self, name: str, made: Mapping[str, Tensor], rank: Rank) -> Tensor:
        """A view that one pass tells."""
        if name == "embeddings":
            return made["embeddings"]
        if name == "probs":
            return self._activation(made["logits"])
        if name == "predictions":
            return made["logits"][:, 0]
        if name == "uncertainty":
            return reduced(TASKS[self.parts.output].probs(made["logits"]), rank, self.reduction)
        if name == "grads":
            return gradient_lengths(made["logits"], made["embeddings"])
        assert self.parts.matrix is not None
        weight = torch.from_numpy(self.parts.matrix[:, :-1])
        return linear_margins(made["logits"], weight)

    def _through(self, batch: NDArray[Any]) -> Callable[[nn.Module], Tensor]:
        """What runs a network of torch on a micro-batch, and reads what it returns."""
        entered: list[Tensor] = []

        def forward(network: nn.Module) -> Tensor:
            if not entered:
                entered.append(self._input(batch))
            with autocast(self.device, self.engine.precision):
                made = network(entered[0].clone())  # it may change its input in place
            logits: Tensor = TASKS[self.parts.output].read(made)
            _check_shape("logits", logits.shape[:2], (len(batch), self.classes))
            return logits

        return forward

    def _logits(self, batch: NDArray[Any]) -> Tensor:
        """What the engine makes of a micro-batch."""
        logits = dict(zip(self.forward.names, self.engine.run(batch), strict=True))["logits"]
        _check_shape("logits", logits.shape[:2], (len(batch), self.classes))
        return torch.from_numpy(logits)

    def _source(self, drawing: DrawsSettings) -> Source | None:
        """Where draws come from, if two of them differ.

        Raises:
            ModelUnavailable: What is asked for in particular is not there.
        """
        batch = noise(self.inputs, 1)
        ways = Ways(batch, self._through(batch), self._logits, entered=torch.Tensor)
        found = find(drawing, self.network, self.parts, self.inputs, self._members)
        try:
            with guarded("the draws of the model fail"):
                return checked(found, ways, drawing)
        finally:
            self.forward.entering = None

    def _diameter(self, inputs: Tensor) -> float:
        """Distance between the two inputs that differ most, or for vectors a far one."""
        if isinstance(self.inputs, Preprocessing):
            height, width = self.inputs.size
            return math.sqrt(height * width * sum(1 / std**2 for std in self.inputs.std))
        return float(torch.finfo(inputs.dtype).max)

    def digest(self) -> str:
        """What tells the network from another one: its `fingerprint`."""
        with guarded("the model cannot be told from another one"):
            return together([fingerprint(one) for one in (self.network, *self._members)])


def _prepared(network: nn.Module, device: str) -> nn.Module:
    """A network as it runs; convolutions are faster over NHWC memory, in which pixels arrive."""
    with guarded(f"{type(network).__name__} cannot be made ready on {device}"):
        network = network.eval().requires_grad_(False).to(device)
        return network.to(memory_format=torch.channels_last)


def _certain(probs: NDArray[np.floating]) -> NDArray[np.floating]:
    """Ranks all predictions alike: who asks what an item is like wants no order."""
    return np.zeros(len(probs))


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
