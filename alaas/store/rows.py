"""How a row of an array is kept in a column: its bytes, and once what they mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_DTYPES = ("float32", "float16", "float64", "int64")


@dataclass(frozen=True, slots=True)
class RowType:
    """Shape and number format that all rows of a column have.

    Attributes:
        shape: Axes of one row, without the one that counts the rows.
        dtype: Name of the number format; it is kept in little-endian order.
    """

    shape: tuple[int, ...]
    dtype: str

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES or not all(type(n) is int and n > 0 for n in self.shape):
            raise ValueError(
                f"rows of shape {self.shape} and type {self.dtype} cannot be kept; "
                f"they have at least one number of {', '.join(_DTYPES)}"
            )

    @classmethod
    def of(cls, rows: NDArray[Any]) -> RowType:
        """The type of the rows of an (N, ...) array."""
        return cls(tuple(rows.shape[1:]), rows.dtype.name)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> RowType:
        """The inverse of `document`. Raises: ValueError, KeyError or TypeError if it is none."""
        return cls(tuple(document["shape"]), str(document["dtype"]))

    def document(self) -> dict[str, Any]:
        """The type as JSON has it."""
        return {"shape": list(self.shape), "dtype": self.dtype}

    @property
    def nbytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def arrow(self) -> pa.DataType:
        """The column: bytes, since Lance refuses lists of floats that hold a NaN."""
        return pa.list_(pa.field("byte", pa.uint8(), nullable=False), self.nbytes)

    def pack(self, rows: NDArray[Any]) -> pa.Array:
        """The rows (N, *shape) as a column, without a copy where they lie in one piece."""
        numbers = np.ascontiguousarray(rows, np.dtype(self.dtype).newbyteorder("<"))
        data = pa.Array.from_buffers(pa.uint8(), numbers.nbytes, [None, pa.py_buffer(numbers)])
        return pa.FixedSizeListArray.from_arrays(data, type=self.arrow)

    def unpack(self, column: pa.Array) -> NDArray[Any]:
        """The rows (N, *shape) of a column, without a copy.

        Raises:
            ValueError: The column has another type or rows that are missing.
        """
        length = getattr(column.type, "list_size", None)
        if length != self.nbytes or column.null_count:
            raise ValueError(f"{column.type} does not hold whole rows of {self}")
        data: NDArray[np.uint8] = column.flatten().to_numpy(zero_copy_only=True)
        return data.view(np.dtype(self.dtype).newbyteorder("<")).reshape(-1, *self.shape)
