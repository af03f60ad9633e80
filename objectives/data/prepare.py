"""Preparing the data of a search: read, tokenised and written once, behind a cache."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from objectives.data.arrays import data_key, write_arrays
from objectives.data.prepared_data import MANIFEST, PreparedData, open_prepared_data
from objectives.data.sources.tables import DataError
from objectives.store.disk_space import is_disk_full
from objectives.store.locks import exclusive_lock
from objectives.store.staging import flush
from spaces.file.sources import Data
from spaces.file.tasks import Task


def prepare(data: Data, task: Task, root: Path) -> PreparedData:
    """Read, tokenise and cache the data of a search; the second call only opens it.

    Args:
        data: The sources, the vocabulary size and the sequence length.
        task: The task, for the number of classes.
        root: Folder of the cache.

    Raises:
        DataError: The data is missing, empty, or not what the search file says.
    """
    key = data_key(data, task)
    folder = root / key[:16]
    try:
        root.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(root / f"{key[:16]}.lock"):
            prepared = open_prepared_data(folder) or _build(
                data, task, folder, cache=root / "datasets"
            )
    except Exception as error:
        if not (isinstance(error, OSError) or is_disk_full(error)):
            raise
        raise DataError(
            f"data: cannot be prepared in {root}: {error}; make room or mend its permissions, or "
            "name another folder with TLC_HOME"
        ) from error
    classes = getattr(task, "classes", len(prepared.label_names))
    if len(prepared.label_names) != classes:
        names = ", ".join(prepared.label_names[:12])
        raise DataError(
            f"task.classes: {classes}, but the data has {len(prepared.label_names)} labels: {names}"
        )
    return prepared


def _build(data: Data, task: Task, folder: Path, *, cache: Path) -> PreparedData:
    """Prepare data while nobody else does; what a killed process left of it is removed."""
    staging = folder.parent / "staging" / folder.name
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        names, counts = write_arrays(data, task, staging, cache)
        prepared = PreparedData(folder, _digest(staging), tuple(names), counts)
        sizes = {path.name: path.stat().st_size for path in staging.iterdir()}
        manifest = {**prepared.describe(), "sizes": sizes}
        (staging / MANIFEST).write_text(json.dumps(manifest, indent=2))
        for path in (*staging.iterdir(), staging):
            flush(path)
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(staging, folder)
        flush(folder.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return prepared


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
