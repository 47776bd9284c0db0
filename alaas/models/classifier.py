"""A network and the views of its predictions."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alaas.config import Preprocessing
from alaas.core.arrays import Images
from alaas.core.errors import ModelOutputInvalid, ModelUnavailable
from alaas.models.anatomy import dissect
from alaas.models.fingerprint import fingerprint
from alaas.models.forward import Forward, Normalisation
from alaas.models.heads import gradient_lengths
from alaas.models.margins import margins
from alaas.models.runtimes.engine import Engine
from alaas.models.runtimes.pytorch import TorchEngine, autocast, placed
from alaas.models.stochastic import draws


class Classifier:
    """A classifier in evaluation mode on one device.

    Its forward pass must return (B, C) logits; `probs` is their softmax. Embeddings are
    what its last linear or convolutional layer receives, averaged over space where that
    is a map. `parts` says what else it has views for.

    Args:
        network: Any module from (B, 3, H, W) float32 to (B, C) logits, each row on its own.
        preprocessing: Size, mean and standard deviation of its input.
        device: Torch device to run on.

    Attributes:
        forward: The one pass that probabilities, embeddings and gradients come from.
        engine: What runs it, at first torch in fp32. The network itself runs in torch for
            draws, other than those of its last layers alone, and for margins.

    Raises:
        ModelUnavailable: One pass over noise fails, or gives anything but (1, C).
    """

    engine: Engine

    def __init__(
        self, network: nn.Module, preprocessing: Preprocessing, *, device: str = "cpu"
    ) -> None:
        # Convolutions run faster over NHWC memory, the layout in which pixels arrive.
        self.network = network.eval().requires_grad_(False).to(device)
        self.network.to(memory_format=torch.channels_last)
        self.device = torch.device(device)
        self.preprocessing = preprocessing
        shape = (1, *preprocessing.size, 3)
        noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        pixels = Normalisation(preprocessing).to(device)(placed(noise, self.device))
        self.parts = dissect(self.network, pixels)
        self.classes, self.dim = self.parts.classes, self.parts.dim
        self.forward = Forward(self.network, self.parts.head, preprocessing).to(device)
        self.engine = TorchEngine(self.forward, device=self.device)
        self._alone = threading.Lock()

    @property
    def lanes(self) -> int:
        """Micro-batches that `views` may be asked for at once."""
        return self.engine.lanes

    def _input(self, images: Images) -> Tensor:
        pixels: Tensor = self.forward.pixels(placed(images, self.device))
        return pixels

    @property
    def provides(self) -> tuple[str, ...]:
        """The views that it can compute."""
        return self.parts.views

    def views(
        self,
        images: Images,
        needs: Collection[str],
        *,
        n_drop: int = 10,
        seed: int = 0,
    ) -> dict[str, NDArray[np.floating]]:
        """Compute the named views of a micro-batch.

        Args:
            images: (B, H, W, 3) uint8 pixels, already of the model's size.
            needs: View names out of `provides`.
            n_drop: Stochastic passes, T, where draws are among them.
            seed: Seed of the draws: with the same one every micro-batch meets the same T
                networks.

        Returns:
            View name to its float32 rows: ``probs`` (B, C), ``embeddings`` (B, D), ``grads``
            (B, C), ``draws`` (B, T, C), ``margins`` (B,); and the ``head`` (C, D + 1).

        Raises:
            ModelOutputInvalid: The network returned NaN or infinity, or anything but one row
                of C logits an image.
            ModelUnavailable: The model has no such view.
        """
        if missing := set(needs) - set(self.provides):
            raise ModelUnavailable(f"this model has no view {', '.join(sorted(missing))}")
        shapes = self._shapes(n_drop)
        if len(images):
            arrays = self._computed(images, needs, n_drop, seed)
            for name, array in arrays.items():
                _check_shape(name, array.shape, (len(images), *shapes[name]))
        else:
            arrays = {name: np.empty((0, *shapes[name]), np.float32) for name in shapes}
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
        self, images: Images, needs: Collection[str], n_drop: int, seed: int
    ) -> dict[str, NDArray[np.floating]]:
        if self.lanes > 1 and not {"draws", "margins"}.intersection(needs):
            return self._passed(images, needs, n_drop, seed)
        # Draws and margins change the network's own state on their way, as torch's hooks do.
        with self._alone:
            try:
                return self._passed(images, needs, n_drop, seed)
            finally:
                self.forward.entering = None

    def _passed(
        self, images: Images, needs: Collection[str], n_drop: int, seed: int
    ) -> dict[str, NDArray[np.floating]]:
        views: dict[str, Tensor] = {}
        shared = {"probs", "embeddings", "grads"}.intersection(needs)
        if shared or ("draws" in needs and self.parts.drops_last):
            made = [torch.from_numpy(rows) for rows in self.engine.run(images)]
            _check_shape("logits", made[0].shape, (len(images), self.classes))
            views |= {name: _predicted(name, *made) for name in shared}
        if "draws" in needs:
            forward = self._head(made[1]) if self.parts.drops_last else self._whole(images)
            with torch.inference_mode():
                views["draws"] = draws(
                    forward, self.parts.dropouts, rows=len(images), count=n_drop, seed=seed
                )
        if "margins" in needs:
            inputs = self._input(images)
            views["margins"] = margins(self.network, inputs, farthest=self._diameter())
        return {name: view.float().cpu().numpy() for name, view in views.items()}

    def _head(self, embeddings: Tensor) -> Callable[[], Tensor]:
        """One pass through the last layers, before which nothing drops."""
        (layer,), head = self.parts.dropouts, self.parts.head
        assert head is not None
        entering = embeddings.to(self.device)
        return lambda: head(layer(entering))

    def _whole(self, images: Images) -> Callable[[], Tensor]:
        """One pass through the network."""
        pixels = self._input(images)

        def forward() -> Tensor:
            with autocast(self.device, self.engine.precision):
                logits: Tensor = self.network(pixels.clone())  # it may change its input in place
            return logits

        return forward

    def _diameter(self) -> float:
        """Distance between the two inputs that differ most."""
        height, width = self.preprocessing.size
        return math.sqrt(height * width * sum(1 / std**2 for std in self.preprocessing.std))

    def digest(self) -> str:
        """What tells the network from another one: its `fingerprint`."""
        return fingerprint(self.network)


def _check_shape(name: str, found: Sequence[int], wanted: Sequence[int]) -> None:
    if tuple(found) != tuple(wanted):
        raise ModelOutputInvalid(
            f"the model's {name} have the shape {tuple(found)}; expected {tuple(wanted)}"
        )


def _predicted(name: str, logits: Tensor, embeddings: Tensor | None = None) -> Tensor:
    """A view that one pass tells."""
    if name == "probs":
        return torch.softmax(logits, dim=1)
    assert embeddings is not None
    return embeddings if name == "embeddings" else gradient_lengths(logits, embeddings)
