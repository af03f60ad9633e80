"""Labelled images, of folders, of the Hugging Face Hub or of scikit-learn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from objectives.data.encoding import Pixels
from objectives.data.errors import DataError
from objectives.data.files.columnar import of_dataset
from objectives.data.files.notices import Notice, unsaid
from objectives.data.pixels import to_pixels
from objectives.data.sources.cells import groups_of, is_missing
from objectives.data.sources.splits import Examples, separate
from objectives.data.sources.tables import check_table, load_hub, read_table
from objectives.predictor.errors import InputError
from objectives.predictor.images import is_animated, open_image
from spaces.file.inputs.tables import SPLITS
from spaces.file.sources import Data, Digits, Files, HubImages, ImageFolder

FIELD = "data.images"
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""What ``datasets`` calls the table of a folder of images."""
UNREAD = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
"""Formats of Pillow that need another program to be read."""


@dataclass(frozen=True)
class ImageRows(Examples):
    """Images of one split: 0 to 255, ``(images, channels, height, width)``, and their labels."""

    pixels: Pixels
    labels: list[str]
    group_names: list[str] = field(default_factory=list)

    @property
    def groups(self) -> Sequence[str]:
        """The group of each image."""
        return self.group_names

    @property
    def classes(self) -> Iterable[Sequence[str]]:
        """The label of each image."""
        return zip(self.labels)


class ImageFile(NamedTuple):
    """An image before it is read.

    Args:
        name: What messages call it.
        content: Returns its path, or the content of its file; None where there is none.
    """

    name: str
    content: Callable[[], Path | bytes | None]
    label: str
    group: str = ""


def read_images(data: Data, cache: Path, *, notice: Notice = unsaid) -> dict[str, ImageRows]:
    """Read all splits of a source of images, without common images or groups (``separate``).

    Args:
        notice: Called with what is skipped.

    Raises:
        DataError: The data is missing, empty, or no images.
    """
    source = data.images
    assert source is not None
    if isinstance(source, Digits):
        return separate({"train": _digits(data)}, SPLITS, FIELD, notice=notice)
    named = [split for split in SPLITS if source.inputs(split)]
    rows = {split: _read_split(source, split, data, cache, notice) for split in named}
    return separate(rows, SPLITS, FIELD, notice=notice)


def _read_split(
    source: ImageFolder | HubImages, split: str, data: Data, cache: Path, notice: Notice
) -> ImageRows:
    field = f"{FIELD}.{split}"
    if isinstance(source, HubImages):
        files = _of_hub(source, split, cache)
    else:
        root = Path(getattr(source, split))
        groups = None if source.group is None else _folder_groups(root, source.group, split, cache)
        files = _of_folder(root, field, groups, notice)
    animated: list[str] = []
    pixels = _pixels(_opened(files, field, animated), data)
    if animated:
        others = f" and {len(animated) - 1} more" if len(animated) > 1 else ""
        notice(f"{field}: {animated[0]}{others} has several frames; the first one is read")
    groups_of_files = [each.group for each in files] if source.group is not None else []
    return ImageRows(pixels, [each.label for each in files], groups_of_files)


def _folder_groups(root: Path, column: str, split: str, cache: Path) -> dict[Path, str]:
    """The group of each image of a folder, by its path, of the table of the folder."""
    given = next((path for path in (root / name for name in METADATA) if path.is_file()), None)
    if given is None:
        raise DataError(
            f"{FIELD}.group: {root} has no table of its images; give one of {', '.join(METADATA)}, "
            f"with the columns file_name and {column}"
        )
    table = read_table(Files(source="files", train=str(given)), "train", FIELD, cache, unsaid)
    names = table.cells("file_name", f"{FIELD}.{split}")
    groups = groups_of(table, column, FIELD)
    return {root / str(name): group for name, group in zip(names, groups, strict=True)}


