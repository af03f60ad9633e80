"""Folders of images: their classes, sizes and channels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from objectives.data.errors import DataError
from objectives.data.inspection.finding import Finding
from objectives.data.inspection.siblings import siblings, splits_among

ENDINGS = frozenset({
    ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".avif",
})  # fmt: skip
LOOKED_AT = 60
"""Images whose size and channels are read."""
SIZES = (8, 16, 28, 32, 48, 64)
PATCHES = {8: 2, 16: 4, 28: 7, 32: 4, 48: 8, 64: 8}


def image_folder(folder: Path) -> Finding | None:
    """A folder with a folder of images for each class, or with one such folder for each split;
    None where there are none.

    Raises:
        DataError: Its images are in no folders of classes.
    """
    inside = [each for each in sorted(folder.iterdir()) if each.is_dir()]
    splits = {split: path for split, path in splits_among(inside).items() if classes_in(path)}
    notes: list[str] = []
    if "train" not in splits:
        if not classes_in(folder):
            if any(is_image(each) for each in folder.iterdir()):
                raise DataError(
                    f"{folder}: its images are in no folders; put those of each class into a "
                    "folder of their own"
                )
            return None
        found, notes = siblings(folder)
        splits = {split: path for split, path in found.items() if classes_in(path)}
    count = sum(1 for _ in images_in(splits["train"]))
    sizes, channels = _look_at(splits["train"], count)
    data = image_data({"source": "image_folder"}, median(sizes), channels)
    size = data["image_size"]
    shapes = f"{min(sizes)} to {max(sizes)}" if min(sizes) < max(sizes) else f"{sizes[0]}"
    notes.append(
        f"{count:,} images to train on, {'grey' if channels == 1 else 'coloured'}, {shapes} pixels "
        f"high or wide; resized to {size} × {size} (data.image_size)"
    )
    data["images"] |= {split: str(path) for split, path in splits.items()}
    task = {"name": "image-classification"}
    return Finding(task, data, tuple(notes), "images", {"rows": count})


def image_data(source: dict[str, Any], side: float, channels: int) -> dict[str, Any]:
    """The section ``data`` of a source of images.

    Args:
        side: Pixels of the shorter side of a usual image; images are resized to the size below it.
    """
    size = max((each for each in SIZES if each <= side), default=SIZES[0])
    return {
        "images": source, "image_size": size, "patch_size": PATCHES[size], "channels": channels,
    }  # fmt: skip


def is_image(path: Path) -> bool:
    """Whether a file is named as an image."""
    return path.suffix.lower() in ENDINGS and path.is_file()


def classes_in(folder: Path) -> list[str]:
    """Names of the folders inside one that hold images, where there are two or more."""
    if not folder.is_dir():
        return []
    found = [
        each.name
        for each in sorted(folder.iterdir())
        if each.is_dir() and any(is_image(file) for file in each.iterdir())
    ]
    return found if len(found) > 1 else []


def images_in(folder: Path) -> Iterator[Path]:
    """All images below a folder."""
    return (path for path in sorted(folder.rglob("*")) if is_image(path))


def _look_at(folder: Path, count: int) -> tuple[list[int], int]:
    """The shorter sides of some images, and the channels that they need."""
    from PIL import Image

    sizes: list[int] = []
    channels = 1
    for index, path in enumerate(images_in(folder)):
        if index % max(1, count // LOOKED_AT):
            continue
        try:
            with Image.open(path) as image:
                sizes.append(min(image.size))
                if image.mode not in ("1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L"):
                    red, *others = image.convert("RGB").resize((16, 16)).split()
                    if any(red.tobytes() != each.tobytes() for each in others):
                        channels = 3
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{path} is no image that can be read: {error}") from error
    return sizes, channels
