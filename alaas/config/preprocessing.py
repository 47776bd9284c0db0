"""How a picture becomes what a model wants to see."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from alaas.config.values import Number, Phrase, Positive, Section


def _square(given: Any) -> Any:
    return (given, given) if isinstance(given, int) else given


Size: TypeAlias = Annotated[
    tuple[Positive, Positive],
    BeforeValidator(_square, json_schema_input_type=Positive | tuple[Positive, Positive]),
    Phrase("a whole number > 0, or two of them: [height, width]"),
]
Channels: TypeAlias = Annotated[
    tuple[Number, Number, Number], Phrase("three finite numbers: [red, green, blue]")
]
Spread: TypeAlias = Annotated[Number, Field(gt=0)]
Spreads: TypeAlias = Annotated[
    tuple[Spread, Spread, Spread], Phrase("three finite numbers > 0: [red, green, blue]")
]


class Preprocessing(Section):
    """Resize, cut out the centre, scale to [0, 1], then ``(pixel - mean) / std``.

    Example:
        >>> Preprocessing(size=224, resize=256, mean=(0.5,) * 3, std=(0.25,) * 3).size
        (224, 224)
    """

    modality: ClassVar[Literal["image", "text", "vector"]] = "image"

    size: Size
    """Height and width of the centre crop, in pixels, each > 0; one number means a square."""

    resize: Positive | Annotated[tuple[Positive, Positive], Phrase("[height, width]")] | None = None
    """Size before the crop, in pixels > 0: one number is the shorter side; null does not resize."""

    mean: Channels
    """Mean of each channel (red, green, blue) of pixels in [0, 1]."""

    std: Spreads
    """Standard deviation of each channel (red, green, blue) of pixels in [0, 1], > 0."""

    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    """How pixels between pixels are computed when a picture is resized."""

    decode: Literal["exact", "fast"] = "exact"
    """exact decodes a picture as torchvision's own preprocessing does, fast nearly so."""
