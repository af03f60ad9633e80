"""Preparing the data of a search: sources are read, tokenised and written once, into a cache."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from objectives.data.arrays import Written, write_arrays
from objectives.data.errors import DataError, Place
from objectives.data.files.finding import is_url, versions_of
from objectives.data.files.opening import files_of
from objectives.data.prepared_data import (
    MANIFEST,
    PreparedData,
    open_prepared_data,
)
from objectives.data.pretrained_tokenizer import PretrainedTokenizer
from objectives.data.sources import standard_library
from objectives.data.sources.labels import is_number
from objectives.data.sources.reading import SAMPLE_CHARACTERS
from objectives.store import heartbeat
from objectives.store.disk_space import is_disk_full
from objectives.store.locks import exclusive_lock
from objectives.store.staging import Staging, flush
from spaces.cost.configuration import content_hash
from spaces.file.base_task import BaseTask
from spaces.file.inputs.tables import SPLITS, Splits, Tables
from spaces.file.sources import (
    SOURCE_FIELDS,
    AlignedFiles,
    ConllFiles,
    Data,
    ImageFolder,
    StandardLibrary,
)

PREPARED_DATA_VERSION = 11
"""Increased when the same sources give other arrays."""
MAX_SECONDS = 6 * 3600.0
"""Of preparation, after which it counts as stuck: tokenizers and libraries send no heartbeats."""


def prepare(
    data: Data, task: BaseTask, root: Path, pretrained: PretrainedTokenizer | None = None
) -> PreparedData:
    """Read, tokenise and cache the data of a task below a folder; a second call only opens it.

    Args:
        pretrained: The tokenizer of the checkpoint that models start from, trimmed to the
            vocabulary of ``data``; without it, one is trained.

    Raises:
        DataError: The data is missing, empty, or not what the search file says.
    """
    text_splits = splits_of_running_text(task)
    name = _folder_name(data, task, pretrained)
    prepared = prepare_once(
        root,
        name,
        lambda new: write_arrays(
            data,
            text_splits,
            new,
            root / "datasets",
            pretrained,
            are_numbers=task.labels == "numbers",
        ),
    )
    classes = getattr(task, "classes", len(prepared.label_names))
    if len(prepared.label_names) != classes:
        found = prepared.label_names
        names = ", ".join(map(repr, found[:12])) + (", …" if len(found) > 12 else "")
        hint = ""
        if data.labelled is not None and all(map(is_number, found)):
            hint = "; to predict numbers, give task: {name: regression}"
        raise DataError(
            f"task.classes: {classes}, but the data has {len(found)} labels: {names}{hint}"
        )
    return prepared


def prepare_once(root: Path, name: str, write: Callable[[Path], Written]) -> PreparedData:
    """Write prepared data into a folder below another one, or open it where that was done before.

    Args:
        root: Folder of prepared data.
        name: Name of the folder, which stands for all that determines the data.
        write: Writes the arrays into a new folder.

    Raises:
        DataError: The folder cannot be written.
    """
    folder = root / name
    try:
        root.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(root / f"{name}.lock"), heartbeat.beating(MAX_SECONDS):
            heartbeat.beat("preparing data")
            return open_prepared_data(folder) or _build(folder, write)
    except Exception as error:
        if not (isinstance(error, OSError) or is_disk_full(error)):
            raise
        raise DataError(
            f"data: cannot be prepared in {root}: {error}; free disk space or fix its permissions, "
            "or name another folder with TLC_HOME"
        ) from error


def own_data_key(task: str, code: str, fields: Mapping[str, Any]) -> str:
    """Name of the folder of a task's data, by all that determines it.

    Args:
        task: The task, as a search file names it.
        code: Hash or version of its code.
        fields: Its fields.
    """
    key = {"version": PREPARED_DATA_VERSION, "task": task, "code": code, "fields": fields}
    return content_hash(key)[:16]


def find_prepared(
    data: Data, task: BaseTask, root: Path, pretrained: PretrainedTokenizer | None = None
) -> PreparedData | None:
    """The data of a task if it was prepared below a folder before; nothing is read or written."""
    try:
        name = _folder_name(data, task, pretrained)
        return open_prepared_data(root / name)
    except DataError:
        # A local file is missing.
        return None


def splits_of_running_text(task: BaseTask) -> tuple[str, ...]:
    """Splits of its running text that a task reads; text that only pre-training reads has no test
    split."""
    return SPLITS if task.needs == ("unlabelled",) else ("train", "validation")


def _folder_name(data: Data, task: BaseTask, pretrained: PretrainedTokenizer | None) -> str:
    tokenizer = None if pretrained is None else pretrained.digest
    return _cache_key(data, task, tokenizer)[:16]


def _cache_key(data: Data, task: BaseTask, tokenizer: str | None) -> str:
    """Hash of all that determines prepared data; ``DataError`` where a local file is missing.

    Args:
        tokenizer: Digest of the tokenizer of a checkpoint.
    """
    splits = splits_of_running_text(task)
    key: dict[str, Any] = {"version": PREPARED_DATA_VERSION, "splits": splits}
    if data.labelled is not None:
        key["labels"] = task.labels
    if tokenizer is not None:
        key["tokenizer"] = tokenizer
    for name in SOURCE_FIELDS:
        source = getattr(data, name)
        if isinstance(source, StandardLibrary):
            key[name] = standard_library.IDENTITY
        elif source is not None:
            key[name] = source.model_dump_json()
        if isinstance(source, Tables | AlignedFiles | ConllFiles | ImageFolder):
            key[name] += _digest_of_files(source, f"data.{name}")
    if data.images is not None:
        processor = data.image_processor.model_dump()
        key["shape"] = [data.image_size, data.channels, processor, data.background]
    else:
        key["shape"] = [data.vocabulary_size, data.sequence_length]
    if data.parallel is not None:
        key["shape"].append(data.longest_target)
    return content_hash(key)


def _digest_of_files(source: Splits[Any], field: str) -> str:
    digest = hashlib.sha256()
    split_of: dict[Path, str] = {}
    train_bytes = 0
    for split in SPLITS:
        for given in source.inputs(split):
            if is_url(given):
                digest.update("\n".join(versions_of(given, Place(field, split))).encode())
                continue
            for path in _named(source, given, f"{field}.{split}"):
                if other := split_of.get(path.resolve()):
                    said = "is given twice" if other == split else f"is in {other} too"
                    raise DataError(f"{field}.{split}: {path} {said}")
                split_of[path.resolve()] = split
                files = sorted(filter(Path.is_file, path.rglob("*"))) if path.is_dir() else [path]
                for file in files:
                    digest.update(str(file.relative_to(path)).encode())
                    _add_file(digest, file)
                    train_bytes += file.stat().st_size * (split == "train")
    if train_bytes > SAMPLE_CHARACTERS and not isinstance(source, ImageFolder):
        # Of a large text, the vocabulary is made of a sample.
        digest.update(str(SAMPLE_CHARACTERS).encode())
    return digest.hexdigest()


def _named(source: Splits[Any], given: str, field: str) -> list[Path]:
    """The files, or the folder, that a split names."""
    is_folder = isinstance(source, ImageFolder)
    found = [Path(given)] if is_folder else files_of(given)
    if not found or (is_folder and not found[0].is_dir()):
        raise DataError(f"{field}: no such {'folder' if is_folder else 'file'}: {given}")
    return found


def _build(folder: Path, write: Callable[[Path], Written]) -> PreparedData:
    """Prepare data under the lock of its folder, atomically."""
    root = folder.parent
    staging = Staging(root / "staging" / socket.gethostname())
    staging.remove_unfinished()
    with staging.new() as new:
        written = write(new)
        prepared = PreparedData(folder, _digest(new), *written)
        sizes = {path.name: path.stat().st_size for path in new.iterdir()}
        manifest = {**prepared.describe(), "sizes": sizes}
        (new / MANIFEST).write_text(json.dumps(manifest, indent=2))
        for path in (*new.iterdir(), new):
            flush(path)
        staging.remove(folder)
        os.rename(new, folder)
        flush(root)
    return prepared


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode())
        _add_file(digest, path)
    return digest.hexdigest()


def _add_file(digest: Any, path: Path) -> None:
    with path.open("rb") as file:
        hashlib.file_digest(file, lambda: digest)
