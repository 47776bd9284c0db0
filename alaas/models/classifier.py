"""A network and the views of its predictions."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Collection, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alaas.config import Preprocessing
from alaas.core.arrays import Images
from alaas.core.errors import ModelOutputInvalid, ModelUnavailable
from alaas.models.anatomy import dissect
from alaas.models.heads import argument, flat, gradient_lengths
from alaas.models.margins import margins
from alaas.models.stochastic import draws

# Pixels arrive as memory of a message, which is read-only; they are read and not written.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


class Classifier:
    """A classifier in evaluation mode on one device.

    Its forward pass must return (B, C) logits; `probs` is their softmax. Embeddings are
    what its last linear or convolutional layer receives, averaged over space where that
    is a map. `parts` says what else it has views for.

    Args:
        network: Any module from (B, 3, H, W) float32 to (B, C) logits, each row on its own.
        preprocessing: Size, mean and standard deviation of its input.
        device: Torch device to run on.

    Raises:
        ModelUnavailable: One pass over noise fails, or gives anything but (1, C).
    """

    def __init__(
        self, network: nn.Module, preprocessing: Preprocessing, *, device: str = "cpu"
    ) -> None:
        # Convolutions run faster over NHWC memory, the layout in which pixels arrive.
        self.network = network.eval().requires_grad_(False).to(device)
        self.network.to(memory_format=torch.channels_last)
        self.device = torch.device(device)
        self.preprocessing = preprocessing
        self._mean = torch.tensor(preprocessing.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(preprocessing.std, device=device).view(1, 3, 1, 1)
        shape = (1, *preprocessing.size, 3)
        noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        self.parts = dissect(self.network, self._input(noise))
        self.classes, self.dim = self.parts.classes, self.parts.dim
        self._entering: Tensor | None = None
        if self.parts.head is not None:
            self.parts.head.register_forward_pre_hook(self._keep, with_kwargs=True)

    def _keep(self, _: nn.Module, given: tuple[Tensor, ...], named: Mapping[str, Tensor]) -> None:
        self._entering = argument(given, named)

    def _input(self, images: Images) -> Tensor:
        """Normalised pixels, computed as torchvision's presets do, in NHWC memory."""
        pixels = torch.from_numpy(images).to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        return pixels.float().div_(255).sub_(self._mean).div_(self._std)

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
            ModelOutputInvalid: The network returned NaN or infinity.
            ModelUnavailable: The model has no such view.
        """
        if missing := set(needs) - set(self.provides):
            raise ModelUnavailable(f"this model has no view {', '.join(sorted(missing))}")
        if len(images):
            try:
                arrays = self._computed(images, needs, n_drop, seed)
            finally:
                self._entering = None
        else:
            shapes = self._shapes(n_drop)
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
        views: dict[str, Tensor] = {}
        with torch.inference_mode():
            if not {"probs", "embeddings", "grads"}.isdisjoint(needs):
                views |= self._predicted(images, needs)
            if "draws" in needs:
                forward, layers = self._stochastic(images), self.parts.dropouts
                views["draws"] = draws(forward, layers, rows=len(images), count=n_drop, seed=seed)
        if "margins" in needs:
            inputs = self._input(images)
            views["margins"] = margins(self.network, inputs, farthest=self._diameter())
        return {name: view.float().cpu().numpy() for name, view in views.items()}

    def _predicted(self, images: Images, needs: Collection[str]) -> dict[str, Tensor]:
        """What one pass tells."""
        views: dict[str, Tensor] = {}
        logits = self.network(self._input(images)).float()
        if "probs" in needs:
            views["probs"] = torch.softmax(logits, dim=1)
        if self._entering is not None:
            embeddings = flat(self._entering)
            if "embeddings" in needs:
                views["embeddings"] = embeddings
            if "grads" in needs:
                views["grads"] = gradient_lengths(logits, embeddings)
        return views

    def _stochastic(self, images: Images) -> Callable[[], Tensor]:
        """One pass through the network; its last layers only, where no other one drops."""
        pixels, head = self._input(images), self.parts.head
        if head is None or not self.parts.drops_last:
            return lambda: self.network(pixels.clone())  # it may change its input in place
        if self._entering is None:
            self.network(pixels)
        (layer,), entering = self.parts.dropouts, self._entering
        return lambda: head(layer(entering))

    def _diameter(self) -> float:
        """Distance between the two inputs that differ most."""
        height, width = self.preprocessing.size
        return math.sqrt(height * width * sum(1 / std**2 for std in self.preprocessing.std))

    def digest(self) -> str:
        """SHA-256 over the names and values of all parameters and buffers, 16 digits of it."""
        total = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            total.update(name.encode())
            # The bytes, whatever the type: numpy has no bfloat16.
            values = tensor.detach().cpu().contiguous().view(-1)
            total.update(values.view(torch.uint8).numpy().tobytes() if values.numel() else b"")
        return total.hexdigest()[:16]
