"""A network and the views of its predictions."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alaas.config import Preprocessing
from alaas.core.arrays import Images
from alaas.core.errors import ModelOutputInvalid, ModelUnavailable
from alaas.models.reason import reason

# Pixels arrive as memory of a message, which is read-only; they are read and not written.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


class Classifier:
    """A classifier in evaluation mode on one device.

    Its forward pass must return (B, C) logits; `probs` is their softmax. Embeddings are
    what its last linear or convolutional layer receives, averaged over space where that
    is a map.

    Args:
        network: Any module from (B, 3, H, W) float32 to (B, C) logits.
        preprocessing: Size, mean and standard deviation of its input.
        device: Torch device to run on.

    Raises:
        ModelUnavailable: One pass over zeros fails, or gives anything but (1, C).
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
        self._entering: Tensor | None = None
        self.head, self.classes, self.dim = self._probe()

    def _probe(self) -> tuple[nn.Module | None, int, int]:
        """Find the head and the sizes of its output and input by one pass over zeros."""
        called: list[tuple[nn.Module, Tensor]] = []
        layers = [m for m in self.network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        hooks = [
            layer.register_forward_pre_hook(
                lambda module, *given: called.append((module, _argument(*given))), with_kwargs=True
            )
            for layer in layers
        ]
        blank = np.zeros((1, *self.preprocessing.size, 3), np.uint8)
        try:
            with torch.inference_mode():
                logits = self.network(self._input(blank))
        except Exception as error:  # it is the operator's code, and may raise anything
            height, width = self.preprocessing.size
            raise ModelUnavailable(
                f"the model fails on a {height}x{width} image: {reason(error)}"
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
        if not torch.is_tensor(logits) or logits.ndim != 2 or len(logits) != 1:
            got = tuple(logits.shape) if torch.is_tensor(logits) else type(logits).__name__
            raise ModelUnavailable(
                f"a classifier must return logits of shape (B, C), got {got} for one image"
            )
        if not called:
            return None, logits.shape[1], 0
        head, entering = called[-1]
        head.register_forward_pre_hook(self._keep, with_kwargs=True)
        return head, logits.shape[1], _flat(entering).shape[1]

    def _keep(self, _: nn.Module, given: tuple[Tensor, ...], named: Mapping[str, Tensor]) -> None:
        self._entering = _argument(given, named)

    def _input(self, images: Images) -> Tensor:
        """Normalised pixels, computed as torchvision's presets do, in NHWC memory."""
        pixels = torch.from_numpy(images).to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        return pixels.float().div_(255).sub_(self._mean).div_(self._std)

    @property
    def provides(self) -> tuple[str, ...]:
        """The views that it can compute."""
        return ("probs",) if self.head is None else ("probs", "embeddings")

    def views(
        self,
        images: Images,
        needs: Collection[str],
        *,
        n_drop: int = 10,
        seed: Sequence[int] = (0,),
    ) -> dict[str, NDArray[np.floating]]:
        """Compute the named views of a micro-batch.

        Args:
            images: (B, H, W, 3) uint8 pixels, already of the model's size.
            needs: View names out of `provides`.
            n_drop: Stochastic passes, T, where draws are among them.
            seed: Seed of what those passes draw.

        Returns:
            View name to its float32 rows: ``probs`` (B, C), ``embeddings`` (B, D).

        Raises:
            ModelOutputInvalid: The network returned NaN or infinity.
            ModelUnavailable: The model has no such view.
        """
        if missing := set(needs) - set(self.provides):
            raise ModelUnavailable(f"this model has no view {', '.join(sorted(missing))}")
        if not needs or not len(images):
            return {name: np.empty((len(images), self._width(name)), np.float32) for name in needs}
        with torch.inference_mode():
            logits = self.network(self._input(images)).float()
            views: dict[str, Tensor] = {}
            if "probs" in needs:
                views["probs"] = torch.softmax(logits, dim=1)
            if "embeddings" in needs and self._entering is not None:
                views["embeddings"] = _flat(self._entering).float()
        self._entering = None
        arrays = {name: view.cpu().numpy() for name, view in views.items()}
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise ModelOutputInvalid(f"the model's {name} hold NaN or infinity")
        return arrays

    def _width(self, view: str) -> int:
        return self.classes if view == "probs" else self.dim

    def digest(self) -> str:
        """SHA-256 over the names and values of all parameters and buffers, 16 digits of it."""
        total = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            total.update(name.encode())
            # The bytes, whatever the type: numpy has no bfloat16.
            flat = tensor.detach().cpu().contiguous().view(-1)
            total.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
        return total.hexdigest()[:16]


def _argument(given: tuple[Tensor, ...], named: Mapping[str, Tensor]) -> Tensor:
    """What a layer is called with: `layer(x)` or `layer(input=x)`."""
    return given[0] if given else named["input"]


def _flat(entering: Tensor) -> Tensor:
    """(B, D) from (B, D), from a (B, D, H, W) map or from (B, L, D) tokens."""
    if entering.ndim == 4:
        return entering.mean(dim=(2, 3))
    if entering.ndim == 3:
        return entering.mean(dim=1)
    return entering
