"""Labelled images from where the search file says."""

from __future__ import annotations

import glob
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from objectives.data.encoding import Pixels, to_pixels
from objectives.data.sources.splits import disjoint, held_out
from objectives.data.sources.tables import DataError, load_hub, load_table
from objectives.data.sources.text import named_splits
from spaces.file.sources import SPLITS, Data, Digits, HubImages, ImageFolder, ImageSource

FIELD = "data.images"


@dataclass(frozen=True)
class Images:
    """Images of one split.

    Args:
        pixels: ``(images, channels, height, width)``, 0 to 255.
        labels: One label an image, as text.
    """

    pixels: Pixels
    labels: list[str]


def check_images(source: ImageSource) -> None:
    """Refuse folders that do not exist, before anything is loaded.

    Raises:
        DataError: Naming the field and the path.
    """
    for split, path in _folders(source).items():
        if not path.is_dir():
            raise DataError(f"{FIELD}.{split}: no such folder: {path}")


def images_key(source: ImageSource) -> str:
    """What determines the images of a source: it names the cache of prepared data."""
    digest = hashlib.sha256()
    for folder in _folders(source).values():
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            digest.update(str(path.relative_to(folder)).encode())
            digest.update(path.read_bytes())
    return source.model_dump_json() + digest.hexdigest()


def read_images(data: Data, cache: Path) -> dict[str, Images]:
    """Read all splits of a source; those that it does not name are held out of the training images.

    Equal images stay in one split, the later one.

    Args:
        data: Where the images are, and the size and colours that they are brought to.
        cache: Folder for what ``datasets`` downloads or converts.

    Raises:
        DataError: The data is missing, empty, or no images.
    """
    source = data.images
    assert source is not None
    if isinstance(source, Digits):
        read = {"train": _digits(data)}
    else:
        read = {split: _read_split(source, split, data, cache) for split in named_splits(source)}
    return _disjoint(_hold_out(read))


def _folders(source: ImageSource) -> dict[str, Path]:
    if not isinstance(source, ImageFolder):
        return {}
    return {split: Path(path) for split, path in named_splits(source).items()}


def _read_split(source: ImageFolder | HubImages, split: str, data: Data, cache: Path) -> Images:
    if isinstance(source, HubImages):
        table, image, label = load_hub(source, split, FIELD, cache), source.image, source.label
    else:
        image, label = "image", "label"
        place = getattr(source, split)
        # By a pattern: in a folder, datasets would look for splits, and takes any name with
        # ``train`` or ``val`` in it for one.
        pattern = f"{glob.escape(str(Path(place).resolve()))}/**"
        table = load_table(
            "imagefolder", place, f"{FIELD}.{split}", cache,
            data_files={"train": pattern}, drop_labels=False, split="train",
        )  # fmt: skip
    for column in (image, label):
        if column not in table.column_names:
            found = ", ".join(table.column_names)
            raise DataError(f"{FIELD}: no column {column!r} in {split}; it has: {found}")
    if len(table) == 0:
        raise DataError(f"{FIELD}.{split}: {getattr(source, split)} holds no images")
    names = getattr(table.features[label], "names", None)
    labels = [str(names[value] if names else value) for value in table[label]]
    return Images(to_pixels(table[image], channels=data.channels, size=data.image_size), labels)


def _digits(data: Data) -> Images:
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = (digits.images * (255 / 16)).astype(np.uint8)
    pictures = [Image.fromarray(picture) for picture in grey]
    return Images(
        to_pixels(pictures, channels=data.channels, size=data.image_size),
        [str(label) for label in digits.target],
    )


def _hold_out(read: dict[str, Images]) -> dict[str, Images]:
    missing = [split for split in SPLITS if split not in read]
    places = held_out((image.tobytes() for image in read["train"].pixels), missing)
    cut = {split: _take(read["train"], indices) for split, indices in places.items()}
    return {split: cut[split] if split in cut else read[split] for split in SPLITS}


def _disjoint(images: dict[str, Images]) -> dict[str, Images]:
    kept: dict[str, Images] = {}
    for split, indices in disjoint(
        {split: _digests(each.pixels) for split, each in images.items()}
    ).items():
        if not indices:
            raise DataError(f"{FIELD}: no images are left for {split}")
        kept[split] = _take(images[split], indices)
    return kept


def _digests(pixels: Pixels) -> list[str]:
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in pixels]


def _take(images: Images, indices: list[int]) -> Images:
    return Images(images.pixels[indices], [images.labels[i] for i in indices])
