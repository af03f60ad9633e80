"""Images as the arrays that models read, in training and in prediction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from objectives.data.encoding import Normalisation, Pixels
from spaces.file.image_processor import ImageProcessor

USUAL = ImageProcessor()


def to_pixels(
    images: Iterable[Any],
    *,
    channels: int,
    size: int,
    processor: ImageProcessor = USUAL,
) -> Pixels:
    """Images as arrays of one shape.

    Args:
        images: ``PIL.Image.Image``, of any size and mode; at least one.
        channels: 1 for grey, 3 for red, green and blue.
        size: Their height and width.
        processor: How they are resized.

    Returns:
        0 to 255, ``(images, channels, height, width)``.
    """
    mode = "L" if channels == 1 else "RGB"
    arrays = [np.asarray(_resized(image.convert(mode), size, processor)) for image in images]
    stacked = np.stack(arrays).reshape(len(arrays), size, size, channels)
    return np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))


def _resized(image: Any, size: int, processor: ImageProcessor) -> Any:
    """The centre of a resized image, ``size`` pixels high and wide."""
    from PIL.Image import Resampling

    edge, shorter = processor.resize or size, min(image.size)
    sides = [edge * side // shorter if processor.keeps_ratio else edge for side in image.size]
    left, top = ((side - size) // 2 for side in sides)
    resized = image.resize(sides, Resampling[processor.resample.upper()])
    return resized.crop((left, top, left + size, top + size))


def normalisation(processor: ImageProcessor, channels: int) -> Normalisation:
    """What makes inputs of models from pixels of 0 to 255 (``objectives.data.batches``)."""
    mean, std = (np.broadcast_to(each, channels) for each in (processor.mean, processor.std))
    return np.stack((std / processor.rescale_factor, mean / std)).astype(np.float32)
