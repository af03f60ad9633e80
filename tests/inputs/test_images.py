"""Images as people have them: what a model sees of each, or why it is refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from objectives.data.errors import DataError
from objectives.data.sources import images as source_of_images
from objectives.data.sources.images import read_images
from objectives.predictor.images import eight_bits, open_image
from spaces.file.sources import Data

SIDE = 16
RAMP = np.tile(np.linspace(0.0, 1.0, SIDE), (SIDE, 1))
GREY = np.rint(255 * RAMP)
GLYPH = np.zeros((SIDE, SIDE), dtype=np.uint8)
GLYPH[4:12, 4:12] = 255
ON_WHITE, ON_BLACK = 255 - GLYPH, np.zeros((SIDE, SIDE))
"""A black square on clear ground, as it looks on white and on black."""


def written(picture: Any, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def ramp(scale: float, kind: Any, file: str = "TIFF", offset: float = 0.0) -> bytes:
    return written(Image.fromarray((offset + scale * RAMP).astype(kind)), file)


def glyph(mode: str) -> Any:
    picture = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    picture.putalpha(Image.fromarray(GLYPH))
    return picture.convert(mode)


def palette_with_clear_ground() -> bytes:
    # Index 0 is clear, 1 is black.
    picture = Image.fromarray((GLYPH > 0).astype(np.uint8), mode="P")
    picture.putpalette([200, 10, 10, 0, 0, 0])
    return written(picture, transparency=0)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(GREY.astype(np.uint8)).transpose(Image.Transpose.ROTATE_90)
    return written(picture, exif=exif)


def frames(kind: str) -> bytes:
    first, second = Image.fromarray(GREY.astype(np.uint8)), Image.new("L", (SIDE, SIDE), 9)
    return written(first, kind, save_all=True, append_images=[second])


SEEN: dict[str, tuple[Callable[[], bytes], Any]] = {
    "16 bits": (lambda: ramp(65535, np.uint16, "PNG"), GREY),
    "16 bits, PGM": (lambda: ramp(65535, np.uint16, "PPM"), GREY),
    "16 bits, TIFF": (lambda: ramp(65535, np.uint16), GREY),
    "a dark one of 16 bits": (lambda: ramp(13107, np.uint16, "PNG"), np.rint(51 * RAMP)),
    "floats to 1": (lambda: ramp(1.0, np.float32), GREY),
    "floats to 255": (lambda: ramp(255.0, np.float32), GREY),
    "floats around 0": (lambda: ramp(7.0, np.float32, offset=-3.0), GREY),
    "32 bits to 65535": (lambda: ramp(65535, np.int32), GREY),
    "32 bits of any range": (lambda: ramp(1e6, np.int32, offset=-500), GREY),
    "one float": (lambda: ramp(0.0, np.float32, offset=-7.0), 0 * RAMP),
    "one bit": (lambda: written(Image.fromarray(GLYPH).convert("1")), GLYPH),
    "RGBA": (lambda: written(glyph("RGBA")), ON_WHITE),
    "LA": (lambda: written(glyph("LA")), ON_WHITE),
    "a palette with clear ground": (palette_with_clear_ground, ON_WHITE),
    "a clear grey": (
        lambda: written(Image.fromarray(255 - GLYPH).point(lambda v: v and 7), transparency=7),
        ON_WHITE,
    ),
    "CMYK": (lambda: written(Image.new("CMYK", (SIDE, SIDE), (0, 0, 0, 255)), "TIFF"), ON_BLACK),
    "turned": (turned, GREY),
    "GIF of two frames": (lambda: frames("GIF"), GREY),
    "PNG of two frames": (lambda: frames("PNG"), GREY),
    "TIFF of two pages": (lambda: frames("TIFF"), GREY),
}


@pytest.mark.parametrize("name", SEEN)
def test_a_model_sees_what_a_person_sees(name: str) -> None:
    make, expected = SEEN[name]
    found = eight_bits(open_image(make()), channels=1, background="white")
    assert np.asarray(found).tolist() == expected.tolist()
    in_colours = eight_bits(open_image(make()), channels=3, background="white")
    assert np.asarray(in_colours)[..., 1].tolist() == expected.tolist()


def test_the_ground_of_what_is_clear_is_a_field() -> None:
    on_black = eight_bits(open_image(written(glyph("RGBA"))), channels=1, background="black")
    assert np.asarray(on_black).tolist() == ON_BLACK.tolist()
    orange = eight_bits(open_image(written(glyph("LA"))), channels=3, background="#ff8000")
    assert orange.getpixel((0, 0)) == (255, 128, 0)
    assert orange.getpixel((8, 8)) == (0, 0, 0)


NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
PHOTO = written(Image.fromarray(NOISE), "JPEG")
NOT_A_NUMBER = np.where(RAMP < 0.5, np.nan, RAMP).astype(np.float32)

REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "it is empty"),
    "a page": (lambda: b"\n<!DOCTYPE html><html>Not found</html>", "it is an HTML page"),
    "a text": (lambda: b"version https://git-lfs.github.com", "none of the formats that Pillow"),
    "cut": (lambda: PHOTO[:2000], "it is damaged: image file is truncated"),
    "cut in its header": (lambda: written(Image.fromarray(NOISE))[:40], "none of the formats"),
    "200 megapixels": (
        lambda: written(Image.new("1", (20_000, 10_000))),
        r"it is too large: Image size \(200000000 pixels\) exceeds limit of 178956970 pixels",
    ),
    "not a number": (lambda: written(Image.fromarray(NOT_A_NUMBER), "TIFF"), "is no number"),
}


def folder_with(tmp_path: Path, **files: bytes) -> Path:
    """A folder of two classes with three images each, and further files."""
    folder = tmp_path / "pictures"
    for label in ("cat", "dog"):
        for number in range(3):
            shade = (10 if label == "cat" else 140) + 20 * number
            picture = Image.new("L", (SIDE, SIDE), shade)
            (folder / label).mkdir(parents=True, exist_ok=True)
            picture.save(folder / label / f"{number}.png")
    for name, content in files.items():
        file = folder / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


def read(folder: Path, tmp_path: Path) -> tuple[Any, list[str]]:
    """The images that are read of a folder, all together, and what is said of it, but that splits
    are held out."""
    data = Data.model_validate(
        {
            "images": {"source": "image_folder", "train": str(folder)},
            "image_size": SIDE,
            "patch_size": 4,
            "channels": 1,
        }
    )
    said: list[str] = []
    splits = read_images(data, tmp_path / "cache", notice=said.append)
    pixels = np.concatenate([each.pixels[:, 0] for each in splits.values()])
    labels = [label for each in splits.values() for label in each.labels]
    said = [each for each in said if "held out" not in each]
    return dict(zip((row.tobytes() for row in pixels), labels, strict=True)), said


@pytest.mark.parametrize("name", REFUSED)
def test_a_damaged_image_is_refused_with_its_name(name: str, tmp_path: Path) -> None:
    make, reason = REFUSED[name]
    folder = folder_with(tmp_path, cat__bad_dot_png=make())
    with pytest.raises(DataError, match=reason) as refused:
        read(folder, tmp_path)
    message = str(refused.value)
    assert message.startswith(f"data.images.train: {folder}/cat/bad.png cannot be read as an image")
    assert message.endswith("; replace it or remove it")
    assert "\n" not in message


@pytest.mark.parametrize("kind", ["AVIF", "TIFF", "WEBP", "GIF", "JPEG2000", "PPM", "QOI"])
def test_every_format_that_pillow_reads_is_read(kind: str, tmp_path: Path) -> None:
    Image.init()
    ending = {"TIFF": ".TIF", "JPEG2000": ".jp2"}.get(kind, f".{kind.lower()}")
    options = {"quality": 100} if kind == "AVIF" else {"lossless": True} if kind == "WEBP" else {}
    content = written(Image.new("RGB", (SIDE, SIDE), (255,) * 3), kind, **options)
    folder = folder_with(tmp_path, **{f"cat__white{ending.replace('.', '_dot_')}": content})
    found, said = read(folder, tmp_path)
    assert len(found) == 7
    assert found[np.full((SIDE, SIDE), 255, dtype=np.uint8).tobytes()] == "cat"
    assert said == []


def test_what_is_skipped_is_said(tmp_path: Path) -> None:
    folder = folder_with(
        tmp_path, notes_dot_txt=b"a", cat__x_dot_heic=b"b", cat__y_dot_HEIC=b"c",
        dog___dot_DS_Store=b"d", dog__LICENSE=b"e", dog__two_dot_gif=frames("GIF"),
    )  # fmt: skip
    found, said = read(folder, tmp_path)
    assert len(found) == 7
    assert said == [
        "data.images.train: 4 files are skipped, which are no images: 2 .heic, 1 .txt, "
        "1 without ending",
        f"data.images.train: {folder}/dog/two.gif has several frames; the first one is read",
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"bird__a_dot_heic": b"a"}, r"pictures/bird holds no image that Pillow reads"),
        ({"a_dot_png": written(glyph("L"))}, r"pictures/a\.png is in no folder of a class"),
    ],
)
def test_a_folder_that_is_not_what_was_meant_is_refused(
    files: dict[str, bytes], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=f"data.images.train: .*{message}"):
        read(folder_with(tmp_path, **files), tmp_path)


def test_images_of_the_hub_are_read_with_all_of_their_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [{"bytes": ramp(65535, np.uint16, "PNG"), "path": None}]
    cells += [{"bytes": written(Image.new("L", (SIDE, SIDE), v)), "path": None} for v in range(9)]
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    rows = {"image": cells, "label": [1, *([0] * 9)]}
    table = datasets.Dataset.from_dict(rows, features=datasets.Features(kinds))

    def load(source: Any, split: str, *_: Any) -> Any:
        return table

    monkeypatch.setattr(source_of_images, "load_hub", load)
    data = Data.model_validate(
        {"images": {"source": "hub", "dataset": "a/b"}, "image_size": SIDE, "channels": 1}
    )
    splits = read_images(data, tmp_path)
    found = {
        row.tobytes(): label
        for each in splits.values()
        for row, label in zip(each.pixels, each.labels, strict=True)
    }
    assert found[GREY.astype(np.uint8).tobytes()] == "dog"
    for column, value, message in (
        ("image", [None, *cells[1:]], "row 1 of train has no image; leave it out"),
        ("label", [-1, *([0] * 9)], "row 1 of train has no label; leave it out"),
    ):
        table = datasets.Dataset.from_dict(
            {**rows, column: value}, features=datasets.Features(kinds)
        )
        with pytest.raises(DataError, match=f"data.images.train: {message}"):
            read_images(data, tmp_path)
