"""Finding the files that a search file names: on this machine, or at URLs of fsspec, such as
``s3://``, of which each is copied once and read from the copy."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from objectives.data.errors import Place
from objectives.data.files.opening import COMPRESSED, FORMATS, files_of, is_saved


def find_files(given: str, at: Place, cache: Path) -> list[Path]:
    """Files on this machine or at a URL, or folders that ``datasets`` saved.

    Args:
        cache: Folder for copies of files at URLs.

    Raises:
        DataError: There are none, or it is another folder.
    """
    if is_url(given):
        return _copies_of(given, at, cache)
    found = files_of(given)
    if not found:
        raise at.fault(f"no such file: {given}")
    for path in found:
        if path.is_dir() and not is_saved(path):
            raise at.fault(f"{path} is a folder; {_instead_of(path)}")
    return found


def _instead_of(folder: Path) -> str:
    for pattern in ("*", "*/*"):
        endings = Counter(
            file.suffix
            for file in folder.glob(pattern)
            if file.suffix.lower() in (*FORMATS, *COMPRESSED)
        )
        if endings:
            ending = endings.most_common(1)[0][0]
            return f"name its files with a pattern: {folder}/{pattern}{ending}"
    return "name a file"


def is_url(given: str) -> bool:
    """Whether a search file names files at a URL, and not in a folder of this machine."""
    return "://" in given


def _copies_of(url: str, at: Place, cache: Path) -> list[Path]:
    """Copies of the file at a URL, or of those that a pattern in it matches, by their names.

    A copy is made again where the file has changed.

    Args:
        cache: Folder for the copies.

    Raises:
        DataError: There are none, or they cannot be read.
    """
    from fsspec.implementations.cache_mapper import BasenameCacheMapper
    from fsspec.implementations.cached import WholeFileCacheFileSystem

    system, paths = _found(url, at)
    copies = WholeFileCacheFileSystem(
        fs=system,
        cache_storage=str(cache / "remote"),
        # Names keep their endings, which say the format; with folders, equal names are several.
        cache_mapper=BasenameCacheMapper(directory_levels=8),
        check_files=True,
        expiry_time=False,
    )
    try:
        return [Path(copies.open(path).name) for path in paths]
    except Exception as error:
        raise at.fault(f"{url} cannot be read: {error or type(error).__name__}") from error


def versions_of(url: str, at: Place) -> list[str]:
    """The name of each such file, and what changes when it does; none of them is read."""
    system, paths = _found(url, at)
    return [f"{path} {system.ukey(path)}" for path in paths]


def _found(url: str, at: Place) -> tuple[Any, list[str]]:
    import fsspec

    try:
        system, path = fsspec.url_to_fs(url)
        found = sorted(name for name in system.glob(path) if system.isfile(name))
    except Exception as error:
        # Each file system raises classes of its own, and its package may be missing.
        raise at.fault(f"{url} cannot be read: {error or type(error).__name__}") from error
    if not found:
        raise at.fault(f"no such file: {url}")
    return system, found
