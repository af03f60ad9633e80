"""Inputs: checked, and images as pixels."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .images import eight_bits, open_image, resized


def texts_of(inputs: Sequence[Any]) -> list[str]:
    """Texts; ``InputError`` where an input is none."""
    for each in inputs:
        if not isinstance(each, str):
            raise InputError(f"input: {each!r} is not a text")
    return list(inputs)


def pairs_of(inputs: Sequence[Any]) -> list[tuple[str, str]]:
    """Pairs of texts; ``InputError`` where an input is none."""
    for each in inputs:
        if isinstance(each, str) or len(each) != 2:
            raise InputError(f"input: {each!r} is not a pair of texts")
    firsts, seconds = ([each[side] for each in inputs] for side in (0, 1))
    return list(zip(texts_of(firsts), texts_of(seconds), strict=True))


def pixels_of(
    image: Any, processor: Mapping[str, Any], *, size: int, channels: int, background: str
) -> Any:
    """Inputs of a model, float32 ``(channels, size, size)``, of a path, the bytes of an image file,
    or a ``PIL.Image.Image``.

    Args:
        processor: The fields of ``preprocessor_config.json``.
        background: The colour of what is transparent.

    Raises:
        InputError: It is no image.
    """
    try:
        opened = open_image(image) if isinstance(image, str | bytes | Path) else image
        picture = eight_bits(opened, channels=channels, background=background)
    except InputError as error:
        name = "the given bytes" if isinstance(image, bytes) else str(image)
        raise InputError(f"input: {name} {error}") from error
    sides = processor["size"]
    edge = sides.get("shortest_edge")
    cut = resized(
        picture,
        size=size,
        edge=edge or sides["height"],
        keeps_ratio=edge is not None,
        resample=processor["resample"],
    )
    pixels = np.asarray(cut, dtype=np.float32).reshape(size, size, channels).transpose(2, 0, 1)
    mean, std = (np.asarray(processor[name]) for name in ("image_mean", "image_std"))
    scales = np.stack((std / processor["rescale_factor"], mean / std)).astype(np.float32)
    divisor, subtracted = scales[..., None, None]
    return np.ascontiguousarray(pixels) / divisor - subtracted


def input_of(example: Mapping[str, Any]) -> Any:
    """The input of an example of an evaluation file."""
    if "png" in example:
        return base64.b64decode(example["png"])
    if "image" in example:
        return example["image"]
    if "words" in example:
        return example["words"]
    if "text_pair" in example:
        return example["text"], example["text_pair"]
    return example["text"]
