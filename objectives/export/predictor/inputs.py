"""Inputs: checked, and images as pixels."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .errors import InputError


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


def pixels_of(image: Any, *, channels: int, size: int) -> Any:
    """Pixels from -1 to 1, float32 ``(channels, size, size)``, of a path, the bytes of an image
    file, or a ``PIL.Image.Image``.

    Raises:
        InputError: It is no image.
    """
    resized = _opened(image).convert("L" if channels == 1 else "RGB").resize((size, size))
    pixels = np.asarray(resized, dtype=np.float32).reshape(size, size, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)) / np.float32(127.5) - np.float32(1.0)


def _opened(given: Any) -> Any:
    from PIL import Image, ImageOps

    if isinstance(given, Image.Image):
        return given
    try:
        # As datasets reads an image file: rotated as its EXIF orientation says.
        return ImageOps.exif_transpose(
            Image.open(io.BytesIO(given) if isinstance(given, bytes) else given)
        )
    except OSError as error:
        name = "the given bytes" if isinstance(given, bytes) else str(given)
        raise InputError(f"input: {name} cannot be read as an image: {error}") from error


def input_of(example: Mapping[str, Any]) -> Any:
    """The input of an example of an evaluation file."""
    if "png" in example:
        return base64.b64decode(example["png"])
    if "image" in example:
        return example["image"]
    if "text_pair" in example:
        return example["text"], example["text_pair"]
    return example["text"]
