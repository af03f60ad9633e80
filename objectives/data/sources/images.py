"""Labelled images, of folders, of the Hugging Face Hub or of scikit-learn."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from objectives.data.encoding import Pixels
from objectives.data.files.notices import Notice, unsaid
from objectives.data.pixels import to_pixels
from objectives.data.sources.splits import Examples, separate
from objectives.data.sources.tables import check_table, load_hub, load_table
from spaces.file.inputs.tables import SPLITS
from spaces.file.sources import Data, Digits, HubImages, ImageFolder

FIELD = "data.images"


@dataclass(frozen=True)
class ImageRows(Examples):
    """Images of one split: 0 to 255, ``(images, channels, height, width)``, and their labels."""

    pixels: Pixels
    labels: list[str]

    @property
    def classes(self) -> Sequence[Sequence[str]]:
        """The label of each image."""
        return [(label,) for label in self.labels]


def read_images(data: Data, cache: Path, *, notice: Notice = unsaid) -> dict[str, ImageRows]:
    """Read all splits of a source of images, without common images (``separate``).

    Args:
        notice: Called with what is skipped.

    Raises:
        DataError: The data is missing, empty, or no images.
    """
    source = data.images
    assert source is not None
    if isinstance(source, Digits):
        return separate({"train": _digits(data)}, SPLITS, FIELD)
    named = [split for split in SPLITS if source.inputs(split)]
    return separate({s: _read_split(source, s, data, cache) for s in named}, SPLITS, FIELD)


def _read_split(source: ImageFolder | HubImages, split: str, data: Data, cache: Path) -> ImageRows:
    origin = getattr(source, split)
    if isinstance(source, HubImages):
        table, image, label = load_hub(source, split, FIELD, cache), source.image, source.label
    else:
        image, label = "image", "label"
        # A pattern and no folder, in which datasets would look for splits: it takes any name with
        # ``train`` or ``val`` in it for one.
        pattern = f"{glob.escape(str(Path(origin).resolve()))}/**"
        table = load_table(
            "imagefolder", origin, f"{FIELD}.{split}", cache,
            data_files={"train": pattern}, drop_labels=False, split="train",
        )  # fmt: skip
    check_table(table, {"image": image, "label": label}, FIELD, split, origin)
    names = getattr(table.features[label], "names", None)
    labels = [str(names[value] if names else value) for value in table[label]]
    return ImageRows(_pixels(table[image], data), labels)


def _digits(data: Data) -> ImageRows:
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = (digits.images * (255 / 16)).astype(np.uint8)
    pixels = _pixels(map(Image.fromarray, grey), data)
    return ImageRows(pixels, [str(label) for label in digits.target])


def _pixels(images: Iterable[Any], data: Data) -> Pixels:
    return to_pixels(
        images, channels=data.channels, size=data.image_size, processor=data.image_processor
    )
