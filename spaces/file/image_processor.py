"""How images become what models read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from spaces.file.dimensions import PositiveNumber, StrictModel

Resample = Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]
"""Filters of Pillow, in the order of its numbers."""

Colour = Annotated[str, Field(pattern=r"^(white|black|#[0-9a-fA-F]{6})$")]

PerChannel = Field(min_length=1, max_length=3)


class ImageProcessor(StrictModel):
    """How images become what models read, as image processors of transformers say it: they are
    resized, cut to their centre, and each pixel of 0 to 255 is
    ``(pixel * rescale_factor - mean) / std``."""

    resize: Annotated[int, Field(ge=2, le=4096)] | None = None
    """Height and width, in pixels, to which images are resized before the centre of
    ``data.image_size`` is cut out; by default ``data.image_size``, and nothing is cut."""
    keeps_ratio: bool = False
    """Whether only the shorter side is resized to ``resize``, and the longer one with it."""
    resample: Resample = "bicubic"
    """Filter that resizes."""
    rescale_factor: PositiveNumber = 1 / 255
    """What pixels are multiplied with."""
    mean: Annotated[list[float], PerChannel] = Field(default=[0.5])
    """What is subtracted, of all channels or of each."""
    std: Annotated[list[PositiveNumber], PerChannel] = Field(default=[0.5])
    """What is divided by, of all channels or of each."""

    def faults(self, image_size: int, channels: int) -> list[str]:
        """Values that do not fit images of a size."""
        found = [
            f"{name}: has {len(values)} numbers; allowed are one, or one for each of the "
            f"{channels} channels of data.channels"
            for name, values in (("mean", self.mean), ("std", self.std))
            if len(values) not in (1, channels)
        ]
        if self.resize is not None and self.resize < image_size:
            found.append(f"resize: {self.resize} is less than data.image_size, {image_size}")
        return found
