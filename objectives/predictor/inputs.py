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


def pixels_of(image: Any, processor: Mapping[str, Any], *, size: int, channels: int) -> Any:
    """Inputs of a model, float32 ``(channels, size, size)``, of a path, the bytes of an image file,
    or a ``PIL.Image.Image``.

    Args:
        processor: The fields of ``preprocessor_config.json``.

    Raises:
        InputError: It is no image.
    """
    picture = _opened(image).convert("L" if channels == 1 else "RGB")
    resized = _resized(picture, processor["size"], processor["resample"])
    left, top = ((side - size) // 2 for side in resized.size)
    cut = resized.crop((left, top, left + size, top + size))
    pixels = np.asarray(cut, dtype=np.float32).reshape(size, size, channels).transpose(2, 0, 1)
    mean, std = (np.asarray(processor[name]) for name in ("image_mean", "image_std"))
    scales = np.stack((std / processor["rescale_factor"], mean / std)).astype(np.float32)
    divisor, subtracted = scales[..., None, None]
    return np.ascontiguousarray(pixels) / divisor - subtracted


def _resized(picture: Any, size: Mapping[str, int], resample: int) -> Any:
    edge = size.get("shortest_edge")
    if edge is None:
        return picture.resize((size["width"], size["height"]), resample)
    return picture.resize([edge * side // min(picture.size) for side in picture.size], resample)


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
    if "words" in example:
        return example["words"]
    if "text_pair" in example:
        return example["text"], example["text_pair"]
    return example["text"]
