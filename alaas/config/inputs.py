"""What a model takes, by the kind of item that it is for: pictures, texts or vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias

from pydantic import TypeAdapter

from alaas.config.preprocessing import Preprocessing
from alaas.config.values import Count, Positive, Section, Text

Modality: TypeAlias = Literal["image", "text", "vector"]


class Tokenization(Section):
    """How a text becomes tokens: by a file of the library ``tokenizers``.

    Not for a user to write: who loads a model finds it beside the weights.
    """

    modality: ClassVar[Modality] = "text"

    file: Text
    """Path of the ``tokenizer.json``; what is in it, not where it lies, is in `digest`."""

    digest: Text
    """SHA-256 of the file, 16 hexadecimal digits of it."""

    max_tokens: Positive
    """Tokens of a text, those that the tokenizer adds among them; what is beyond is cut off."""

    vocabulary: Positive
    """Number of tokens that there are."""

    pad: Count
    """The token that stands where a shorter text of a batch has ended."""

    before: tuple[Count, ...] = ()
    """The tokens that the tokenizer puts before every text."""

    after: tuple[Count, ...] = ()
    """The tokens that it puts behind every text."""


class Characters(Section):
    """A text as its characters: the model reads texts itself.

    Not for a user to write.
    """

    modality: ClassVar[Modality] = "text"


class Vectors(Section):
    """An item is a vector already."""

    modality: ClassVar[Modality] = "vector"

    dim: Positive
    """Its numbers."""


Inputs: TypeAlias = Preprocessing | Tokenization | Characters | Vectors
"""What turns an item into a row of a model's input."""

_ANY: TypeAdapter[Inputs] = TypeAdapter(Inputs)


def read_inputs(document: Mapping[str, Any] | str) -> Inputs:
    """Read what ``model_dump(mode="json")`` or ``model_dump_json()`` wrote of any of them.

    Example:
        >>> read_inputs('{"dim": 3}')
        Vectors(dim=3)
    """
    if isinstance(document, str):
        return _ANY.validate_json(document)
    return _ANY.validate_python(document)