def _of_folder(
    root: Path, field: str, groups: Mapping[Path, str] | None, notice: Notice
) -> list[ImageFile]:
    """The images below a folder with a folder of its own for each class; what has another ending
    is skipped, and hidden files.

    Args:
        groups: The group of each image; None without groups.
    """
    files: list[ImageFile] = []
    folders: set[str] = set()
    skipped: Counter[str] = Counter()
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if any(part.startswith((".", "__MACOSX")) for part in parts) or not path.is_file():
            continue
        if groups is not None and len(parts) == 1 and path.name in METADATA:
            continue
        is_read = path.suffix.lower() in _endings()
        if is_read and len(parts) == 1:
            raise DataError(
                f"{field}: {path} is in no folder of a class; each class has a folder of its own"
            )
        folders |= {*parts[:-1][:1]}
        if is_read:
            group = "" if groups is None else groups.get(path)
            if group is None:
                raise DataError(f"{FIELD}.group: {path} is not in the table of {root}")
            files.append(ImageFile(str(path), partial(Path, path), parts[0], group))
        else:
            skipped[path.suffix.lower() or "without ending"] += 1
    endings = ", ".join(f"{count} {ending}" for ending, count in sorted(skipped.items()))
    if not files:
        raise DataError(f"{field}: {root} holds no images{endings and f', but {endings}'}")
    if empty := folders - {each.label for each in files}:
        raise DataError(f"{field}: {root / min(empty)} holds no image that Pillow reads")
    if skipped:
        notice(f"{field}: {skipped.total()} files are skipped, which are no images: {endings}")
    return files


@cache
def _endings() -> frozenset[str]:
    """The endings of the files that Pillow reads."""
    from PIL import Image

    Image.init()
    readable = Image.OPEN.keys() - UNREAD
    return frozenset(e for e, name in Image.registered_extensions().items() if name in readable)


def _of_hub(source: HubImages, split: str, cache: Path) -> list[ImageFile]:
    import datasets

    table, origin = load_hub(source, split, FIELD, cache), getattr(source, split)
    columns = {"image": source.image, "label": source.label}
    check_table(table, columns, FIELD, split, origin)
    kind = table.features[source.image]
    if not isinstance(kind, datasets.Image):
        raise DataError(f"{FIELD}.image: column {source.image!r} holds {kind!r}, and no images")
    names = getattr(table.features[source.label], "names", None)
    # As files: datasets would read them with less than all of their bits.
    cells = table.cast_column(source.image, datasets.Image(decode=False))[source.image]
    groups = [""] * len(table)
    if source.group is not None:
        groups = groups_of(of_dataset(table, str(origin)), source.group, FIELD)
    files: list[ImageFile] = []
    for row, label in enumerate(table[source.label]):
        name = f"row {row + 1} of {origin}"
        if is_missing(label) or (names and label < 0):
            raise DataError(f"{FIELD}.{split}: {name} has no label; leave it out")
        content = partial(_content, cells, row)
        shown = str(names[label] if names else label)
        files.append(ImageFile(name, content, shown, groups[row]))
    return files


def _content(cells: Any, row: int) -> Path | bytes | None:
    cell = cells[row]
    if cell is None:
        return None
    content: bytes | None = cell["bytes"]
    return Path(cell["path"]) if content is None else content


def _opened(files: Iterable[ImageFile], field: str, animated: list[str]) -> Iterator[Any]:
    """The images one by one; names of those with several frames are added to a list."""
    for each in files:
        content = each.content()
        if content is None:
            raise DataError(f"{field}: {each.name} has no image; leave it out")
        try:
            image = open_image(content)
        except InputError as error:
            raise DataError(f"{field}: {each.name} {error}; replace it or remove it") from error
        if is_animated(content):
            animated.append(each.name)
        yield image


def _digits(data: Data) -> ImageRows:
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = (digits.images * (255 / 16)).astype(np.uint8)
    pixels = _pixels(map(Image.fromarray, grey), data)
    return ImageRows(pixels, [str(label) for label in digits.target])


def _pixels(images: Iterable[Any], data: Data) -> Pixels:
    return to_pixels(
        images,
        channels=data.channels,
        size=data.image_size,
        processor=data.image_processor,
        background=data.background,
    )
