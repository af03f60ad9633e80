"""Images as the arrays that models read, in training and in prediction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from objectives.data.encoding import Normalisation, Pixels
from objectives.predictor.images import eight_bits, resized
from spaces.file.image_processor import ImageProcessor

USUAL = ImageProcessor()


def to_pixels(
    images: Iterable[Any],
    *,
    channels: int,
    size: int,
    processor: ImageProcessor = USUAL,
    background: str = "white",
) -> Pixels:
    """Images as arrays of one shape.

    Args:
        images: ``PIL.Image.Image``, of any size and mode; at least one.
        channels: 1 for grey, 3 for red, green and blue.
        size: Their height and width.
        processor: How they are resized.
        background: The colour of what is transparent.

    Returns:
        0 to 255, ``(images, channels, height, width)``.

    Raises:
        InputError: A pixel is no number.
    """
    from PIL.Image import Resampling

    arrays = [
        np.asarray(
            resized(
                eight_bits(image, channels=channels, background=background),
                size=size,
                edge=processor.resize or size,
                keeps_ratio=processor.keeps_ratio,
                resample=Resampling[processor.resample.upper()],
            )
        )
        for image in images
    ]
    stacked = np.stack(arrays).reshape(len(arrays), size, size, channels)
    return np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))


def normalisation(processor: ImageProcessor, channels: int) -> Normalisation:
    """What makes inputs of models from pixels of 0 to 255 (``objectives.data.batches``)."""
    mean, std = (np.broadcast_to(each, channels) for each in (processor.mean, processor.std))
    return np.stack((std / processor.rescale_factor, mean / std)).astype(np.float32)
