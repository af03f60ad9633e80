"""Opening files: their names, their format, compressed ones, and what holds no text."""

from __future__ import annotations

import bz2
import glob
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from objectives.data.errors import Place

if TYPE_CHECKING:
    from spaces.file.inputs.tables import Format

FORMATS: dict[str, Format] = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".jsonlines": "jsonl", ".json": "jsonl", ".txt": "text", ".text": "text",
    ".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow",
}  # fmt: skip
"""Format of a file by its ending."""
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
"""Endings of compressed files."""
SAVED = ("dataset_info.json", "dataset_dict.json")
"""Files of a folder that ``save_to_disk`` of ``datasets`` wrote."""

_OTHERS = {
    b"PK\x03\x04": "a ZIP archive, or a file of Excel or Word",
    b"\xd0\xcf\x11\xe0": "a file of Excel or Word",
    b"7z\xbc\xaf": "a 7z archive",
    b"%PDF": "a PDF",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"SQLite format 3": "an SQLite database",
    b"\x89HDF": "an HDF5 file",
    b"PAR1": "a parquet file",
    b"ARROW1": "an arrow file",
    b"version https://git-lfs": "a pointer of Git LFS, for which `git lfs pull` gets the content",
}
"""What files that begin like this are, and no texts."""
_PAGES = (b"<!doctype html", b"<html", b"<?xml")
_TAR, _TAR_AT = b"ustar", 257
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")
"""The beginnings of compressed files: gz, bz2, xz, zst."""
CHUNK_BYTES = 1 << 20
"""Of a file that are read at a time."""


def files_of(given: str) -> list[Path]:
    """The files that a search file names: one, a folder, or those that a pattern matches, in the
    order of their names; none where there is none."""
    path = Path(given)
    if path.exists():
        return [path]
    return [Path(file) for file in sorted(glob.glob(given, recursive=True)) if Path(file).is_file()]


def is_saved(path: Path) -> bool:
    """Whether a folder is one that ``save_to_disk`` of ``datasets`` wrote."""
    return any((path / name).is_file() for name in SAVED)


def format_of(path: Path, given: Format | None, source: str) -> Format:
    """The format of a file: what is given, or what its ending says.

    Args:
        source: Path of the source in the search file, for messages.
    """
    if given is not None:
        return given
    if path.is_dir():
        return "arrow"
    endings = [ending.lower() for ending in path.suffixes]
    while endings and endings[-1] in COMPRESSED:
        endings.pop()
    if not endings or endings[-1] not in FORMATS:
        raise Place(source, "").fault(
            f"the ending of {path} names no known format; give one of "
            f"{', '.join(sorted({*FORMATS.values()}))}",
            "format",
        )
    return FORMATS[endings[-1]]


def byte_chunks(path: Path, at: Place) -> Iterator[bytes]:
    """The bytes of a file of text, decompressed, some at a time.

    What it begins with says how it is compressed, and not its name, which a download may keep while
    it decompresses.

    Raises:
        DataError: It cannot be read, is empty, or is no text.
    """
    is_first = is_blank = True
    try:
        with path.open("rb") as packed, _decompressed(packed) as file:
            while chunk := file.read(CHUNK_BYTES):
                if is_first:
                    _check_text(chunk, path, at)
                is_first = False
                is_blank = is_blank and not chunk.strip()
                yield chunk
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise at.fault(f"{path} cannot be read: {error}") from error
    if is_blank:
        raise at.fault(f"{path} is empty")


def read_start(path: Path, at: Place, size: int) -> bytes:
    """The first bytes of a file of text; the same otherwise."""
    content = b""
    for chunk in byte_chunks(path, at):
        content += chunk
        if len(content) >= size:
            break
    if not content[:size].strip():
        raise at.fault(f"{path} is empty")
    return content[:size]


def _check_text(start: bytes, path: Path, at: Place) -> None:
    for magic, what in _OTHERS.items():
        if start.startswith(magic):
            raise at.fault(f"{path} is {what}; a text is needed")
    if start[_TAR_AT:].startswith(_TAR):
        raise at.fault(f"{path} is a tar archive; unpack it")
    if start[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_PAGES):
        raise at.fault(f"{path} is a web page (HTML) or XML; was its download refused?")


def _decompressed(file: BinaryIO) -> AbstractContextManager[BinaryIO]:
    start = file.read(len(max(_PACKED, key=len)))
    file.seek(0)
    gz, bz, xz, zst = _PACKED
    if start.startswith(gz):
        return cast(BinaryIO, gzip.open(file))
    if start.startswith(bz):
        return cast(BinaryIO, bz2.open(file))
    if start.startswith(xz):
        return cast(BinaryIO, lzma.open(file))
    if start.startswith(zst):
        import pyarrow

        return cast(BinaryIO, pyarrow.CompressedInputStream(file, "zstd"))
    return file
