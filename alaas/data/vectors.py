"""The stage that reads items which are vectors already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alaas.config import Vectors
from alaas.core.errors import ValidationFailed
from alaas.core.types import Batch, Raw, Raws
from alaas.core.wire import Item, Labelled
from alaas.data.problem import ItemError
from alaas.data.sift import sift

_TYPE = np.dtype("<f4")


def as_items(rows: NDArray[np.floating], ids: Iterable[str] | None = None) -> list[Item]:
    """A pool of vectors.

    Args:
        rows: (N, D) numbers.
        ids: Their ids; by default the row numbers.

    Example:
        >>> [item.id for item in as_items(np.eye(2))]
        ['0', '1']
    """
    names: Sequence[str] = [str(row) for row in range(len(rows))] if ids is None else list(ids)
    little = np.ascontiguousarray(rows, _TYPE)
    return [Item(name, blob=row.tobytes()) for name, row in zip(names, little, strict=True)]


def is_array(given: object) -> bool:
    """Whether something is an array of numpy, or of a library whose arrays numpy can read."""
    return hasattr(given, "__array__") and hasattr(given, "ndim")


def matrix(rows: Any) -> NDArray[Any]:
    """An array as (N, D) numbers.

    Raises:
        ValidationFailed: It has another shape, or holds no numbers.
    """
    array = np.asarray(rows)
    if array.ndim != 2 or not array.shape[1] or array.dtype.kind not in "fiub":
        raise ValidationFailed(
            f"an array must be (N, D), N vectors of D > 0 numbers, got the shape {array.shape} "
            f"of {array.dtype}"
        )
    return array


def as_labelled(rows: Any, labels: Iterable[Any], *, classes: Iterable[Any] = ()) -> list[Labelled]:
    """Vectors that are labelled already.

    Args:
        rows: (M, D) numbers.
        labels: M labels.
        classes: What stands for class 0, 1, ... among the labels; none where these are class
            numbers or names already.

    Raises:
        ValidationFailed: There are more labels than vectors, or fewer.

    Example:
        >>> [one.label for one in as_labelled(np.eye(2), ["b", "a"], classes=["a", "b"])]
        [1, 0]
    """
    items, given = as_items(matrix(rows)), list(labels)
    if len(given) != len(items):
        raise ValidationFailed(f"{len(items)} labelled vectors have {len(given)} labels")
    numbers = {one: number for number, one in enumerate(classes)}
    plain = [one.item() if hasattr(one, "item") else one for one in given]
    found = [numbers.get(one, one) for one in plain]
    return [Labelled(item, label) for item, label in zip(items, found, strict=True)]


def read(raws: Raws, inputs: Vectors) -> Batch:
    """Read a micro-batch of vectors, each D little-endian float32 numbers.

    Returns:
        (B, D) float32. An item of another length has no row but the failure
        ``wrong_dimension``, one with NaN or infinity ``not_finite``, a text
        ``wrong_modality``.
    """
    found = sift(raws, lambda raw: _row(raw, inputs.dim))
    rows = np.stack(found.values) if found.values else np.empty((0, inputs.dim), np.float32)
    return found.batch(raws.seq, rows)


def _row(raw: Raw, dim: int) -> NDArray[np.float32]:
    if raw.is_text:
        raise ItemError("wrong_modality", "the item is a text; the model takes vectors")
    if len(raw.data) != dim * _TYPE.itemsize:
        raise ItemError(
            "wrong_dimension", f"the item has {len(raw.data)} bytes; {dim} float32 numbers have "
            f"{dim * _TYPE.itemsize}"
        )  # fmt: skip
    row = np.frombuffer(raw.data, _TYPE).astype(np.float32, copy=False)
    if not np.isfinite(row).all():
        raise ItemError("not_finite", "the vector holds NaN or infinity")
    return row
