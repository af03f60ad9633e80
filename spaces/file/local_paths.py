"""Paths that a search file names: what another machine may lack, and a service must not open."""

from __future__ import annotations

from spaces.file.search_file import SearchFile
from spaces.file.sources import SOURCE_FIELDS, SPLITS, AlignedFiles, Files, ImageFolder


def data_paths(search: SearchFile) -> list[tuple[str, str]]:
    """Every file and folder of data that a search file names, with its field."""
    found = []
    for part in SOURCE_FIELDS:
        source = getattr(search.data, part)
        if not isinstance(source, Files | AlignedFiles | ImageFolder):
            continue
        for split in SPLITS:
            found += [(f"data.{part}.{split}", path) for path in source.inputs(split)]
    return found
