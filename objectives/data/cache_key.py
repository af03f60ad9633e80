"""The key of the cache of prepared data: a hash of the sources and of how they are prepared."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from objectives.data.errors import DataError
from objectives.data.sources import standard_library
from spaces.cost.configuration import content_hash
from spaces.file.sources import (
    SOURCE_FIELDS,
    SPLITS,
    AlignedFiles,
    Data,
    Files,
    ImageFolder,
    Splits,
    StandardLibrary,
)

PREPARED_DATA_VERSION = 3
"""Increased when the same sources give other arrays."""


def cache_key(data: Data, running_text_splits: Sequence[str]) -> str:
    """Hash of all that determines prepared data; ``DataError`` where a local file is missing."""
    key: dict[str, Any] = {"version": PREPARED_DATA_VERSION, "splits": running_text_splits}
    for name in SOURCE_FIELDS:
        source = getattr(data, name)
        if source is not None:
            key[name] = _source_key(source, f"data.{name}")
    if data.images is not None:
        key["shape"] = [data.image_size, data.channels]
    else:
        key["shape"] = [data.vocabulary_size, data.sequence_length]
    return content_hash(key)


def _source_key(source: Any, field: str) -> str:
    if isinstance(source, StandardLibrary):
        return standard_library.identity()
    key: str = source.model_dump_json()
    if isinstance(source, Files | AlignedFiles | ImageFolder):
        key += _digest_of_files(source, field)
    return key


def _digest_of_files(source: Splits[Any], field: str) -> str:
    digest = hashlib.sha256()
    for split in SPLITS:
        for path in map(Path, source.inputs(split)):
            if isinstance(source, ImageFolder):
                if not path.is_dir():
                    raise DataError(f"{field}.{split}: no such folder: {path}")
                files = sorted(file for file in path.rglob("*") if file.is_file())
            else:
                if not path.is_file():
                    raise DataError(f"{field}.{split}: no such file: {path}")
                files = [path]
            for file in files:
                digest.update(str(file.relative_to(path)).encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()
