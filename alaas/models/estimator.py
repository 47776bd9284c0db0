"""Estimators of scikit-learn, and what else has their methods, in the form of a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alaas.config import Characters, Inputs
from alaas.core.arrays import PADDING
from alaas.core.errors import ModelUnavailable
from alaas.models.built import Built
from alaas.models.entry import noise
from alaas.models.output import Output
from alaas.models.reason import reason

MOST_DIM = 4_096
"""Dimensions of embeddings; what has more, such as counts of words, is not taken for one."""

EMBEDDINGS = "head"
"""Name of the layer that receives the embeddings."""

_TOLERANCE = 1e-5
_SUM_TOLERANCE = 1e-3
_CODEC = "utf-32-le"


def build(estimator: Any, inputs: Inputs, *, output: str = "auto") -> Built:
    """Make a network of an estimator that is fitted.

    Its ``predict_proba`` gives the probabilities, or, of a regressor, ``predict`` the value. Of
    a search over settings it is what it found.
    Embeddings are what the last step of a pipeline receives, or the vectors themselves. Where
    that step is linear and its softmax is what ``predict_proba`` gives, it is known as a
    layer, so that there are gradients and margins.

    Args:
        estimator: The estimator, or a pipeline of them. It is not changed.
        inputs: Vectors, or characters of texts.
        output: What it returns; ``auto`` is what it says itself.

    Raises:
        ModelUnavailable: It is not fitted, has no such method, or predicts several things of
            which each has classes of its own.
    """
    estimator = _chosen(estimator)
    regresses = _regresses(estimator)
    name = type(estimator).__name__
    if not regresses and not hasattr(estimator, "predict_proba"):
        raise ModelUnavailable(
            f"{name} has no predict_proba: calibrate it (CalibratedClassifierCV), or set its "
            f"option for probabilities"
        )
    network = EstimatorNetwork(estimator, inputs, regresses=regresses)
    if output not in {"auto", network.output}:
        raise ModelUnavailable(f"{name} has output {network.output}, and `output` is {output}")
    classes = () if regresses else getattr(estimator, "classes_", ())
    if isinstance(classes, list):  # those of each label, which are no and yes
        classes = ()
    return Built(
        network,
        inputs,
        categories=tuple(map(str, classes)),
        output=network.output,
        head=EMBEDDINGS if network.embeds else None,
        runtime="sklearn",
    )


def _regresses(estimator: Any) -> bool:
    if not hasattr(estimator, "__sklearn_tags__"):  # it only has the same methods
        return not hasattr(estimator, "predict_proba")
    from sklearn.base import is_regressor

    return bool(is_regressor(estimator))


class EstimatorNetwork(nn.Module):
    """An estimator in the form of a module: it passes on what it gets.

    Args:
        estimator: The estimator, fitted.
        inputs: What makes the rows that it gets.
        regresses: Whether it predicts values.

    Attributes:
        output: What it returns.
        embeds: Whether its head receives embeddings.
        head: The last step where that is linear, and else a layer that does nothing.

    Raises:
        ModelUnavailable: It fails on noise, or gives an array for each label.
    """

    def __init__(self, estimator: Any, inputs: Inputs, *, regresses: bool) -> None:
        super().__init__()
        self._estimator = estimator
        self._texts = isinstance(inputs, Characters)
        self._regresses = regresses
        self._digest = _digest(estimator)
        before, last = _steps(estimator)
        self._before = before
        self.head: nn.Module = nn.Identity()
        try:
            items = self._items(torch.from_numpy(noise(inputs, 4)))
            found = self._found(items)
            self.output: Output = "value" if regresses else _says(estimator, found)
            features = self._features(items)
            linear = None if features is None else _linear(last)
            self.embeds = features is not None
            self._linear = False
            if linear is not None and features is not None and self.output == "softmax":
                probs = torch.softmax(linear(features), dim=1).numpy()
                self._linear = np.allclose(probs, found, atol=_TOLERANCE)
        except ModelUnavailable:
            raise
        except Exception as error:  # it is the user's, and may raise anything
            raise ModelUnavailable(f"{type(estimator).__name__} fails: {reason(error)}") from error
        if linear is not None and self._linear:
            self.head = linear

    def extra_repr(self) -> str:
        """What tells it from another one."""
        return f"{type(self._estimator).__name__} with digest {self._digest}"

    def forward(self, rows: Tensor) -> Tensor:
        """(B, ...) rows to (B, C) logits, or to (B,) values."""
        items = self._items(rows.detach().cpu())
        features = self._features(items) if self.embeds else None
        if features is not None:
            made: Tensor = self.head(features)
            if self._linear:
                return made
        found = torch.from_numpy(self._found(items))
        if self.output == "softmax":
            found = found.log()
        elif self.output == "sigmoid":
            found = found.logit()
        return found.float()

    def _found(self, items: Any) -> NDArray[np.float64]:
        """(B, C) probabilities, or (B,) values."""
        if self._regresses:
            return np.asarray(self._estimator.predict(items), np.float64)
        found = self._estimator.predict_proba(items)
        if isinstance(found, list):
            raise ModelUnavailable(
                f"{type(self._estimator).__name__} was fitted on {len(found)} things at once, and "
                f"gives an array for each; of labels that are there or not OneVsRestClassifier "
                f"makes one"
            )
        return np.asarray(found, np.float64)

    def _items(self, rows: Tensor) -> Any:
        """What the estimator takes."""
        return written(rows.numpy()) if self._texts else rows.numpy()

    def _features(self, items: Any) -> Tensor | None:
        """(B, D) what the last step receives, where that is numbers, and not too many."""
        made = items if self._before is None else self._before.transform(items)
        shape: tuple[int, ...] = getattr(made, "shape", ())
        if len(shape) != 2 or shape[1] > MOST_DIM:
            return None
        dense = made.toarray() if hasattr(made, "toarray") else np.asarray(made)
        return torch.from_numpy(dense.astype(np.float32))


def _chosen(estimator: Any) -> Any:
    """What a search over settings, such as `GridSearchCV`, has found; others themselves."""
    return getattr(estimator, "best_estimator_", estimator)


def _steps(estimator: Any) -> tuple[Any, Any]:
    """What a pipeline does before its last step, if anything, and that step."""
    steps = getattr(estimator, "steps", None)
    if not steps:
        return None, estimator
    return (estimator[:-1] if len(steps) > 1 else None), _chosen(steps[-1][1])


def _says(estimator: Any, found: NDArray[np.float64]) -> Output:
    """Whether an item has one class or any number of labels, by (B, C) probabilities of noise."""
    sums = found.sum(axis=1)
    sums = sums[sums > 0]  # of what is far from all that it knows, one may say nothing at all
    one = np.allclose(sums, 1, atol=_SUM_TOLERANCE) and not _is_of_many(estimator)
    return "softmax" if one else "sigmoid"


def _is_of_many(estimator: Any) -> bool:
    """Whether a classifier says itself that it was fitted on labels that are there or not."""
    _, last = _steps(estimator)
    if getattr(last, "multilabel_", False) or isinstance(getattr(last, "classes_", None), list):
        return True
    binarizer = getattr(last, "_label_binarizer", None)  # of networks
    return getattr(binarizer, "y_type_", "") == "multilabel-indicator"


def _linear(last: Any) -> nn.Linear | None:
    """A linear classifier as a layer from (B, D) to (B, C) logits."""
    weight, bias = getattr(last, "coef_", None), getattr(last, "intercept_", None)
    if weight is None or bias is None or np.ndim(weight) != 2:
        return None
    weight, bias = np.asarray(weight), np.broadcast_to(bias, len(weight))
    if len(weight) == 1:  # of two classes it is the difference of their logits that is kept
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    layer = nn.Linear(weight.shape[1], len(weight))
    layer.load_state_dict(
        {"weight": torch.tensor(weight).float(), "bias": torch.tensor(bias).float()}
    )
    return layer.requires_grad_(False)


def _digest(estimator: Any) -> str:
    try:
        import joblib.hashing  # it is there with scikit-learn

        class ByValue(joblib.hashing.NumpyHasher):  # type: ignore[misc]
            def save(self, obj: Any) -> None:
                if hasattr(obj, "best_estimator_"):  # the rest is how long it took to find
                    obj = type(obj), obj.best_estimator_
                elif isinstance(obj, np.ndarray) and not obj.dtype.hasobject:
                    obj = obj.copy(order="C")  # strides are hashed, and those of a view get lost
                super().save(obj)

        return str(ByValue().hash(estimator))
    except Exception as error:  # as above
        raise ModelUnavailable(
            f"{type(estimator).__name__} cannot be told from another one: {reason(error)}"
        ) from error


def written(array: NDArray[np.integer]) -> list[str]:
    """The texts of rows of characters.

    Example:
        >>> written(np.array([[104, 105, 33], [104, 105, PADDING]], np.int32))
        ['hi!', 'hi']
    """
    return [row[row != PADDING].astype("<i4").tobytes().decode(_CODEC) for row in array]
