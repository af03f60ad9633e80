"""Image files as pixels of 8 bits, as models read them in training and in prediction."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError

RANGES = ((0.0, 255.0), (0.0, 65535.0))
"""Of integers that are neither of 8 nor of 16 bits: the first that holds an image."""
RANGES_OF_FLOATS = ((0.0, 1.0), *RANGES)


def open_image(given: Path | str | bytes) -> Any:
    """The first frame of an image, as a ``PIL.Image.Image`` of 8 bits (``eight_bits``), turned as
    its EXIF orientation says.

    Args:
        given: A path, or the content of a file.

    Raises:
        InputError: It is no image, damaged, or too large, in words that follow its name.
    """
    from PIL import Image, ImageOps

    try:
        content = given if isinstance(given, bytes) else Path(given).read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read as an image: {error.strerror}") from error
    if not content:
        raise InputError("cannot be read as an image: it is empty")
    try:
        with warnings.catch_warnings():
            # Of images that are large and not too large.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content))
            image.load()
        turned = ImageOps.exif_transpose(image)
        return _scaled(turned) if turned.mode[0] in "IF" else turned
    except InputError:
        raise
    except Exception as error:
        # Pillow's readers raise anything: OSError, SyntaxError, struct.error, …
        raise InputError(f"cannot be read as an image: {_reason(content, error)}") from error


def _reason(content: bytes, error: Exception) -> str:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, Image.DecompressionBombError):
        return f"it is too large: {str(error).partition(',')[0]}"
    if isinstance(error, UnidentifiedImageError):
        begin = content[:1000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        if begin.startswith((b"<!doctype html", b"<html")):
            return "it is an HTML page"
        return "it has none of the formats that Pillow reads"
    return f"it is damaged: {error or type(error).__name__}"


def is_animated(given: Path | str | bytes) -> bool:
    """Whether a file that ``open_image`` reads has several frames.

    The second image of a photograph (MPO) is a preview, and no frame.
    """
    from PIL import Image

    with Image.open(io.BytesIO(given) if isinstance(given, bytes) else given) as image:
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))


def eight_bits(image: Any, *, channels: int, background: str) -> Any:
    """An image in grey (1 channel) or in red, green and blue (3), with 8 bits for each.

    Integers of 16 bits are divided by 257. Floats and other integers are scaled from the first of
    these ranges that holds all of the image: 0 to 1 (floats alone), 0 to 255, 0 to 65535, its own.
    What is transparent has the colour of the background.

    Args:
        image: A ``PIL.Image.Image`` of any mode.
        background: A colour, as Pillow reads it.

    Raises:
        InputError: A pixel is no number.
    """
    from PIL import Image

    if image.mode[0] in "IF":
        image = _scaled(image)
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), image)
    return image.convert("L" if channels == 1 else "RGB")


def _scaled(image: Any) -> Any:
    from PIL import Image

    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError("cannot be read as an image: a pixel is no number")
    if image.mode.startswith("I;16"):
        low, high = RANGES[-1]
    else:
        least, most = float(values.min()), float(values.max())
        usual = RANGES_OF_FLOATS if image.mode == "F" else RANGES
        low, high = next(
            (each for each in usual if each[0] <= least and most <= each[1]), (least, most)
        )
    # An image of one number outside of the ranges is black.
    scaled = (values - low) * (255.0 / max(high - low, 1e-300))
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def resized(image: Any, *, size: int, edge: int, keeps_ratio: bool, resample: int) -> Any:
    """The centre of a resized image, ``size`` pixels high and wide.

    Args:
        edge: Height and width before the centre is cut out.
        keeps_ratio: Whether only the shorter side gets it, and the longer one with it.
        resample: Number of the filter of Pillow.
    """
    shorter = min(image.size)
    sides = [edge * side // shorter if keeps_ratio else edge for side in image.size]
    left, top = ((side - size) // 2 for side in sides)
    return image.resize(sides, resample).crop((left, top, left + size, top + size))
